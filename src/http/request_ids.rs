//! The identifiers by which the proxies in front of the service know a request.
//!
//! A client can send anything in these headers. So a value is used only if it has the form
//! of an identifier, which neither forges a log line nor spells a name.

use hyper::HeaderMap;

/// Hexadecimal digits of an `X-Request-Id`, besides hyphens. Fewer are not unique; a UUID
/// has 32, and a line of the log should not grow with what a client sends.
const REQUEST_ID_DIGITS_MIN: usize = 16;
const REQUEST_ID_LEN_MAX: usize = 64;

/// Characters of an `X-Amzn-Trace-Id`. AWS sends up to 131 in the fields used here; the
/// rest is for fields that are left out.
const AMZN_TRACE_ID_LEN_MAX: usize = 512;

/// What is known of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestIds<'a> {
    /// `X-Request-Id`, as nginx, HAProxy and Envoy make it.
    pub request_id: Option<&'a str>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<&'a str>,
    /// The fields of `X-Amzn-Trace-Id` that an AWS load balancer makes.
    pub amzn_trace_id: Option<String>,
}

impl RequestIds<'_> {
    pub fn read(headers: &HeaderMap) -> RequestIds<'_> {
        let header = |name| headers.get(name)?.to_str().ok();
        RequestIds {
            request_id: header("x-request-id").filter(|id| is_request_id(id)),
            traceparent: header("traceparent").filter(|parent| is_traceparent(parent)),
            amzn_trace_id: header("x-amzn-trace-id").and_then(amzn_trace_id),
        }
    }
}

fn is_request_id(id: &str) -> bool {
    let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
    let hyphens = id.bytes().filter(|byte| *byte == b'-').count();
    id.len() <= REQUEST_ID_LEN_MAX
        && digits >= REQUEST_ID_DIGITS_MIN
        && digits + hyphens == id.len()
}

/// Whether `parent` is of version 00, or has its form.
fn is_traceparent(parent: &str) -> bool {
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    match parent.split('-').collect::<Vec<_>>()[..] {
        [version, trace, span, flags] => {
            is_hex(version, 2)
                && version != "ff"
                && is_hex(trace, 32)
                && !is_zero(trace)
                && is_hex(span, 16)
                && !is_zero(span)
                && is_hex(flags, 2)
        }
        _ => false,
    }
}

/// A client can add fields of its own, which the load balancer passes on: these are left
/// out.
fn amzn_trace_id(header: &str) -> Option<String> {
    if header.len() > AMZN_TRACE_ID_LEN_MAX {
        return None;
    }
    let is_ours = |field: &&str| match field.split_once('=') {
        Some(("Root" | "Self", id)) => match id.split('-').collect::<Vec<_>>()[..] {
            ["1", time, random] => is_hex(time, 8) && is_hex(random, 24),
            _ => false,
        },
        Some(("Parent", id)) => is_hex(id, 16),
        Some(("Sampled", sampled)) => matches!(sampled, "0" | "1"),
        _ => false,
    };
    let fields: Vec<&str> = header.split(';').map(str::trim).filter(is_ours).collect();
    (!fields.is_empty()).then(|| fields.join(";"))
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7f1d9c1e-8a86-4a51-9e2b-1f0a3c5d7e90";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const ROOT: &str = "Root=1-67891233-abcdef012345678912345678";
    const OURS: &str = "Self=1-67891234-0123456789abcdef01234567";

    #[test]
    fn a_request_id_is_hexadecimal_and_of_some_length() {
        let long = "0".repeat(64);
        let hex = "7F1D9C1E8A864A519E2B1F0A3C5D7E90";
        for id in [UUID, hex, "0123456789abcdef", &long] {
            assert!(is_request_id(id), "{id}");
        }
        let too_long = "0".repeat(65);
        let hyphens = "-".repeat(36);
        for id in [
            "",
            "0123456789abcde",
            "1990-05-20",
            "Rumpelstiltskin-1",
            "0123456789abcdef\"",
            "0123456789abcdef 0",
            "0123456789abcdef\n",
            &too_long,
            &hyphens,
        ] {
            assert!(!is_request_id(id), "{id}");
        }
    }

    #[test]
    fn a_traceparent_has_four_fields_of_fixed_length() {
        for [version, flags] in [["00", "01"], ["cc", "00"]] {
            let parent = format!("{version}-{TRACE}-00f067aa0ba902b7-{flags}");
            assert!(is_traceparent(&parent), "{parent}");
        }
        for parent in [
            "".to_owned(),
            TRACE.to_owned(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-x"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902bg-01"),
        ] {
            assert!(!is_traceparent(&parent), "{parent}");
        }
    }

    #[test]
    fn fields_of_an_amzn_trace_id_that_aws_does_not_make_are_left_out() {
        let lambda = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        let cases = [
            (ROOT.to_owned(), Some(ROOT.to_owned())),
            (lambda.clone(), Some(lambda)),
            (format!("{OURS};{ROOT};CalledFrom=Rumpelstiltskin"), Some(format!("{OURS};{ROOT}"))),
            (format!("Rumpelstiltskin;{ROOT}; {OURS}"), Some(format!("{ROOT};{OURS}"))),
            ("Root=Rumpelstiltskin".to_owned(), None),
            ("Root=1-1990-05-20".to_owned(), None),
            ("Sampled=Rumpelstiltskin".to_owned(), None),
            (";;=;".to_owned(), None),
            (String::new(), None),
            (format!("{ROOT};{}", " ".repeat(AMZN_TRACE_ID_LEN_MAX)), None),
        ];
        for (header, expected) in cases {
            assert_eq!(amzn_trace_id(&header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_absent_or_not_text_is_left_out() {
        let mut headers = HeaderMap::new();
        assert_eq!(RequestIds::read(&headers), RequestIds::default());
        headers.insert("x-request-id", b"0123456789abcdef\xff"[..].try_into().unwrap());
        assert_eq!(RequestIds::read(&headers), RequestIds::default());
        headers.insert("x-request-id", UUID.try_into().unwrap());
        let expected = RequestIds { request_id: Some(UUID), ..RequestIds::default() };
        assert_eq!(RequestIds::read(&headers), expected);
    }
}
