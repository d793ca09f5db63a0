//! Single jobs: what each target gets, and how often it is tried.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use media_store::sink::http::{Body, Piece};

use super::{Content, Delivery, MAX_DELIVERING, notification};
use crate::recording::{Output, Recording, Target};

/// Longest wait between repetitions.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done; the address of the content at the target, if it has one.
    Done(String),
    /// Given up.
    Refused(String),
    /// Not now; the state file remembers.
    Parked,
}

/// Where the content of an output comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin<'a> {
    File(&'a Path),
    Memory(&'a Bytes),
}

impl Origin<'_> {
    fn pieces(&self) -> std::io::Result<Vec<Piece>> {
        Ok(vec![match self {
            Origin::File(path) => {
                Piece::File { path: (*path).to_owned(), offset: 0, octets: std::fs::metadata(path)?.len() }
            }
            Origin::Memory(octets) => Piece::Memory((*octets).clone()),
        }])
    }
}

impl Delivery {
    /// Tries until it works, at most `notify-retries` times more.
    pub(super) async fn with_retries<F>(
        &self,
        target: Target,
        name: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<String, String>>,
    {
        let mut wait = self.notify.retry_delay;
        let mut stopping = self.stopping.clone();
        for retry in 0.. {
            let Ok(permit) = self.permits.acquire().await else { return Outcome::Parked };
            let error = match attempt().await {
                Ok(address) => return Outcome::Done(address),
                Err(error) => error,
            };
            drop(permit);
            let what = target.as_str();
            if retry >= self.notify.retries {
                tracing::error!(
                    "Failure while sending {what} for '{name}' after {retry} retries: {error}. Giving up"
                );
                return Outcome::Refused(error);
            }
            if self.delivering.load(Relaxed) > MAX_DELIVERING {
                return Outcome::Parked;
            }
            let next = retry + 1;
            tracing::warn!(
                "Failure while sending {what} for '{name}': {error}. Will retry in {} seconds (#{next})",
                wait.as_secs_f32()
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => return Outcome::Parked,
            }
            wait = (wait * 2).min(MAX_WAIT);
        }
        Outcome::Parked
    }

    /// HTTP.
    pub(super) async fn notify(
        &self,
        recording: &Recording,
        output: &Output,
        rows: (Option<i64>, Option<i64>),
        origin: &Origin<'_>,
    ) -> Result<String, String> {
        let content = if self.storages.notify { Some(origin.pieces().map_err(text)?) } else { None };
        let uri = self.notify.uri.as_deref().unwrap_or_default();
        let request =
            notification::request(uri, &self.notify, self.verification, recording, output, rows, content);
        media_store::sink::http::send(request).await.map(|_| String::new()).map_err(text)
    }

    /// A program; success is that it could be started.
    pub(super) fn command(&self, output: &Output, row: Option<i64>) -> Result<String, String> {
        let Some(command) = &self.notify.command else { return Ok(String::new()) };
        let file = if self.storages.file { output.path.as_os_str() } else { "".as_ref() };
        let child = Command::new(command)
            .arg(file)
            .arg(row.unwrap_or(0).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.display()))?;
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        Ok(String::new())
    }

    /// S3.
    pub(super) async fn upload_to_s3(&self, output: &Output, origin: &Origin<'_>) -> Result<String, String> {
        let Some(store) = &self.s3 else { return Ok(String::new()) };
        let sha256 = output.sha256.as_deref().ok_or("the checksum is not known")?;
        let body = Body { pieces: origin.pieces().map_err(text)? };
        store.put(&object_name(output), body, sha256).await.map_err(text)
    }

    /// Google storage.
    pub(super) async fn upload_to_gcs(&self, output: &Output, origin: &Origin<'_>) -> Result<String, String> {
        let Some(store) = &self.gcs else { return Ok(String::new()) };
        let body = Body { pieces: origin.pieces().map_err(text)? };
        store.put(&object_name(output), body).await.map_err(text)
    }
}

impl Content {
    /// Memory, if it is all there.
    pub(super) fn octets(&self) -> Option<&Bytes> {
        match self {
            Content::InMemory(octets) => Some(octets),
            Content::Unwritten(_) => None,
        }
    }
}

pub(super) fn object_name(output: &Output) -> String {
    output.name.trim_start_matches('/').to_owned()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
