//! One recording from its beginning to its report: a task that is the only one to say how it ended.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::jobs::{Origin, Outcome};
use super::report::{self, Earlier};
use super::rows::{self, RowIds};
use super::uploads::Uploads;
use super::{Content, Delivery, Snapshot, sidecar};
use crate::recording::{Output, OutputMedium, OutputState, Recording, Target};
use crate::resume::{self, SavedState};

/// Waits between attempts to write rows of a call that goes on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Keeps the rows of a recording up to date, and delivers it when it has ended.
pub(super) async fn follow(
    delivery: Arc<Delivery>,
    mut newest: watch::Receiver<Snapshot>,
    origin: rows::Origin,
) {
    let mut rows = RowIds::new(origin);
    let mut wait = FIRST_WAIT;
    let uploads = Uploads::open(&delivery, &newest.borrow().recording.id);
    if let Some(uploads) = &uploads {
        tokio::spawn(Arc::clone(uploads).follow(newest.clone()));
    }
    loop {
        let snapshot = newest.borrow_and_update().clone();
        if snapshot.recording.ending.is_some() {
            return deliver(&delivery, snapshot, uploads, rows, origin.into()).await;
        }
        let id = snapshot.recording.id.clone();
        let changed = if delivery.sync_rows(&snapshot, &mut rows).await.is_ok() {
            wait = FIRST_WAIT;
            newest.changed().await.is_ok()
        } else {
            tokio::select! {
                changed = newest.changed() => changed.is_ok(),
                () = tokio::time::sleep(wait) => {
                    wait = (wait * 2).min(MAX_WAIT);
                    true
                }
            }
        };
        if !changed {
            // Its worker is gone without a word; the state file tells the next run.
            return delivery.release(&id);
        }
    }
}

/// Delivers a recording that has ended, reports it, and removes its state file.
pub(super) async fn deliver(
    delivery: &Arc<Delivery>,
    snapshot: Snapshot,
    uploads: Option<Arc<Uploads>>,
    mut rows: RowIds,
    earlier: Earlier,
) {
    let id = snapshot.recording.id.clone();
    delivery.delivering.fetch_add(1, Relaxed);
    let recording = (*snapshot.recording).clone();
    let mut work = Work { delivery, recording, contents: snapshot.contents, uploads };
    if work.run(&mut rows).await == Progress::Parked || work.end(earlier) == Progress::Parked {
        delivery.has_left.store(true, Relaxed);
    }
    delivery.delivering.fetch_sub(1, Relaxed);
    delivery.release(&id);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Finished,
    Parked,
}

struct Work<'a> {
    delivery: &'a Arc<Delivery>,
    recording: Recording,
    contents: super::Contents,
    uploads: Option<Arc<Uploads>>,
}

impl Delivery {
    async fn sync_rows(&self, snapshot: &Snapshot, rows: &mut RowIds) -> Result<(), String> {
        match &self.rows {
            Some(handle) => handle.sync(&snapshot.recording, &snapshot.contents, rows).await,
            None => Ok(()),
        }
    }

    /// Who is to get outputs.
    fn targets(&self) -> Vec<Target> {
        let has_jobs = self.notify.concurrency > 0;
        let wanted = [
            (Target::S3, self.storages.s3),
            (Target::Gcs, self.storages.gcs),
            (Target::Notify, self.notify.uri.is_some() && has_jobs),
            (Target::Command, self.notify.command.is_some() && has_jobs),
        ];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(target, _)| target).collect()
    }
}

impl Work<'_> {
    async fn run(&mut self, rows: &mut RowIds) -> Progress {
        self.complete_files().await;
        self.checksums().await;
        self.describe();
        // Others want to know the rows; but a database that is down does not keep them waiting.
        let _ = self.sync_rows_once(rows).await;
        if self.jobs(rows).await == Progress::Parked {
            return Progress::Parked;
        }
        if let Some(uploads) = &self.uploads
            && uploads.abort(&self.recording.outputs).await == Outcome::Parked
        {
            return Progress::Parked;
        }
        self.take_away();
        // Once more for the addresses of uploads and for files that are gone.
        if self.rows(rows).await == Progress::Parked {
            return Progress::Parked;
        }
        Progress::Finished
    }

    /// The last words.
    fn end(&self, earlier: Earlier) -> Progress {
        let delivery = self.delivery;
        if delivery.sidecar {
            self.describe();
        }
        if let Err(error) = report::report(&self.recording, delivery.report_file.as_deref(), earlier) {
            tracing::error!(
                "Cannot report the end of recording {}, it will be done later: {error}",
                self.recording.id
            );
            return Progress::Parked;
        }
        if let Some(uploads) = &self.uploads {
            uploads.forget();
        }
        let _ = std::fs::remove_file(resume::path(&delivery.output_dir, &self.recording.id));
        Progress::Finished
    }

    /// Files that could not be written before.
    async fn complete_files(&mut self) {
        let contents = Arc::clone(&self.contents);
        for (index, content) in contents.iter() {
            let Content::Unwritten(output) = content else { continue };
            let name = self.name(*index);
            let write = || {
                let output = Arc::clone(output);
                async move {
                    let write = move || {
                        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                        output.complete().map(|path| path.to_string_lossy().into_owned())
                    };
                    let written =
                        tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?;
                    written.map_err(|error| error.to_string())
                }
            };
            let outcome = self.delivery.with_retries(Target::File, &name, write).await;
            output.lock().unwrap_or_else(PoisonError::into_inner).describe(&mut self.recording);
            match outcome {
                Outcome::Done(_) => {}
                Outcome::Refused(error) => {
                    if let Some(output) = self.recording.outputs.get_mut(*index) {
                        output.refused.push((Target::File, error));
                    }
                }
                // There is nowhere to keep it.
                Outcome::Parked => {
                    let fault = format!("the end of '{name}' could not be written before the daemon stopped");
                    self.recording.add_fault(fault);
                }
            }
        }
        self.save();
    }

    async fn checksums(&mut self) {
        if !self.delivery.sidecar && self.delivery.s3.is_none() {
            return;
        }
        for index in 0..self.recording.outputs.len() {
            let memory = self.memory(index).cloned();
            let Some(output) = self.recording.outputs.get_mut(index) else { continue };
            if output.state != OutputState::Complete || output.sha256.is_some() {
                continue;
            }
            let path = output.path.clone();
            let sum = move || match memory {
                Some(octets) => Ok(sidecar::sha256(&octets)),
                None => sidecar::sha256_of_file(&path),
            };
            match tokio::task::spawn_blocking(sum).await {
                Ok(Ok(sum)) => output.sha256 = Some(sum),
                Ok(Err(error)) => tracing::error!("Cannot read '{}': {error}", output.path.display()),
                Err(error) => tracing::error!("Cannot read '{}': {error}", output.path.display()),
            }
        }
    }

    fn describe(&self) {
        if self.delivery.sidecar
            && let Err(error) = sidecar::write(&self.recording)
        {
            tracing::error!("Cannot describe recording {}: {error}", self.recording.id);
        }
    }

    /// Everything that is still to be done for each output, at the same time.
    async fn jobs(&mut self, rows: &mut RowIds) -> Progress {
        let recording = Arc::new(self.recording.clone());
        let contents = Arc::clone(&self.contents);
        let mut jobs: FuturesUnordered<BoxFuture<'_, (usize, Target, Outcome)>> = FuturesUnordered::new();
        for (index, output) in recording.outputs.iter().enumerate() {
            if output.state != OutputState::Complete {
                continue;
            }
            for target in self.delivery.targets().into_iter().filter(|target| !output.is_settled(*target)) {
                let memory =
                    contents.iter().find(|(of, _)| *of == index).and_then(|(_, content)| content.octets());
                let ids = (rows.call, rows.stream(index));
                let (delivery, recording) = (Arc::clone(self.delivery), Arc::clone(&recording));
                let uploads = self.uploads.clone();
                jobs.push(Box::pin(async move {
                    let job = Job { recording: &recording, index, target, rows: ids, memory, uploads };
                    let outcome = job.run(&delivery).await;
                    (index, target, outcome)
                }));
            }
        }
        let mut progress = Progress::Finished;
        while let Some((index, target, outcome)) = jobs.next().await {
            if let Some(output) = self.recording.outputs.get_mut(index) {
                match outcome {
                    Outcome::Done(address) => output.delivered.push((target, address)),
                    Outcome::Refused(error) => output.refused.push((target, error)),
                    Outcome::Parked => progress = Progress::Parked,
                }
            }
            self.save();
        }
        drop(jobs);
        // The content goes into the database too, before it is taken away.
        if self.rows(rows).await == Progress::Parked {
            progress = Progress::Parked;
        }
        if progress == Progress::Parked {
            self.save_memory();
        }
        progress
    }

    async fn rows(&mut self, rows: &mut RowIds) -> Progress {
        let Some(handle) = self.delivery.rows.clone() else { return Progress::Finished };
        if !self.recording.in_database {
            return Progress::Finished;
        }
        let recording = Arc::new(self.recording.clone());
        let contents = Arc::clone(&self.contents);
        let call_id = recording.call_id.clone();
        let kept = Arc::new(tokio::sync::Mutex::new(rows.clone()));
        let outcome = self
            .delivery
            .with_retries(Target::Database, &call_id, || {
                let (handle, recording, contents, kept) =
                    (handle.clone(), Arc::clone(&recording), Arc::clone(&contents), Arc::clone(&kept));
                async move {
                    let mut rows = kept.lock().await;
                    handle.sync(&recording, &contents, &mut rows).await.map(|()| String::new())
                }
            })
            .await;
        rows.clone_from(&*kept.lock().await);
        match outcome {
            Outcome::Done(_) => Progress::Finished,
            Outcome::Parked => Progress::Parked,
            Outcome::Refused(error) => {
                for output in &mut self.recording.outputs {
                    if output.state == OutputState::Complete && !output.is_settled(Target::Database) {
                        output.refused.push((Target::Database, error.clone()));
                    }
                }
                Progress::Finished
            }
        }
    }

    async fn sync_rows_once(&mut self, rows: &mut RowIds) -> Result<(), String> {
        let snapshot =
            Snapshot { recording: Arc::new(self.recording.clone()), contents: Arc::clone(&self.contents) };
        self.delivery.sync_rows(&snapshot, rows).await
    }

    /// Without storage `file`, what everybody has taken over is removed; what somebody could not take stays as a backup.
    fn take_away(&mut self) {
        if self.delivery.storages.file {
            return;
        }
        for index in 0..self.recording.outputs.len() {
            let memory = self.memory(index).cloned();
            let Some(output) = self.recording.outputs.get_mut(index) else { continue };
            if output.state != OutputState::Complete || output.medium == OutputMedium::Gone {
                continue;
            }
            let is_backup = output.file_name().starts_with(BACKUP);
            if !output.refused.is_empty() && !is_backup {
                match back_up(&self.delivery.output_dir, output, memory.as_ref()) {
                    Ok(path) => tracing::warn!("'{}' was kept as '{}'", output.name, path.display()),
                    Err(error) => {
                        tracing::error!("'{}' is lost, no backup could be written: {error}", output.name);
                        output.refused.push((Target::File, format!("no backup: {error}")));
                    }
                }
            } else if output.medium == OutputMedium::File
                && output.refused.is_empty()
                && let Err(error) = std::fs::remove_file(&output.path)
            {
                tracing::warn!("Cannot remove '{}': {error}", output.path.display());
            }
            output.medium = OutputMedium::Gone;
        }
    }

    /// What is only in memory gets a file, since the state file cannot keep it.
    fn save_memory(&mut self) {
        for index in 0..self.recording.outputs.len() {
            let Some(memory) = self.memory(index).cloned() else { continue };
            let Some(output) = self.recording.outputs.get_mut(index) else { continue };
            match back_up(&self.delivery.output_dir, output, Some(&memory)) {
                Ok(path) => {
                    output.path = path;
                    output.medium = OutputMedium::File;
                }
                Err(error) => {
                    tracing::error!("'{}' is lost, no backup could be written: {error}", output.name)
                }
            }
        }
        self.save();
    }

    fn save(&self) {
        let state = SavedState { recording: self.recording.clone(), progress: None };
        if let Err(error) = resume::save(&self.delivery.output_dir, &state) {
            tracing::warn!(limit = true, "Cannot save the state of recording {}: {error}", self.recording.id);
        }
    }

    fn memory(&self, index: usize) -> Option<&Bytes> {
        self.contents.iter().find(|(of, _)| *of == index).and_then(|(_, content)| content.octets())
    }

    fn name(&self, index: usize) -> String {
        self.recording.outputs.get(index).map(|output| output.name.clone()).unwrap_or_default()
    }
}

/// What one target is to get.
struct Job<'a> {
    recording: &'a Recording,
    index: usize,
    target: Target,
    rows: (Option<i64>, Option<i64>),
    memory: Option<&'a Bytes>,
    uploads: Option<Arc<Uploads>>,
}

impl Job<'_> {
    async fn run(&self, delivery: &Delivery) -> Outcome {
        let Some(output) = self.recording.outputs.get(self.index) else { return Outcome::Parked };
        let origin = self.memory.map_or(Origin::File(&output.path), Origin::Memory);
        let origin = &origin;
        let attempt = || async move {
            if let Some(uploads) = &self.uploads
                && let Some(address) = uploads.complete(self.index, self.target, output).await?
            {
                return Ok(address);
            }
            match self.target {
                Target::Notify => delivery.notify(self.recording, output, self.rows, origin).await,
                Target::S3 => delivery.upload_to_s3(output, origin).await,
                Target::Gcs => delivery.upload_to_gcs(output, origin).await,
                Target::Command => delivery.command(output, self.rows.1),
                Target::File | Target::Database => Ok(String::new()),
            }
        };
        delivery.with_retries(self.target, &output.name, attempt).await
    }
}

/// In front of the names of backups.
const BACKUP: &str = "backup-";

/// Puts the content of an output into the output directory under a name of its own.
fn back_up(directory: &std::path::Path, output: &Output, memory: Option<&Bytes>) -> std::io::Result<PathBuf> {
    let mut path = directory.join(format!("{BACKUP}{}", output.file_name()));
    if path.exists() {
        path = directory.join(format!("{BACKUP}{}{:016x}", output.file_name(), rand::random::<u64>()));
    }
    match memory {
        Some(octets) => std::fs::write(&path, octets)?,
        None => std::fs::rename(&output.path, &path)?,
    }
    Ok(path)
}
