//! A share: a guest that exports a folder over NFSv4.1, and guests that mount it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::guest::{Guest, Hardware, ROOT};
use crate::harness::{Client, wait_until};
use crate::network::{Cable, Network};
use crate::static_binary::BINARY;

/// How long the server keeps the locks of a client that is not heard of, and after
/// its own restart waits for clients to claim theirs. The shortest that Linux grants.
pub const LEASE: Duration = Duration::from_secs(10);

/// As AWS says to mount EFS.
const MOUNT_OPTIONS: &str =
    "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";

const DISK_BYTES: u64 = 1 << 30;

/// The file that all services share, as every client sees it.
pub const DATABASE: &str = "/mnt/users.db";

/// The server, and what its clients have in common.
pub struct Share {
    server: Option<Guest>,
    cable: Cable,
    folder: TempDir,
    // Last: fields end in this order.
    network: Network,
}

impl Share {
    /// Starts a server with an empty share.
    pub fn start() -> Share {
        // While there is a way to the packages.
        let _ = (&*ROOT, &*BINARY);
        let network = Network::enter();
        let cable = network.cable("share", 1);
        let folder = TempDir::new().unwrap();
        let mut share = Share { server: None, cable, folder, network };
        File::create(share.disk()).unwrap().set_len(DISK_BYTES).unwrap();
        share.boot("mkfs.ext4 -q /dev/ubda");
        share
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn boot(&mut self, prepare: &str) {
        let server = Guest::boot(&Hardware {
            name: "server",
            folder: self.folder.path(),
            disk: Some(&self.disk()),
            share: &self.cable,
            front: None,
        });
        server.run(prepare);
        // Who held locks is on the disk too, so that they may claim them again.
        server.run("mount /dev/ubda /mnt && mkdir -p /mnt/share /mnt/clients");
        server.run("mount --bind /mnt/clients /var/lib/nfs && mkdir -p /run/rpc_pipefs");
        server.run("mount -t rpc_pipefs pipefs /run/rpc_pipefs && modprobe -a nfsd sch_netem");
        server.run("mount -t nfsd nfsd /proc/fs/nfsd");
        // EFS delegates no files, and takes requests of 1 MiB.
        server.run("echo 0 >/proc/sys/fs/leases-enable");
        server.run("echo 1048576 >/proc/fs/nfsd/max_block_size");
        server.run("mkdir -p /var/lib/nfs/nfsdcld && nfsdcld");
        server.run("touch /var/lib/nfs/etab /var/lib/nfs/rmtab");
        server.run("rpc.mountd --no-nfs-version 3");
        // Clients use ports above 1023 (noresvport), which only `insecure` admits.
        let options = "rw,sync,insecure,no_root_squash,no_subtree_check,fsid=0";
        server.run(&format!("exportfs -o {options} '*:/mnt/share'"));
        self.server = Some(server);
        self.start_serving();
    }

    fn start_serving(&self) {
        let lease = LEASE.as_secs();
        self.server().run(&format!(
            "rpc.nfsd --no-nfs-version 3 --lease-time {lease} --grace-time {lease} 8"
        ));
    }

    /// The guest that is the server.
    pub fn server(&self) -> &Guest {
        self.server.as_ref().expect("it is there but for its boot")
    }

    /// Boots clients that mount the share, all at once.
    pub fn clients<const N: usize>(&self) -> [ShareClient; N] {
        let clients = thread::scope(|scope| {
            let booting: Vec<_> =
                (0..N).map(|number| scope.spawn(move || self.client(number))).collect();
            booting.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        clients.try_into().unwrap_or_else(|_| unreachable!("there are that many"))
    }

    fn client(&self, number: usize) -> ShareClient {
        let host = 11 + u8::try_from(number).unwrap();
        let [share, front] = ["share", "front"].map(|switch| self.network.cable(switch, host));
        let guest = Guest::boot(&Hardware {
            name: &format!("client{number}"),
            folder: self.folder.path(),
            disk: None,
            share: &share,
            front: Some(&front),
        });
        guest.run("modprobe nfsv4");
        let source = self.cable.address;
        guest.run(&format!("mount -t nfs4 -o {MOUNT_OPTIONS} {source}:/ /mnt"));
        ShareClient { guest, share, front, folder: self.folder.path().into() }
    }

    /// Makes a round trip from a client to the server and back last `time` longer.
    pub fn set_round_trip(&self, time: Duration) {
        let micros = time.as_micros();
        self.server().run(&format!("tc qdisc replace dev vec0 root netem delay {micros}us"));
    }

    /// Whether a client holds the lock that a writer of the file has.
    pub fn is_locked(&self) -> bool {
        // SQLite's RESERVED_BYTE.
        let locks = self.server().run("cat /proc/locks");
        locks.lines().any(|lock| lock.contains(" WRITE ") && lock.contains(" 1073741825 "))
    }

    /// Ends the server and starts it again, on a machine that stays up.
    pub fn restart(&self) {
        self.server().run("rpc.nfsd 0");
        self.start_serving();
    }

    /// Cuts the server's power, and boots it again from what its disk has.
    pub fn cut_power(&mut self) {
        drop(self.server.take());
        self.boot("true");
    }
}

/// A guest that mounted the share.
pub struct ShareClient {
    pub guest: Guest,
    /// Its cable to the share.
    pub share: Cable,
    front: Cable,
    folder: PathBuf,
}

impl ShareClient {
    /// Starts a service on the shared file, and waits until it is ready.
    pub fn start(&self, flags: &str) -> Service<'_> {
        static STARTED: AtomicU16 = AtomicU16::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let [address, admin] =
            [8000, 9000].map(|base| SocketAddr::from((self.front.address, base + number)));
        let name = format!("service{number}");
        let of = |what: &str| format!("/media/{name}.{what}");
        self.guest.run(&format!(
            "(hello-birthday --database-url sqlite:{DATABASE} --listen {address} \
             --admin-listen {admin} {flags} 2>{} & echo $! >{}; wait $!; echo $? >{}) >/dev/null 2>&1 &",
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

    /// All users in the file and when they were born, as this client sees them. The
    /// file must be sound.
    pub fn stored(&self) -> HashMap<String, String> {
        let sqlite = |sql: &str| {
            self.guest.run(&format!("sqlite3 -cmd '.timeout 30000' {DATABASE} '{sql}'"))
        };
        assert_eq!(sqlite("pragma integrity_check"), "ok");
        let users = sqlite("select username, date_of_birth from users");
        let user = |line: &str| {
            let (username, born) = line.split_once('|').expect("two columns");
            (username.to_owned(), born.to_owned())
        };
        users.lines().map(user).collect()
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
        let answer = Client::new(self.admin).send("GET", "/readyz", "");
        answer.is_ok_and(|answer| answer.status == 200)
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
