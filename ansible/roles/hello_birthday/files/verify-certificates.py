"""Fails unless each certificate in a PEM file belongs to a CA and has not expired."""

import re
import ssl
import sys
import time

file = sys.argv[1]
pem = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
try:
    context.load_verify_locations(file)
    with open(file, encoding="ascii") as text:
        certificates = {ssl.PEM_cert_to_DER_cert(found) for found in pem.findall(text.read())}
except (OSError, ValueError) as error:
    sys.exit(f"{file} does not hold certificates: {error}")
if certificates - set(context.get_ca_certs(binary_form=True)):
    sys.exit(f"{file} holds a certificate that does not belong to a CA")
for certificate in context.get_ca_certs():
    if ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
        sys.exit(f"{file} holds a certificate that has expired: {certificate['subject']}")
