//! A machine in user mode: a kernel that runs as a process, on a root folder that all
//! guests share and none may change.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;

use crate::debian;
use crate::network::Cable;
use crate::patience::PATIENCE;
use crate::static_binary::BINARY;
use crate::{command, run};

/// Where Debian's user-mode-linux keeps the modules of its kernel.
const MODULES: &str = "/usr/lib/uml/modules";

/// MiB of memory. Little is used, and what is not takes none here.
const MEMORY_MIB: u32 = 384;

/// No guest lives longer, even if the tests were killed.
const GUEST_SECONDS_MAX: u32 = 3600;

/// The root folder, with a first process for guests.
pub static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    assert!(
        rustix::process::geteuid().is_root(),
        "run this as root: only root can make a network and a root folder"
    );
    assert!(
        Path::new(MODULES).exists(),
        "install a kernel for guests (on Debian: apt-get install user-mode-linux)"
    );
    let root = debian::root();
    fs::create_dir_all(root.join("usr/lib/modules")).unwrap();
    let init = root.join("guest");
    // Others use the folder meanwhile: it changes only when the script did.
    let script = include_str!("guest.sh");
    if !fs::read_to_string(&init).is_ok_and(|installed| installed == script) {
        let new = root.join("guest.new");
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, init).unwrap();
    }
    root
});

/// What lets the kernel of guests run on processors that are younger than it.
static REGISTERS: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registers.so");
    let mut compiler = command("cc");
    run(compiler.args(["-shared", "-fPIC", "tests/nfs/registers.c", "-o"]).arg(&library));
    library
});

/// A guest that has booted.
pub struct Guest {
    machine: Child,
    control: Mutex<Control>,
    console: PathBuf,
}

/// The guest's serial line, at whose other end a shell reads commands.
struct Control {
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Guest {
    /// Boots a guest and waits until it takes commands. Its `/media` is `folder`, and
    /// its disk is a file.
    pub fn boot(name: &str, folder: &Path, cables: &[&Cable], disk: Option<&Path>) -> Guest {
        let binaries = BINARY.parent().unwrap();
        let console = folder.join(format!("{name}.console"));
        let mut command = Command::new("unshare");
        // Its processes end together, when the first of them does.
        command.args(["--pid", "--fork", "--kill-child", "timeout"]);
        command.arg(GUEST_SECONDS_MAX.to_string()).arg("linux.uml");
        command.env("LD_PRELOAD", &*REGISTERS);
        command.arg(format!("mem={MEMORY_MIB}M")).args(["init=/guest", "quiet"]);
        command.args(["root=/dev/root", "rootfstype=hostfs", "ro"]);
        command.arg(format!("rootflags={}", ROOT.display()));
        command.args(["con=null", "con0=null,fd:2", "ssl0=fd:0,fd:1"]);
        command.arg(format!("umid={name}")).arg(format!("uml_dir={}", folder.display()));
        if let Some(disk) = disk {
            command.arg(format!("ubd0={}", disk.display()));
        }
        for (number, Cable { device, address, switch }) in cables.iter().enumerate() {
            // The same after a boot, so that nobody remembers another.
            let [.., network, host] = address.octets();
            let mac = format!("02:00:00:00:{network:02x}:{host:02x}");
            command.arg(format!(
                "vec{number}:transport=tap,ifname={device},mac={mac},depth=128,gro=1"
            ));
            command.arg(format!("{switch}={address}"));
        }
        // What the kernel does not know, it tells the first process.
        command.arg(format!("name={name}")).arg(format!("folder={}", folder.display()));
        command.arg(format!("modules={MODULES}")).arg(format!("binaries={}", binaries.display()));
        let mut machine = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&console).unwrap())
            .spawn()
            .expect("unshare comes with util-linux");
        let commands = machine.stdin.take().unwrap();
        let said = BufReader::new(machine.stdout.take().unwrap());
        let (tell, answers) = channel();
        thread::spawn(move || {
            for line in said.split(b'\n').map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let control = Mutex::new(Control { commands, answers });
        let guest = Guest { machine, control, console };
        guest.control.lock().unwrap().answer("the boot");
        guest
    }

    /// Runs a line of shell in the guest; gives its exit code and what it printed.
    pub fn try_run(&self, line: &str) -> (u8, String) {
        assert!(!line.contains('\n'), "one line at a time: {line}");
        let mut control = self.control.lock().unwrap();
        writeln!(control.commands, "{line}").unwrap();
        let (status, printed) = control.answer(line);
        (status.parse().unwrap(), printed)
    }

    /// Runs a line of shell, which must succeed, and gives what it printed.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let (status, printed) = self.try_run(line);
        assert_eq!(status, 0, "{line}: {printed}");
        printed
    }
}

impl Control {
    /// How a command ended, and what it printed before.
    fn answer(&mut self, command: &str) -> (String, String) {
        let mut lines = Vec::new();
        loop {
            let line = self.answers.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no end of {command}: {lines:#?}"));
            if let Some(status) = line.strip_prefix("=== ") {
                return (status.to_owned(), lines.join("\n").trim_end().to_owned());
            }
            lines.push(line);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // As if its power was cut.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        if thread::panicking() {
            let said = fs::read(&self.console).unwrap_or_default();
            eprintln!("{}", String::from_utf8_lossy(&said));
        }
    }
}
