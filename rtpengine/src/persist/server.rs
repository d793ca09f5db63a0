//! One Redis server: its connection, how it is made, and when it is left alone.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
};
use tokio::sync::Mutex;

use crate::call::Engine;
use crate::config::{Keepalive, RedisConfig, RedisServer, Setting};

/// Attempts to find a server in the right role, a second apart: at start, and later.
const ROLE_ATTEMPTS: (u32, u32) = (11, 2);
/// A server that does not answer a command that has no limit of its own is gone after this.
const NO_ANSWER: Duration = Duration::from_secs(60);

/// What a server has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes what is written to it.
    Master,
    Any,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error("cannot resolve the name of Redis server {0}")]
    Unresolved(String),
    #[error("cannot connect to Redis {server}: {source}")]
    Connect { server: String, source: redis::RedisError },
    #[error(
        "Cannot start up without running Redis {0} database! See also NO_REDIS_REQUIRED parameter. ({1})"
    )]
    Required(String, Box<ServerError>),
    #[error("Redis {server} is {role}, which is not what is needed")]
    Role { server: String, role: String },
    #[error("Redis {0} is disabled for now")]
    Disabled(String),
}

/// A server. Everything goes over one connection, which is replaced when it breaks.
pub struct Server {
    settings: RedisServer,
    role: Role,
    /// Name of the option that brought it.
    option: &'static str,
    resolves_again: bool,
    keepalive: Option<Keepalive>,
    engine: Arc<Engine>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    address: Option<SocketAddr>,
    /// In a row.
    failures: i64,
    disabled_until: Option<Instant>,
    was_connected: bool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Server {
    pub fn new(
        settings: RedisServer,
        role: Role,
        option: &'static str,
        config: &RedisConfig,
        engine: Arc<Engine>,
    ) -> Self {
        let (resolves_again, keepalive) = (config.resolves_again, config.keepalive);
        Self { settings, role, option, resolves_again, keepalive, engine, state: Mutex::default() }
    }

    /// The database that it was configured with.
    pub fn database(&self) -> i64 {
        self.settings.database
    }

    /// The first connection.
    pub async fn start(&self) -> Result<(), ServerError> {
        let mut state = self.state.lock().await;
        let connection = self.connect(&mut state, ROLE_ATTEMPTS.0).await?;
        let mut first = connection.clone();
        state.connection = Some(connection);
        state.was_connected = true;
        // Left by instances that are long gone; a call may have this name.
        if let Ok(kind) = redis::cmd("TYPE").arg("calls").query_async::<String>(&mut first).await
            && !matches!(kind.as_str(), "set" | "none" | "string")
        {
            let _ = redis::cmd("DEL").arg("calls").query_async::<()>(&mut first).await;
        }
        Ok(())
    }

    /// The connection, made again if it is broken.
    pub async fn connection(&self) -> Result<MultiplexedConnection, ServerError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.disabled_until.is_some_and(|until| Instant::now() < until) {
            return Err(ServerError::Disabled(self.to_string()));
        }
        state.disabled_until = None;
        match self.connect(&mut state, ROLE_ATTEMPTS.1).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.failures = 0;
                if state.was_connected {
                    tracing::info!("RE-Established connection to Redis {self}");
                }
                state.was_connected = true;
                Ok(connection)
            }
            Err(error) => {
                self.count(&mut state);
                Err(error)
            }
        }
    }

    /// The connection has failed: the next user gets a new one.
    pub async fn lost(&self, error: &redis::RedisError) {
        let mut state = self.state.lock().await;
        if state.connection.take().is_some() {
            tracing::error!(%error, "Lost connection to Redis '{self}'");
        }
    }

    /// Gives the connection up, so that the next one is made with other limits.
    pub async fn forget(&self) {
        let mut state = self.state.lock().await;
        state.connection = None;
        state.disabled_until = None;
    }

    /// A connection of one's own to another database.
    pub async fn separate(&self, database: i64) -> Result<MultiplexedConnection, ServerError> {
        let address = {
            let mut state = self.state.lock().await;
            self.resolve(&mut state).await?
        };
        let failed = |source| ServerError::Connect { server: self.to_string(), source };
        let client = self.client(address, database).map_err(failed)?;
        client.get_multiplexed_async_connection_with_config(&self.limits()).await.map_err(failed)
    }

    /// A client for subscriptions.
    pub async fn subscriber(&self) -> Result<redis::aio::PubSub, ServerError> {
        let address = {
            let mut state = self.state.lock().await;
            self.resolve(&mut state).await?
        };
        let failed = |source| ServerError::Connect { server: self.to_string(), source };
        let client = self.client(address, self.settings.database).map_err(failed)?;
        let connecting = client.get_async_pubsub();
        match tokio::time::timeout(self.connect_timeout(), connecting).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
        }
    }

    fn count(&self, state: &mut State) {
        state.failures = state.failures.saturating_add(1);
        let live = self.engine.live();
        let allowed = live.get(Setting::RedisAllowedErrors);
        if allowed >= 0 && state.failures > allowed {
            let pause = live.duration(Setting::RedisDisableTime);
            state.failures = 0;
            state.disabled_until = Instant::now().checked_add(pause);
            tracing::warn!("Redis server {self} disabled for {} seconds", pause.as_secs());
        }
    }

    async fn connect(&self, state: &mut State, attempts: u32) -> Result<MultiplexedConnection, ServerError> {
        let failed = |source| ServerError::Connect { server: self.to_string(), source };
        let mut attempt = 1;
        loop {
            let address = self.resolve(state).await?;
            let client = self.client(address, self.settings.database).map_err(failed)?;
            let limits = self.limits();
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&limits).await.map_err(failed)?;
            let info: String = redis::cmd("INFO").query_async(&mut connection).await.map_err(failed)?;
            let role = info.lines().find_map(|line| line.strip_prefix("role:")).unwrap_or("unknown").trim();
            let fits = match role {
                "master" | "active-replica" => true,
                "slave" => self.role == Role::Any,
                _ => false,
            };
            if fits {
                return Ok(connection);
            }
            if attempt >= attempts {
                return Err(ServerError::Role { server: self.to_string(), role: role.to_owned() });
            }
            tracing::warn!(role, option = self.option, "Redis {self} is in the wrong role, waiting");
            attempt += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The address, looked up once or each time.
    async fn resolve(&self, state: &mut State) -> Result<SocketAddr, ServerError> {
        if let Some(address) = state.address.filter(|_| !self.resolves_again) {
            return Ok(address);
        }
        let name = (self.settings.host.clone(), self.settings.port);
        let found = tokio::task::spawn_blocking(move || name.to_socket_addrs().ok()?.next()).await;
        let address = found.ok().flatten().or(state.address);
        state.address = address;
        address.ok_or_else(|| ServerError::Unresolved(self.to_string()))
    }

    fn client(&self, address: SocketAddr, database: i64) -> Result<Client, redis::RedisError> {
        let mut tcp = TcpSettings::default().set_nodelay(true);
        if let Some(Keepalive { time, interval, probes }) = self.keepalive {
            let keepalive =
                socket2::TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(probes);
            tcp = tcp.set_keepalive(keepalive);
        }
        let mut settings = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(password) = &self.settings.password {
            settings = settings.set_password(password);
        }
        let address = ConnectionAddr::Tcp(address.ip().to_string(), address.port());
        let info: ConnectionInfo =
            address.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp);
        Client::open(info)
    }

    fn limits(&self) -> AsyncConnectionConfig {
        let commands = u64::try_from(self.engine.live().get(Setting::RedisCommandTimeout)).unwrap_or(0);
        let commands = if commands > 0 { Duration::from_millis(commands) } else { NO_ANSWER };
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout()))
            .set_response_timeout(Some(commands))
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(
            u64::try_from(self.engine.live().get(Setting::RedisConnectTimeout)).unwrap_or(1).max(1),
        )
    }
}
