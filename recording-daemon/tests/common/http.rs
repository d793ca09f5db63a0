//! An HTTP server made of a script: what it answers is up to the test, what it got is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    Json(String),
    /// Reads some of the body, then breaks the connection.
    BreakInBody,
    /// Reads the body slowly, then answers 200.
    Slow,
    /// What the server's handler says to the whole request.
    Handle,
    /// The same after reading the body slowly.
    HandleSlowly,
}

/// Gives the answer, from its first line on.
pub type Handler = Arc<dyn Fn(&Request) -> Vec<u8> + Send + Sync>;

/// A running server; ends with the test.
pub struct Server {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Plain HTTP. `script` gets the number of the request, from 0, and its head.
    pub fn start(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_tls(None, no_handler(), script)
    }

    /// Plain HTTP with a handler.
    pub fn start_with(
        handler: Handler,
        script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with_tls(None, handler, script)
    }

    /// HTTPS with a handler.
    pub fn start_tls_with(
        handler: Handler,
        script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with_tls(Some(tls_config()), handler, script)
    }

    /// HTTPS with a certificate that nobody signed.
    pub fn start_tls(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_tls(Some(tls_config()), no_handler(), script)
    }

    /// Those that were answered with success.
    pub fn requests(&self) -> Vec<Request> {
        self.received.lock().expect("lock").clone()
    }

    fn with_tls(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: Handler,
        script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let (received, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let server = Self { address, received: Arc::clone(&received), stop: Arc::clone(&stop) };
        let script = Arc::new(script);
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let (script, received, tls, count) =
                    (Arc::clone(&script), Arc::clone(&received), tls.clone(), Arc::clone(&count));
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
                    let _ = match tls {
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).expect("TLS");
                            let stream = rustls::StreamOwned::new(connection, stream);
                            serve(stream, |request| script(next(&count), request), &handler, &received)
                        }
                        None => serve(stream, |request| script(next(&count), request), &handler, &received),
                    };
                });
            }
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn no_handler() -> Handler {
    Arc::new(|_| b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n".to_vec())
}

fn next(count: &std::sync::atomic::AtomicUsize) -> usize {
    count.fetch_add(1, Ordering::Relaxed)
}

fn serve(
    stream: impl Read + Write,
    script: impl Fn(&Request) -> Answer,
    handler: &Handler,
    received: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let answer = script(&request);
    request.body = vec![0; length];
    let text = match answer {
        Answer::BreakInBody => {
            let some = length.min(10_000);
            stream.read_exact(&mut request.body[..some])?;
            return Ok(());
        }
        Answer::Handle => {
            stream.read_exact(&mut request.body)?;
            let answer = handler(&request);
            stream.get_mut().write_all(&answer)?;
            return stream.get_mut().flush();
        }
        Answer::HandleSlowly => {
            for part in request.body.chunks_mut(200_000) {
                stream.read_exact(part)?;
                std::thread::sleep(Duration::from_millis(20));
            }
            let answer = handler(&request);
            stream.get_mut().write_all(&answer)?;
            return stream.get_mut().flush();
        }
        Answer::Slow => {
            for part in request.body.chunks_mut(4000) {
                stream.read_exact(part)?;
                std::thread::sleep(Duration::from_millis(20));
            }
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        Answer::Status(status) => {
            stream.read_exact(&mut request.body)?;
            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Answer::Json(json) => {
            stream.read_exact(&mut request.body)?;
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}", json.len())
        }
    };
    if text.starts_with("HTTP/1.1 2") {
        received.lock().expect("lock").push(request);
    }
    stream.get_mut().write_all(text.as_bytes())?;
    stream.get_mut().flush()
}

/// For servers of this test.
pub fn tls_config() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("certificate");
    Arc::new(config)
}
