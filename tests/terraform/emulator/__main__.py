"""An AWS on this machine: moto's, and what it lacks and these tests need.

Prints the port that it listens on. Ends when its standard input does, so that it
outlives no test.
"""

import os
import sys
import threading

# Before moto is there: it knows the policies that AWS offers if it is told to.
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
# Nothing is to be learnt from a wait.
os.environ["MOTO_ACM_VALIDATION_WAIT"] = "0"

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

import aurora
import backup
import balancers
import gaps
import images
import leftovers
import refreshes
import restores
import templates
from control import Control

aurora.extend_moto()
backup.extend_moto()
balancers.extend_moto()
gaps.extend_moto()
images.extend_moto()
leftovers.extend_moto()
refreshes.extend_moto()
restores.extend_moto()
templates.extend_moto()
moto = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, Control(moto), threaded=True, request_handler=MotoRequestHandler)
# Moto calls itself now and then.
os.environ["MOTO_PORT"] = str(server.server_port)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
