//! Notifications to systemd, and sockets from its socket activation. Without systemd,
//! these functions do nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;

use crate::listener::Listener;

/// The sockets of systemd's socket activation (`LISTEN_FDS`), in the order of
/// the socket unit's `ListenStream=` lines.
pub struct Sockets {
    inherited: ListenFd,
    taken: usize,
}

impl Sockets {
    pub fn from_environment() -> Sockets {
        Sockets { inherited: ListenFd::from_env(), taken: 0 }
    }

    /// Takes the next of systemd's sockets, or listens on `address` if none is left.
    pub fn next_or_bind(&mut self, address: SocketAddr) -> anyhow::Result<Listener> {
        let inherited = self.next().context("cannot use the socket that systemd passed")?;
        if let Some(socket) = inherited {
            return Ok(Listener { socket, inherited: true });
        }
        Listener::bind(address).map_err(|error| {
            let advice = bind_advice(error.kind());
            anyhow::Error::new(error).context(format!("cannot listen on {address}{advice}"))
        })
    }

    fn next(&mut self) -> std::io::Result<Option<TcpListener>> {
        let index = self.taken;
        self.taken += 1;
        if index >= self.inherited.len() {
            return Ok(None);
        }
        let Some(socket) = self.inherited.take_tcp_listener(index)? else { return Ok(None) };
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    }
}

/// Advice for an address that cannot be listened on.
fn bind_advice(error: ErrorKind) -> &'static str {
    match error {
        ErrorKind::AddrInUse => ": choose an address that is free",
        ErrorKind::AddrNotAvailable => ": choose an address of this machine",
        ErrorKind::PermissionDenied => {
            ": choose a port from 1024 on, or grant the process CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// Notifies systemd that the service accepts requests.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Notifies systemd that the service is stopping.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Feeds systemd's watchdog, if it is enabled, for as long as the event loop runs.
pub async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Twice as often as needed (sd_watchdog_enabled(3)).
    let mut interval = tokio::time::interval(limit / 2);
    loop {
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
