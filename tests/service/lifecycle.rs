//! How the process starts, is watched and stops.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{
    Answer, BINARY, Client, NoAnswer, Service, clean_environment, connect, exchange, new_folder,
    random, read_to_end, wait, wait_until,
};

const BORN: &str = r#"{"dateOfBirth":"1990-05-20"}"#;

/// A PUT of which the last bytes are still to come.
const HALF_A_PUT: &[u8] =
    b"PUT /hello/John HTTP/1.1\r\nHost: localhost\r\nContent-Length: 28\r\n\r\n{\"dateOfBirth\":";
const THE_OTHER_HALF: &[u8] = b"\"1990-05-20\"}";

const BUSY_CONNECTIONS: usize = 32;

/// A service that stops closes connections that have been idle for so long.
const IDLE_TIMEOUT_DRAINING: Duration = Duration::from_secs(1);

#[test]
fn a_drain_under_load_loses_no_request() {
    let folder = new_folder();
    let answered = AtomicU64::new(0);
    for _ in 0..20 {
        let service = Service::start_in(&folder, &["--drain-timeout", "60s"]);
        let address = service.address;
        thread::scope(|scope| {
            for number in 0..BUSY_CONNECTIONS {
                let answered = &answered;
                scope.spawn(move || {
                    answered.fetch_add(keep_busy(address, number), Ordering::Relaxed)
                });
            }
            // Not a wait for something: the moment is to be any.
            thread::sleep(Duration::from_millis(50 + random(100)));
            service.stop();
        });
    }
    println!("{} requests answered in 20 drains, none lost", answered.into_inner());
}

/// Sends requests for as long as there is a server; none may be lost.
fn keep_busy(server: SocketAddr, number: usize) -> u64 {
    let mut client = Client::new(server);
    let letters = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let path = format!("/hello/Busy{}{}", letters(number / 26), letters(number));
    for answered in 0.. {
        let began = Instant::now();
        let answer = match answered % 2 {
            0 => client.send("PUT", &path, BORN),
            _ => client.send("GET", &path, ""),
        };
        match answer {
            Ok(answer) => assert!([200, 204].contains(&answer.status), "{}", answer.status),
            Err(NoAnswer::Refused) => return answered,
            // A stopping service closes what was idle for a second: on a machine that keeps a
            // client from sending for that long, its request may meet the end.
            Err(NoAnswer::Lost(_)) if began.elapsed() >= IDLE_TIMEOUT_DRAINING => return answered,
            Err(NoAnswer::Lost(error)) => panic!("a request was lost: {error}"),
        }
    }
    unreachable!("the service stops first")
}

#[test]
fn probes_tell_of_the_stop_while_requests_are_still_served() {
    // Longer than any machine takes for what follows.
    let service = Service::start(&["--drain-delay", "10m"]);
    let mut early = Client::new(service.address);
    early.send("PUT", "/hello/John", BORN).unwrap().expect_status(204);
    service.signal(Signal::TERM);
    service.wait_for_notification("STOPPING=1");
    wait_until("the probe reports it", || {
        (service.ask_admin("/readyz").status == 503).then_some(())
    });
    service.ask_admin("/readyz").expect_problem(503, "stopping");
    service.ask_admin("/livez").expect_status(200);
    service.get("/health").expect_problem(503, "stopping");
    // Old and new connections, reads and writes.
    early.send("GET", "/hello/John", "").unwrap().expect_status(200);
    service.save("Jane", "1990-05-20");
    service.get("/hello/Jane").expect_status(200);
}

#[test]
fn the_drain_begins_after_its_delay() {
    let mut service = Service::start(&["--drain-delay", "500ms"]);
    let began = Instant::now();
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(service.log().contains(r#""delay_ms":500"#), "{}", service.log());
}

#[test]
fn an_interrupt_stops_too() {
    let mut service = Service::start(&[]);
    service.signal(Signal::INT);
    assert!(service.wait().success());
}

#[test]
fn a_request_under_way_is_finished_and_closes_its_connection() {
    let folder = new_folder();
    let mut service = Service::start_in(&folder, &[]);
    let mut stream = start_half_a_put(&service);
    service.signal(Signal::TERM);
    wait_until_refused(service.address);
    stream.write_all(THE_OTHER_HALF).unwrap();
    let answer = Answer::parse(read_to_end(&mut stream)).expect_status(204);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(service.wait().success());
    Service::start_in(&folder, &[]).get("/hello/John").expect_status(200);
}

#[test]
fn idle_connections_close_soon() {
    // The test would not wait that long.
    let mut service = Service::start(&["--drain-timeout", "10m"]);
    let mut idle = connect(service.address);
    let mut used = connect(service.address);
    used.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    Answer::read(&mut used).unwrap().expect_status(200);
    service.signal(Signal::TERM);
    assert_eq!(read_to_end(&mut idle), b"");
    assert_eq!(read_to_end(&mut used), b"");
    assert!(service.wait().success());
}

#[test]
fn connections_that_wait_to_be_accepted_are_served_at_the_stop() {
    // More than are accepted in one turn of the event loop, or fit in a small backlog.
    const CONNECTIONS: usize = 500;
    let mut service = Service::start(&[]);
    service.signal(Signal::STOP);
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| service.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    service.signal(Signal::TERM);
    service.signal(Signal::CONT);
    for stream in &mut streams {
        Answer::read(stream).unwrap().expect_status(200);
    }
    assert!(service.wait().success());
}

#[test]
fn the_drain_timeout_cuts_off_requests_that_do_not_finish() {
    let mut service = Service::start(&["--drain-timeout", "500ms"]);
    let mut stream = start_half_a_put(&service);
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    assert!(service.log().contains("drain timeout exceeded"), "{}", service.log());
    let mut rest = Vec::new();
    // Reset or closed: either way there is no answer.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_second_signal_exits_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut service = Service::start(&["--drain-timeout", "10m"]);
        let stream = start_half_a_put(&service);
        service.signal(Signal::TERM);
        service.wait_for_notification("STOPPING=1");
        service.signal(signal);
        assert_eq!(service.wait().code(), Some(code));
        drop(stream);
    }
}

/// The kernel lets no signal end the first process of a container by default (pid_namespaces(7)).
#[test]
fn the_first_process_of_a_container_ends_at_a_signal_before_it_serves() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://user@{}/db?connect_timeout=600", silent.local_addr().unwrap());
    for (command, signal, code) in [
        (&[][..], Signal::TERM, 0),
        (&[], Signal::INT, 0),
        (&["migrate"], Signal::TERM, 143),
        (&["erase", "John"], Signal::INT, 130),
    ] {
        let mut container = Command::new("unshare");
        container.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", BINARY]);
        container.args(command).args(["--database-url", &url]).stderr(Stdio::null());
        let mut container = clean_environment(&mut container).spawn().unwrap();
        // It has caught the signals before it connects.
        let _connection = silent.accept().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", container.id());
        let first = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(first).unwrap(), signal).unwrap();
        assert_eq!(wait(&mut container).code(), Some(code), "{command:?}");
    }
}

/// Sends half a PUT, and returns once the service has begun to answer it.
fn start_half_a_put(service: &Service) -> std::net::TcpStream {
    let mut stream = service.connect();
    stream.write_all(HALF_A_PUT).unwrap();
    let in_flight = || service.metric("hello_birthday_http_requests_in_flight");
    wait_until("the request is being answered", || (in_flight() == 1.0).then_some(()));
    stream
}

fn wait_until_refused(server: SocketAddr) {
    wait_until("connections are refused", || {
        std::net::TcpStream::connect(server).is_err().then_some(())
    });
}

#[test]
fn the_watchdog_is_fed_while_the_event_loop_runs() {
    let mut command = Command::new("env");
    command.args(["WATCHDOG_USEC=200000", BINARY]);
    let service = Service::spawn(&new_folder(), command);
    for _ in 0..5 {
        service.wait_for_notification("WATCHDOG=1");
    }
    service.signal(Signal::STOP);
    wait_until("the watchdog is not fed", || {
        let silence = service.next_notification(Duration::from_secs(1)).is_none();
        silence.then_some(())
    });
    service.signal(Signal::CONT);
    service.wait_for_notification("WATCHDOG=1");
}

#[test]
fn sockets_of_systemd_are_used_and_outlive_the_process() {
    let folder = new_folder();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = start_with_sockets(&folder, &public, &admin);
    assert_eq!(first.address, public.local_addr().unwrap());
    assert_eq!(first.admin, admin.local_addr().unwrap());
    first.save("John", "1990-05-20");
    first.ask_admin("/readyz").expect_status(200);
    first.stop();

    // No one serves now, and still no one is refused.
    let mut waiting = connect(public.local_addr().unwrap());
    waiting
        .write_all(b"GET /hello/John HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let second = start_with_sockets(&folder, &public, &admin);
    Answer::parse(read_to_end(&mut waiting)).expect_status(200);
    second.stop();
}

#[test]
fn one_socket_of_systemd_is_the_public_one() {
    let folder = new_folder();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Service::spawn(&folder, with_sockets(&public, None));
    assert_eq!(service.address, public.local_addr().unwrap());
    service.ask_admin("/readyz").expect_status(200);
}

fn start_with_sockets(folder: &Arc<TempDir>, public: &TcpListener, admin: &TcpListener) -> Service {
    Service::spawn(folder, with_sockets(public, Some(admin)))
}

/// Passes sockets as systemd does: from descriptor 3 on (sd_listen_fds(3)). A
/// shell moves them there, and is then replaced by the service.
fn with_sockets(public: &TcpListener, admin: Option<&TcpListener>) -> Command {
    let descriptor = |socket: &TcpListener| OwnedFd::from(socket.try_clone().unwrap());
    let mut command = Command::new("sh");
    let script = match admin {
        Some(_) => "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec",
        None => "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec",
    };
    command.arg("-c").arg(format!("{script} {BINARY}")).stdin(descriptor(public));
    if let Some(admin) = admin {
        command.stdout(descriptor(admin));
    }
    command
}

#[test]
fn a_stopped_service_refuses_connections() {
    let service = Service::start(&[]);
    let address = service.address;
    exchange(address, b"GET / HTTP/1.0\r\n\r\n").expect_status(200);
    service.stop();
    wait_until_refused(address);
}
