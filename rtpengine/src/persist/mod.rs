//! Calls in Redis: written whenever they change, read at start, followed while another instance has them.
//!
//! ```text
//! call::Changes ──► writer ──SET, DEL──► write server
//! read server, notify server ──KEYS, GET──► restore ──► Engine::restore
//! notify server ──set, del──► notify ──GET──► Engine::restore, Engine::drop_foreign
//! ```
//!
//! Nothing waits for Redis but the start of the daemon. While it is gone changed calls wait, each once, and are written as they are when
//! it is back.

mod format;
mod keyspaces;
mod notify;
mod restore;
mod server;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::task::JoinHandle;

pub use format::{decode, encode};
pub use keyspaces::Keyspaces;
pub use server::ServerError;

use crate::call::Engine;
use crate::config::RedisConfig;
use server::{Role, Server};

/// The servers and what goes on with them.
pub struct Persistence {
    config: RedisConfig,
    engine: Arc<Engine>,
    read: Option<Arc<Server>>,
    write: Option<Arc<Server>>,
    notify: Option<Arc<Server>>,
    /// `set redisdisable 1`: calls are written to the read server although there is another one for writing.
    write_disabled: AtomicBool,
    runtime: tokio::runtime::Handle,
    /// Databases that are followed.
    pub keyspaces: Keyspaces,
    marks: notify::Marks,
}

impl Persistence {
    /// Connects to the servers.
    ///
    /// # Errors
    /// When one cannot be reached and is required.
    pub async fn connect(engine: Arc<Engine>, config: RedisConfig) -> Result<Arc<Self>, ServerError> {
        let server = |settings: &crate::config::RedisServer, role, name| {
            Arc::new(Server::new(settings.clone(), role, name, &config, Arc::clone(&engine)))
        };
        // What is both read from and written to has to take what is written.
        let role = if config.write.is_some() { Role::Any } else { Role::Master };
        let read = config.read.as_ref().map(|settings| server(settings, role, "redis"));
        let write = config.write.as_ref().map(|settings| server(settings, Role::Any, "redis-write"));
        let follows = config.keyspaces.is_some();
        let notify = config
            .notified_by()
            .filter(|_| follows)
            .map(|settings| server(settings, Role::Any, "redis-subscribe"));
        for server in [&read, &write, &notify].into_iter().flatten() {
            if let Err(error) = server.start().await {
                if !config.optional {
                    return Err(ServerError::Required(server.to_string(), Box::new(error)));
                }
                tracing::warn!(%error, "Starting with no initial connection to Redis {server} !");
            }
        }
        let keyspaces = Keyspaces::new(config.keyspaces.clone());
        let write_disabled = AtomicBool::new(false);
        let runtime = tokio::runtime::Handle::current();
        Ok(Arc::new(Self {
            config,
            engine,
            read,
            write,
            notify,
            write_disabled,
            runtime,
            keyspaces,
            marks: notify::Marks::default(),
        }))
    }

    /// Reads what is stored: the calls of other instances from their databases, then ours.
    pub async fn restore(self: &Arc<Self>) {
        restore::restore(self).await;
    }

    /// Writes and follows until the tasks are aborted.
    pub fn run(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(writer::run(Arc::clone(self)))];
        if let Some(notify) = &self.notify {
            tasks.push(tokio::spawn(notify::run(Arc::clone(self), Arc::clone(notify))));
        }
        tasks
    }

    /// Writes what still waits, at the orderly end of the daemon; gives up after `patience`.
    pub async fn drain(&self, patience: std::time::Duration) {
        // Counters of SRTP have gone on since each call was written.
        self.engine.all_changed();
        writer::drain(self, patience).await;
    }

    /// Waits until everything is done that other instances had written by now and that this one is told of; gives up after `patience`.
    pub fn catch_up(self: &Arc<Self>, patience: std::time::Duration) {
        if let Some(server) = &self.notify {
            notify::catch_up(self, server, patience);
        }
    }

    /// Where calls are written at present.
    fn writes_to(&self) -> Option<&Arc<Server>> {
        use std::sync::atomic::Ordering::Relaxed;
        let own = self.write.as_ref().filter(|_| !self.write_disabled.load(Relaxed));
        own.or(self.read.as_ref()).or(self.write.as_ref())
    }

    /// Switches the separate server for writing off or on again; `false`: it is so already, or there is none.
    pub fn disable_write(&self, disable: bool) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        self.write.is_some() && self.write_disabled.swap(disable, Relaxed) != disable
    }

    /// Connections are made anew with the present limits.
    pub fn reconnect(self: &Arc<Self>) {
        let persistence = Arc::clone(self);
        self.runtime.spawn(async move {
            for server in [&persistence.read, &persistence.write].into_iter().flatten() {
                server.forget().await;
            }
        });
    }
}
