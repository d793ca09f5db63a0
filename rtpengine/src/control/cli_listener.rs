//! Command lines over TCP: one line, one answer, then the connection is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::console::Console;
use super::line::LineReader;
use super::tcp_listener::{self, SocketOptions};

/// Octets of a line.
const MAX_LINE: usize = 1024;
/// Connections of one listener.
const MAX_CONNECTIONS: usize = 64;
/// How long typing a line may take.
const TYPING: Duration = Duration::from_secs(120);
/// How long a client may leave its answer unread.
const UNREAD: Duration = Duration::from_secs(30);
/// Octets handed to the system at once, each within [`UNREAD`].
const PIECE: usize = 64 << 10;

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct CliListeners {
    sockets: Vec<TcpListener>,
}

impl CliListeners {
    /// Binds all addresses; must be called within a runtime.
    ///
    /// # Errors
    /// The first failure, naming the address.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        Ok(CliListeners { sockets: tcp_listener::bind("CLI", addresses, SocketOptions::default())? })
    }

    /// The addresses bound to, in the order given.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves until the tasks are aborted.
    pub fn run(self, console: &Arc<dyn Console>) -> Vec<JoinHandle<()>> {
        let listen = |socket| {
            let console = Arc::clone(console);
            tokio::spawn(tcp_listener::accept("CLI", socket, MAX_CONNECTIONS, move |stream, peer| {
                serve(stream, peer, Arc::clone(&console))
            }))
        };
        self.sockets.into_iter().map(listen).collect()
    }
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, console: Arc<dyn Console>) {
    tracing::info!(%peer, "New cli connection");
    let Some(line) = read_line(&mut stream, peer).await else { return };
    tracing::info!(%peer, "Got CLI command: {line}");
    // A listing of all calls takes a while: not on a thread that serves others.
    let Ok(answer) = tokio::task::spawn_blocking(move || console.cli(&line)).await else {
        tracing::error!(%peer, "CLI command ended in a panic");
        return;
    };
    for piece in answer.as_bytes().chunks(PIECE) {
        if !matches!(timeout(UNREAD, stream.write_all(piece)).await, Ok(Ok(()))) {
            tracing::debug!(%peer, "CLI client does not read its answer");
            return;
        }
    }
    // What the client sent behind its line must not make the system throw the answer away.
    let _ = stream.shutdown().await;
    let _ = timeout(Duration::from_secs(1), stream.read(&mut [0; MAX_LINE])).await;
}

/// The first line that is not empty, without its end.
async fn read_line(stream: &mut TcpStream, peer: SocketAddr) -> Option<String> {
    let deadline = Instant::now() + TYPING;
    let mut lines = LineReader::new(MAX_LINE);
    loop {
        match lines.next(stream, deadline).await {
            Ok(Some(line)) if line.is_empty() => {}
            Ok(line) => return line,
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                tracing::info!("Buffer length exceeded in CLI connection from {peer}");
                return None;
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Repeats;

    impl Console for Repeats {
        fn cli(&self, line: &str) -> String {
            match line {
                "large" => "x".repeat(1 << 20),
                line => format!("<{line}>\n"),
            }
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    async fn answers(typed: &[&str]) -> String {
        let listeners = CliListeners::bind(&["127.0.0.1:0".parse().expect("literal")]).expect("loopback");
        let address = listeners.local_addresses().expect("bound")[0];
        let console: Arc<dyn Console> = Arc::new(Repeats);
        let tasks = listeners.run(&console);
        let mut client = TcpStream::connect(address).await.expect("loopback");
        for piece in typed {
            client.write_all(piece.as_bytes()).await.expect("connected");
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(10), client.read_to_string(&mut answer)).await;
        let _ = read.expect("the daemon closes");
        tasks.iter().for_each(JoinHandle::abort);
        answer
    }

    #[tokio::test]
    async fn one_line_gets_one_answer() {
        assert_eq!(answers(&["list numsessions\n"]).await, "<list numsessions>\n");
        assert_eq!(answers(&["list ", "numsessions\r\n"]).await, "<list numsessions>\n");
        assert_eq!(answers(&["\n", "\r\nlist\nagain\n"]).await, "<list>\n");
        assert_eq!(answers(&["large\n"]).await.len(), 1 << 20);
        let longest = "y".repeat(MAX_LINE);
        assert_eq!(answers(&[&longest, "\n"]).await, format!("<{longest}>\n"));
    }

    #[tokio::test]
    async fn a_line_without_end_gets_none() {
        assert_eq!(answers(&[&"z".repeat(MAX_LINE + 1)]).await, "");
    }
}
