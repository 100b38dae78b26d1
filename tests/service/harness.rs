//! Starts the real binary and talks to it as its users do.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub use crate::patience::PATIENCE;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_hello-birthday");

/// A running service.
///
/// When it is dropped, its log must hold none of the usernames and dates that
/// were sent to it, nor the password of its database.
pub struct Service {
    child: Child,
    /// The public listener.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    notifications: Notifications,
    folder: Arc<TempDir>,
    log: PathBuf,
    private: Mutex<Vec<String>>,
}

impl Service {
    /// Starts a service with a database of its own.
    pub fn start(flags: &[&str]) -> Service {
        Service::start_in(&new_folder(), flags)
    }

    /// Starts a service that works in `folder`, so on the database of others there.
    pub fn start_in(folder: &Arc<TempDir>, flags: &[&str]) -> Service {
        let mut command = Command::new(BINARY);
        command.args(flags);
        Service::spawn(folder, command)
    }

    /// Starts `command`, which runs the binary in some way, and waits until it is
    /// ready.
    pub fn spawn(folder: &Arc<TempDir>, command: Command) -> Service {
        match Service::try_spawn(folder, command) {
            Ok(service) => service,
            Err(Failed { status, log }) => panic!("the service ended with {status}: {log}"),
        }
    }

    /// Starts `command` and waits until it is ready, or has failed.
    pub fn try_spawn(folder: &Arc<TempDir>, mut command: Command) -> Result<Service, Failed> {
        let notifications = Notifications::open();
        let log = unique_path(folder.path(), "log");
        clean_environment(&mut command)
            .env("HELLO_BIRTHDAY_LISTEN", "127.0.0.1:0")
            .env("HELLO_BIRTHDAY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("NOTIFY_SOCKET", &notifications.path)
            .current_dir(folder.path())
            .stderr(File::create(&log).unwrap());
        if let Some(url) = crate::database_url(folder.path()) {
            // A flag says it louder.
            command.env("DATABASE_URL", url);
        }
        let mut child = command.spawn().expect("the binary starts");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = notifications.ready_status(Duration::from_millis(20)) {
                break status;
            }
            if let Some(status) = child.try_wait().unwrap() {
                return Err(Failed { status, log: fs::read_to_string(&log).unwrap() });
            }
            assert!(Instant::now() < deadline, "not ready: {}", fs::read_to_string(&log).unwrap());
        };
        let addresses = status.strip_prefix("serving on ").expect("the status names addresses");
        let (address, admin) = addresses.split_once(", admin on ").expect("both addresses");
        Ok(Service {
            child,
            address: address.parse().unwrap(),
            admin: admin.parse().unwrap(),
            notifications,
            folder: folder.clone(),
            log,
            private: Mutex::new(passwords(&command)),
        })
    }

    /// The folder that the service works in.
    pub fn folder(&self) -> &Arc<TempDir> {
        &self.folder
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub fn put(&self, path: &str, body: &str) -> Answer {
        self.request("PUT", path, body)
    }

    /// Saves a date of birth, which must work.
    pub fn save(&self, username: &str, born: &str) {
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        self.put(&format!("/hello/{username}"), &body).expect_status(204);
    }

    /// Sends a request on a connection of its own. The answer must be one that
    /// the OpenAPI description promises.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        self.remember(path, body);
        let request = request(method, path, "Connection: close\r\n", body);
        let answer = exchange(self.address, request.as_bytes());
        crate::openapi::check(method, path, &answer);
        answer
    }

    /// Asks the admin listener.
    pub fn ask_admin(&self, path: &str) -> Answer {
        exchange(self.admin, request("GET", path, "Connection: close\r\n", "").as_bytes())
    }

    /// The value of a metric; `series` is its name with its labels as shown.
    pub fn metric(&self, series: &str) -> f64 {
        value(&self.ask_admin("/metrics").expect_status(200).body, series)
    }

    /// Opens a connection, on which reads and writes end within `PATIENCE`.
    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Asks the service to stop, and expects that it does so as it should.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The same, and keeps its folder.
    pub fn stop_in_place(&self) {
        self.signal(Signal::TERM);
        wait_until("the service stops", || TcpStream::connect(self.address).is_err().then_some(()));
        self.wait_for_log("\"stopped\"");
    }

    /// Ends the process as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What the service has written to its log so far. Lines may still be on their way,
    /// except once it has ended.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log says `what`, and gives the whole log.
    pub fn wait_for_log(&self, what: &str) -> String {
        wait_until(&format!("the log says {what:?}"), || {
            Some(self.log()).filter(|log| log.contains(what))
        })
    }

    /// Waits until systemd would have been told `line`.
    pub fn wait_for_notification(&self, line: &str) {
        self.notifications.wait_for(line);
    }

    /// What systemd is told next, if it is told something in time.
    pub fn next_notification(&self, timeout: Duration) -> Option<String> {
        self.notifications.receive(timeout)
    }

    fn remember(&self, path: &str, body: &str) {
        let mut private = self.private.lock().unwrap();
        if let Some(username) = path.strip_prefix("/hello/").filter(|name| name.len() > 3) {
            private.push(username.to_owned());
        }
        let body: Option<Value> = serde_json::from_str(body).ok();
        if let Some(born) = body.as_ref().and_then(|body| body["dateOfBirth"].as_str()) {
            private.push(born.to_owned());
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let log = self.log();
            for private in self.private.lock().unwrap().iter().filter(|text| !text.is_empty()) {
                assert!(!log.contains(private), "the log holds what is private");
            }
        }
    }
}

/// The passwords in the database URLs that `command` is given.
fn passwords(command: &Command) -> Vec<String> {
    let variables = command.get_envs().filter_map(|(_, value)| value);
    let texts = command.get_args().chain(variables).filter_map(|text| text.to_str());
    texts
        .filter_map(|text| {
            let (credentials, _) = text.split_once("postgres://")?.1.split_once('@')?;
            Some(credentials.split_once(':')?.1.to_owned())
        })
        .collect()
}

/// A process that ended before it was ready.
pub struct Failed {
    pub status: ExitStatus,
    pub log: String,
}

/// What systemd is told.
struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
    // Holds the socket: a path of its own, short enough for one.
    _folder: TempDir,
}

impl Notifications {
    fn open() -> Notifications {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        // A service that runs as somebody else may tell too.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Notifications { socket, path, _folder: folder }
    }

    fn receive(&self, timeout: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    fn ready_status(&self, timeout: Duration) -> Option<String> {
        let message = self.receive(timeout)?;
        message.lines().find(|line| *line == "READY=1")?;
        message.lines().find_map(|line| line.strip_prefix("STATUS=").map(str::to_owned))
    }

    fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let message = self.receive(PATIENCE).unwrap_or_default();
            if message.lines().any(|told| told == line) {
                return;
            }
        }
        panic!("systemd was not told {line}");
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads one answer, whose body has a `Content-Length`. Reads no more than
    /// that where `stream` is not buffered.
    pub fn read(stream: &mut impl Read) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let mut answer = Answer::parse_head(&String::from_utf8(head).unwrap());
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    /// Parses all that came until the connection was closed.
    pub fn parse(bytes: Vec<u8>) -> Answer {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        Answer { body: body.to_owned(), ..Answer::parse_head(head) }
    }

    fn parse_head(head: &str) -> Answer {
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Answer { status, headers, body: String::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    #[track_caller]
    pub fn expect_status(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    #[track_caller]
    pub fn expect_json(self, expected: Value) -> Answer {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(serde_json::from_str::<Value>(&self.body).unwrap(), expected);
        self
    }

    /// Expects a problem whose detail says `what`.
    #[track_caller]
    pub fn expect_problem(self, status: u16, what: &str) -> Answer {
        let answer = self.expect_status(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string());
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(what), "{detail:?} does not say {what:?}");
        answer
    }
}

/// A client that keeps its connection for as long as the server does.
pub struct Client {
    server: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The server takes no connections: the request was not sent.
    Refused,
    /// The request was sent, and its answer did not come.
    Lost(std::io::Error),
}

impl Client {
    pub fn new(server: SocketAddr) -> Client {
        Client { server, stream: None }
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, NoAnswer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(self.server) {
                Ok(stream) => {
                    prepare(&stream);
                    BufReader::new(stream)
                }
                Err(_) => return Err(NoAnswer::Refused),
            },
        };
        let answer = stream
            .get_mut()
            .write_all(request(method, path, "", body).as_bytes())
            .and_then(|()| Answer::read(&mut stream))
            .map_err(NoAnswer::Lost)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// The bytes of a request, with more headers.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends `request` and reads until the server closes.
pub fn exchange(server: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    Answer::parse(read_to_end(&mut stream))
}

/// Reads until the server closes, which it must.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes the connection");
    bytes
}

/// The value of a metric among `metrics`; zero where there is none.
pub fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Reads all answers until the server closes.
pub fn read_answers(stream: &mut TcpStream) -> Vec<Answer> {
    let bytes = read_to_end(stream);
    let mut rest = &*bytes;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        answers.push(Answer::read(&mut rest).expect("a whole answer"));
    }
    answers
}

/// Says that nothing more will be sent.
pub fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    prepare(&stream);
    stream
}

fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Runs a command to its end, and gives what it printed.
pub fn run(mut command: Command) -> (ExitStatus, String, String) {
    let output = clean_environment(&mut command).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// Takes away what the environment of the tests would tell the binary.
pub fn clean_environment(command: &mut Command) -> &mut Command {
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        ["HELLO_BIRTHDAY_", "SENTRY_"].iter().any(|prefix| name.starts_with(prefix))
            || ["DATABASE_URL", "NOTIFY_SOCKET", "JOURNAL_STREAM"].iter().any(|it| name == *it)
    });
    for name in ours {
        command.env_remove(name);
    }
    command
}

/// Waits for `child` to end by itself.
pub fn wait(child: &mut Child) -> ExitStatus {
    wait_until("the process ends", || child.try_wait().unwrap())
}

/// Asks again and again until there is an answer.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number below `limit`, another one each time.
pub fn random(limit: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % limit
}

/// A number in five letters, of which usernames can be made.
pub fn letters(number: usize) -> String {
    let places = [1, 26, 676, 17_576, 456_976];
    places.iter().map(|place| char::from(b'a' + (number / place % 26) as u8)).collect()
}

/// A folder for one test.
pub fn new_folder() -> Arc<TempDir> {
    Arc::new(TempDir::new().unwrap())
}

fn unique_path(folder: &Path, name: &str) -> PathBuf {
    (0..).map(|number| folder.join(format!("{name}.{number}"))).find(|path| !path.exists()).unwrap()
}
