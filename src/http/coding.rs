//! Refuses bodies in codings that are not understood, rather than reading them as something else.

use hyper::Method;
use hyper::header::{CONTENT_ENCODING, HeaderMap, TRANSFER_ENCODING};

use super::{Problem, Route};

/// Refuses transfer codings other than `chunked`, with 501 (RFC 9112, section 6.1), and content
/// codings where the body is used, with 415 (RFC 9110, section 8.4).
pub(super) fn check_codings(
    route: Route<'_>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !is_plain_or_chunked(headers) {
        return Err(Problem::unknown_transfer_coding());
    }
    let is_used = matches!((route, method), (Route::Hello(_), &Method::PUT));
    let is_identity = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    let mut content = headers.get_all(CONTENT_ENCODING).iter();
    match !is_used || content.all(|coding| is_identity(coding.as_bytes())) {
        true => Ok(()),
        false => Err(Problem::unknown_content_coding()),
    }
}

fn is_plain_or_chunked(headers: &HeaderMap) -> bool {
    let mut codings = 0;
    for value in headers.get_all(TRANSFER_ENCODING) {
        // A list may have empty elements (RFC 9110, section 5.6.1).
        for coding in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match coding {
                b"" => {}
                coding if coding.eq_ignore_ascii_case(b"chunked") => codings += 1,
                _ => return false,
            }
        }
    }
    codings <= 1
}
