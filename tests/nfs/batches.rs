//! What batches spare: requests to the share, which the kernel of a client counts.

use std::thread::{self, ScopedJoinHandle};

use crate::harness::{Client, letters, wait_until};
use crate::share::{Server, Service, ShareClient, ShareClients};

const REQUESTS: usize = 64;

/// Attempts to have all of them wait before the first has run out of time.
const ATTEMPTS_MAX: u32 = 5;

pub fn count_requests(_: &mut Server, [client, ..]: &ShareClients) {
    let service = client.start("");
    compare(client, &service, SAVE);
    compare(client, &service, FIND);
    service.stop();
}

/// A kind of request, its answer, and what its batches are called.
#[derive(Clone, Copy)]
struct Kind {
    method: &'static str,
    status: u16,
    batches: &'static str,
}

const SAVE: Kind = Kind { method: "PUT", status: 204, batches: "write" };
const FIND: Kind = Kind { method: "GET", status: 200, batches: "read" };

fn compare(client: &ShareClient, service: &Service<'_>, kind: Kind) {
    let (answers, batches, rpcs) = count(client, service, kind, || {
        (0..REQUESTS).map(|user| send(service, kind, user, 0)).collect()
    });
    assert_eq!(answers, [kind.status; REQUESTS]);
    assert_eq!(batches, REQUESTS as f64);
    let one = rpcs / REQUESTS as u64;

    let (batches, rpcs) = (1..=ATTEMPTS_MAX)
        .find_map(|attempt| {
            let (answers, batches, rpcs) =
                count(client, service, kind, || send_at_once(client, service, kind, attempt));
            (answers == [kind.status; REQUESTS]).then_some((batches, rpcs))
        })
        .expect("all of them wait, and are answered, in one of the attempts");
    println!(
        "{one} NFS requests for one {}; {rpcs} for {REQUESTS} that wait together, in {batches} \
         batch(es)",
        kind.method
    );
    // The second is for one that came too late for the first.
    assert!(batches <= 2.0 && rpcs <= 4 * one);
}

/// Counts the batches and the NFS requests of what `work` sends.
fn count(
    client: &ShareClient,
    service: &Service<'_>,
    kind: Kind,
    work: impl FnOnce() -> Vec<u16>,
) -> (Vec<u16>, f64, u64) {
    let series = format!(r#"store_batch_requests_count{{kind="{}"}}"#, kind.batches);
    let before = (service.metric(&series), client.rpcs());
    let answers = work();
    (answers, service.metric(&series) - before.0, client.rpcs() - before.1)
}

/// Sends all requests while nothing reaches the share, so that they wait together.
fn send_at_once(client: &ShareClient, service: &Service<'_>, kind: Kind, attempt: u32) -> Vec<u16> {
    let queued = format!(r#"store_queue_length{{kind="{}"}}"#, kind.batches);
    client.share.cut();
    thread::scope(|scope| {
        let send = |user| scope.spawn(move || send(service, kind, user, attempt));
        let mut sent = vec![send(0)];
        // One that runs out of time before all of them wait ends the attempt.
        let wait_for = |series: &str, requests: usize, sent: &[ScopedJoinHandle<'_, u16>]| {
            wait_until("all of them wait", || {
                let all = service.metric(series) == requests as f64;
                (all || sent.iter().any(ScopedJoinHandle::is_finished)).then_some(())
            });
        };
        wait_for("http_requests_in_flight", 1, &sent);
        sent.extend((1..REQUESTS).map(send));
        wait_for(&queued, REQUESTS - 1, &sent);
        client.share.repair();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    })
}

/// Sends a request for a user, and gives the status of its answer. A save changes what
/// that of another `attempt` saved.
fn send(service: &Service<'_>, kind: Kind, user: usize, attempt: u32) -> u16 {
    let path = format!("/hello/{}", letters(user));
    let body = format!(r#"{{"dateOfBirth":"{}-05-20"}}"#, 1990 + attempt);
    Client::new(service.address).send(kind.method, &path, &body).unwrap().status
}
