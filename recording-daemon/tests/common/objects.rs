//! An object store with the multipart interface of S3 (which Google storage has, too), as strict as the real ones: least size of parts,
//! ETags, order, checksums.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::http::{Answer, Handler, Request, Server};

/// A running store; ends with the test.
pub struct ObjectStore {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, Upload>,
    begun: usize,
    /// What was done, in order: `begin`, `part 2`, `complete`, `abort`, `put`.
    log: Vec<String>,
}

struct Upload {
    path: String,
    parts: BTreeMap<u32, (String, Vec<u8>)>,
}

/// Least size of a part that is not the last one.
const MIN_PART: usize = 5 << 20;

impl ObjectStore {
    /// With TLS, as S3 has it. `script` gets the number of the request and its head, and answers [`Answer::Handle`] where the store is to do
    /// its work.
    pub fn start_tls(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        Self { server: Server::start_tls_with(handler(&state), script), state }
    }

    /// Plain.
    pub fn start(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        Self { server: Server::start_with(handler(&state), script), state }
    }

    /// Names and contents.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.lock().expect("lock").objects.clone()
    }

    /// Uploads that were neither completed nor aborted.
    pub fn unfinished(&self) -> usize {
        self.state.lock().expect("lock").uploads.len()
    }

    /// What was done, in order.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().expect("lock").log.clone()
    }

    /// How often this was done.
    pub fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|done| done.starts_with(what)).count()
    }

    /// Forgets all uploads, as if they had expired.
    pub fn forget_uploads(&self) {
        self.state.lock().expect("lock").uploads.clear();
    }
}

/// The options that make the recorder use it.
pub fn s3_options(store: &ObjectStore) -> Vec<String> {
    vec![
        "--output-storage=s3".into(),
        "--s3-host=127.0.0.1".into(),
        format!("--s3-port={}", store.server.address.port()),
        "--s3-path=bucket".into(),
        "--s3-access-key=AK".into(),
        "--s3-secret-key=SK".into(),
        "--s3-region=eu".into(),
        "--s3-no-verify".into(),
    ]
}

fn handler(state: &Arc<Mutex<State>>) -> Handler {
    let state = Arc::clone(state);
    Arc::new(move |request| state.lock().expect("lock").handle(request))
}

fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

fn error(status: u16, code: &str) -> Vec<u8> {
    answer(
        status,
        "",
        &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"),
    )
}

fn decode(text: &str) -> String {
    let octets = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < octets.len() {
        if octets[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).expect("two digits"));
            at += 3;
        } else {
            out.push(octets[at]);
            at += 1;
        }
    }
    String::from_utf8(out).expect("text")
}

impl State {
    fn handle(&mut self, request: &Request) -> Vec<u8> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let query: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, decode(value)))
            .collect();
        if let Some(sum) = request.header("x-amz-content-sha256")
            && sum != media_store::sink::s3::sha256(&request.body)
        {
            return error(400, "XAmzContentSHA256Mismatch");
        }
        let upload = query.get("uploadId");
        match (request.method.as_str(), upload) {
            ("POST", None) if query.contains_key("uploads") => self.begin(path),
            ("PUT", None) => {
                self.log.push("put".into());
                self.objects.insert(path.to_owned(), request.body.clone());
                answer(200, "", "")
            }
            ("PUT", Some(id)) => {
                let number: u32 = query["partNumber"].parse().expect("a number");
                self.log.push(format!("part {number}"));
                let etag = format!("\"{number}-{}\"", &media_store::sink::s3::sha256(&request.body)[..16]);
                let Some(upload) = self.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
                assert_eq!(upload.path, path);
                upload.parts.insert(number, (etag.clone(), request.body.clone()));
                answer(200, &format!("etag: {etag}\r\n"), "")
            }
            ("POST", Some(id)) => self.complete(id, path, &String::from_utf8_lossy(&request.body)),
            ("DELETE", Some(id)) => {
                self.log.push("abort".into());
                if self.uploads.remove(id).is_some() {
                    answer(204, "", "")
                } else {
                    error(404, "NoSuchUpload")
                }
            }
            _ => error(405, "MethodNotAllowed"),
        }
    }

    fn begin(&mut self, path: &str) -> Vec<u8> {
        self.begun += 1;
        self.log.push("begin".into());
        let id = format!("up/{}+&=", self.begun);
        self.uploads.insert(id.clone(), Upload { path: path.to_owned(), parts: BTreeMap::new() });
        let id = id.replace('&', "&amp;");
        answer(
            200,
            "",
            &format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ),
        )
    }

    fn complete(&mut self, id: &str, path: &str, list: &str) -> Vec<u8> {
        self.log.push("complete".into());
        let Some(upload) = self.uploads.get(id) else { return error(404, "NoSuchUpload") };
        let (mut content, mut last) = (Vec::new(), None);
        let listed: Vec<&str> = list.split("<Part>").skip(1).collect();
        for (position, part) in listed.iter().enumerate() {
            let between = |from: &str, to: &str| {
                part.split_once(from)
                    .and_then(|(_, rest)| rest.split_once(to))
                    .map(|(text, _)| text.to_owned())
            };
            let number: u32 = between("<PartNumber>", "<").expect("a number").parse().expect("a number");
            let etag = between("<ETag>", "<").expect("an ETag").replace("&quot;", "\"");
            if last.is_some_and(|last| last >= number) {
                return error(400, "InvalidPartOrder");
            }
            last = Some(number);
            let Some((_, octets)) = upload.parts.get(&number).filter(|(known, _)| *known == etag) else {
                return error(400, "InvalidPart");
            };
            if octets.len() < MIN_PART && position + 1 < listed.len() {
                return error(400, "EntityTooSmall");
            }
            content.extend_from_slice(octets);
        }
        self.objects.insert(path.to_owned(), content);
        self.uploads.remove(id);
        answer(200, "", "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")
    }
}
