//! What went wrong, told to the client (RFC 9457).

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::Response;
use crate::domain::{DateOfBirthError, UsernameError};
use crate::store::StoreError;

/// Seconds after which a client may retry: an overload is over by then, and a
/// database that is away is not asked too often.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer that is not what the client wanted, and what it can do about it.
/// Nothing else knows a status code of an error.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    allow: Option<&'static str>,
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
        Problem { status, detail: detail.into(), allow: None, retry: false }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: nobody saved a date of birth under this name.
    pub fn no_such_user() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no date of birth is saved for this username: save one with PUT",
        )
    }

    /// 404: nothing is served under this path.
    pub fn no_such_path() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this path: /openapi.json describes what there is",
        )
    }

    /// 405: the path offers other methods.
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = format!("this path does not offer that method: use one of {allow}");
        Problem { allow: Some(allow), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 408: the rest of the request did not come in time.
    pub fn too_slow(what: &str, seconds: u64) -> Problem {
        let detail = format!("the {what} took longer than {seconds} s: send it at once");
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 408: the head was still incomplete when there were too many of its kind.
    pub fn head_shed() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too many requests have sent only a part of their head: send it at once",
        )
    }

    /// 413: more bytes than any date of birth needs.
    pub fn body_too_large(bytes_max: usize) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {bytes_max} bytes: send only the dateOfBirth"),
        )
    }

    /// 500: a bug, which the log tells more about.
    pub fn bug() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the service met a bug in itself: retrying will not help until it is mended",
        )
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem { retry: true, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
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
        if let Some(allow) = problem.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
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
