//! MySQL and MariaDB: one connection, driven on the calling thread.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params};
use tokio::runtime::{Builder, Runtime};

use super::{DatabaseError, Engine, Value};

/// `ER_BAD_FIELD_ERROR`
pub(super) const UNKNOWN_COLUMN: u16 = 1054;
/// For a statement, and for connecting.
const PATIENCE: Duration = Duration::from_secs(10);
/// More for statements that carry so many octets a second.
const SLOWEST: usize = 256 * 1024;
/// Where Debian's servers listen.
const LOCAL_SOCKET: &str = "/run/mysqld/mysqld.sock";
/// What a statement has besides its largest value.
const STATEMENT_OCTETS: usize = 4096;

/// A server and a database in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MySqlServer {
    /// Name, address, or path of a socket.
    pub host: String,
    /// Port, if not the usual one.
    pub port: Option<u16>,
    /// User.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Database.
    pub database: String,
}

pub(super) struct MySql {
    runtime: Runtime,
    connection: Conn,
    max_octets: usize,
}

impl MySql {
    pub fn connect(server: &MySqlServer) -> Result<Self, DatabaseError> {
        let mut options = OptsBuilder::default()
            .user(server.user.clone())
            .pass(server.password.clone())
            .db_name(Some(server.database.clone()))
            .prefer_socket(Some(false))
            .stmt_cache_size(Some(32));
        let socket = match server.host.as_str() {
            path if path.starts_with('/') => Some(path),
            // To the client library, this name is the local socket.
            "localhost" if server.port.is_none() && Path::new(LOCAL_SOCKET).exists() => Some(LOCAL_SOCKET),
            _ => None,
        };
        options = match socket {
            Some(path) => options.socket(Some(path)),
            None => options.ip_or_hostname(server.host.clone()).tcp_port(server.port.unwrap_or(3306)),
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (connection, max_octets) = block(&runtime, PATIENCE, async {
            let mut connection = Conn::new(options).await?;
            let max: Option<u64> = connection.query_first("SELECT @@max_allowed_packet").await?;
            Ok((connection, usize::try_from(max.unwrap_or(1 << 20)).unwrap_or(usize::MAX)))
        })?;
        Ok(Self { runtime, connection, max_octets: max_octets.saturating_sub(STATEMENT_OCTETS) })
    }
}

impl Engine for MySql {
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<i64, DatabaseError> {
        let octets: usize =
            values.iter().map(|value| if let Value::Octets(o) = value { o.len() } else { 0 }).sum();
        let patience = PATIENCE + Duration::from_secs((octets / SLOWEST) as u64);
        let connection = &mut self.connection;
        block(&self.runtime, patience, async {
            connection.exec_drop(statement, params(values)).await?;
            Ok(connection.last_insert_id().and_then(|id| i64::try_from(id).ok()).unwrap_or(0))
        })
    }

    fn number(&mut self, query: &str, values: &[Value<'_>]) -> Result<Option<i64>, DatabaseError> {
        let connection = &mut self.connection;
        block(&self.runtime, PATIENCE, async { connection.exec_first(query, params(values)).await })
    }

    fn max_octets(&mut self) -> usize {
        self.max_octets
    }
}

fn block<T>(
    runtime: &Runtime,
    patience: Duration,
    work: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, DatabaseError> {
    match runtime.block_on(async { tokio::time::timeout(patience, work).await }) {
        Ok(result) => Ok(result?),
        Err(_) => Err(DatabaseError::Timeout),
    }
}

fn params(values: &[Value<'_>]) -> Params {
    if values.is_empty() {
        return Params::Empty;
    }
    let value = |value: &Value<'_>| match *value {
        Value::Int(number) => number.into(),
        Value::Real(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Octets(octets) => octets.to_vec().into(),
    };
    Params::Positional(values.iter().map(value).collect())
}
