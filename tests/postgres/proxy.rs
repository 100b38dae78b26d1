//! A network between the service and a database that can fail.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;

use crate::harness::random;

/// Forwards connections to a port on this machine, until it is told otherwise.
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
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

struct Network {
    server_port: u16,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Those that are open, and maybe some that were.
    connections: Vec<Weak<Connection>>,
    /// A connection that sends this is cut instead of answered.
    cut_at: Option<Vec<u8>>,
}

struct Connection {
    client: TcpStream,
    /// None where nothing is forwarded.
    server: Option<TcpStream>,
    is_silent: AtomicBool,
    /// Whether it is cut when the next answer comes.
    is_cut_at_answer: AtomicBool,
}

impl Proxy {
    /// Forwards to `server_port`.
    pub fn to(server_port: u16) -> Proxy {
        let state = State { mode: Mode::Forward, connections: Vec::new(), cut_at: None };
        let network = Network { server_port, state: Mutex::new(state), changed: Condvar::new() };
        let network = Arc::new(network);
        let mut listeners = std::iter::repeat_with(listen_somewhere);
        let listener = listeners.find_map(|listener| listener).expect("some port is free");
        let port = listener.local_addr().unwrap().port();
        let accepting = network.clone();
        thread::spawn(move || accepting.accept(listener));
        Proxy { port, network }
    }

    /// The URL that leads through this proxy to the database of `url`.
    pub fn url(&self, url: &str) -> String {
        let server = format!(":{}/", self.network.server_port);
        let through = url.replace(&server, &format!(":{}/", self.port));
        assert_ne!(through, url, "the proxy leads elsewhere");
        through
    }

    /// Forwards new connections.
    pub fn forward(&self) {
        drop(self.switch(Mode::Forward));
    }

    /// Accepts connections and never answers. Those that are open fall silent too.
    pub fn go_silent(&self) {
        self.silence(Mode::Silent);
    }

    /// Forwards new connections until they send something about users, and then never
    /// answers. Those that are open fall silent at once.
    pub fn hang(&self) {
        self.silence(Mode::Hang);
    }

    fn silence(&self, mode: Mode) {
        let state = self.switch(mode);
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            connection.is_silent.store(true, Ordering::SeqCst);
        }
    }

    /// Cuts all connections, and refuses new ones.
    pub fn refuse(&self) {
        let state = self.switch(Mode::Refuse);
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            connection.cut();
        }
        drop(state);
        // Wakes the thread that accepts, until it has closed its listener.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {}
    }

    /// Forwards the next request that holds `text`, and cuts its connection instead of
    /// forwarding the answer.
    pub fn cut_answer_to(&self, text: &str) {
        self.network.state().cut_at = Some(text.into());
    }

    fn switch(&self, mode: Mode) -> MutexGuard<'_, State> {
        let mut state = self.network.state();
        state.mode = mode;
        self.network.changed.notify_all();
        state
    }
}

impl Network {
    fn accept(self: Arc<Network>, mut listener: TcpListener) {
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
            self.clone().connect(client);
        }
    }

    fn connect(self: Arc<Network>, client: TcpStream) {
        let mut state = self.state();
        let is_silent = state.mode == Mode::Silent;
        let server = match is_silent {
            true => None,
            false => match TcpStream::connect(("127.0.0.1", self.server_port)) {
                Ok(server) => Some(server),
                // The client's connection is closed.
                Err(_) => return,
            },
        };
        for stream in std::iter::once(&client).chain(&server) {
            stream.set_nodelay(true).unwrap();
        }
        let connection = Arc::new(Connection {
            client,
            server,
            is_silent: is_silent.into(),
            is_cut_at_answer: AtomicBool::new(false),
        });
        let answers = connection.clone();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(&connection));
        drop(state);
        thread::spawn(move || connection.forward_requests(&self));
        thread::spawn(move || answers.forward_answers());
    }

    /// Whether the answer to `request` shall not arrive.
    fn cuts_at(&self, request: &[u8]) -> bool {
        self.state().cut_at.take_if(|text| holds(request, text)).is_some()
    }

    /// Whether nothing is answered from `request` on.
    fn hangs_at(&self, request: &[u8]) -> bool {
        self.state().mode == Mode::Hang && holds(request, ABOUT_USERS)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Connection {
    fn forward_requests(&self, network: &Network) {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = (&self.client).read(&mut buffer) {
            let Some(mut server) = self.server.as_ref().filter(|_| !self.is_silent()) else {
                continue;
            };
            let request = &buffer[..length];
            if network.hangs_at(request) {
                self.is_silent.store(true, Ordering::SeqCst);
                continue;
            }
            if network.cuts_at(request) {
                self.is_cut_at_answer.store(true, Ordering::SeqCst);
            }
            if server.write_all(request).is_err() {
                break;
            }
        }
        self.cut();
    }

    fn forward_answers(&self) {
        let Some(mut server) = self.server.as_ref() else { return };
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            if self.is_silent() {
                continue;
            }
            let is_cut = self.is_cut_at_answer.load(Ordering::SeqCst);
            if is_cut || (&self.client).write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // A silent network does not report an end either.
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

/// Listens on a port outside the range for outgoing connections: while nothing listens
/// there, a client's own port could be that one, and it would reach itself.
fn listen_somewhere() -> Option<TcpListener> {
    let port = 20_000 + u16::try_from(random(10_000)).unwrap();
    TcpListener::bind(("127.0.0.1", port)).ok()
}
