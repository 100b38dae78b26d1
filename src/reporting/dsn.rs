//! Where error reports go: a DSN, `https://KEY@HOST/PROJECT`
//! (<https://develop.sentry.dev/sdk/foundations/transport/authentication/>).

use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderValue;

/// A project of an error tracker. Its key is a secret, so there is no `Debug`.
#[derive(Clone)]
pub struct Dsn {
    pub is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// As in the `Host` header.
    pub authority: String,
    /// The path to send envelopes to.
    pub path: String,
    /// The value of `X-Sentry-Auth`, which holds the key.
    pub auth: HeaderValue,
}

/// Why a text is not a DSN. It quotes nothing of the text, which may hold a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Sentry DSN: write https://KEY@HOST/PROJECT, as the project's settings show it")]
pub struct DsnError;

impl FromStr for Dsn {
    type Err = DsnError;

    fn from_str(text: &str) -> Result<Dsn, DsnError> {
        let uri: Uri = text.parse().map_err(|_| DsnError)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(DsnError),
        };
        let authority = uri.authority().ok_or(DsnError)?.as_str();
        let (credentials, authority) = authority.split_once('@').ok_or(DsnError)?;
        // Old DSNs have a second, secret key, which is not used any more.
        let key = credentials.split(':').next().unwrap_or_default();
        let (prefix, project) = uri.path().rsplit_once('/').ok_or(DsnError)?;
        let is_word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_word(key) || !is_word(project) || uri.query().is_some() {
            return Err(DsnError);
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let mut auth = HeaderValue::try_from(format!(
            "Sentry sentry_version=7, sentry_client={}/{}, sentry_key={key}",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
        ))
        .map_err(|_| DsnError)?;
        auth.set_sensitive(true);
        Ok(Dsn {
            is_https,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_owned(),
            path: format!("{prefix}/api/{project}/envelope/"),
            auth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_a_key_a_host_and_a_project() {
        for (text, host, port, authority, path) in [
            (
                "https://abc123@o1.ingest.sentry.io/42",
                "o1.ingest.sentry.io",
                443,
                "o1.ingest.sentry.io",
                "/api/42/envelope/",
            ),
            ("http://k:s@tracker:9000/42", "tracker", 9000, "tracker:9000", "/api/42/envelope/"),
            ("http://k@[::1]/a/b/42", "::1", 80, "[::1]", "/a/b/api/42/envelope/"),
        ] {
            let dsn: Dsn = text.parse().unwrap();
            assert_eq!(dsn.is_https, text.starts_with("https"), "{text}");
            assert_eq!((&*dsn.host, dsn.port), (host, port), "{text}");
            assert_eq!((&*dsn.authority, &*dsn.path), (authority, path), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_not_quoted() {
        for text in [
            "",
            "hunter2",
            "https://hunter2/42",
            "https://hunter2@host",
            "https://hunter2@host/",
            "https://@host/42",
            "https://hunter 2@host/42",
            "https://hunter2@host/42?a=b",
            "ftp://hunter2@host/42",
            "https://hunter2@/42",
        ] {
            let error = text.parse::<Dsn>().err().unwrap_or_else(|| panic!("{text} is a DSN"));
            assert!(!error.to_string().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn the_key_is_in_no_debug_output() {
        let dsn: Dsn = "https://hunter2@host/42".parse().unwrap();
        assert!(dsn.auth.to_str().unwrap().contains("sentry_key=hunter2"));
        assert!(!format!("{:?}", dsn.auth).contains("hunter2"));
    }
}
