//! MySQL and MariaDB.

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Error, OptsBuilder, PoolConstraints, PoolOpts, Row, Value};

use super::{DatabaseError, Failure, MySqlServer};

/// Most connections at the same time.
const MAX_CONNECTIONS: usize = 8;
/// A connection that was not used for this long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Where Debian's servers listen.
const LOCAL_SOCKET: &str = "/run/mysqld/mysqld.sock";

/// Connections to one server, made when they are needed.
pub(super) struct Pool {
    pool: mysql_async::Pool,
}

impl Pool {
    pub fn new(server: &MySqlServer) -> Self {
        let options = PoolOpts::default()
            .with_constraints(PoolConstraints::new(0, MAX_CONNECTIONS).unwrap_or_default())
            .with_inactive_connection_ttl(IDLE)
            // Saves a round trip; queries leave nothing behind in a connection.
            .with_reset_connection(false);
        let mut builder = OptsBuilder::default()
            .user(server.user.clone())
            .pass(server.password.clone())
            .prefer_socket(Some(false))
            .pool_opts(options);
        let local = || Path::new(LOCAL_SOCKET).exists().then_some(LOCAL_SOCKET);
        let socket = match server.host.as_deref() {
            Some(path) if path.starts_with('/') => Some(path),
            // To the client library, this name is the local socket.
            None | Some("localhost") if server.port.is_none() => local(),
            _ => None,
        };
        if let Some(path) = socket {
            builder = builder.socket(Some(path));
        } else {
            builder = builder
                .ip_or_hostname(server.host.clone().unwrap_or_else(|| "127.0.0.1".into()))
                .tcp_port(server.port.unwrap_or(3306));
        }
        Self { pool: mysql_async::Pool::new(builder) }
    }

    /// First column of the first row.
    pub async fn query(&self, query: &str, id: u64) -> Result<Vec<u8>, Failure> {
        let mut connection = self.pool.get_conn().await.map_err(failure)?;
        let row: Option<Row> = connection.query_first(query).await.map_err(failure)?;
        match row.and_then(|mut row| row.take::<Value, _>(0)) {
            Some(Value::Bytes(octets)) => Ok(octets),
            Some(_) => Err(Failure::Final(DatabaseError::NoData { id })),
            None => Err(Failure::Final(DatabaseError::NoRow { id })),
        }
    }

    pub async fn disconnect(&self) {
        // Whatever goes wrong now, the connections are gone.
        let _ = self.pool.clone().disconnect().await;
    }
}

/// Errors of the server are about the query or the rights, but for those that say that it is going or full.
fn failure(error: Error) -> Failure {
    const TRANSIENT: [u16; 6] = [
        1040, // too many connections
        1053, // shutdown in progress
        1205, // lock wait timeout
        1213, // deadlock
        1226, // user has exceeded a limit
        1927, // connection was killed
    ];
    match error {
        Error::Server(error) if !TRANSIENT.contains(&error.code) => {
            Failure::Final(DatabaseError::Refused(format!("{} ({})", error.message, error.code)))
        }
        Error::Server(error) => Failure::Connection(format!("{} ({})", error.message, error.code)),
        other => Failure::Connection(other.to_string()),
    }
}
