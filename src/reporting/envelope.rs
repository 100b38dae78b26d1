//! A report as error trackers read it
//! (<https://develop.sentry.dev/sdk/foundations/transport/envelopes/>).

use serde::Serialize;

use super::Failure;

/// As error trackers name releases: package, version and build.
const RELEASE: &str = concat!(
    env!("CARGO_PKG_NAME"),
    "@",
    env!("CARGO_PKG_VERSION"),
    "+",
    env!("HELLO_BIRTHDAY_COMMIT")
);

/// All that is reported. Add no field whose value may come from a request or a database.
#[derive(Serialize)]
struct Event<'a> {
    event_id: &'a str,
    /// In seconds.
    timestamp: f64,
    platform: &'static str,
    level: &'static str,
    release: &'static str,
    environment: &'a str,
    /// What makes two reports one issue.
    fingerprint: [&'a str; 2],
    exception: Values<Exception<'a>>,
    tags: Tags,
}

#[derive(Serialize)]
struct Values<T> {
    values: [T; 1],
}

#[derive(Serialize)]
struct Exception<'a> {
    r#type: &'static str,
    value: &'static str,
    mechanism: Mechanism,
    stacktrace: Stacktrace<'a>,
}

#[derive(Serialize)]
struct Mechanism {
    r#type: &'static str,
    handled: bool,
}

#[derive(Serialize)]
struct Stacktrace<'a> {
    frames: [Frame<'a>; 1],
}

#[derive(Serialize)]
struct Frame<'a> {
    filename: &'a str,
    lineno: u32,
}

#[derive(Serialize)]
struct Tags {
    #[serde(rename = "store.kind", skip_serializing_if = "Option::is_none")]
    store_kind: Option<&'static str>,
    #[serde(rename = "store.cause", skip_serializing_if = "Option::is_none")]
    store_cause: Option<&'static str>,
}

/// The envelope of `failure`.
pub(super) fn envelope(failure: &Failure, environment: &str) -> Vec<u8> {
    let event_id = format!("{:032x}", rand::random::<u128>());
    let place = failure.place();
    let event = Event {
        event_id: &event_id,
        timestamp: failure.unix_seconds,
        platform: "native",
        level: if failure.kind == "panic" { "fatal" } else { "error" },
        release: RELEASE,
        environment,
        fingerprint: [failure.kind, &place],
        exception: Values {
            values: [Exception {
                r#type: failure.kind,
                value: failure.message,
                mechanism: Mechanism { r#type: failure.kind, handled: true },
                stacktrace: Stacktrace {
                    frames: [Frame { filename: &failure.file, lineno: failure.line }],
                },
            }],
        },
        tags: Tags { store_kind: failure.store_kind, store_cause: failure.store_cause },
    };
    let event = serde_json::to_vec(&event).expect("strings and numbers are JSON");
    let length = event.len();
    let mut envelope =
        format!("{{\"event_id\":\"{event_id}\"}}\n{{\"type\":\"event\",\"length\":{length}}}\n")
            .into_bytes();
    envelope.extend(event);
    envelope.push(b'\n');
    envelope
}

#[cfg(test)]
mod tests {
    use sentry_types::protocol::v7::{Envelope, Level};

    use super::*;

    fn failure() -> Failure {
        Failure {
            kind: "store failure",
            message: "the store fails",
            file: "src/store/batch/queue.rs".to_owned(),
            line: 42,
            store_kind: Some("write"),
            store_cause: Some("no space left"),
            unix_seconds: 1_795_543_267.5,
        }
    }

    #[test]
    fn an_error_tracker_reads_the_kind_the_place_the_release_and_the_environment() {
        let bytes = envelope(&failure(), "staging");
        let read = Envelope::from_slice(&bytes).unwrap();
        let event = read.event().unwrap();
        assert_eq!(event.level, Level::Error);
        assert_eq!(event.release.as_deref(), Some(RELEASE));
        assert_eq!(event.environment.as_deref(), Some("staging"));
        assert_eq!(event.fingerprint.as_ref(), ["store failure", "src/store/batch/queue.rs:42"]);
        assert_eq!(event.tags["store.kind"], "write");
        assert_eq!(event.tags["store.cause"], "no space left");
        let exception = &event.exception[0];
        assert_eq!(exception.ty, "store failure");
        assert_eq!(exception.value.as_deref(), Some("the store fails"));
        let frame = &exception.stacktrace.as_ref().unwrap().frames[0];
        assert_eq!(frame.filename.as_deref(), Some("src/store/batch/queue.rs"));
        assert_eq!(frame.lineno, Some(42));
        assert!(Envelope::from_slice(&bytes[..bytes.len() / 2]).is_err());
    }

    #[test]
    fn two_reports_have_different_ids() {
        let id = || {
            let bytes = envelope(&failure(), "staging");
            Envelope::from_slice(&bytes).unwrap().uuid().copied()
        };
        assert_ne!(id(), id());
    }
}
