//! The certificate authorities that this machine trusts.

use rustls::RootCertStore;

/// Reads the machine's list, which may be empty.
pub fn of_this_machine() -> RootCertStore {
    let mut authorities = RootCertStore::empty();
    // Some lists have old certificates that do not parse.
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    authorities
}
