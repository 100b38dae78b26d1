//! PostgreSQL servers that the tests start themselves. None of them outlives the
//! test process, however that ends.

#![allow(dead_code, reason = "no test target needs all of it")]
#![expect(clippy::unwrap_used, reason = "without its server a test has failed")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::patience::PATIENCE;

/// The oldest release that will do.
const RELEASE_MIN: u32 = 15;

/// One server for the whole test process. Each test has its own database in it.
pub fn shared() -> &'static Cluster {
    static SHARED: LazyLock<Cluster> = LazyLock::new(|| {
        Cluster::start(&[
            // Ordinary flushes are for power cuts; without them it is quick.
            ("fsync", "off"),
            ("max_connections", "300"),
            // Each line of the log starts with the database.
            ("log_line_prefix", "%d "),
        ])
    });
    &SHARED
}

/// A server with its own data and its own port on 127.0.0.1, where it asks for
/// passwords.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    keeper: Child,
}

impl Cluster {
    /// Starts a new server with these lines in its `postgresql.conf`.
    pub fn start(settings: &[(&str, &str)]) -> Cluster {
        // A copy takes a tenth of the time.
        static NEW: LazyLock<Cluster> = LazyLock::new(Cluster::initialize);
        let mut cluster = Cluster::in_new_folder();
        let mut copy = as_server(OsStr::new("cp"));
        run(copy.arg("-R").arg(NEW.folder.join("data")).arg(&cluster.folder)).unwrap();
        cluster.configure(settings);
        cluster.start_on_free_port();
        cluster
    }

    /// Makes the data of a server that was never started.
    fn initialize() -> Cluster {
        let cluster = Cluster::in_new_folder();
        let mut initdb = server_program("initdb");
        initdb.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync"]).arg(cluster.data_flag());
        run(&mut initdb).unwrap();
        cluster
    }

    /// Makes a standby that every commit waits for from now on.
    pub fn synchronous_standby(&self) -> Cluster {
        let mut standby = Cluster::in_new_folder();
        let mut backup = server_program("pg_basebackup");
        backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        backup.arg(standby.data_flag()).arg(format!("--dbname={}", self.superuser()));
        run(&mut backup).unwrap();
        // A promotion waits until an attempt to reach the primary ends.
        standby.configure(&[("wal_retrieve_retry_interval", "100ms")]);
        standby.start_on_free_port();
        self.configure(&[("synchronous_standby_names", "*")]);
        self.reload();
        let follows = "exists (select from pg_stat_replication where sync_state = 'sync')";
        wait_until(&self.superuser(), follows);
        standby
    }

    fn in_new_folder() -> Cluster {
        let folder = TempDir::new().unwrap().keep();
        give_to_server(&folder);
        // Its input ends with this process, which has the only other end of it.
        let script = "read _
            kill -CONT $(head -n 1 \"$1/data/postmaster.pid\")
            \"$0\" stop --mode=immediate --pgdata=\"$1/data\"
            ipcrm --shmem-id=\"$(awk 'NR == 7 { print $2 }' \"$1/data/postmaster.pid\")\"
            rm -rf \"$1\"";
        let mut keeper = as_server(OsStr::new("sh"));
        keeper.args(["-c", script]).arg(programs().join("pg_ctl")).arg(&folder);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // An interrupt from the terminal ends the tests but not the keeper.
        let keeper = keeper.process_group(0).spawn().unwrap();
        Cluster { folder, port: 0, keeper }
    }

    fn start_on_free_port(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.port = free_port();
            self.configure(&[
                ("port", &self.port.to_string()),
                ("unix_socket_directories", self.folder.to_str().unwrap()),
            ]);
            let Err(error) = self.try_start() else { return };
            let taken = error.contains("could not bind");
            assert!(taken && Instant::now() < deadline, "{error}");
        }
    }

    fn try_start(&self) -> Result<(), String> {
        let log = self.folder.join("log");
        // Only what it logs this time says why it does not start.
        let _ = fs::remove_file(&log);
        let mut start = server_program("pg_ctl");
        start.arg("start").arg(self.data_flag()).arg("--log").arg(&log);
        run(&mut start).map_err(|error| error + &fs::read_to_string(&log).unwrap_or_default())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Appends to `postgresql.conf`, for [`Cluster::reload`] or the next start.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let file = self.folder.join("data/postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        for (name, value) in settings {
            writeln!(file, "{name} = '{value}'").unwrap();
        }
    }

    /// Tells the server to read its configuration again, which it does soon.
    pub fn reload(&self) {
        self.control(&["reload"]);
    }

    /// Accepts TLS too from [`Cluster::reload`] on, with these PEM texts.
    pub fn configure_tls(&self, certificate: &str, key: &str) {
        self.write("server.crt", certificate);
        self.write("server.key", key);
        self.configure(&[("ssl", "on")]);
    }

    /// Replaces the rules for connections over TCP by these lines of `pg_hba.conf`,
    /// from [`Cluster::reload`] on.
    pub fn configure_hosts(&self, lines: &str) {
        self.write("pg_hba.conf", &format!("local all all trust\n{lines}\n"));
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join("data").join(name);
        fs::write(&path, text).unwrap();
        // A key that others may read is not used.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        give_to_server(&path);
    }

    /// Stops the server without a checkpoint, as a crash does.
    pub fn stop_immediate(&self) {
        self.control(&["stop", "--mode=immediate"]);
    }

    /// Ends the server's first process; the others notice and end by themselves.
    pub fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
    }

    /// The server's first process.
    pub fn pid(&self) -> Pid {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().parse().unwrap()).unwrap()
    }

    /// Starts the server, and returns once it accepts connections.
    pub fn start_again(&self) {
        let deadline = Instant::now() + PATIENCE;
        // What is left of a killed one may be in the way for a moment.
        while let Err(error) = self.try_start() {
            assert!(Instant::now() < deadline, "{error}");
        }
    }

    pub fn accepts_connections(&self) -> bool {
        let mut ready = client_program("pg_isready");
        run(ready.arg("--dbname").arg(self.superuser())).is_ok()
    }

    /// Makes a standby the primary, whose commits wait for no standby.
    pub fn promote(&self) {
        self.configure(&[("synchronous_standby_names", "")]);
        self.reload();
        self.control(&["promote", "--no-wait"]);
        wait_until(&self.superuser(), "not pg_is_in_recovery()");
    }

    fn control(&self, command: &[&str]) {
        let mut control = server_program("pg_ctl");
        run(control.args(command).arg(self.data_flag())).unwrap();
    }

    /// A new database that belongs to a new ordinary role.
    pub fn new_database(&self) -> String {
        let name = format!("birthdays_{:016x}", random());
        let password = format!("{:016x}{:016x}", random(), random());
        self.execute(&format!(
            "create role {name} login password '{password}'; create database {name} owner {name}"
        ));
        format!("postgres://{name}:{password}@127.0.0.1:{}/{name}", self.port)
    }

    /// The same, for a service that must start however busy this machine is.
    #[allow(dead_code, reason = "no test target needs all of it")]
    pub fn new_patient_database(&self) -> String {
        self.new_database() + "?connect_timeout=60"
    }

    /// Runs statements as the superuser; see [`Session::execute`].
    pub fn execute(&self, sql: &str) -> String {
        execute(&self.superuser(), sql)
    }

    /// Opens a session of the superuser in a database.
    pub fn session_in(&self, database: &str) -> Session {
        Session::open(&self.superuser().replace("dbname=postgres", &format!("dbname={database}")))
    }

    /// The connection string of the superuser on this machine.
    pub fn superuser(&self) -> String {
        let folder = self.folder.display();
        format!("host={folder} port={} user=postgres dbname=postgres", self.port)
    }

    fn data_flag(&self) -> String {
        format!("--pgdata={}/data", self.folder.display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It may have been ended from outside.
        let _ = self.keeper.wait();
    }
}

/// Runs statements in a session of their own; see [`Session::execute`].
pub fn execute(database: &str, sql: &str) -> String {
    Session::open(database).execute(sql)
}

/// Whether a transaction that writes can be committed in `database` now.
pub fn can_commit(database: &str) -> bool {
    let mut psql = client_program("psql");
    psql.args(["--no-psqlrc", "--quiet", "--dbname", database]);
    psql.args(["--command", "select pg_logical_emit_message(true, '', '')"]);
    // The shortest that libpq takes.
    psql.env("PGCONNECT_TIMEOUT", "2");
    run(&mut psql).is_ok()
}

/// Waits until a database has no other session.
pub fn wait_until_unused(database: &str) {
    let others = "datname = current_database() and pid <> pg_backend_pid()";
    wait_until(database, &format!("not exists (select from pg_stat_activity where {others})"));
}

/// Waits for `condition`, for as long as a statement may take.
fn wait_until(database: &str, condition: &str) {
    let sql = format!(
        "do $$ begin
             while not ({condition}) loop
                 perform pg_sleep(0.01), pg_stat_clear_snapshot();
             end loop;
         end $$"
    );
    execute(database, &sql);
}

/// A connection to a database. Its transaction ends with it.
pub struct Session {
    psql: Child,
    statements: ChildStdin,
    rows: BufReader<ChildStdout>,
}

impl Session {
    /// Connects to `database`, a URL or what else libpq takes.
    pub fn open(database: &str) -> Session {
        let mut psql = client_program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql.args(["--set=ON_ERROR_STOP=1", "--dbname", database]);
        psql.env("PGCONNECT_TIMEOUT", PATIENCE.as_secs().to_string());
        let deadline = format!("-c statement_timeout={}s", PATIENCE.as_secs());
        psql.env("PGOPTIONS", deadline + " -c client_min_messages=error");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = psql.spawn().unwrap();
        let statements = psql.stdin.take().unwrap();
        let rows = BufReader::new(psql.stdout.take().unwrap());
        Session { psql, statements, rows }
    }

    /// Runs statements, which must work, and gives a line for each row. Columns
    /// are set apart by `|`.
    pub fn execute(&mut self, sql: &str) -> String {
        const END: &str = "(end of rows)\n";
        write!(self.statements, "{sql};\n\\echo {END}").unwrap();
        let mut rows = String::new();
        while !rows.ends_with(END) {
            if self.rows.read_line(&mut rows).unwrap() == 0 {
                let mut error = String::new();
                self.psql.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("{error}");
            }
        }
        rows.truncate(rows.len() - END.len());
        rows
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// The folder with the programs of the newest release on this machine.
pub fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let parents = ["/usr/lib/postgresql", "/usr", "/usr/local", "/opt/homebrew/opt"];
        let children = parents.iter().flat_map(|parent| fs::read_dir(parent).into_iter().flatten());
        // A link on the PATH may be to one program alone, so its target counts.
        std::env::split_paths(&path)
            .chain(children.flatten().map(|child| child.path().join("bin")))
            .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok())
            .max_by_key(|initdb| release(initdb))
            .filter(|initdb| release(initdb) >= RELEASE_MIN)
            .map(|initdb| initdb.parent().unwrap().to_owned())
            .unwrap_or_else(|| {
                panic!(
                    "install PostgreSQL {RELEASE_MIN} or newer, which the tests start for \
                     themselves (on Debian: apt-get install postgresql)"
                )
            })
    });
    &PROGRAMS
}

/// The release that `initdb` reports; zero where it reports none.
fn release(initdb: &Path) -> u32 {
    let answer = Command::new(initdb).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(answer).unwrap();
    let release = version.split_whitespace().nth(2).unwrap_or_default();
    release.split(|it: char| !it.is_ascii_digit()).next().unwrap().parse().unwrap_or(0)
}

fn server_program(name: &str) -> Command {
    as_server(programs().join(name).as_os_str())
}

/// Runs a program as a user that a server can run as, which root is not.
fn as_server(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    }
    only_path_from_environment(&mut command);
    command
}

fn give_to_server(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:").arg(path)).unwrap();
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn client_program(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    only_path_from_environment(&mut command);
    command
}

/// Keeps variables that name another server from the command.
fn only_path_from_environment(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).current_dir("/");
}

/// Runs a command to its end. The error is what it printed.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = || format!("{command:?}: {}", String::from_utf8_lossy(&printed));
    if output.status.success() { Ok(()) } else { Err(printed()) }
}

/// A free port outside the range for outgoing connections: while the server is down, a
/// client's own port could be that one, and it would reach itself.
pub fn free_port() -> u16 {
    // What it is for may not listen yet when the next one is asked for.
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap();
    let mut ports = std::iter::repeat_with(|| 20_000 + (random() % 10_000) as u16);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && taken.insert(*port))
        .expect("some port is free")
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
