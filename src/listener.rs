//! Where connections arrive.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel makes before they are accepted, as many as it allows by
/// default (`net.core.somaxconn`, tcp(7)). Beyond that, clients wait for a second or more
/// until they try again.
const BACKLOG: u32 = 4096;

/// A bound socket.
pub struct Listener {
    /// Where connections arrive.
    pub socket: TcpListener,
    /// Whether the socket outlives this process, as one of systemd's does. Then
    /// connections that wait are left to the next process.
    pub inherited: bool,
}

impl Listener {
    /// Listens on `address`, of which port 0 picks a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart need not wait for the connections of the last process to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Listener { socket: socket.listen(BACKLOG)?, inherited: false })
    }
}
