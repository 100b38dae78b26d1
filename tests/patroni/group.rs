//! Two PostgreSQL servers that Patroni and etcd keep in one group, as on machines of
//! their own: each server has its Patroni beside it, and both can be killed at once.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{self, free_port, programs};
use crate::commits::Commits;
use crate::harness::{Answer, PATIENCE};

const DATABASE: &str = "hello";
const PASSWORD: &str = "Four21Corners";

/// What Patroni calls the server that takes writes, and the one that every commit
/// waits for.
const LEADER: &str = "leader";
const STANDBY: &str = "sync_standby";

pub struct Group {
    nodes: [Node; 2],
    etcd: SocketAddr,
    _etcd: Machine,
    folder: TempDir,
}

/// A PostgreSQL server with its Patroni.
struct Node {
    name: &'static str,
    port: u16,
    api: SocketAddr,
    machine: Option<Machine>,
}

/// Processes that end together, and with this process at the latest.
struct Machine(Child);

impl Group {
    /// Starts a group, and returns once every commit of its leader waits for the other
    /// server.
    pub fn start() -> Group {
        let folder = TempDir::new().unwrap();
        let etcd = local(free_port());
        let [client, peer] = [etcd, local(free_port())].map(|address| format!("http://{address}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.path().join("etcd"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let _etcd = Machine::start(&command, &folder.path().join("etcd.log"));
        let nodes = ["one", "two"].map(|name| {
            let [port, api] = [free_port(), free_port()];
            Node { name, port, api: local(api), machine: None }
        });
        let mut group = Group { nodes, etcd, _etcd, folder };
        let is_healthy = |answer: Answer| answer.body.contains("true").then_some(());
        group.wait("etcd is healthy", |group| {
            ask(group.etcd, "GET", "/health", "").and_then(is_healthy)
        });
        group.start_node(0);
        // The second one copies the first one's database.
        group.wait_for(LEADER);
        group.start_node(1);
        group.wait_for(STANDBY);
        let leader = format!("host=127.0.0.1 port={} user=postgres", group.wait_for(LEADER).port);
        let create = format!(
            "create role {DATABASE} login password '{PASSWORD}';
             create database {DATABASE} owner {DATABASE}"
        );
        cluster::execute(&leader, &create);
        group
    }

    fn start_node(&mut self, node: usize) {
        let config = self.config(&self.nodes[node]);
        let node = &mut self.nodes[node];
        let [file, log] =
            ["yml", "log"].map(|kind| self.folder.path().join(node.name).with_extension(kind));
        // JSON is YAML.
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("patroni");
        command.arg(file);
        node.machine = Some(Machine::start(&command, &log));
    }

    fn config(&self, node: &Node) -> Value {
        let address = local(node.port).to_string();
        let folder = self.folder.path();
        json!({
            "scope": "hello",
            "name": node.name,
            "restapi": { "listen": node.api, "connect_address": node.api },
            "etcd3": { "host": self.etcd },
            "bootstrap": {
                "dcs": {
                    // Patroni takes no shorter time than 20 s for a leader to be silent.
                    "ttl": 20,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "synchronous_mode": true,
                    "postgresql": { "use_pg_rewind": true },
                },
                "initdb": [{ "encoding": "UTF8" }, { "locale": "C" }, "no-sync"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "bin_dir": programs(),
                "data_dir": folder.join(format!("{}.data", node.name)),
                "pgpass": folder.join(format!("{}.pgpass", node.name)),
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
                // What the server gave to the system outlives it.
                "parameters": { "fsync": "off", "unix_socket_directories": "" },
                "authentication": {
                    "superuser": { "username": "postgres" },
                    "replication": { "username": "replicator" },
                },
            },
        })
    }

    /// The URL of the group's database, which names both servers.
    pub fn url(&self) -> String {
        let [one, two] = self.nodes.each_ref().map(|node| local(node.port));
        format!("postgres://{DATABASE}:{PASSWORD}@{one},{two}/{DATABASE}")
    }

    /// Attempts to commit on whichever server takes writes.
    pub fn attempt_commits(&self) -> Commits {
        let [one, two] = self.nodes.each_ref().map(|node| node.port);
        Commits::start(format!(
            "host=127.0.0.1,127.0.0.1 port={one},{two} user=postgres dbname=postgres \
             target_session_attrs=read-write"
        ))
    }

    /// Makes the standby the leader, as before maintenance of the other server. Returns
    /// once every commit waits for that one.
    pub fn switch_over(&self) {
        let [leader, candidate] = [LEADER, STANDBY].map(|role| self.wait_for(role));
        let body = json!({ "leader": leader.name, "candidate": candidate.name }).to_string();
        let answer = ask(leader.api, "POST", "/switchover", &body).expect("Patroni answers");
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, self.logs());
        assert_eq!(self.wait_for(STANDBY).name, leader.name);
    }

    /// Ends the leader and its Patroni, as a power cut does.
    pub fn kill_leader(&mut self) {
        let name = self.wait_for(LEADER).name;
        for node in self.nodes.iter_mut().filter(|node| node.name == name) {
            node.machine = None;
        }
    }

    /// Waits until a server has this role.
    fn wait_for(&self, role: &str) -> &Node {
        self.wait(role, |group| group.find(role))
    }

    fn find(&self, role: &str) -> Option<&Node> {
        let running = self.nodes.iter().filter(|node| node.machine.is_some());
        let answers = running.filter_map(|node| ask(node.api, "GET", "/cluster", ""));
        let members: Vec<Value> = answers
            .filter_map(|answer| serde_json::from_str::<Value>(&answer.body).ok())
            .filter_map(|cluster| cluster["members"].as_array().cloned())
            .next()?;
        let member = members.into_iter().find(|member| member["role"] == role)?;
        self.nodes.iter().find(|node| member["name"] == node.name)
    }

    /// Asks again and again until there is an answer.
    fn wait<'a, T>(&'a self, what: &str, ask: impl Fn(&'a Group) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < deadline, "in vain: {what}\n{}", self.logs());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["etcd.log", "one.log", "two.log"].map(read).concat()
    }
}

impl Machine {
    /// Starts `command` in namespaces of its own. Its first process there is a shell that
    /// ends with its input, and with it all others. A server does not run as root.
    fn start(command: &Command, log: &Path) -> Machine {
        let mut machine = Command::new("unshare");
        machine.args(["--user", "--map-user=postgres", "--map-group=postgres"]);
        machine.args(["--pid", "--fork", "--mount-proc", "--ipc"]);
        machine.args(["bash", "-c", r#""$@" &>"$0" & read -r"#]).arg(log);
        machine.arg(program(command)).args(command.get_args());
        let path = std::env::var_os("PATH").unwrap_or_default();
        machine.env_clear().env("PATH", path).env("LC_ALL", "C").current_dir("/");
        machine.stdin(Stdio::piped()).stdout(Stdio::null());
        Machine(machine.spawn().unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It may have been ended from outside.
        let _ = self.0.wait();
    }
}

/// The file of a program.
fn program(command: &Command) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(command.get_program()))
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("{command:?}: no such program: tests/run patroni installs it"))
}

/// Sends a request; `None` if it is not answered.
fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (!answer.is_empty()).then(|| Answer::parse(answer))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
