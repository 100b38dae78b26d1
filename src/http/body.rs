//! The body of a request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connection::ConnectionState;

/// A body that notifies its connection when it is read to its end. Until then its request may be
/// shed, even while its handler runs.
pub struct RequestBody {
    incoming: Incoming,
    /// `None` once it is complete. `is_end_stream` does not say so reliably: it stays false after
    /// the last chunk of a body without a length.
    connection: Option<Arc<ConnectionState>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, connection: &Arc<ConnectionState>) -> RequestBody {
        let connection = (!incoming.is_end_stream()).then(|| connection.clone());
        RequestBody { incoming, connection }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.leave_body_unread();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if let Poll::Ready(None) = frame
            && let Some(connection) = self.connection.take()
        {
            connection.finish_receiving();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
