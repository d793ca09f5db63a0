//! Reads the calls of a database.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use smol_str::SmolStr;

use super::server::Server;
use super::{Persistence, format};
use crate::call::{Owner, RestoreError, Restored};

/// Keys that are asked for at once.
const SCAN: usize = 1000;

/// Everything at start.
pub async fn restore(persistence: &Arc<Persistence>) {
    let began = Instant::now();
    if let Some(notify) = &persistence.notify {
        for keyspace in persistence.keyspaces.list() {
            read_all(persistence, notify, Owner::Other { keyspace }, keyspace).await;
        }
    }
    if let Some(read) = persistence.read.as_ref().or(persistence.write.as_ref()) {
        read_all(persistence, read, Owner::Us, read.database()).await;
    }
    tracing::info!("Redis restore time = {} ms", began.elapsed().as_millis());
}

/// All calls of a database.
async fn read_all(persistence: &Arc<Persistence>, server: &Arc<Server>, owner: Owner, database: i64) {
    if let Some(keys) = keys(server, database).await {
        read_keys(persistence, server, owner, database, keys).await;
    }
}

/// Reads calls of another instance, of whose changes we are told from now on: all of them, or, just after [`restore`], those that have come
/// since; those that have gone since end. (Later, what is missing may have been lost with the server's memory, and be needed all the more.)
pub async fn read_followed(
    persistence: &Arc<Persistence>,
    server: &Arc<Server>,
    keyspace: i64,
    is_restored: bool,
) {
    let Some(mut keys) = keys(server, keyspace).await else { return };
    if is_restored {
        let engine = Arc::clone(&persistence.engine);
        let comparing = tokio::task::spawn_blocking(move || {
            let known = engine.foreign_calls(keyspace);
            // They are sorted.
            let is_gone = |id: &&SmolStr| keys.binary_search_by(|key| key[..].cmp(id.as_bytes())).is_err();
            known.iter().filter(is_gone).for_each(|id| engine.drop_foreign(id));
            let known: HashSet<&[u8]> = known.iter().map(|id| id.as_bytes()).collect();
            keys.retain(|key| !known.contains(&key[..]));
            keys
        });
        // A panic has been reported where it happened.
        let Ok(new) = comparing.await else { return };
        keys = new;
    }
    read_keys(persistence, server, Owner::Other { keyspace }, keyspace, keys).await;
}

/// Calls of a database, over several connections.
async fn read_keys(
    persistence: &Arc<Persistence>,
    server: &Arc<Server>,
    owner: Owner,
    database: i64,
    keys: Vec<Vec<u8>>,
) {
    let count = keys.len();
    let keys = Arc::new(std::sync::Mutex::new(keys));
    let connections = persistence.config.restore_connections.min(count);
    let readers = (0..connections).map(|_| {
        let (persistence, server, keys) = (Arc::clone(persistence), Arc::clone(server), Arc::clone(&keys));
        tokio::spawn(async move {
            let mut connection = match server.separate(database).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::error!(%error, "connection for reading calls");
                    return;
                }
            };
            loop {
                let Some(key) = keys.lock().ok().and_then(|mut keys| keys.pop()) else { return };
                read_one(&persistence, &mut connection, &key, owner).await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        // A panic has been reported where it happened.
        let _ = reader.await;
    }
}

/// The names in a database, sorted; `None` when it cannot be read, which the log says.
async fn keys(server: &Server, database: i64) -> Option<Vec<Vec<u8>>> {
    let keys = scan(server, database).await;
    keys.inspect_err(|error| tracing::error!(%error, database, "calls cannot be read")).ok()
}

async fn scan(
    server: &Server,
    database: i64,
) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let mut connection = server.separate(database).await?;
    let mut keys = Vec::new();
    let mut cursor = 0u64;
    loop {
        let (next, found): (u64, Vec<Vec<u8>>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(SCAN).query_async(&mut connection).await?;
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            // A scan may give a key twice.
            keys.sort_unstable();
            keys.dedup();
            return Ok(keys);
        }
    }
}

/// One call; one that cannot be restored is deleted.
pub async fn read_one(
    persistence: &Arc<Persistence>,
    connection: &mut MultiplexedConnection,
    key: &[u8],
    owner: Owner,
) {
    let value: Option<Vec<u8>> = match redis::cmd("GET").arg(key).query_async(connection).await {
        Ok(value) => value,
        // Not a string: not one of ours.
        Err(error) => {
            tracing::info!(%error, key = %String::from_utf8_lossy(key), "key is not read");
            return;
        }
    };
    let Some(value) = value else { return };
    let Ok(id) = std::str::from_utf8(key).map(str::to_owned) else { return };
    let engine = Arc::clone(&persistence.engine);
    let name = id.clone();
    let restoring = tokio::task::spawn_blocking(move || {
        let dict = format::decode(&value)?;
        match owner {
            Owner::Us => engine.restore(&name, &dict, owner),
            Owner::Other { keyspace } => engine.follow(&name, &dict, keyspace),
        }
    });
    let reason = match restoring.await {
        Ok(Ok(Restored::New)) => {
            tracing::debug!(call_id = %id, "call restored");
            return;
        }
        Ok(Ok(Restored::Known)) => return,
        Ok(Err(reason)) => reason,
        Err(_) => RestoreError("internal error"),
    };
    // Another instance may write what this one cannot read, at the rate of its calls.
    tracing::warn!(call_id = %id, limit = owner != Owner::Us, "Failed to restore call ID '{id}' from Redis: {reason}");
    if let Err(error) = redis::cmd("DEL").arg(key).query_async::<()>(connection).await {
        tracing::info!(%error, "call that cannot be restored stays in the database");
    }
    let elsewhere = persistence.writes_to().filter(|_| owner == Owner::Us && persistence.write.is_some());
    if let Some(write) = elsewhere
        && let Ok(mut connection) = write.connection().await
    {
        let _ = redis::cmd("DEL").arg(key).query_async::<()>(&mut connection).await;
    }
}
