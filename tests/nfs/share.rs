//! A share: a guest that exports a folder over NFSv4.1, and guests that mount it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::guest::{Guest, ROOT};
use crate::harness::{Client, PATIENCE, value, wait_until};
use crate::load::TODAY;
use crate::network::{Cable, Network};
use crate::static_binary::BINARY;

/// How long the server keeps the locks of a client that is not heard of, and after
/// its own restart waits for clients to claim theirs. The shortest that Linux grants.
const LEASE: Duration = Duration::from_secs(10);

/// As AWS says to mount EFS.
const MOUNT_OPTIONS: &str =
    "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";

const DISK_BYTES: u64 = 1 << 30;

/// Runs a scenario on the share, whose clients are given a file that is not there yet.
/// The machines boot for the first scenario, and one at a time has them. One that fails
/// takes them with it.
pub fn on_share(scenario: impl FnOnce(&mut Server, &ShareClients)) {
    static SHARE: Mutex<Option<Share>> = Mutex::new(None);
    static FILES: AtomicU16 = AtomicU16::new(0);
    let mut place = SHARE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut share = place.take().unwrap_or_else(Share::start);
    share.network.enter();
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    for client in &mut share.clients {
        client.database = format!("/mnt/users{number}.db");
    }
    scenario(&mut share.server, &share.clients);
    *place = Some(share);
}

/// The machines, and the network that joins them.
struct Share {
    server: Server,
    clients: ShareClients,
    // Last: fields end in this order.
    network: Network,
}

impl Share {
    fn start() -> Share {
        // While there is a way to the packages.
        let _ = (&*ROOT, &*BINARY);
        // The network removes it.
        let folder = &TempDir::new().unwrap().keep();
        let network = Network::start(folder);
        let cable = network.cable("share", 1);
        let source = cable.address;
        let (server, clients) = thread::scope(|scope| {
            let boot = |host| {
                let network = &network;
                scope.spawn(move || ShareClient::boot(host, folder, network))
            };
            let clients = [11, 12, 13].map(boot);
            (Server::start(cable, folder), clients.map(|client| client.join().unwrap()))
        });
        for client in &clients {
            client.guest.run(&format!("mount -t nfs4 -o {MOUNT_OPTIONS} {source}:/ /mnt"));
        }
        Share { server, clients, network }
    }
}

/// The guest that has the folder.
pub struct Server {
    guest: Option<Guest>,
    cable: Cable,
    folder: PathBuf,
}

impl Server {
    /// Starts a server with an empty share.
    fn start(cable: Cable, folder: &Path) -> Server {
        let mut server = Server { guest: None, cable, folder: folder.into() };
        File::create(folder.join("disk")).unwrap().set_len(DISK_BYTES).unwrap();
        server.boot("mkfs.ext4 -q /dev/ubda");
        server
    }

    fn boot(&mut self, prepare: &str) {
        let disk = self.folder.join("disk");
        let guest = Guest::boot("server", &self.folder, &[&self.cable], Some(&disk));
        guest.run(prepare);
        // The owners of locks are on the disk too, so that they may reclaim them.
        guest.run("mount /dev/ubda /mnt && mkdir -p /mnt/share /mnt/clients");
        guest.run("mount --bind /mnt/clients /var/lib/nfs && mkdir -p /run/rpc_pipefs");
        guest.run("mount -t rpc_pipefs pipefs /run/rpc_pipefs && modprobe -a nfsd sch_netem");
        guest.run("mount -t nfsd nfsd /proc/fs/nfsd");
        // EFS delegates no files, and takes requests of 1 MiB.
        guest.run("echo 0 >/proc/sys/fs/leases-enable");
        guest.run("echo 1048576 >/proc/fs/nfsd/max_block_size");
        guest.run("mkdir -p /var/lib/nfs/nfsdcld && nfsdcld");
        guest.run("touch /var/lib/nfs/etab /var/lib/nfs/rmtab");
        guest.run("rpc.mountd --no-nfs-version 3");
        // Clients use ports above 1023 (noresvport), which only `insecure` admits.
        let options = "rw,sync,insecure,no_root_squash,no_subtree_check,fsid=0";
        guest.run(&format!("exportfs -o {options} '*:/mnt/share'"));
        self.guest = Some(guest);
        self.start_serving();
    }

    fn start_serving(&self) {
        let lease = LEASE.as_secs();
        self.guest().run(&format!(
            "rpc.nfsd --no-nfs-version 3 --lease-time {lease} --grace-time {lease} 8"
        ));
    }

    fn guest(&self) -> &Guest {
        self.guest.as_ref().expect("it is there but for its boot")
    }

    /// Makes a round trip from a client to the server and back last `time` longer.
    pub fn set_round_trip(&self, time: Duration) {
        let micros = time.as_micros();
        self.guest().run(&format!("tc qdisc replace dev vec0 root netem delay {micros}us"));
    }

    /// Whether a client holds the lock that a writer of the file has.
    pub fn is_locked(&self) -> bool {
        // SQLite's RESERVED_BYTE. The kernel makes one of locks that lie side by side.
        let reserved = "/ WRITE / && $(NF - 1) <= 1073741825 && 1073741825 <= $NF";
        !self.guest().run(&format!("awk '{reserved}' /proc/locks")).is_empty()
    }

    /// Whether a commit has written the journal of `database`, and not ended.
    pub fn has_journal(&self, database: &str) -> bool {
        let file = database.replace("/mnt/", "/mnt/share/");
        self.guest().try_run(&format!("test -s {file}-journal")).0 == 0
    }

    /// Ends the server and starts it again, on a machine that stays up.
    pub fn restart(&self) {
        self.guest().run("rpc.nfsd 0");
        self.start_serving();
    }

    /// Cuts the server's power, and boots it again from what its disk has.
    pub fn cut_power(&mut self) {
        drop(self.guest.take());
        self.boot("true");
    }
}

/// All that mounted the share.
pub type ShareClients = [ShareClient; 3];

/// A guest that mounted the share.
pub struct ShareClient {
    pub guest: Guest,
    /// Its cable to the share.
    pub share: Cable,
    /// The file that all clients share, as each of them sees it.
    pub database: String,
    front: Cable,
    folder: PathBuf,
}

impl ShareClient {
    fn boot(host: u8, folder: &Path, network: &Network) -> ShareClient {
        let [share, front] = ["share", "front"].map(|switch| network.cable(switch, host));
        let guest = Guest::boot(&format!("client{host}"), folder, &[&share, &front], None);
        guest.run("modprobe nfsv4");
        ShareClient { guest, share, database: String::new(), front, folder: folder.into() }
    }

    /// NFS requests sent so far, as the kernel counts them.
    pub fn rpcs(&self) -> u64 {
        let count = "awk '/per-op/ {ops = 1} ops {sum += $2} END {print sum}'";
        self.guest.run(&format!("{count} /proc/self/mountstats")).parse().unwrap()
    }

    /// Starts a service on the shared file, and waits until it is ready.
    pub fn start(&self, flags: &str) -> Service<'_> {
        static STARTED: AtomicU16 = AtomicU16::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let [address, admin] =
            [8000, 9000].map(|base| SocketAddr::from((self.front.address, base + number)));
        let name = format!("service{number}");
        let of = |what: &str| format!("/media/{name}.{what}");
        self.guest.run(&format!(
            "(hello-birthday --database-url sqlite:{} --today {TODAY} --listen {address} \
             --admin-listen {admin} {flags} 2>{} & echo $! >{}; wait $!; echo $? >{}) >/dev/null 2>&1 &",
            self.database,
            of("log"),
            of("pid"),
            of("status"),
        ));
        let service = Service { client: self, name, address, admin };
        wait_until("the service is ready", || {
            assert!(service.said("status").is_none(), "the service ended: {}", service.log());
            service.is_ready().then_some(())
        });
        service
    }

    /// Expects that the file is sound, as this client sees it.
    pub fn expect_sound(&self) {
        let sqlite3 = format!("sqlite3 -cmd '.timeout {}'", PATIENCE.as_millis());
        let check = format!("{sqlite3} {} 'pragma integrity_check'", self.database);
        assert_eq!(self.guest.run(&check), "ok");
    }
}

/// A service on a client.
pub struct Service<'a> {
    client: &'a ShareClient,
    name: String,
    /// The public listener.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Service<'_> {
    /// Whether a balancer would send it requests.
    pub fn is_ready(&self) -> bool {
        self.readiness() == 200
    }

    /// The status of its answer to a balancer; 0 if there is none.
    pub fn readiness(&self) -> u16 {
        let answer = Client::new(self.admin).send("GET", "/readyz", "");
        answer.map_or(0, |answer| answer.status)
    }

    /// The value of a metric; `series` is its name after ours, with its labels.
    pub fn metric(&self, series: &str) -> f64 {
        let metrics = Client::new(self.admin).send("GET", "/metrics", "").unwrap();
        value(&metrics.body, &format!("hello_birthday_{series}"))
    }

    /// What the service has logged.
    pub fn log(&self) -> String {
        self.said("log").unwrap_or_default()
    }

    /// Asks the service to stop, which it must do as it should.
    pub fn stop(self) {
        self.signal("TERM");
        assert_eq!(self.wait(), "0", "{}", self.log());
    }

    /// Ends the process as a crash would.
    pub fn kill(self) {
        self.signal("KILL");
        assert_eq!(self.wait(), "137");
    }

    fn signal(&self, signal: &str) {
        let process = self.said("pid").expect("it has started");
        self.client.guest.run(&format!("kill -{signal} {process}"));
    }

    fn wait(&self) -> String {
        wait_until("the service ends", || self.said("status"))
    }

    fn said(&self, what: &str) -> Option<String> {
        let path = self.client.folder.join(format!("{}.{what}", self.name));
        let said = fs::read_to_string(path).ok()?;
        said.ends_with('\n').then(|| said.trim_end().to_owned())
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}: {}", self.name, self.log());
        }
    }
}
