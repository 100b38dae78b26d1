//! HTTP/1.1: a server loop with limits, and the two sets of routes it serves.

pub mod admin;
mod connection;
pub mod handlers;
mod json;
pub mod observation;
mod problem;
mod router;
pub mod server;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;

pub use problem::Problem;
pub use router::Route;

/// A request whose body is still to be read.
pub type Request = hyper::Request<Incoming>;

/// An answer, complete.
pub type Response = hyper::Response<Full<Bytes>>;

/// Answers requests; the server takes care of everything around that.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request`. A panic is answered with 500.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;
}
