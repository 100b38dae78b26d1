//! Who is notified of what, by chats and by mail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use crate::patience::PATIENCE;
use crate::{command, said};

/// Answers each connection as `serve` does, and gives what it makes of them.
fn serve<T: Send + 'static>(
    serve: impl Fn(std::net::TcpStream) -> T + Send + 'static,
) -> (SocketAddr, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (to, from) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // The test is over.
            let Ok(()) = to.send(serve(stream)) else { return };
        }
    });
    (address, from)
}

/// A chat that takes messages and answers with this status.
fn chat(status: u16) -> (String, Receiver<Value>) {
    let (address, messages) = serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        serde_json::from_slice(&body).unwrap()
    });
    (format!("http://{address}/hook/s3cret"), messages)
}

/// A mail server that takes mail of everybody; gives all that it was told.
fn mail_server() -> (String, Receiver<String>) {
    let (address, mails) = serve(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut told, mut is_text) = (String::new(), false);
        stream.write_all(b"220 mail\r\n").unwrap();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                return told;
            }
            told += &line;
            let answer = match line.trim() {
                "." => "250 taken",
                _ if is_text => continue,
                "data" | "DATA" => "354 go on",
                "quit" | "QUIT" => "221 bye",
                _ => "250 fine",
            };
            is_text = answer.starts_with("354");
            write!(stream, "{answer}\r\n").unwrap();
        }
    });
    (format!("smtp://{address}"), mails)
}

fn notify(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut notify = command(".ci/notify");
    for (name, _) in std::env::vars() {
        if name.starts_with("GITHUB_") || name.to_lowercase().ends_with("_proxy") {
            notify.env_remove(name);
        }
    }
    set(notify.args(arguments), variables).output().unwrap()
}

fn set<'a>(command: &'a mut Command, variables: &[(&str, &str)]) -> &'a mut Command {
    command.envs(variables.iter().copied())
}

#[test]
fn both_chats_are_notified_of_what_happened_and_where_to_look() {
    let (channel, told) = chat(200);
    let (owners, owners_told) = chat(200);
    let output = notify(
        &[
            "released",
            "production",
            "--image",
            "ami-1",
            "--url",
            "https://a",
            "--dashboard",
            "https://b",
        ],
        &[
            ("CHANNEL_WEBHOOK", &channel),
            ("OWNERS_WEBHOOK", &owners),
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", "a/b"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567"),
        ],
    );
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
    let text = "Released to production\nimage: ami-1\ncommit: 0123456789ab\nservice: https://a\n\
        dashboard: https://b\nrun: https://github.example/a/b/actions/runs/7";
    for told in [told, owners_told] {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), json!({ "text": text }));
    }
}

#[test]
fn owners_get_mail_of_what_needs_a_person() {
    let (server, mails) = mail_server();
    let output =
        notify(&["rolled-back", "production", "--detail", "a detail"], &[("SMTP_URL", &server)]);
    assert!(output.status.success(), "{}", said(&output));
    let mail = mails.recv_timeout(PATIENCE).unwrap();
    assert!(mail.to_lowercase().contains("rcpt to:<ops@example.com>"), "{mail}");
    for part in ["Subject: [hello-birthday] Failed in production: the roll", "detail: a detail"] {
        assert!(mail.contains(part), "{part}: {mail}");
    }

    // No mail of what needs none: the next one is of a later event.
    notify(&["started", "production"], &[("SMTP_URL", &server)]);
    notify(&["drift", "staging"], &[("SMTP_URL", &server)]);
    let mail = mails.recv_timeout(PATIENCE).unwrap();
    assert!(mail.contains("Subject: [hello-birthday] Drift in staging"), "{mail}");
}

#[test]
fn a_release_does_not_fail_for_a_chat_that_does() {
    let (refusing, _told) = chat(500);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}/hook/s3cret");
    let variables = [
        ("CHANNEL_WEBHOOK", &*refusing),
        ("OWNERS_WEBHOOK", &*gone),
        ("SMTP_URL", "http://x:s3cret@y"),
    ];
    let output = notify(&["failed", "staging"], &variables);
    assert!(output.status.success());
    let said = said(&output);
    assert_eq!(said.matches("was not notified").count(), 3, "{said}");
    assert!(!said.contains("s3cret"), "an address is a secret: {said}");
}

#[test]
fn an_unknown_event_or_a_missing_argument_is_refused() {
    for arguments in [&["exploded", "staging"][..], &["started"], &[]] {
        assert_eq!(notify(arguments, &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_owners_file_is_right_and_every_workflow_passes_its_secret() {
    let output = command(".ci/owner").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("owner.json");
    let wrong = [
        r#"{"team": "a"}"#,
        r#"{"team": "a", "chat": "lower", "email": "a@example.com"}"#,
        r#"{"team": "a", "chat": "GITHUB_HOOK", "email": "a@example.com"}"#,
        r#"{"team": "a", "chat": "HOOK", "email": "nobody"}"#,
        r#"{"team": "a", "chat": "HOOK", "email": "a@example.com", "more": 1}"#,
    ];
    for (text, code) in wrong.map(|text| (text, 2)).into_iter().chain([
        // Right, but a secret that no workflow passes.
        (r#"{"team": "a", "chat": "HOOK", "email": "a@example.com"}"#, 1),
    ]) {
        std::fs::write(&file, text).unwrap();
        let output = command(".ci/owner").arg("--file").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}: {}", said(&output));
    }
}
