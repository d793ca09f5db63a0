//! What a request asks for: method, path and content type → [`Route`].

use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};

/// A request that is understood, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// GET `/ping`
    Ping,
    /// GET `/metrics`
    Metrics,
    /// GET `/cli/…`: the command line.
    Command(String),
    /// OPTIONS: may a script of another origin do this?
    Preflight,
    /// A request with a body.
    Post(Post),
    /// GET `/admin/…`: the rest of the path.
    JanusInfo(String),
    /// Something that does not exist.
    NotFound,
    /// POST without content type or length: closed without answer.
    Drop,
}

/// What a body is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// `/ng`: cookie and dictionary.
    Ng,
    /// `/ng-plain`: dictionary only; the answer has the same content type.
    NgPlain(ContentType),
    /// `/cli`: a command line.
    Cli,
    /// `/janus…`, `/admin`: session and handle from the path.
    Janus {
        /// Of `/janus/<session>`.
        session: Option<u64>,
        /// Of `/janus/<session>/<handle>`.
        handle: Option<u64>,
    },
}

/// Content types that the daemon knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/x-rtpengine-ng`
    Ng,
    /// `text/plain`
    Text,
}

impl ContentType {
    /// As it stands in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Ng => "application/x-rtpengine-ng",
            ContentType::Text => "text/plain",
        }
    }

    /// Upper and lower case do not matter, parameters neither.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let name = header.split(';').next().unwrap_or_default().trim();
        [ContentType::Json, ContentType::Ng, ContentType::Text]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

/// Finds out what a request asks for.
pub fn route(method: &Method, path: &str, headers: &HeaderMap) -> Route {
    match *method {
        Method::OPTIONS => Route::Preflight,
        Method::GET => get(path),
        Method::POST if !headers.contains_key(CONTENT_TYPE) || !headers.contains_key(CONTENT_LENGTH) => {
            Route::Drop
        }
        Method::POST => post(path, ContentType::of(headers)).map_or(Route::NotFound, Route::Post),
        _ => Route::NotFound,
    }
}

fn get(path: &str) -> Route {
    match path {
        "/ping" => Route::Ping,
        "/metrics" => Route::Metrics,
        _ => {
            if let Some(command) = path.strip_prefix("/cli/") {
                command_line(command).map_or(Route::NotFound, Route::Command)
            } else if let Some(rest) = path.strip_prefix("/admin/") {
                Route::JanusInfo(rest.to_owned())
            } else {
                Route::NotFound
            }
        }
    }
}

fn post(path: &str, content_type: Option<ContentType>) -> Option<Post> {
    match (path, content_type?) {
        ("/ng", ContentType::Ng) => Some(Post::Ng),
        ("/ng-plain", ContentType::Ng) => Some(Post::NgPlain(ContentType::Ng)),
        ("/ng-plain", ContentType::Json) => Some(Post::NgPlain(ContentType::Json)),
        ("/cli", ContentType::Text) => Some(Post::Cli),
        (path, ContentType::Json) => janus(path),
        _ => None,
    }
}

/// `/janus`, `/janus/<session>`, `/janus/<session>/<handle>`, `/admin`; what else stands there is not looked at.
fn janus(path: &str) -> Option<Post> {
    let mut parts = path.strip_prefix('/')?.split('/');
    match parts.next()? {
        "admin" => Some(Post::Janus { session: None, handle: None }),
        "janus" => {
            let mut number = || parts.next().and_then(|part| part.parse().ok());
            Some(Post::Janus { session: number(), handle: number() })
        }
        _ => None,
    }
}

/// Words are joined by `+` or `/`, other characters may be percent-encoded; `None` unless it is text in the end.
fn command_line(encoded: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut octets = encoded.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' | b'/' => b' ',
            b'%' => {
                let mut digit = || octets.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: Option<&str>, length: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().expect("a header"));
        }
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn paths_and_content_types_must_fit_together() {
        const NG: &str = "application/x-rtpengine-ng";
        const JSON: &str = "application/json";
        let janus = |session, handle| Some(Post::Janus { session, handle });
        let cases: &[(&str, &str, Option<Post>)] = &[
            ("/ng", NG, Some(Post::Ng)),
            ("/ng", "Application/X-RTPENGINE-ng; charset=utf-8", Some(Post::Ng)),
            ("/ng", JSON, None),
            ("/ng/x", NG, None),
            ("/ng-plain", JSON, Some(Post::NgPlain(ContentType::Json))),
            ("/ng-plain", NG, Some(Post::NgPlain(ContentType::Ng))),
            ("/ng-plain", "text/html", None),
            ("/ng-plain", "text/plain", None),
            ("/cli", "text/plain", Some(Post::Cli)),
            ("/cli", JSON, None),
            ("/cli/list", "text/plain", None),
            ("/ping", "text/plain", None),
            ("/janus", JSON, janus(None, None)),
            ("/janus/5", JSON, janus(Some(5), None)),
            ("/janus/5/18446744073709551615", JSON, janus(Some(5), Some(u64::MAX))),
            ("/janus/x/7", JSON, janus(None, Some(7))),
            ("/janus", "text/plain", None),
            ("/januss", JSON, None),
            ("/admin", JSON, janus(None, None)),
            ("/", JSON, None),
            ("*", JSON, None),
        ];
        for (path, content_type, expected) in cases {
            let found = route(&Method::POST, path, &headers(Some(content_type), Some("2")));
            let expected = expected.clone().map_or(Route::NotFound, Route::Post);
            assert_eq!(found, expected, "{path} {content_type}");
        }
    }

    #[test]
    fn bodies_need_a_type_and_a_length() {
        for (content_type, length) in [(None, Some("2")), (Some("application/json"), None), (None, None)] {
            let found = route(&Method::POST, "/ng-plain", &headers(content_type, length));
            assert_eq!(found, Route::Drop, "{content_type:?} {length:?}");
        }
    }

    #[test]
    fn what_is_fetched_depends_on_the_path() {
        let command = |text: &str| Route::Command(text.into());
        let cases: &[(&str, Route)] = &[
            ("/ping", Route::Ping),
            ("/ping/", Route::NotFound),
            ("/metrics", Route::Metrics),
            ("/cli", Route::NotFound),
            ("/cli/", command("")),
            ("/cli/list+numsessions", command("list numsessions")),
            ("/cli/list/numsessions", command("list numsessions")),
            ("/cli/list%20sessions+%c3%a4%2B", command("list sessions ä+")),
            ("/cli/%", Route::NotFound),
            ("/cli/%4", Route::NotFound),
            ("/cli/%zz", Route::NotFound),
            ("/cli/%ff", Route::NotFound),
            ("/admin/info", Route::JanusInfo("info".into())),
            ("/admin", Route::NotFound),
            ("/ng", Route::NotFound),
            ("/", Route::NotFound),
        ];
        for (path, expected) in cases {
            assert_eq!(route(&Method::GET, path, &HeaderMap::new()), *expected, "{path}");
        }
    }

    #[test]
    fn other_methods_find_nothing() {
        assert_eq!(route(&Method::OPTIONS, "/any", &HeaderMap::new()), Route::Preflight);
        for method in [Method::PUT, Method::DELETE, Method::HEAD, Method::PATCH] {
            assert_eq!(route(&method, "/ping", &HeaderMap::new()), Route::NotFound, "{method}");
        }
    }
}
