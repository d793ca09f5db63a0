//! Requests against a server made of a socket and a script.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection after the other; gives what was received.
async fn server(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let uri = format!("http://{}", listener.local_addr().expect("address"));
    let serve = async move {
        let mut received = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut text = Vec::new();
            let mut buf = [0; 4096];
            loop {
                let got = stream.read(&mut buf).await.expect("read");
                text.extend_from_slice(&buf[..got]);
                let so_far = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if got == 0 || body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            received.push(String::from_utf8_lossy(&text).into_owned());
            stream.write_all(answer.as_bytes()).await.expect("write");
        }
        received
    };
    (uri, tokio::spawn(serve))
}

fn request(uri: String, body: Body) -> Outgoing {
    Outgoing {
        method: Method::POST,
        uri,
        headers: vec![("X-Test".into(), "1".into())],
        body,
        verification: Verification::Full,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(future)
}

#[test]
fn a_body_of_pieces_arrives_whole_also_after_a_redirect() {
    run(async {
        let file = tempfile::NamedTempFile::new().expect("file");
        let long = "x".repeat(700_000);
        std::fs::write(file.path(), &long).expect("write");
        let (uri, served) = server(vec![
            "HTTP/1.1 307 There\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 201 Made\r\ncontent-length: 2\r\n\r\nok",
        ])
        .await;
        let body = Body {
            pieces: vec![
                Piece::Memory("<".into()),
                Piece::File { path: file.path().into(), offset: 0, octets: 700_000 },
                Piece::Memory(">".into()),
            ],
        };
        assert_eq!(send(request(format!("{uri}/here"), body)).await.expect("answer"), "ok");
        let received = served.await.expect("server");
        assert!(received[0].starts_with("POST /here HTTP/1.1\r\n"), "{}", &received[0][..60]);
        assert!(received[1].starts_with("POST /there HTTP/1.1\r\n"));
        assert!(received[1].to_lowercase().contains("x-test: 1\r\n"));
        assert!(received[1].ends_with(&format!("<{long}>")));
    });
}

#[test]
fn what_is_no_success_is_an_error() {
    run(async {
        let (uri, _served) =
            server(vec!["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "nonsense\r\n\r\n"]).await;
        let refused = send(request(uri.clone(), Body::default())).await.expect_err("status");
        assert!(matches!(refused, HttpError::Status(status) if status == 500));
        let broken = send(request(uri, Body::default())).await.expect_err("no HTTP");
        assert!(matches!(broken, HttpError::Protocol(_)), "{broken:?}");
        for address in ["ftp://127.0.0.1/", "nothing at all", "/x"] {
            let error = send(request(address.into(), Body::default())).await.expect_err("address");
            assert!(matches!(error, HttpError::Address(_)), "{address}: {error:?}");
        }
        let nobody = send(request("http://127.0.0.1:1/".into(), Body::default())).await.expect_err("nobody");
        assert!(matches!(nobody, HttpError::Io(_)), "{nobody:?}");
    });
}
