//! Answers of the HTTP door.

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HeaderValue,
};
use hyper::{Response, StatusCode};

use super::route::ContentType;

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// 200 with a body.
pub fn ok(content_type: ContentType, body: impl Into<Bytes>) -> Answer {
    let mut answer = empty();
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type.as_str()));
    *answer.body_mut() = Full::new(body.into());
    answer
}

/// 200 with nothing. Scripts of any origin may read every answer.
pub fn empty() -> Answer {
    let mut answer = Answer::default();
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    answer
}

/// Nothing is there.
pub fn not_found() -> Answer {
    with_status(StatusCode::NOT_FOUND, "not found\n")
}

/// The body is longer than the daemon reads.
pub fn too_large() -> Answer {
    with_status(StatusCode::PAYLOAD_TOO_LARGE, "too large\n")
}

/// The body has no cookie, or the request has no reply. The historical status 600 has no name.
pub fn no_reply() -> Answer {
    let status = StatusCode::from_u16(600).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = with_status(status, "error\n");
    answer.extensions_mut().insert(ReasonPhrase::from_static(b"Error"));
    answer
}

fn with_status(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = ok(ContentType::Text, body);
    *answer.status_mut() = status;
    answer
}
