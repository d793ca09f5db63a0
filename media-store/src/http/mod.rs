//! Media by URL, as far as they are allowed. Bounded in time, size and redirections; every redirection must be allowed, too.

mod rules;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::{StatusCode, Uri};
use tokio::time::{sleep, timeout};

pub use rules::{InvalidRule, UrlRules};

use crate::fetch::{Fetcher, Remote, Unanswered};
use crate::sink::http::{self as client, Body, HttpMethod, Outgoing, Reception, Verification};

/// What a client is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// What may be fetched.
    pub allowed: UrlRules,
    /// One attempt.
    pub attempt: Duration,
    /// All attempts for one medium.
    pub fetch: Duration,
    /// Octets of the longest medium.
    pub largest: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed: UrlRules::Any,
            attempt: Duration::from_secs(8),
            fetch: Duration::from_secs(10),
            largest: 64 << 20,
        }
    }
}

/// Why there is no medium.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// It cannot be parsed, or is for another protocol.
    #[error("not an HTTP URL: {0}")]
    Url(String),
    /// [`HttpSettings::allowed`] does not have it.
    #[error("media from this URL are not allowed")]
    Forbidden,
    /// The server has none, or does not give it away.
    #[error("the server says {0}")]
    Status(u16),
    /// Redirected to where it is not allowed.
    #[error("redirected to a URL that is not allowed")]
    Redirect,
    /// Longer than [`HttpSettings::largest`], or broken off.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The server sent nothing.
    #[error("the server sent nothing")]
    NoData,
    /// Connections fail or break.
    #[error("not reachable after {attempts} attempts: {reason}")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// Words of the last failure.
        reason: String,
    },
    /// There is no thread.
    #[error("no HTTP client: {0}")]
    NoClient(String),
    /// No answer in time, or too many requests.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Result of a request.
type Fetched = Result<Arc<[u8]>, HttpError>;

/// Attempts at one medium.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubled for the next one.
const PAUSE: Duration = Duration::from_millis(100);
/// Redirections that are followed.
const MAX_REDIRECTIONS: usize = 3;

/// A client. Its thread begins with the first URL, and ends when this is dropped.
pub struct Http {
    settings: HttpSettings,
    fetcher: OnceLock<Result<Fetcher<Client>, String>>,
}

impl Http {
    /// Nothing happens before the first fetch.
    pub fn new(settings: HttpSettings) -> Self {
        Self { settings, fetcher: OnceLock::new() }
    }

    /// The medium at a URL. Blocks, up to [`HttpSettings::fetch`].
    pub fn fetch(&self, url: &str) -> Fetched {
        let uri: Uri = url.parse().map_err(|_| HttpError::Url(without_password(url)))?;
        if !self.settings.allowed.allow(&uri) {
            return Err(HttpError::Forbidden);
        }
        let fetcher = self.fetcher.get_or_init(|| {
            let settings = self.settings.clone();
            let started = Fetcher::start("media-http", self.settings.fetch, move || Client { settings });
            started.map_err(|error| error.to_string())
        });
        fetcher.as_ref().map_err(|error| HttpError::NoClient(error.clone()))?.fetch(uri)
    }
}

/// Whether the name of a file is a URL.
pub fn is_url(name: &str) -> bool {
    let scheme = name.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// A name as it may be shown.
pub fn without_password(name: &str) -> String {
    let hidden = || {
        let (scheme, rest) = name.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        let (user_name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user_name}{}", &rest[user.len()..]))
    };
    hidden().unwrap_or_else(|| name.to_owned())
}

/// What the thread works with.
struct Client {
    settings: HttpSettings,
}

/// One attempt's failure.
enum Failure {
    /// Another attempt may help.
    Connection(String),
    Final(HttpError),
}

impl Remote for Client {
    type Key = Uri;
    type Error = HttpError;

    async fn ask(&self, url: Uri) -> Fetched {
        let mut pause = PAUSE;
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(pause).await;
                pause *= 2;
            }
            match timeout(self.settings.attempt, self.get(&url)).await {
                Ok(Ok(octets)) => return Ok(octets),
                Ok(Err(Failure::Final(error))) => return Err(error),
                Ok(Err(Failure::Connection(error))) => reason = error,
                Err(_) => reason = format!("no answer within {} s", self.settings.attempt.as_secs_f32()),
            }
        }
        Err(HttpError::Unreachable { attempts: ATTEMPTS, reason })
    }
}

impl Client {
    async fn get(&self, url: &Uri) -> Result<Arc<[u8]>, Failure> {
        let credentials = credentials(url);
        // Where the user name goes, nobody else may look.
        let stays = credentials.is_some();
        let request = Outgoing {
            method: HttpMethod::GET,
            uri: url.to_string(),
            headers: credentials.into_iter().collect(),
            body: Body::default(),
            verification: Verification::Full,
        };
        let reception = Reception {
            largest: self.settings.largest,
            redirects: MAX_REDIRECTIONS,
            may_lead_to: &|to| self.settings.allowed.allow(to) && (!stays || to.host() == url.host()),
        };
        match client::send_within(request, reception).await {
            Ok(octets) if octets.is_empty() => Err(Failure::Final(HttpError::NoData)),
            Ok(octets) => Ok(octets[..].into()),
            Err(error) => Err(failure(error)),
        }
    }
}

/// RFC 7617.
fn credentials(url: &Uri) -> Option<(String, String)> {
    let (user, _) = url.authority()?.as_str().rsplit_once('@')?;
    Some(("Authorization".into(), format!("Basic {}", BASE64_STANDARD.encode(user))))
}

fn failure(error: client::HttpError) -> Failure {
    match error {
        client::HttpError::Status(status)
            if status.is_server_error() && status != StatusCode::LOOP_DETECTED
                || status == StatusCode::TOO_MANY_REQUESTS =>
        {
            Failure::Connection(HttpError::Status(status.as_u16()).to_string())
        }
        client::HttpError::Status(status) => Failure::Final(HttpError::Status(status.as_u16())),
        client::HttpError::Redirect => Failure::Final(HttpError::Redirect),
        client::HttpError::Answer(reason) => Failure::Final(HttpError::Answer(reason)),
        other => Failure::Connection(other.to_string()),
    }
}
