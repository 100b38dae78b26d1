//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel to be accepted, as many as it allows by default
/// (`net.core.somaxconn`, tcp(7)). Beyond that it drops SYNs, and clients retry after a
/// second or more.
const BACKLOG: u32 = 4096;

/// A listening socket.
pub struct Listener {
    pub socket: TcpListener,
    /// Whether the socket outlives this process, as one of systemd's does. Connections in
    /// its backlog are then left to the next process.
    pub inherited: bool,
}

impl Listener {
    /// Listens on `address`, of which port 0 picks a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of the last process in TIME_WAIT must not prevent a restart.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Listener { socket: socket.listen(BACKLOG)?, inherited: false })
    }
}
