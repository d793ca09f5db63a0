//! Follows what other instances write.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;

use super::server::{Server, ServerError};
use super::{Persistence, restore};
use crate::call::Owner;

/// Between attempts to reach the server.
const PAUSE: Duration = Duration::from_secs(1);

/// Between attempts to leave a mark.
const RETRY: Duration = Duration::from_millis(5);

/// What a mark in the flow of notifications says; other instances take no notice of it.
const MARK: &[u8] = b"rtpengine-mark";

/// Marks that are on their way: the channel of each and who waits for it.
#[derive(Default)]
pub struct Marks(Mutex<Vec<(String, Sender<()>)>>);

impl Marks {
    fn forget(&self, fits: impl Fn(&str) -> bool) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, waiting) in marks.extract_if(.., |(channel, _)| fits(channel)) {
            // Nobody waits any more when it is too late.
            let _ = waiting.send(());
        }
    }
}

/// Sends a mark on the way that notifications take, and waits until it is here: all before it have been handled then.
pub fn catch_up(persistence: &Arc<Persistence>, server: &Arc<Server>, patience: Duration) {
    let number: u64 = rand::random();
    let name = format!("__:rtpengine-mark-{number:016x}");
    let keyspaces = persistence.keyspaces.list();
    let channels: Vec<String> =
        keyspaces.iter().map(|keyspace| format!("__keyspace@{keyspace}{name}")).collect();
    let (reached, waiting) = channel();
    let deadline = Instant::now() + patience;
    {
        let mut marks = persistence.marks.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.extend(channels.iter().map(|channel| (channel.clone(), reached.clone())));
    }
    drop(reached);
    let (sender, server, sent) = (Arc::clone(persistence), Arc::clone(server), channels.clone());
    persistence.runtime.spawn(async move {
        if let Ok(mut connection) = server.connection().await {
            for channel in &sent {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(channel).arg(MARK);
                loop {
                    match publish.query_async::<i64>(&mut connection).await {
                        Ok(receivers) if receivers > 0 => break,
                        // We have not subscribed yet; when we have, what was written before is read first.
                        Ok(_) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
                        _ => {
                            sender.marks.forget(|other| other == channel);
                            break;
                        }
                    }
                }
            }
        } else {
            sender.marks.forget(|channel| sent.iter().any(|other| other == channel));
        }
    });
    let wait = || {
        for _ in &channels {
            if waiting.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                tracing::warn!(
                    "Redis-Notifier: notifications are late, some calls may be taken over as they were"
                );
                return;
            }
        }
    };
    // The task that handles notifications may have been on this very thread.
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::task::block_in_place(wait)
    } else {
        wait()
    }
    persistence.marks.forget(|channel| channel.ends_with(&name));
}

/// Until the task is aborted.
pub async fn run(persistence: Arc<Persistence>, server: Arc<Server>) {
    let mut is_first = true;
    loop {
        if let Err(error) = follow(&persistence, &server, is_first).await {
            tracing::error!(%error, limit = true, "Redis-Notifier: no notifications from {server}");
        }
        is_first = false;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why notifications end.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("subscription: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("connection is closed")]
    Closed,
}

async fn follow(
    persistence: &Arc<Persistence>,
    server: &Arc<Server>,
    is_first: bool,
) -> Result<(), NotifyError> {
    let pubsub = server.subscriber().await?;
    let (mut sink, mut events) = pubsub.split();
    let mut subscribed: Vec<i64> = Vec::new();
    let mut connections: Vec<(i64, MultiplexedConnection)> = Vec::new();
    let mut is_restored = is_first;
    loop {
        let wanted = persistence.keyspaces.list();
        for keyspace in wanted.iter().filter(|keyspace| !subscribed.contains(keyspace)) {
            sink.psubscribe(pattern(*keyspace)).await?;
            // What was written before is not told.
            restore::read_followed(persistence, server, *keyspace, is_restored).await;
        }
        for keyspace in subscribed.iter().filter(|keyspace| !wanted.contains(keyspace)) {
            sink.punsubscribe(pattern(*keyspace)).await?;
        }
        subscribed = wanted;
        is_restored = false;
        tokio::select! {
            () = persistence.keyspaces.changed() => {}
            event = events.next() => {
                let event = event.ok_or(NotifyError::Closed)?;
                let Some((keyspace, key)) = split(event.get_channel_name()) else { continue };
                if event.get_payload_bytes() == MARK {
                    persistence.marks.forget(|channel| channel == event.get_channel_name());
                    continue;
                }
                if !subscribed.contains(&keyspace) {
                    continue;
                }
                if !connections.iter().any(|(of, _)| *of == keyspace) {
                    connections.push((keyspace, server.separate(keyspace).await?));
                }
                let Some((_, connection)) = connections.iter_mut().find(|(of, _)| *of == keyspace) else {
                    continue;
                };
                handle(persistence, connection, event.get_payload_bytes(), keyspace, key).await;
            }
        }
    }
}

async fn handle(
    persistence: &Arc<Persistence>,
    connection: &mut MultiplexedConnection,
    event: &[u8],
    keyspace: i64,
    key: &str,
) {
    let engine = &persistence.engine;
    match (event, engine.is_foreign(key)) {
        (b"set", Some(false)) => {
            tracing::warn!(limit = true, "Redis-Notifier: Ignoring SET received for OWN call: {key}");
        }
        (b"set", _) => {
            restore::read_one(persistence, connection, key.as_bytes(), Owner::Other { keyspace }).await;
        }
        (b"del", Some(false)) => {
            tracing::warn!(limit = true, "Redis-Notifier: Ignoring DEL received for OWN call: {key}");
        }
        (b"del", Some(true)) => drop_foreign(persistence, key).await,
        (b"del", None) => {
            tracing::info!(limit = true, "Redis-Notifier: DEL did not find call with callid: {key}");
        }
        _ => {}
    }
}

async fn drop_foreign(persistence: &Arc<Persistence>, key: &str) {
    let (engine, id) = (Arc::clone(&persistence.engine), key.to_owned());
    // A panic has been reported where it happened.
    let _ = tokio::task::spawn_blocking(move || engine.drop_foreign(&id)).await;
}

fn pattern(keyspace: i64) -> String {
    format!("__keyspace@{keyspace}__:*")
}

/// `__keyspace@N__:KEY`
fn split(channel: &str) -> Option<(i64, &str)> {
    let (keyspace, key) = channel.strip_prefix("__keyspace@")?.split_once("__:")?;
    Some((keyspace.parse().ok()?, key))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn channels_name_database_and_key() {
        for (channel, expected) in [
            ("__keyspace@5__:call-1@host", Some((5, "call-1@host"))),
            ("__keyspace@5__:a__:b", Some((5, "a__:b"))),
            ("__keyspace@x__:a", None),
            ("__keyevent@5__:set", None),
        ] {
            assert_eq!(split(channel), expected, "{channel}");
        }
    }
}
