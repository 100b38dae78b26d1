//! An AWS of the test's own, see emulator/.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::patience::PATIENCE;

/// Where everything is. Only its backups have copies elsewhere.
pub const REGION: &str = "eu-central-1";

/// The emulator, which ends with the test, however that ends.
pub struct Emulator {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Emulator {
    pub fn start() -> Emulator {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let log = folder.path().join("log");
        let mut process = isolated(&mut Command::new("python3"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terraform/emulator"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("python3 is there");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let log = fs::read_to_string(log).unwrap();
        let port = port.trim().parse().unwrap_or_else(|_| {
            panic!("no emulated AWS; tests/run installs what it is made of: {log}")
        });
        Emulator { process, address: SocketAddr::from(([127, 0, 0, 1], port)), folder }
    }

    /// Makes `command` take this for AWS.
    pub fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        isolated(command)
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_S3_USE_PATH_STYLE", "true")
    }

    /// Calls an action of AWS as boto3 does, such as `ec2.describe_instances`.
    #[track_caller]
    pub fn aws(&self, action: &str, parameters: Value) -> Value {
        self.aws_in(REGION, action, parameters)
    }

    /// The same, in another region.
    #[track_caller]
    pub fn aws_in(&self, region: &str, action: &str, parameters: Value) -> Value {
        let call = json!({ "region": region, "action": action, "parameters": parameters });
        self.ask_itself("POST", "aws", &call.to_string())
    }

    /// An image as Packer registers it; gives its id.
    #[track_caller]
    pub fn register_image(&self, name: &str) -> String {
        let tags = [("Service", "hello-birthday"), ("Purpose", "bake")];
        self.register_image_with(name, &tags)
    }

    /// An image with other tags.
    #[track_caller]
    pub fn register_image_with(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let tags: Vec<_> =
            tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        let image = json!({
            "Name": name,
            "Architecture": "arm64",
            "RootDeviceName": "/dev/xvda",
            "TagSpecifications": [{
                "ResourceType": "image",
                "Tags": tags,
            }],
        });
        let image = self.aws("ec2.register_image", image);
        image["ImageId"].as_str().unwrap().to_owned()
    }

    /// Tells the emulator itself.
    pub fn tell(&self, what: &str, body: &Value) {
        self.ask_itself("POST", what, &body.to_string());
    }

    /// The calls to Auto Scaling that named `group`, in order.
    pub fn calls(&self, group: &str) -> Vec<Value> {
        let calls = self.ask_itself("GET", &format!("calls?group={group}"), "");
        calls.as_array().unwrap().clone()
    }

    fn ask_itself(&self, method: &str, what: &str, body: &str) -> Value {
        let request = format!(
            "{method} /emulator/{what} HTTP/1.1\r\nHost: emulator\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{request}: {answer}"))
    }
}

/// Hides from `command` what this machine knows of AWS.
fn isolated(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("\" 200 -")).collect();
            eprintln!("the emulator: {}", lines[lines.len().saturating_sub(100)..].join("\n"));
        }
    }
}
