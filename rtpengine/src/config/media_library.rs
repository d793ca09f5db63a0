//! Options about media that are played: `mysql-*`, `sqlite-db`, `media-urls`, preloading, reading again, expiry, caches.

use std::time::Duration;

use media_store::database::{DatabaseSettings, Limits, MySqlServer, Server};
use media_store::http::{HttpSettings, UrlRules};
use media_store::library::{Keeping, LibrarySettings};
use service::options::{OptionError, Settings};

/// Query for the tables of `sql/media-sqlite.sql`.
const SQLITE_QUERY: &str = "select data from media where id = %llu";
/// The word that stands for "whatever is played".
const ON_DEMAND: &str = "on-demand";

pub(super) fn from_settings(settings: &Settings) -> Result<LibrarySettings, OptionError> {
    let seconds = |name| {
        let value = u64::try_from(settings.int(name)).ok();
        value.filter(|value| *value > 0).map(Duration::from_secs)
    };
    Ok(LibrarySettings {
        files: Keeping {
            preload: named(settings, "preload-media-files"),
            on_demand: on_demand(settings, "preload-media-files"),
            reload: seconds("media-files-reload"),
            expire: seconds("media-files-expire"),
        },
        database_media: Keeping {
            preload: numbers(settings, "preload-db-media")?,
            on_demand: on_demand(settings, "preload-db-media"),
            reload: seconds("db-media-reload"),
            expire: seconds("db-media-expire"),
        },
        disk: Keeping {
            preload: numbers(settings, "preload-db-cache")?,
            on_demand: true,
            reload: seconds("db-cache-reload"),
            expire: seconds("db-cache-expire"),
        },
        disk_directory: settings.path("db-media-cache"),
        expiry_interval: seconds("expiry-timer"),
        database: database(settings),
        http: HttpSettings { allowed: urls(settings)?, ..HttpSettings::default() },
    })
}

fn database(settings: &Settings) -> Option<DatabaseSettings> {
    let query = text(settings, "mysql-query");
    let (server, query) = match (settings.path("sqlite-db"), query) {
        (Some(path), query) => (Server::Sqlite(path), query.unwrap_or_else(|| SQLITE_QUERY.into())),
        (None, Some(query)) => {
            let server = MySqlServer {
                host: text(settings, "mysql-host"),
                port: settings
                    .int_if_set("mysql-port")
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port != 0),
                user: text(settings, "mysql-user"),
                password: text(settings, "mysql-pass"),
            };
            (Server::MySql(server), query)
        }
        (None, None) => return None,
    };
    Some(DatabaseSettings { server, query, limits: Limits::default() })
}

/// All, when nothing is said.
fn urls(settings: &Settings) -> Result<UrlRules, OptionError> {
    let words = settings.list("media-urls");
    if words.is_empty() {
        return Ok(UrlRules::Any);
    }
    let rules = UrlRules::parse(words.iter().map(String::as_str));
    rules.map_err(|error| OptionError::invalid(format!("Invalid rule (--media-urls): {error}")))
}

fn text(settings: &Settings, name: &str) -> Option<String> {
    settings.text(name).filter(|text| !text.is_empty())
}

fn on_demand(settings: &Settings, name: &str) -> bool {
    settings.list(name).iter().any(|word| word == ON_DEMAND)
}

/// The entries of a list that are not [`ON_DEMAND`].
fn named(settings: &Settings, name: &str) -> Vec<String> {
    settings.list(name).into_iter().filter(|word| word != ON_DEMAND).collect()
}

fn numbers(settings: &Settings, name: &str) -> Result<Vec<u64>, OptionError> {
    let number = |word: String| {
        let invalid = || OptionError::invalid(format!("Invalid ID '{word}' (--{name}): a number is needed"));
        word.trim().parse().map_err(|_| invalid())
    };
    named(settings, name).into_iter().map(number).collect()
}
