//! What systemd is told, and the sockets it may have opened for us. Without
//! systemd, all of it does nothing.

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
    /// Takes what the environment names.
    pub fn from_environment() -> Sockets {
        Sockets { inherited: ListenFd::from_env(), taken: 0 }
    }

    /// The next of systemd's sockets; once there are none left, a socket bound to
    /// `address`.
    pub fn next_or_bind(&mut self, address: SocketAddr) -> anyhow::Result<Listener> {
        let inherited = self.next().context("cannot use the socket that systemd passed")?;
        if let Some(socket) = inherited {
            return Ok(Listener { socket, inherited: true });
        }
        Listener::bind(address)
            .with_context(|| format!("cannot listen on {address}: choose an address that is free"))
    }

    fn next(&mut self) -> std::io::Result<Option<TcpListener>> {
        let place = self.taken;
        self.taken += 1;
        if place >= self.inherited.len() {
            return Ok(None);
        }
        let Some(socket) = self.inherited.take_tcp_listener(place)? else { return Ok(None) };
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    }
}

/// Tells systemd that requests are served.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the process is on its way out.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Shows systemd's watchdog, if it asks for that, that the event loop runs.
pub async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Twice as often as needed (sd_watchdog_enabled(3)).
    let mut beat = tokio::time::interval(limit / 2);
    loop {
        beat.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
