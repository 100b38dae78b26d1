//! Sends envelopes to an error tracker, one connection for each: they are rare.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dsn::Dsn;
use crate::authorities;

/// How long sending one report may take. Others wait meanwhile, in a bounded queue.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to send nothing after a 429 without a time, as the tracker's own clients do.
const TRACKER_PAUSE_DEFAULT: Duration = Duration::from_secs(60);

/// Longest pause, even if the tracker asks for more.
const TRACKER_PAUSE_MAX: Duration = Duration::from_hours(1);

/// An error tracker's limits, as in `60:error;default:organization, 2700::project`
/// (<https://develop.sentry.dev/sdk/expected-features/rate-limiting/>).
const RATE_LIMITS: &str = "x-sentry-rate-limits";

/// A connection is made for each report.
pub(super) struct Transport {
    dsn: Dsn,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The tracker's answer to a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub is_accepted: bool,
    /// For how long to send no more.
    pub pause: Option<Duration>,
}

impl Transport {
    /// Trusts the machine's certificate authorities where the DSN is `https://…`.
    pub fn new(dsn: Dsn) -> anyhow::Result<Transport> {
        let tls = match dsn.is_https {
            true => Some((connector()?, ServerName::try_from(dsn.host.clone())?)),
            false => None,
        };
        Ok(Transport { dsn, tls })
    }

    /// Sends an envelope. The error does not quote the key.
    pub async fn send(&self, envelope: Vec<u8>) -> anyhow::Result<Answer> {
        let send = async {
            let stream = TcpStream::connect((&*self.dsn.host, self.dsn.port)).await?;
            match &self.tls {
                Some((tls, name)) => {
                    self.exchange(tls.connect(name.clone(), stream).await?, envelope).await
                }
                None => self.exchange(stream, envelope).await,
            }
        };
        let sent = timeout(SEND_TIMEOUT, send).await;
        sent.with_context(|| format!("no answer within {SEND_TIMEOUT:?}"))?
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        envelope: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error is also the request's. It outlasts neither the answer nor the timeout.
        tokio::spawn(timeout(SEND_TIMEOUT, connection));
        let request = Request::post(&self.dsn.path)
            .header(HOST, &self.dsn.authority)
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .header("x-sentry-auth", &self.dsn.auth)
            .body(Full::new(Bytes::from(envelope)))?;
        read(&requests.send_request(request).await?)
    }
}

fn connector() -> anyhow::Result<TlsConnector> {
    let authorities = authorities::of_this_machine();
    if authorities.is_empty() {
        bail!("this machine has no trusted CA certificates: install ca-certificates");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read<B>(response: &Response<B>) -> anyhow::Result<Answer> {
    let pause = match (limit(response.headers()), response.status()) {
        (Some(pause), _) => Some(pause),
        (None, StatusCode::TOO_MANY_REQUESTS) => {
            Some(seconds(response.headers().get(RETRY_AFTER)).unwrap_or(TRACKER_PAUSE_DEFAULT))
        }
        (None, _) => None,
    };
    match response.status() {
        status if status.is_success() => Ok(Answer { is_accepted: true, pause }),
        StatusCode::TOO_MANY_REQUESTS => Ok(Answer { is_accepted: false, pause }),
        status => bail!("the answer was {status}"),
    }
}

/// The longest of the limits that concern errors.
fn limit(headers: &HeaderMap) -> Option<Duration> {
    let limits = headers.get(RATE_LIMITS)?.to_str().ok()?.split(',');
    limits
        .filter_map(|limit| {
            let mut fields = limit.trim().split(':');
            let seconds: u64 = fields.next()?.parse().ok()?;
            let categories = fields.next()?;
            // None means all.
            let is_ours = categories.is_empty() || categories.split(';').any(|it| it == "error");
            is_ours.then(|| Duration::from_secs(seconds).min(TRACKER_PAUSE_MAX))
        })
        .max()
}

/// A number of seconds; a date is not read.
fn seconds(value: Option<&HeaderValue>) -> Option<Duration> {
    let seconds = value?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(TRACKER_PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_for_as_long_as_the_tracker_asks() {
        for (status, headers, is_accepted, pause) in [
            (200, &[][..], true, None),
            (200, &[(RATE_LIMITS, "7:error:key")], true, Some(7)),
            (200, &[(RATE_LIMITS, "7:transaction:key, 9:session;attachment:key")], true, None),
            (200, &[(RATE_LIMITS, "7::organization, 9:default;error:key")], true, Some(9)),
            (200, &[(RATE_LIMITS, "soon")], true, None),
            (429, &[("retry-after", "5")], false, Some(5)),
            (429, &[("retry-after", "5"), (RATE_LIMITS, "8:error:key")], false, Some(8)),
            (429, &[("retry-after", "Fri, 27 Nov 2026 20:00:00 GMT")], false, Some(60)),
            (429, &[("retry-after", "999999999")], false, Some(3600)),
            (429, &[], false, Some(60)),
        ] {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            let answer = read(&response.body(()).unwrap()).unwrap();
            let pause = pause.map(Duration::from_secs);
            assert_eq!(answer, Answer { is_accepted, pause }, "{status} {headers:?}");
        }
        let refusal = Response::builder().status(403).body(()).unwrap();
        assert!(read(&refusal).unwrap_err().to_string().contains("403"));
    }
}
