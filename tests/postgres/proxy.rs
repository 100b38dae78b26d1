//! What may happen on the way to a database.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;

use crate::harness::random;

/// Stands in front of a port on this machine.
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Silent,
    Hang,
    Refuse,
}

/// What is in every statement about users, when it is sent the first time.
const ABOUT_USERS: &[u8] = b"users";

struct Way {
    /// Where it leads to.
    port: u16,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Those that are open, and maybe some that were.
    connections: Vec<Weak<Connection>>,
    /// Who sends this is not told the answer.
    cut_at: Option<Vec<u8>>,
}

struct Connection {
    client: TcpStream,
    /// None where nothing is passed on anyway.
    server: Option<TcpStream>,
    is_silent: AtomicBool,
    /// Whether it is cut when the next answer comes.
    is_doomed: AtomicBool,
}

impl Proxy {
    /// Forwards to `port` for now.
    pub fn to(port: u16) -> Proxy {
        let state = State { mode: Mode::Forward, connections: Vec::new(), cut_at: None };
        let way = Arc::new(Way { port, state: Mutex::new(state), changed: Condvar::new() });
        let mut listeners = std::iter::repeat_with(listen_somewhere);
        let listener = listeners.find_map(|listener| listener).expect("some port is free");
        let port = listener.local_addr().unwrap().port();
        let accepting = way.clone();
        thread::spawn(move || accepting.accept(listener));
        Proxy { port, way }
    }

    /// The URL for who goes this way to the database of `url`.
    pub fn url(&self, url: &str) -> String {
        let through = url.replace(&format!(":{}/", self.way.port), &format!(":{}/", self.port));
        assert_ne!(through, url, "the proxy leads elsewhere");
        through
    }

    /// Lets new connections through.
    pub fn forward(&self) {
        drop(self.switch(Mode::Forward));
    }

    /// Accepts connections, and swallows all that comes. The connections that are
    /// open stay so, and never say anything again.
    pub fn go_silent(&self) {
        self.silence(Mode::Silent);
    }

    /// Lets new connections in, and swallows what they send about users and after
    /// that. Those that are open never say anything again.
    pub fn hang(&self) {
        self.silence(Mode::Hang);
    }

    fn silence(&self, mode: Mode) {
        let state = self.switch(mode);
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            connection.is_silent.store(true, Ordering::SeqCst);
        }
    }

    /// Cuts all connections, and takes no new ones.
    pub fn refuse(&self) {
        let state = self.switch(Mode::Refuse);
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            connection.cut();
        }
        drop(state);
        // Wakes who accepts, until it listens no more.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {}
    }

    /// Passes on the next request in which `text` is, and cuts its connection
    /// instead of passing back the answer.
    pub fn cut_answer_to(&self, text: &str) {
        self.way.state().cut_at = Some(text.into());
    }

    fn switch(&self, mode: Mode) -> MutexGuard<'_, State> {
        let mut state = self.way.state();
        state.mode = mode;
        self.way.changed.notify_all();
        state
    }
}

impl Way {
    fn accept(self: Arc<Way>, mut listener: TcpListener) {
        let address = listener.local_addr().unwrap();
        loop {
            let (client, _) = listener.accept().unwrap();
            if self.state().mode == Mode::Refuse {
                drop((client, listener));
                let refuses = |state: &mut State| state.mode == Mode::Refuse;
                drop(self.changed.wait_while(self.state(), refuses).unwrap());
                listener = TcpListener::bind(address).unwrap();
                continue;
            }
            self.clone().lead(client);
        }
    }

    fn lead(self: Arc<Way>, client: TcpStream) {
        let mut state = self.state();
        let is_silent = state.mode == Mode::Silent;
        let server = match is_silent {
            true => None,
            false => match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(server) => Some(server),
                // The client is let go.
                Err(_) => return,
            },
        };
        for stream in std::iter::once(&client).chain(&server) {
            stream.set_nodelay(true).unwrap();
        }
        let connection = Connection {
            client,
            server,
            is_silent: is_silent.into(),
            is_doomed: AtomicBool::new(false),
        };
        let there = Arc::new(connection);
        let back = there.clone();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(&there));
        drop(state);
        thread::spawn(move || there.pass_on(&self));
        thread::spawn(move || back.pass_back());
    }

    /// Whether `request` is the one whose answer shall not arrive.
    fn cuts_at(&self, request: &[u8]) -> bool {
        let mut state = self.state();
        let is_it = state.cut_at.as_ref().is_some_and(|text| holds(request, text));
        if is_it {
            state.cut_at = None;
        }
        is_it
    }

    /// Whether `request` is one after which nothing is said any more.
    fn hangs_at(&self, request: &[u8]) -> bool {
        self.state().mode == Mode::Hang && holds(request, ABOUT_USERS)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Connection {
    fn pass_on(&self, way: &Way) {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = (&self.client).read(&mut buffer) {
            let Some(mut server) = self.server.as_ref().filter(|_| !self.is_silent()) else {
                continue;
            };
            let request = &buffer[..length];
            if way.hangs_at(request) {
                self.is_silent.store(true, Ordering::SeqCst);
                continue;
            }
            if way.cuts_at(request) {
                self.is_doomed.store(true, Ordering::SeqCst);
            }
            if server.write_all(request).is_err() {
                break;
            }
        }
        self.cut();
    }

    fn pass_back(&self) {
        let Some(mut server) = self.server.as_ref() else { return };
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            if self.is_silent() {
                continue;
            }
            let is_doomed = self.is_doomed.load(Ordering::SeqCst);
            if is_doomed || (&self.client).write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Who is silent does not tell of an end either.
        if !self.is_silent() {
            self.cut();
        }
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        for stream in std::iter::once(&self.client).chain(&self.server) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

/// Listens on a port that the system gives to no client: while nothing listens
/// there, one of those could be given the very port, and reach itself.
fn listen_somewhere() -> Option<TcpListener> {
    let port = 20_000 + u16::try_from(random(10_000)).unwrap();
    TcpListener::bind(("127.0.0.1", port)).ok()
}
