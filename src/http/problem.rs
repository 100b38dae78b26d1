//! Error responses (RFC 9457).

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use serde::Serialize;

use super::Response;
use crate::clock::http_date;
use crate::domain::{DateOfBirthError, UsernameError};
use crate::store::StoreError;

/// Seconds after which a client may retry: an overload has usually passed by then, and an
/// unavailable database is not queried too often.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error may be gone a moment later, such as a 404 once the user is saved.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An error response that tells the client what to do. No other type maps errors to status
/// codes.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    /// What the client may use instead.
    instead: Option<(HeaderName, &'static str)>,
    retry: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), instead: None, retry: false }
    }

    /// 400: the request is invalid.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: no date of birth is saved under this name.
    pub fn no_such_user() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no date of birth is saved for this username: save one with PUT",
        )
    }

    /// 404: no rates were loaded yet.
    pub fn no_rates() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no rates are loaded: load a dump with hello-birthday load-rates FILE",
        )
    }

    /// 404: there is no such path.
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not found: see /openapi.json for all paths")
    }

    /// 405: the path supports other methods.
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = format!("method not allowed for this path: use one of {allow}");
        let instead = Some((ALLOW, allow));
        Problem { instead, ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 408: the rest of the request did not arrive in time.
    pub fn request_timeout(what: &str, seconds: u64) -> Problem {
        let detail = format!("the {what} took longer than {seconds} s: send it without pausing");
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 408: the server holds too many unfinished requests, and this is the oldest.
    pub fn request_shed() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the server is receiving too many incomplete requests: send the whole request at once",
        )
    }

    /// 413: the body has more bytes than any date of birth needs.
    pub fn body_too_large(bytes_max: usize) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {bytes_max} bytes: send only the dateOfBirth"),
        )
    }

    /// 415: the body has a content coding, such as gzip.
    pub fn unknown_content_coding() -> Problem {
        let detail = "the body has a Content-Encoding: send plain JSON, without that header";
        // RFC 9110, section 12.5.3.
        let instead = Some((ACCEPT_ENCODING, "identity"));
        Problem { instead, ..Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail) }
    }

    /// 501: the body has an unsupported transfer coding.
    pub fn unknown_transfer_coding() -> Problem {
        Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "the only Transfer-Encoding is chunked: send that, or a Content-Length",
        )
    }

    /// 500: a bug. The log has the details.
    pub fn internal_error() -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error; it has been logged")
    }

    /// 503: the client may retry later.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem { retry: true, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503: too many requests take too much memory each.
    pub fn too_many_large_requests() -> Problem {
        Problem::unavailable(
            "too many large requests wait for their answers: send fewer headers, or try again",
        )
    }

    /// The last response of a connection, as hyper would send it.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head(), self.body()].concat()
    }

    /// The same in response to HEAD.
    pub fn head(&self) -> Vec<u8> {
        let mut response = format!(
            "HTTP/1.1 {}\r\n\
             content-type: application/problem+json\r\n\
             content-length: {}\r\n\
             cache-control: no-store\r\n\
             connection: close\r\n\
             date: {}\r\n",
            self.status,
            self.body().len(),
            http_date()
        )
        .into_bytes();
        if self.retry {
            response.extend(b"retry-after: ");
            response.extend(RETRY_AFTER_SECONDS.as_bytes());
            response.extend(b"\r\n");
        }
        response.extend(b"\r\n");
        response
    }

    /// The JSON that describes the problem.
    pub(super) fn body(&self) -> Vec<u8> {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        serde_json::to_vec(&body).expect("strings and a number are JSON")
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let mut response = Response::new(Full::new(Bytes::from(problem.body())));
        *response.status_mut() = problem.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, NO_STORE);
        if let Some((name, value)) = problem.instead {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if problem.retry {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<UsernameError> for Problem {
    fn from(error: UsernameError) -> Problem {
        Problem::bad_request(error.to_string())
    }
}

impl From<DateOfBirthError> for Problem {
    fn from(error: DateOfBirthError) -> Problem {
        Problem::bad_request(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Problem::unavailable(format!("{error}: try again in a moment"))
    }
}
