//! Writers that remember what was acknowledged, so that none of it is lost unseen.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::{Answer, Client, NoAnswer, Service, random};

/// Every writer has its own users.
pub const WRITERS: usize = 8;
const USERS_PER_WRITER: usize = 20;

/// What was saved, and what of it the database must have.
#[derive(Default)]
pub struct Written {
    users: HashMap<String, Saved>,
    pub acknowledged: u64,
    /// Requests answered with 503.
    pub refused: u64,
}

/// The date acknowledged last, and those that may have been saved since without
/// an acknowledgement.
#[derive(Default)]
struct Saved {
    acknowledged: Option<String>,
    maybe: Vec<String>,
}

impl Written {
    pub fn save(
        &mut self,
        client: &mut Client,
        username: &str,
        born: &str,
    ) -> Result<Answer, NoAnswer> {
        let saved = self.users.entry(username.to_owned()).or_default();
        saved.maybe.push(born.to_owned());
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        let answer = client.send("PUT", &format!("/hello/{username}"), &body)?;
        if answer.status == 204 {
            *saved = Saved { acknowledged: Some(born.to_owned()), maybe: Vec::new() };
            self.acknowledged += 1;
        }
        Ok(answer)
    }

    /// Adds what was saved later.
    pub fn add(&mut self, later: Written) {
        for (username, saved) in later.users {
            let known = self.users.entry(username).or_default();
            match saved.acknowledged {
                Some(_) => *known = saved,
                None => known.maybe.extend(saved.maybe),
            }
        }
        self.acknowledged += later.acknowledged;
        self.refused += later.refused;
    }

    /// Fails where the database, in which `found` was found, lost something, and
    /// settles what may have been saved.
    pub fn check(&mut self, mut found: HashMap<String, String>) {
        for (username, saved) in &mut self.users {
            let found = found.remove(username);
            let may_be = found.as_ref().is_some_and(|found| saved.maybe.contains(found));
            assert!(may_be || found == saved.acknowledged, "an acknowledged save was lost");
            *saved = Saved { acknowledged: found, maybe: Vec::new() };
        }
    }
}

/// Kills the service under load, and looks each time whether all is there that was
/// acknowledged. `start` starts it again, and `read_all` reads the database.
pub fn kill_again_and_again(
    rounds: usize,
    start: impl Fn() -> Service,
    read_all: impl Fn() -> HashMap<String, String>,
) -> Written {
    let mut known = Written::default();
    for round in 0..rounds {
        let service = start();
        known.check(read_all());
        let address = service.address;
        let writers = spawn(move |writer| write_until_gone(address, writer, round));
        // Not a wait for something: the moment is to be any.
        thread::sleep(Duration::from_millis(30 + random(90)));
        service.kill();
        known.add(join(writers));
    }
    let _service = start();
    known.check(read_all());
    known
}

/// Saves for as long as the service is there. Every writer has its own users.
pub fn write_until_gone(server: SocketAddr, writer: usize, round: usize) -> Written {
    let mut client = Client::new(server);
    let mut written = Written::default();
    for number in 0.. {
        let (username, born) = next_save(writer, round * 1_000_003 + number);
        match written.save(&mut client, &username, &born) {
            Ok(answer) => answer.expect_status(204),
            Err(_) => return written,
        };
    }
    unreachable!("the service is killed first")
}

/// Starts all writers.
pub fn spawn(
    write: impl Fn(usize) -> Written + Clone + Send + 'static,
) -> Vec<JoinHandle<Written>> {
    (0..WRITERS)
        .map(|writer| {
            let write = write.clone();
            thread::spawn(move || write(writer))
        })
        .collect()
}

/// What all writers together have written.
pub fn join(writers: Vec<JoinHandle<Written>>) -> Written {
    let mut all = Written::default();
    for writer in writers {
        all.add(writer.join().unwrap());
    }
    all
}

/// A user of this writer, and a date that it was not saved with just before.
pub fn next_save(writer: usize, number: usize) -> (String, String) {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
    let username = format!("Writer{}{}", letter(writer), letter(number % USERS_PER_WRITER));
    let times = number / USERS_PER_WRITER;
    let born = format!("{}-{:02}-{:02}", 1920 + times % 100, 1 + times % 12, 1 + times % 28);
    (username, born)
}
