//! The client with small servers of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::*;

/// Serves until the process ends; `answer` gives the whole response to a path.
fn server(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    server_of_heads(move |head| answer(head.split(' ').nth(1).unwrap_or_default()))
}

/// The same; `answer` gets the whole head in lower case.
fn server_of_heads(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let base = format!("http://{}", listener.local_addr().expect("address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            counter.fetch_add(1, Relaxed);
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    (base, asked)
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Vec<u8>) {
    let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    // Whoever asked may be gone.
    let _ = stream.write_all(&answer(&head.join("\n").to_lowercase()));
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn client(allowed: UrlRules) -> Http {
    let (attempt, fetch) = (Duration::from_millis(400), Duration::from_secs(10));
    Http::new(HttpSettings { allowed, attempt, fetch, largest: 1000 })
}

#[test]
fn a_medium_comes_from_its_url_and_failures_say_why() {
    let (base, _) = server(|path| match path {
        "/a.wav" => response("200 OK", "", b"RIFF"),
        "/moved" => response("302 Found", "Location: /a.wav\r\n", b""),
        "/loop" => response("302 Found", "Location: /loop\r\n", b""),
        "/away" => response("302 Found", "Location: http://127.0.0.2:1/x\r\n", b""),
        "/long" => response("200 OK", "", &[0; 1001]),
        "/endless" => [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &[0; 5000]].concat(),
        "/empty" => response("200 OK", "", b""),
        "/busy" => response("503 Service Unavailable", "", b""),
        _ => response("404 Not Found", "", b"no"),
    });
    let http = client(UrlRules::parse([base.as_str()]).expect("a rule"));
    let fetch = |path: &str| http.fetch(&format!("{base}{path}"));
    assert_eq!(fetch("/a.wav").as_deref(), Ok(&b"RIFF"[..]));
    assert_eq!(fetch("/moved").as_deref(), Ok(&b"RIFF"[..]));
    assert_eq!(fetch("/none"), Err(HttpError::Status(404)));
    assert_eq!(fetch("/empty"), Err(HttpError::NoData));
    assert!(matches!(fetch("/long"), Err(HttpError::Answer(_))));
    assert!(matches!(fetch("/endless"), Err(HttpError::Answer(_))));
    assert_eq!(fetch("/loop"), Err(HttpError::Status(508)));
    assert_eq!(fetch("/away"), Err(HttpError::Redirect));
    let busy = fetch("/busy").expect_err("no medium").to_string();
    assert_eq!(busy, "not reachable after 3 attempts: the server says 503");
    assert_eq!(http.fetch("http://127.0.0.2:1/x"), Err(HttpError::Forbidden));
    assert!(matches!(http.fetch("http://[::1"), Err(HttpError::Url(_))));
}

#[test]
fn callers_for_the_same_url_share_a_request_and_a_server_that_hangs_is_given_up() {
    let (base, asked) = server(|path| {
        thread::sleep(if path == "/slow" { Duration::from_millis(150) } else { Duration::from_secs(30) });
        response("200 OK", "", b"RIFF")
    });
    let http = Arc::new(client(UrlRules::Any));
    let fetch = |url: String| {
        let http = Arc::clone(&http);
        thread::spawn(move || http.fetch(&url))
    };
    let hangs = fetch(format!("{base}/hangs"));
    let together: Vec<_> = (0..10).map(|_| fetch(format!("{base}/slow"))).collect();
    for caller in together {
        assert_eq!(caller.join().expect("answered").as_deref(), Ok(&b"RIFF"[..]));
    }
    let error = hangs.join().expect("answered").expect_err("nothing came");
    assert!(matches!(error, HttpError::Unreachable { attempts: 3, .. }), "{error}");
    assert!((4..=6).contains(&asked.load(Relaxed)), "{asked:?} requests");
}

#[test]
fn passwords_in_urls_are_not_in_errors() {
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port").port();
    let error =
        client(UrlRules::Any).fetch(&format!("http://me:secret@127.0.0.1:{port}/x")).expect_err("gone");
    let text = error.to_string();
    assert!(text.starts_with("not reachable after 3 attempts: ") && !text.contains("secret"), "{text}");
    for (name, shown) in [
        ("http://me:secret@host/x@y", "http://me@host/x@y"),
        ("http://host/a:b@c", "http://host/a:b@c"),
        ("/some/file", "/some/file"),
    ] {
        assert_eq!(without_password(name), shown);
    }
}

#[test]
fn a_password_in_the_url_is_for_the_server() {
    let (base, _) = server_of_heads(|head| match head.contains("authorization: basic bwu6c2vjcmv0") {
        true => response("200 OK", "", b"RIFF"),
        false => response("401 Unauthorized", "", b"no"),
    });
    let http = client(UrlRules::Any);
    assert_eq!(http.fetch(&format!("{base}/x")), Err(HttpError::Status(401)));
    let url = format!("{base}/x").replace("http://", "http://me:secret@");
    assert_eq!(http.fetch(&url).as_deref(), Ok(&b"RIFF"[..]));
}
