//! Uploads that go on while the call does: of each output that is a file, the parts that will not change any more are stored as soon as
//! they are there. What stands at the beginning (the header) goes last, when the output is complete; then every part is compared with the
//! file by its checksum, and one that has changed after all is stored again.
//!
//! What has been stored is kept beside the state of the recording (`.state/<id>.uploads`), so that the next run goes on with it after this
//! one was killed. An upload whose output is thrown away is aborted.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use media_store::sink::http::{Body, Piece};
use media_store::sink::multipart::{MAX_PARTS, MultipartError, PartStore, Upload};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use super::jobs::{Outcome, object_name};
use super::{Delivery, Snapshot};
use crate::recording::{Output, OutputMedium, OutputState, Target};
use crate::resume;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The last seconds of a mix can still change.
const UNSETTLED_SECONDS: u64 = 5;
/// The last octets of an encoded file, at least.
const UNSETTLED_OCTETS: u64 = 64 << 10;

/// The uploads of one recording.
pub(super) struct Uploads {
    delivery: Arc<Delivery>,
    path: PathBuf,
    /// Whoever holds it is the only one to store parts of this recording. Taken after a permit, never before.
    kept: Mutex<Vec<Kept>>,
}

/// One upload, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Position among the recording's outputs.
    output: usize,
    target: Target,
    /// Name of the object.
    name: String,
    /// Octets of each part.
    part_octets: u64,
    upload: Upload,
}

impl Uploads {
    /// Those that an earlier run has begun, or none yet. `None` when outputs are not uploaded in parts.
    pub fn open(delivery: &Arc<Delivery>, recording_id: &str) -> Option<Arc<Self>> {
        delivery.part_stores().next()?;
        let path = resume::path(&delivery.output_dir, recording_id).with_extension("uploads");
        let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let kept = Mutex::new(kept.unwrap_or_default());
        Some(Arc::new(Self { delivery: Arc::clone(delivery), path, kept }))
    }

    /// Stores what is settled until the recording has ended.
    pub async fn follow(self: Arc<Self>, newest: watch::Receiver<Snapshot>) {
        let mut wait = INTERVAL;
        let mut stopping = self.delivery.stopping.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            // Its sender is gone when the worker is.
            if newest.has_changed().is_err() {
                return;
            }
            match self.advance(&newest).await {
                Ok(()) => wait = INTERVAL,
                Err(error) => {
                    wait = (wait * 2).min(MAX_WAIT);
                    tracing::warn!(limit = true, "Uploading while the call goes on does not work: {error}");
                }
            }
        }
    }

    /// Stores one part after the other; the lock is given up in between.
    async fn advance(&self, newest: &watch::Receiver<Snapshot>) -> Result<(), MultipartError> {
        for (target, store) in self.delivery.part_stores() {
            let count = newest.borrow().recording.outputs.len();
            for index in 0..count {
                // Nobody waits for a permit who has nothing to store.
                while self.due(&self.kept.lock().await, index, target, newest).is_some() {
                    let Ok(_permit) = self.delivery.permits.acquire().await else { return Ok(()) };
                    let mut kept = self.kept.lock().await;
                    let Some((output, number)) = self.due(&kept, index, target, newest) else { break };
                    let place = self.place(&mut kept, index, target, &store, &output).await?;
                    let Some(entry) = kept.get_mut(place) else { break };
                    let stored = put(&store, entry, &output.path, number).await;
                    if matches!(stored, Err(MultipartError::Gone)) {
                        kept.remove(place);
                    }
                    self.save(&kept);
                    stored?;
                }
            }
        }
        Ok(())
    }

    /// An output of a call that goes on, and its next part that is settled and not stored. Number 1 has the header.
    fn due(
        &self,
        kept: &[Kept],
        index: usize,
        target: Target,
        newest: &watch::Receiver<Snapshot>,
    ) -> Option<(Output, u32)> {
        let output = {
            let snapshot = newest.borrow();
            let is_over = snapshot.recording.ending.is_some();
            snapshot
                .recording
                .outputs
                .get(index)
                .filter(|output| !is_over && is_growing_file(output))
                .cloned()?
        };
        let entry = kept.iter().find(|kept| kept.output == index && kept.target == target);
        let part = entry.map_or(self.delivery.part_octets, |entry| entry.part_octets);
        let next =
            1 + entry.and_then(|entry| entry.upload.parts.last_key_value()).map_or(1, |(last, _)| *last);
        let length = std::fs::metadata(&output.path).ok()?.len();
        let unsettled = if output.format == "wav" {
            UNSETTLED_SECONDS * u64::from(output.sample_rate) * u64::from(output.channels) * 2
        } else {
            UNSETTLED_OCTETS
        };
        let end = u64::from(next).checked_mul(part)?.checked_add(unsettled)?;
        (end <= length && next < MAX_PARTS).then_some((output, next))
    }

    /// Where the upload of an output is kept; begins it.
    async fn place(
        &self,
        kept: &mut Vec<Kept>,
        index: usize,
        target: Target,
        store: &PartStore<'_>,
        output: &Output,
    ) -> Result<usize, MultipartError> {
        let known = kept.iter().position(|kept| kept.output == index && kept.target == target);
        if let Some(place) = known {
            return Ok(place);
        }
        let name = object_name(output);
        let upload = store.begin(&name).await?;
        kept.push(Kept { output: index, target, name, part_octets: self.delivery.part_octets, upload });
        self.save(kept);
        Ok(kept.len() - 1)
    }

    /// Completes the upload of an output that is complete, or goes on with that; gives its address. `None`: there is none, it can be stored
    /// whole.
    pub async fn complete(
        &self,
        index: usize,
        target: Target,
        output: &Output,
    ) -> Result<Option<String>, String> {
        let Some((_, store)) = self.delivery.part_stores().find(|(of, _)| *of == target) else {
            return Ok(None);
        };
        let mut kept = self.kept.lock().await;
        let Some(place) = kept.iter().position(|kept| kept.output == index && kept.target == target) else {
            return Ok(None);
        };
        let Some(entry) = kept.get(place) else { return Ok(None) };
        if entry.name != object_name(output) {
            // The file got another name after all.
            store.abort(&entry.name, &entry.upload).await.map_err(|error| error.to_string())?;
            kept.remove(place);
            self.save(&kept);
            return Ok(None);
        }
        let sums =
            sums_of(output.path.clone(), entry.part_octets).await.map_err(|error| error.to_string())?;
        // The header last: as long as it is missing, nobody can take the object for complete.
        let order = (2..=sums.len()).chain([1]);
        for number in order.map(|number| u32::try_from(number).unwrap_or(u32::MAX)) {
            let Some(entry) = kept.get_mut(place) else { return Ok(None) };
            let sum = sums.get(number as usize - 1);
            if entry.upload.parts.get(&number).map(|part| &part.sha256) == sum {
                continue;
            }
            let stored = put(&store, entry, &output.path, number).await;
            self.note(&mut kept, place, stored)?;
        }
        let Some(entry) = kept.get(place) else { return Ok(None) };
        let count = u32::try_from(sums.len()).unwrap_or(u32::MAX);
        let completed = store.complete(&entry.name, &entry.upload, count).await;
        let name = entry.name.clone();
        self.note(&mut kept, place, completed)?;
        let address = store.address(&name).await.map_err(|error| error.to_string())?;
        kept.remove(place);
        self.save(&kept);
        Ok(Some(address))
    }

    /// Keeps the outcome of a step. An upload that the store has forgotten is forgotten here, too: the next attempt stores everything.
    fn note(
        &self,
        kept: &mut Vec<Kept>,
        place: usize,
        outcome: Result<(), MultipartError>,
    ) -> Result<(), String> {
        if matches!(outcome, Err(MultipartError::Gone)) {
            kept.remove(place);
        }
        self.save(kept);
        outcome.map_err(|error| error.to_string())
    }

    /// Aborts what is still under way for outputs that are not delivered; the recording has come to its end.
    pub async fn abort(&self, outputs: &[Output]) -> Outcome {
        let mut worst = Outcome::Done(String::new());
        loop {
            let unwanted = |kept: &Kept| {
                let output = outputs.get(kept.output);
                output.is_none_or(|output| {
                    output.state == OutputState::Dropped || output.is_settled(kept.target)
                })
            };
            let entry = {
                let mut all = self.kept.lock().await;
                let Some(place) = all.iter().position(unwanted) else { return worst };
                all.remove(place)
            };
            let store =
                self.delivery.part_stores().find(|(of, _)| *of == entry.target).map(|(_, store)| store);
            let Some(store) = store else { continue };
            let attempt = || async {
                store
                    .abort(&entry.name, &entry.upload)
                    .await
                    .map(|()| String::new())
                    .map_err(|error| error.to_string())
            };
            match self.delivery.with_retries(entry.target, &entry.name, attempt).await {
                Outcome::Parked => {
                    self.kept.lock().await.push(entry);
                    return Outcome::Parked;
                }
                refused @ Outcome::Refused(_) => worst = refused,
                Outcome::Done(_) => {}
            }
            self.save(self.kept.lock().await.as_slice());
        }
    }

    /// Nothing is left to be done.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn save(&self, kept: &[Kept]) {
        let new = self.path.with_extension("uploads-new");
        let saved = serde_json::to_vec(kept).map_err(io::Error::from).and_then(|text| {
            std::fs::write(&new, text)?;
            std::fs::rename(&new, &self.path)
        });
        if let Err(error) = saved {
            tracing::warn!(
                limit = true,
                "Cannot save how far an upload is, it could not be continued: {error}"
            );
        }
    }
}

fn is_growing_file(output: &Output) -> bool {
    output.state == OutputState::Open && output.medium == OutputMedium::File
}

/// Stores one part of a file.
async fn put(store: &PartStore<'_>, kept: &mut Kept, path: &Path, number: u32) -> Result<(), MultipartError> {
    let offset = u64::from(number - 1) * kept.part_octets;
    let (of, part) = (path.to_owned(), kept.part_octets);
    let summed = tokio::task::spawn_blocking(move || {
        let mut file = File::open(of)?;
        file.seek(SeekFrom::Start(offset))?;
        sum(&mut file.take(part))
    });
    let (octets, sha256) =
        summed.await.map_err(io::Error::other).and_then(|summed| summed).map_err(io_error)?;
    let body = Body { pieces: vec![Piece::File { path: path.to_owned(), offset, octets }] };
    store.put_part(&kept.name, &mut kept.upload, number, body, &sha256).await
}

fn io_error(error: io::Error) -> MultipartError {
    media_store::sink::http::HttpError::Io(error).into()
}

/// Checksums of all parts of a file.
async fn sums_of(path: PathBuf, part: u64) -> io::Result<Vec<String>> {
    let sums = tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        let mut sums = Vec::new();
        loop {
            let (octets, sha256) = sum(&mut io::Read::by_ref(&mut file).take(part))?;
            if octets == 0 && !sums.is_empty() {
                return Ok(sums);
            }
            sums.push(sha256);
            if octets < part {
                return Ok(sums);
            }
        }
    });
    sums.await.map_err(io::Error::other)?
}

/// Length and checksum of what is left.
fn sum(reader: &mut impl io::Read) -> io::Result<(u64, String)> {
    let mut sum = media_store::sink::s3::Sha256::default();
    let mut buf = vec![0; 64 << 10];
    let mut octets = 0;
    loop {
        match reader.read(&mut buf) {
            Ok(0) => return Ok((octets, sum.finish())),
            Ok(got) => {
                sum.update(buf.get(..got).unwrap_or_default());
                octets += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_octet_of_a_file_is_in_one_part() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        let sum_of = |octets: &[u8]| sum(&mut &octets[..]).expect("sum").1;
        for (octets, parts) in [(0, 1), (1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (250, 3)] {
            let content: Vec<u8> = (0..octets).map(|n| n as u8).collect();
            std::fs::write(&path, &content).expect("file");
            let sums = sums_of(path.clone(), 100).await.expect("sums");
            assert_eq!(sums.len(), parts, "{octets} octets");
            let expected: Vec<String> = if content.is_empty() {
                vec![sum_of(&[])]
            } else {
                content.chunks(100).map(sum_of).collect()
            };
            assert_eq!(sums, expected, "{octets} octets");
        }
    }
}
