//! Objects that are stored in parts, while their content is still being made: the multipart interface of S3, which Google storage has as
//! well (its XML interface). Parts may come in any order, and a part that comes again replaces the former one; so what stands at the
//! beginning of a file and changes until its end can come last.
//!
//! An upload that was begun costs money until it is completed or aborted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::gcs::{GcsError, GcsStore};
use super::http::{Body, HttpError, HttpMethod, Reply};
use super::s3::S3Store;

/// Least octets of every part but the last one.
pub const MIN_PART: u64 = 5 << 20;
/// Most parts of an object.
pub const MAX_PARTS: u32 = 10_000;

/// A store that takes parts.
#[derive(Clone, Copy, Debug)]
pub enum PartStore<'a> {
    /// S3 and what is compatible with it.
    S3(&'a S3Store),
    /// Google storage.
    Gcs(&'a GcsStore),
}

/// An upload that was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The store's name for it.
    pub id: String,
    /// What is there, by number from 1.
    pub parts: BTreeMap<u32, Part>,
}

/// A part that the store has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What the store calls it.
    pub etag: String,
    /// Checksum of the content in hexadecimal.
    pub sha256: String,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MultipartError {
    /// The store cannot be reached or refuses.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The same of Google storage.
    #[error(transparent)]
    Gcs(#[from] GcsError),
    /// The store knows nothing of this upload: it was completed, aborted, or has expired.
    #[error("the store does not know the upload any more")]
    Gone,
    /// Its answer makes no sense, or tells of an error after all.
    #[error("the store answered: {0}")]
    Answer(String),
}

impl MultipartError {
    fn from_store(error: GcsError) -> Self {
        match error {
            GcsError::Http(HttpError::Status(StatusCode::NOT_FOUND)) => MultipartError::Gone,
            other => other.into(),
        }
    }
}

impl PartStore<'_> {
    /// Begins an upload.
    ///
    /// # Errors
    /// When the store cannot be reached, refuses, or does not know uploads in parts.
    pub async fn begin(&self, name: &str) -> Result<Upload, MultipartError> {
        let reply =
            self.send(HttpMethod::POST, name, &[("uploads", "")], Body::default(), EMPTY_SHA256).await?;
        let id = element(&reply, "UploadId").ok_or_else(|| answer(&reply))?;
        Ok(Upload { id, parts: BTreeMap::new() })
    }

    /// Stores a part and enters it. `sha256` is that of the body, in hexadecimal.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses; [`MultipartError::Gone`] when the upload is to be begun again.
    pub async fn put_part(
        &self,
        name: &str,
        upload: &mut Upload,
        number: u32,
        body: Body,
        sha256: &str,
    ) -> Result<(), MultipartError> {
        let decimal = number.to_string();
        let query = [("partNumber", decimal.as_str()), ("uploadId", upload.id.as_str())];
        let reply = self.send(HttpMethod::PUT, name, &query, body, sha256).await?;
        let etag =
            reply.headers.get("etag").and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
        let etag = etag.ok_or_else(|| MultipartError::Answer("a part without an ETag".into()))?.to_owned();
        upload.parts.insert(number, Part { etag, sha256: sha256.to_owned() });
        Ok(())
    }

    /// Makes an object of the first `count` parts.
    ///
    /// # Errors
    /// As [`Self::put_part`]. Stores may say so late, after a status that promises success.
    pub async fn complete(&self, name: &str, upload: &Upload, count: u32) -> Result<(), MultipartError> {
        let text = completion(upload, count);
        let sha256 = super::s3::sha256(text.as_bytes());
        let body = Body::from(text.into_bytes());
        let reply = self.send(HttpMethod::POST, name, &[("uploadId", &upload.id)], body, &sha256).await?;
        match element(&reply, "Code") {
            Some(code) if code == "NoSuchUpload" => Err(MultipartError::Gone),
            Some(_) => Err(answer(&reply)),
            None => Ok(()),
        }
    }

    /// Forgets the upload with all its parts. One that the store does not know is fine.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn abort(&self, name: &str, upload: &Upload) -> Result<(), MultipartError> {
        let query = [("uploadId", upload.id.as_str())];
        match self.send(HttpMethod::DELETE, name, &query, Body::default(), EMPTY_SHA256).await {
            Ok(_) | Err(MultipartError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The address of a stored object.
    ///
    /// # Errors
    /// When the store has to be asked and does not answer.
    pub async fn address(&self, name: &str) -> Result<String, MultipartError> {
        match self {
            PartStore::S3(store) => Ok(store.address(name)),
            PartStore::Gcs(store) => store.stored_address(name).await.map_err(MultipartError::from_store),
        }
    }

    async fn send(
        &self,
        method: HttpMethod,
        name: &str,
        query: &[(&str, &str)],
        body: Body,
        sha256: &str,
    ) -> Result<Reply, MultipartError> {
        match self {
            PartStore::S3(store) => match store.send(method, name, query, body, sha256).await {
                Err(HttpError::Status(StatusCode::NOT_FOUND)) => Err(MultipartError::Gone),
                other => Ok(other?),
            },
            PartStore::Gcs(store) => {
                store.send_xml(method, name, query, body).await.map_err(MultipartError::from_store)
            }
        }
    }
}

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn completion(upload: &Upload, count: u32) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for (number, part) in upload.parts.range(..=count) {
        let etag =
            part.etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        let _ = write!(text, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// Text of the first element of that name, which has no attributes.
fn element(reply: &Reply, name: &str) -> Option<String> {
    let text = std::str::from_utf8(&reply.body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let content = content.trim();
    let plain =
        content.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    (!content.is_empty()).then(|| plain.replace("&amp;", "&"))
}

fn answer(reply: &Reply) -> MultipartError {
    let text = String::from_utf8_lossy(&reply.body);
    MultipartError::Answer(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply { headers: hyper::HeaderMap::new(), body: text.to_owned().into() }
    }

    #[test]
    fn elements_are_found_wherever_they_stand() {
        for (text, expected) in [
            (
                "<?xml?><InitiateMultipartUploadResult xmlns=\"x\">\n <UploadId>a&amp;b</UploadId></InitiateMultipartUploadResult>",
                Some("a&b"),
            ),
            ("<UploadId> 2~x </UploadId>", Some("2~x")),
            ("<UploadId></UploadId>", None),
            ("<UploadId>x", None),
            ("", None),
        ] {
            assert_eq!(element(&reply(text), "UploadId").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_completion_lists_parts_in_order_and_none_beyond_the_end() {
        let part = |etag: &str| Part { etag: etag.into(), sha256: String::new() };
        let parts = BTreeMap::from([(2, part("\"b\"")), (1, part("<a>")), (3, part("c"))]);
        assert_eq!(
            completion(&Upload { id: "u".into(), parts }, 2),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&lt;a&gt;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part></CompleteMultipartUpload>"
        );
    }
}
