//! Google storage: one POST for each object, as a service account or with an API key. As a service account, objects can also be stored in
//! parts ([`super::multipart`]) by the bucket's XML interface, whose address follows from that of the bucket.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::http::{self, Body, HttpError, HttpMethod, Outgoing, Reply, Verification};
use super::s3::{encode_path, encode_query};

/// How long a token is asked for, and how long before its end it is not used any more.
const TOKEN_LIFE: u64 = 3600;
const TOKEN_RESERVE: Duration = Duration::from_secs(60);

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcsError {
    /// The store, or the server that gives tokens.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The service account's file is not usable.
    #[error("service account '{path}': {reason}")]
    Account {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A server's answer makes no sense.
    #[error("the answer of the token server is not valid")]
    Token,
    /// This bucket's address does not tell where its XML interface is, or there is no service account.
    #[error("objects cannot be stored in parts there")]
    NoParts,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An API key.
    Key(String),
    /// A service account, by its JSON file.
    Account(PathBuf),
}

/// A bucket. Keeps its token, if it needs one.
#[derive(Debug)]
pub struct GcsStore {
    uri: String,
    identity: Identity,
    scope: String,
    verification: Verification,
    link: Link,
    token: Mutex<Option<(String, Instant)>>,
}

/// Which address of an object is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// `selfLink`
    Own,
    /// `mediaLink`
    Media,
}

#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<u64>,
}

impl GcsStore {
    /// `uri` is the upload address of the bucket.
    pub fn new(
        uri: String,
        identity: Identity,
        scope: String,
        verification: Verification,
        link: Link,
    ) -> Self {
        Self { uri, identity, scope, verification, link, token: Mutex::new(None) }
    }

    /// Stores an object; gives its address.
    ///
    /// # Errors
    /// When there is no token, the store cannot be reached or refuses.
    pub async fn put(&self, name: &str, body: Body) -> Result<String, GcsError> {
        let encoded = encode_path(name).replace('/', "%2F");
        let mut uri = format!("{}?name={encoded}&uploadType=media", self.uri);
        let mut headers = vec![("content-type".to_owned(), "application/data".to_owned())];
        match &self.identity {
            Identity::Key(key) => {
                uri.push_str("&key=");
                uri.push_str(&encode_path(key).replace('/', "%2F"));
            }
            Identity::Account(path) => {
                let token = self.token(path).await?;
                headers.push(("authorization".into(), format!("Bearer {token}")));
            }
        }
        let verification = self.verification;
        let sent = http::send(Outgoing { method: HttpMethod::POST, uri, headers, body, verification }).await;
        if matches!(&sent, Err(HttpError::Status(status)) if *status == 401) {
            *self.token.lock().await = None;
        }
        Ok(self.told_address(name, &sent?))
    }

    /// Whether objects can be stored in parts: there is a service account, and the bucket's address is of the form
    /// `https://…/upload/storage/v1/b/<bucket>/o`.
    pub fn takes_parts(&self) -> bool {
        matches!(self.identity, Identity::Account(_)) && self.bucket().is_some()
    }

    /// Server and bucket.
    fn bucket(&self) -> Option<(&str, &str)> {
        let (server, rest) = self.uri.split_once("/upload/storage/v1/b/")?;
        let bucket = rest.strip_suffix("/o").filter(|bucket| !bucket.is_empty() && !bucket.contains('/'))?;
        Some((server, bucket))
    }

    /// A request about an object in the XML interface.
    pub(super) async fn send_xml(
        &self,
        method: HttpMethod,
        name: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Reply, GcsError> {
        let (server, bucket) = self.bucket().ok_or(GcsError::NoParts)?;
        let uri = format!("{server}/{bucket}/{}?{}", encode_path(name), encode_query(query));
        self.send_authorized(method, uri, body).await
    }

    /// What the store says where an object is.
    pub(super) async fn stored_address(&self, name: &str) -> Result<String, GcsError> {
        let (server, bucket) = self.bucket().ok_or(GcsError::NoParts)?;
        let encoded = encode_path(name).replace('/', "%2F");
        let uri = format!("{server}/storage/v1/b/{bucket}/o/{encoded}");
        let reply = self.send_authorized(HttpMethod::GET, uri, Body::default()).await?;
        Ok(self.told_address(name, &reply.body))
    }

    async fn send_authorized(&self, method: HttpMethod, uri: String, body: Body) -> Result<Reply, GcsError> {
        let Identity::Account(path) = &self.identity else { return Err(GcsError::NoParts) };
        let token = self.token(path).await?;
        let headers = vec![
            ("content-type".to_owned(), "application/data".to_owned()),
            ("authorization".to_owned(), format!("Bearer {token}")),
        ];
        let verification = self.verification;
        let sent = http::exchange(Outgoing { method, uri, headers, body, verification }).await;
        if matches!(&sent, Err(HttpError::Status(status)) if *status == 401) {
            *self.token.lock().await = None;
        }
        Ok(sent?)
    }

    fn told_address(&self, name: &str, answer: &[u8]) -> String {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
        let link = match self.link {
            Link::Own => "selfLink",
            Link::Media => "mediaLink",
        };
        let told = answer.get(link).and_then(serde_json::Value::as_str);
        told.map_or_else(|| format!("{}/{name}", self.uri), str::to_owned)
    }

    async fn token(&self, path: &PathBuf) -> Result<String, GcsError> {
        let mut kept = self.token.lock().await;
        if let Some((token, _)) = kept.as_ref().filter(|(_, until)| *until > Instant::now()) {
            return Ok(token.clone());
        }
        let fail = |reason: String| GcsError::Account { path: path.clone(), reason };
        let text = tokio::fs::read(path).await.map_err(|error| fail(error.to_string()))?;
        let account: Account = serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
        let assertion = assertion(&account, &self.scope, SystemTime::now()).map_err(fail)?;
        let form =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = Outgoing {
            method: HttpMethod::POST,
            uri: account.token_uri,
            headers: vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
            body: form.into_bytes().into(),
            verification: self.verification,
        };
        let answer = http::send(request).await?;
        let token: Token = serde_json::from_slice(&answer).map_err(|_| GcsError::Token)?;
        let life = Duration::from_secs(token.expires_in.unwrap_or(TOKEN_LIFE)).saturating_sub(TOKEN_RESERVE);
        *kept = Some((token.access_token.clone(), Instant::now() + life));
        Ok(token.access_token)
    }
}

/// A JSON web token that the account signs (RFC 7519, RS256).
fn assertion(account: &Account, scope: &str, now: SystemTime) -> Result<String, String> {
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = serde_json::json!({
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + TOKEN_LIFE,
    });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let mut token = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.as_bytes())
        .map_err(|error| error.to_string())?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|error| error.to_string())?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|error| error.to_string())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}
