//! Requests that wait together for a database that is blocked.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use crate::harness::{Answer, Service, letters, request};

/// Clients that each have a connection.
pub struct Heads(Vec<TcpStream>);

impl Heads {
    /// Connects so many, and waits until each is served.
    pub fn connect(service: &Service, count: usize) -> Heads {
        let connect = |_| {
            let mut stream = service.connect();
            stream.write_all(request("GET", "/", "", "").as_bytes()).unwrap();
            Answer::read(&mut stream).unwrap().expect_status(200);
            stream
        };
        Heads((0..count).map(connect).collect())
    }

    /// Sends a request of each, to find or to save, whose head has so many bytes and headers.
    pub fn send(&mut self, bytes: usize, headers: usize) {
        let length = bytes / headers;
        let headers: String = (0..headers)
            .map(|number| {
                let header = format!("X-{}: ", letters(number));
                let value = "x".repeat(length - header.len() - 2);
                format!("{header}{value}\r\n")
            })
            .collect();
        let body = r#"{"dateOfBirth":"1990-05-20"}"#;
        for (number, stream) in self.0.iter_mut().enumerate() {
            let path = format!("/hello/{}", letters(number));
            let request = match number % 2 {
                0 => request("GET", &path, &headers, ""),
                _ => request("PUT", &path, &headers, body),
            };
            stream.write_all(request.as_bytes()).unwrap();
        }
    }

    /// Waits for all answers, which must be those of a service that works or is overloaded.
    pub fn read_answers(self) {
        for stream in self.0 {
            let answer = Answer::read(&mut BufReader::new(stream)).unwrap();
            let retry_after = answer.header("retry-after").is_some();
            assert!(
                matches!((answer.status, retry_after), (204 | 404, _) | (503, true)),
                "{answer:?}"
            );
        }
    }
}
