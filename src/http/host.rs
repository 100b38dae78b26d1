//! Validates the Host header.

use hyper::Version;
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

use super::Problem;

/// Refuses a request without exactly one well-formed Host (RFC 9112, section 3.2): a proxy
/// in front may have routed it by another one.
pub(super) fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Problem> {
    match names_one_host(headers, version) {
        true => Ok(()),
        false => Err(Problem::bad_request(
            "a request names one host: send exactly one Host header, as in Host: example.org:8080",
        )),
    }
}

fn names_one_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, None) => version < Version::HTTP_11,
        _ => false,
    }
}

/// Whether `host` is a name or an address, maybe with a port (RFC 9110, section 7.2). It
/// may be empty: then the target has no host either.
fn is_host(host: &[u8]) -> bool {
    if is_plain_host(host) {
        return true;
    }
    match Authority::try_from(host) {
        // An authority may also have userinfo, and its port is not checked.
        Ok(authority) if !host.contains(&b'@') => {
            let port = &authority.as_str()[authority.host().len()..];
            port.bytes().all(|byte| byte == b':' || byte.is_ascii_digit())
        }
        Ok(_) => false,
        Err(_) => host.is_empty(),
    }
}

/// Whether `host` is a name of letters, digits, dots and hyphens, maybe with a port, as nearly all
/// are: an authority would copy it.
fn is_plain_host(host: &[u8]) -> bool {
    let colon = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(colon);
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    !name.is_empty() && name.iter().all(is_of_name) && port.iter().skip(1).all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for host in [
            "",
            "localhost",
            "localhost:8080",
            "localhost:",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "under_score.example.org",
            "xn--bcher-kva.example",
        ] {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        for host in [
            "a b",
            "a, b",
            "a/b",
            "a@b",
            "a:b",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "a\\b",
            "a?b",
            "a#b",
            "<a>",
            "\"a\"",
            "a\tb",
            "jos\u{e9}",
            "a:-1",
            "[::1]:x",
        ] {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }
}
