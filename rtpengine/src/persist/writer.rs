//! Writes calls that have changed, several at a time.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::{Persistence, format};
use crate::call::Change;

/// Calls in one round trip.
const BATCH: usize = 128;
/// How long a server that has failed is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a server to which nothing is written is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Until the task is aborted.
pub async fn run(persistence: Arc<Persistence>) {
    let Some(changes) = persistence.engine.changes() else { return };
    let mut is_lost = false;
    loop {
        let written = match tokio::time::timeout(HEARTBEAT, changes.take(BATCH)).await {
            Ok(batch) => write(&persistence, batch).await.map_err(|batch| changes.put_back(batch)),
            Err(_) => ask(&persistence).await,
        };
        match written {
            Ok(()) if is_lost => {
                // Nobody knows what the server still has, if it is the same one at all.
                persistence.engine.all_changed();
                is_lost = false;
            }
            Ok(()) => {}
            Err(()) => {
                is_lost = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The server still answers.
async fn ask(persistence: &Persistence) -> Result<(), ()> {
    let Some(server) = persistence.writes_to() else { return Ok(()) };
    let mut connection = server.connection().await.map_err(drop)?;
    match redis::cmd("PING").query_async::<()>(&mut connection).await {
        Ok(()) => Ok(()),
        Err(error) => {
            server.lost(&error).await;
            Err(())
        }
    }
}

/// Writes what is still to be written, for the orderly end of the daemon; gives up after `patience`.
pub async fn drain(persistence: &Persistence, patience: Duration) {
    let Some(changes) = persistence.engine.changes() else { return };
    let write_all = async {
        loop {
            let batch = changes.take_now(BATCH);
            if batch.is_empty() || write(persistence, batch).await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(patience, write_all).await.is_err() {
        tracing::warn!(calls = changes.waiting(), "calls could not be stored before the end");
    }
}

/// One pipeline; what could not be written comes back.
async fn write(
    persistence: &Persistence,
    batch: Vec<(SmolStr, Change)>,
) -> Result<(), Vec<(SmolStr, Change)>> {
    let Some(server) = persistence.writes_to() else { return Ok(()) };
    let mut connection = match server.connection().await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%error, calls = batch.len(), "calls wait for Redis");
            return Err(batch);
        }
    };
    let expires = persistence.config.expires.as_secs();
    // The workers are asked for all calls at once.
    let forms = batch.iter().map(async |(id, change)| match change {
        Change::Delete => None,
        Change::Write => persistence.engine.stored_form(id, server.database()).await,
    });
    let forms = futures_util::future::join_all(forms).await;
    let mut pipe = redis::pipe();
    let mut commands = 0;
    for ((id, change), form) in batch.iter().zip(forms) {
        match (change, form) {
            (Change::Delete, _) => pipe.cmd("DEL").arg(id.as_bytes()).ignore(),
            (Change::Write, Some(form)) => {
                let value = format::encode(&form, persistence.config.json);
                pipe.cmd("SET").arg(id.as_bytes()).arg(value).arg("EX").arg(expires).ignore()
            }
            // It has ended meanwhile, or is another instance's.
            (Change::Write, None) => continue,
        };
        commands += 1;
    }
    if commands == 0 {
        return Ok(());
    }
    match pipe.query_async::<()>(&mut connection).await {
        Ok(()) => Ok(()),
        // A server that refuses to write (read-only, out of memory) answers all the same.
        Err(error) if !is_broken(&error) => {
            tracing::error!(%error, limit = true, "Redis {server} refuses to store calls");
            Err(batch)
        }
        Err(error) => {
            server.lost(&error).await;
            Err(batch)
        }
    }
}

/// The connection is of no use any more.
pub fn is_broken(error: &redis::RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
}
