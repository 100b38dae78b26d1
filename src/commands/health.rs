//! Checks a running service, for probes and scripts.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::StatusCode;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time;

/// Fails unless the service at `address` answers `/health` with 200 within `timeout`.
pub async fn check(address: SocketAddr, timeout: Duration) -> anyhow::Result<()> {
    let status = time::timeout(timeout, status(address))
        .await
        .with_context(|| format!("{address} did not respond within {timeout:?}"))?
        .with_context(|| format!("cannot reach {address}"))?;
    if status != StatusCode::OK {
        bail!("{address} responded with {status}");
    }
    Ok(())
}

async fn status(address: SocketAddr) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response; its error is also the request's.
    tokio::spawn(connection);
    let request = hyper::Request::get("/health")
        .header(HOST, address.to_string())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    Ok(requests.send_request(request).await?.status())
}
