//! The CA certificates that hosts trust for Postgres.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::image::{BUNDLE, Copy, authority, play_tasks, render, settings};
use crate::{command, said};

const INSTALLED: &str = "/etc/hello-birthday/postgres-ca.pem";

#[test]
fn no_ca_certificates_but_the_pinned_ones_are_downloaded_into_an_image() {
    let copy = Copy::of_image();
    let installed = || fs::read_to_string(copy.path(INSTALLED)).unwrap();
    assert_eq!(installed(), BUNDLE.pem);

    let other = copy.beside("other.pem");
    fs::write(&other, authority(4000)).unwrap();
    let mut settings = settings();
    settings["hello_birthday_postgres_ca_url"] = json!(format!("file://{}", other.display()));
    // What is there already is not downloaded again.
    let output = play_tasks("authorities", &copy, &settings);
    assert!(output.status.success(), "{}", said(&output));

    fs::remove_file(copy.path(INSTALLED)).unwrap();
    let output = play_tasks("authorities", &copy, &settings);
    assert!(!output.status.success(), "it took other certificates");
    assert!(said(&output).contains(&format!("not {}", BUNDLE.sha256)), "{}", said(&output));
    assert!(said(&output).contains("set hello_birthday_postgres_ca_sha256"), "{}", said(&output));
    assert!(!copy.path(INSTALLED).exists());

    settings["hello_birthday_postgres_ca_file"] = json!(other);
    let output = play_tasks("authorities", &copy, &settings);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(installed(), fs::read_to_string(&other).unwrap());
}

#[test]
fn only_hosts_that_use_postgres_have_the_setting_of_the_ca_file() {
    let line = format!("HELLO_BIRTHDAY_POSTGRES_CA_FILE={INSTALLED}\n");
    let cases = [
        (json!({}), false),
        (json!({ "hello_birthday_database_url": "sqlite:/srv/birthdays/a.db" }), false),
        (json!({ "hello_birthday_database_url": "postgres://db/hello" }), true),
        (json!({ "hello_birthday_secret_id": "the-secret" }), true),
    ];
    for (settings, told) in cases {
        let environment = render("environment", &settings);
        assert_eq!(environment.contains(&line), told, "{settings}: {environment}");
    }
}

#[test]
fn only_files_of_valid_ca_certificates_are_verified() {
    let host = CertificateParams::new(["db.example.com".to_owned()]).unwrap();
    let host = host.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let valid = authority(4000);
    let broken = valid.replace("MII", "MIJ");
    let cases = [
        ("one", valid.clone(), None),
        ("two, with a comment", format!("# Ours\n{valid}\n{}", authority(4000)), None),
        ("the same twice", valid.repeat(2), None),
        ("none", "nonsense".to_owned(), Some("does not hold certificates")),
        ("a broken one", valid.clone() + &broken, Some("does not hold certificates")),
        ("a host's", valid.clone() + &host, Some("does not belong to a CA")),
        ("an expired one", valid + &authority(2001), Some("has expired")),
    ];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("postgres-ca.pem");
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/roles/hello_birthday");
    for (what, pem, wrong) in cases {
        fs::write(&file, pem).unwrap();
        let verify = role.join("files/verify-certificates.py");
        let output = command("python3").arg(verify).arg(&file).output().unwrap();
        assert_eq!(output.status.success(), wrong.is_none(), "{what}: {}", said(&output));
        assert!(said(&output).contains(wrong.unwrap_or_default()), "{what}: {}", said(&output));
    }
}
