//! Which server is trusted, by `sslmode`.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;

use crate::cluster::{Cluster, shared};
use crate::harness::{BINARY, Failed, Service, new_folder, wait_until};
use crate::outages::hold_a_lock_for_long;
use crate::refusal::refusal;
use crate::url::role;

/// The names of a server on this machine.
const HERE: &[&str] = &["localhost", "127.0.0.1"];

#[test]
fn verify_full_takes_a_certificate_of_the_authority_for_the_host() {
    let Server { cluster, authority } = &*SERVER;
    let url = cluster.new_database();
    let trusted = authority.file();
    for host in HERE {
        let url = url.replace("127.0.0.1", host) + "?sslmode=verify-full";
        let flags = trusting(&trusted, &url);
        expect_all_encrypted(cluster, &Service::start(&flags), &url);
    }
}

#[test]
fn a_server_that_takes_tls_only_is_served_from_with_require() {
    let Server { cluster, authority } = &*SERVER;
    let url = cluster.new_database();
    let required = format!("{url}?sslmode=require");
    let trusted = authority.file();
    // Without a file of authorities, any signature will do.
    expect_all_encrypted(cluster, &Service::start(&["--database-url", &required]), &url);
    let flags = trusting(&trusted, &required);
    expect_all_encrypted(cluster, &Service::start(&flags), &url);
    // Without `sslmode`, a host on this machine is connected to in plain text.
    for plain in [url.clone(), format!("{url}?sslmode=disable")] {
        let refusal = refusal(&["--database-url", &plain]);
        assert!(refusal.contains("no encryption"), "{refusal}");
    }
}

#[test]
fn a_lock_held_for_long_leaves_no_statement_waiting_for_it_on_a_server_that_takes_tls_only() {
    let Server { cluster, .. } = &*SERVER;
    hold_a_lock_for_long(cluster, &(cluster.new_database() + "?sslmode=require"));
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let url = SERVER.cluster.new_database();
    let trusted = Authority::new("Mallory's").file();
    for mode in ["verify-full", "require"] {
        let url = format!("{url}?sslmode={mode}");
        let flags = trusting(&trusted, &url);
        expect_bad_certificate(&SERVER.cluster, &refusal(&flags), "UnknownIssuer");
    }
    // No authority that the machine trusts signed it either.
    let refusal = refusal(&["--database-url", &format!("{url}?sslmode=verify-full")]);
    let none_trusted = refusal.contains("no list of trusted authorities");
    assert!(none_trusted || refusal.contains("UnknownIssuer"), "{refusal}");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new("Ours");
    let cluster = authority.start_server(HERE, 2001);
    let url = cluster.new_database();
    let trusted = authority.file();
    for mode in ["verify-full", "require"] {
        let url = format!("{url}?sslmode={mode}");
        let flags = trusting(&trusted, &url);
        expect_bad_certificate(&cluster, &refusal(&flags), "expired");
    }
}

#[test]
fn a_certificate_of_another_host_is_refused_by_verify_full_and_taken_by_require() {
    let authority = Authority::new("Ours");
    let cluster = authority.start_server(&["db.example.com"], 4000);
    let url = cluster.new_database();
    let trusted = authority.file();
    let verified = format!("{url}?sslmode=verify-full");
    let flags = trusting(&trusted, &verified);
    expect_bad_certificate(&cluster, &refusal(&flags), "db.example.com");
    let required = format!("{url}?sslmode=require");
    let flags = trusting(&trusted, &required);
    expect_all_encrypted(&cluster, &Service::start(&flags), &url);
}

#[test]
fn a_server_that_speaks_plain_text_only_is_refused_where_tls_is_wanted() {
    let url = shared().new_database();
    let trusted = Authority::new("Ours").file();
    for mode in ["require", "verify-full"] {
        let url = format!("{url}?sslmode={mode}");
        let flags = trusting(&trusted, &url);
        let refusal = refusal(&flags);
        let what = format!("cannot connect to 127.0.0.1:{}", shared().port());
        assert!(refusal.contains(&what), "{refusal}");
        assert!(refusal.contains("server does not support TLS"), "{refusal}");
    }
}

#[test]
fn a_host_that_is_not_local_is_verified_by_default() {
    let Server { cluster, authority } = &*SERVER;
    let url = cluster.new_database().replace("127.0.0.1", "database.test");
    let trusted = authority.file();
    let start = |url: &str| {
        // A name of this machine that looks like one of another.
        let folder = new_folder();
        fs::write(folder.path().join("hosts"), "127.0.0.1 database.test\n").unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        command.arg("mount --bind hosts /etc/hosts; exec \"$0\" \"$@\"").arg(BINARY);
        command.args(trusting(&trusted, url));
        Service::try_spawn(&folder, command)
    };
    // The certificate is for other names.
    let Err(Failed { status, log }) = start(&url) else { panic!("it was not verified") };
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("database.test:{}", cluster.port())), "{log}");
    assert!(log.contains("invalid peer certificate"), "{log}");

    let Ok(service) = start(&format!("{url}?sslmode=require")) else { panic!("it was verified") };
    expect_all_encrypted(cluster, &service, &url);
}

/// A server that takes no plain text, and the authority that signed its certificate.
struct Server {
    cluster: Cluster,
    authority: Authority,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let authority = Authority::new("Ours");
    Server { cluster: authority.start_server(HERE, 4000), authority }
});

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// A file that names only this authority.
    pub fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(self.certificate.as_bytes()).unwrap();
        file
    }

    /// Starts a server with a certificate for `names` that ended, or ends, with the
    /// year before `year`.
    pub fn start_server(&self, names: &[&str], year: i32) -> Cluster {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let cluster = Cluster::start(&[("fsync", "off"), ("listen_addresses", "*")]);
        cluster.configure_tls(&certificate.pem(), &key.serialize_pem());
        cluster.configure_hosts("hostssl all all all scram-sha-256");
        cluster.reload();
        wait_until("TLS is on", || (cluster.execute("show ssl") == "on\n").then_some(()));
        cluster
    }
}

fn trusting<'a>(authorities: &'a NamedTempFile, url: &'a str) -> [&'a str; 4] {
    ["--database-url", url, "--postgres-ca-file", authorities.path().to_str().unwrap()]
}

/// Expects that the service works, and all of its connections are encrypted.
#[track_caller]
fn expect_all_encrypted(cluster: &Cluster, service: &Service, url: &str) {
    service.save("John", "1990-05-20");
    service.get("/hello/John").expect_status(200);
    let connections = cluster.execute(&format!(
        "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = '{}'",
        role(url)
    ));
    assert!(!connections.is_empty());
    assert!(connections.lines().all(|encrypted| encrypted == "t"), "{connections}");
}

#[track_caller]
fn expect_bad_certificate(cluster: &Cluster, refusal: &str, why: &str) {
    let what = format!("cannot connect to 127.0.0.1:{}", cluster.port());
    assert!(refusal.contains(&what), "{refusal}");
    assert!(refusal.contains("invalid peer certificate") && refusal.contains(why), "{refusal}");
}
