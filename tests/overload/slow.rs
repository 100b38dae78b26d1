//! Clients that send and read slowly, and only keep connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{interval, sleep, timeout};

use crate::load::Connection;

/// Between two bytes of a slow client: a minute for what the limits give seconds.
const DRIP_EVERY: Duration = Duration::from_millis(500);

/// What a client is slow with.
#[derive(Debug, Clone, Copy)]
pub enum Slow {
    /// Sends most of a large head, and then a byte now and then.
    Head,
    /// The same with a body.
    Body,
    /// Asks for more than it reads.
    Reader,
}

/// Starts so many clients of each kind, which connect again whenever the service ends their
/// connection, until the runtime ends.
pub fn start(server: SocketAddr, kinds: [(Slow, usize); 3]) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (slow, count) in kinds {
        (0..count).for_each(|_| drop(runtime.spawn(dawdle(server, slow))));
    }
    runtime
}

async fn dawdle(server: SocketAddr, slow: Slow) {
    let start = "PUT /hello/Slow HTTP/1.1\r\nHost: localhost\r\n";
    let at_once = match slow {
        Slow::Head => format!("{start}X: {}", "x".repeat(12 * 1024)),
        Slow::Body => format!("{start}Content-Length: 8192\r\n\r\n{}", " ".repeat(8000)),
        // A few MB, which is more than the kernel keeps for a connection.
        Slow::Reader => "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000),
    };
    loop {
        // However it ends, it was cut off.
        let _: io::Result<()> = async {
            let mut connection = Connection::new(server);
            // Once it has an answer, the service has accepted it.
            connection.exchange("GET", "/hello/Slow", "").await?;
            let Some(mut stream) = connection.stream else { return Ok(()) };
            stream.write_all(at_once.as_bytes()).await?;
            let mut drip = interval(DRIP_EVERY);
            let mut byte = [0];
            loop {
                drip.tick().await;
                match slow {
                    Slow::Head | Slow::Body => {
                        stream.write_all(b"x").await?;
                        // What comes is the end: a 408.
                        let read = stream.read(&mut byte);
                        if let Ok(read) = timeout(Duration::ZERO, read).await {
                            read?;
                            return Ok(());
                        }
                    }
                    Slow::Reader => {
                        stream.read_exact(&mut byte).await?;
                    }
                }
            }
        }
        .await;
        sleep(Duration::from_millis(50)).await;
    }
}
