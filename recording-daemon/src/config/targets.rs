//! Where recordings go besides files: the options of storages, databases, notifications and live streams, and whether they
//! fit together.

use std::path::PathBuf;
use std::time::Duration;

use media_store::sink::multipart::MIN_PART;
use service::options::{OptionError, Settings};

/// What `output-storage` and its legacy relatives name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storages {
    /// A file that stays.
    pub file: bool,
    /// Content in the database.
    pub db: bool,
    /// Content in the HTTP notification.
    pub notify: bool,
    /// An S3 object.
    pub s3: bool,
    /// A Google storage object.
    pub gcs: bool,
    /// Kept in memory instead of a temporary file.
    pub memory: bool,
}

/// The database of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseConfig {
    /// An embedded one.
    Sqlite(PathBuf),
    /// MySQL or MariaDB.
    MySql(MySqlConfig),
}

/// A MySQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MySqlConfig {
    /// Name, address, or path of a socket.
    pub host: String,
    /// Port, if not the usual one.
    pub port: Option<u16>,
    /// User.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Name of the database.
    pub database: String,
}

/// Whether certificates of a server are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// They must be valid for the name.
    Certificates,
    /// Anybody may answer.
    Nothing,
}

/// Notifications, and how jobs are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// HTTP address.
    pub uri: Option<String>,
    /// POST instead of GET.
    pub post: bool,
    /// Of the HTTP server.
    pub verify: Verify,
    /// Program to run.
    pub command: Option<PathBuf>,
    /// Jobs at once; 0 = none at all.
    pub concurrency: usize,
    /// Repetitions.
    pub retries: u32,
    /// Before the first repetition.
    pub retry_delay: Duration,
}

/// An S3-compatible object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    /// Host, with a port if it is not 443.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Begins and ends with a slash.
    pub path: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Region.
    pub region: String,
    /// Of the server.
    pub verify: Verify,
}

/// A Google storage bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsConfig {
    /// `https://storage.googleapis.com/upload/storage/v1/b/<bucket>/o`
    pub uri: String,
    /// Who we are.
    pub identity: GcsIdentity,
    /// Rights asked for.
    pub scope: String,
    /// Of the server.
    pub verify: Verify,
    /// The database gets `mediaLink` instead of `selfLink`.
    pub media_link: bool,
}

/// How Google storage is told who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcsIdentity {
    /// An API key.
    Key(String),
    /// A service account's file.
    Account(PathBuf),
}

/// Live audio over TCP or TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcmConfig {
    /// `host:port`
    pub address: String,
    /// Inside TLS.
    pub tls: bool,
    /// In Hz.
    pub sample_rate: u32,
    /// The mix instead of each source.
    pub mixed: bool,
}

/// Everything above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Kinds of storage.
    pub storages: Storages,
    /// Rows.
    pub database: Option<DatabaseConfig>,
    /// Notifications and jobs.
    pub notify: NotifyConfig,
    /// Octets of the parts in which outputs are uploaded while they grow; 0 = they are uploaded when they are complete.
    pub part_octets: u64,
    /// When `s3` is among the storages.
    pub s3: Option<S3Config>,
    /// When `gcs` is among the storages.
    pub gcs: Option<GcsConfig>,
    /// Live audio.
    pub pcm: Option<PcmConfig>,
    /// Unix socket that gets packets.
    pub forward_to: Option<PathBuf>,
}

fn fail<T>(text: &str) -> Result<T, OptionError> {
    Err(OptionError::invalid(text))
}

impl Storages {
    /// Something is stored at all.
    pub fn any(self) -> bool {
        let Self { file, db, notify, s3, gcs, memory } = self;
        file || db || notify || s3 || gcs || memory
    }

    fn load(settings: &Settings) -> Result<Self, OptionError> {
        let mut wanted = Self::default();
        let mut names = settings.list("output-storage");
        if settings.text("output-format").as_deref() == Some("none") {
            names = vec!["none".into()];
        }
        for name in &names {
            match name.as_str() {
                "file" => wanted.file = true,
                "db" => wanted.db = true,
                "both" => (wanted.file, wanted.db) = (true, true),
                "notify" => wanted.notify = true,
                "s3" => wanted.s3 = true,
                "gcs" => wanted.gcs = true,
                "memory" | "mem" => wanted.memory = true,
                "db-mem" => (wanted.db, wanted.memory) = (true, true),
                "none" => {}
                _ => return Err(OptionError::invalid(format!("Invalid 'output-storage' option '{name}'"))),
            }
        }
        wanted.notify |= settings.flag("notify-record");
        wanted.file &= !settings.flag("notify-purge");
        if !wanted.any() && !names.iter().any(|name| name == "none") {
            return fail("No 'output-storage' is left: use 'none' to switch output off");
        }
        if wanted.memory && wanted.file {
            return fail("Storage 'memory' cannot be used together with 'file'");
        }
        if wanted.memory && !(wanted.db || wanted.notify || wanted.s3 || wanted.gcs) {
            return fail("Storage 'memory' needs another storage that takes the recordings over");
        }
        Ok(wanted)
    }
}

impl Targets {
    /// Reads and checks the options.
    pub fn load(settings: &Settings, output_dir: &std::path::Path) -> Result<Self, OptionError> {
        let storages = Storages::load(settings)?;
        let pcm = pcm(settings)?;
        let forward_to = settings.path("forward-to");
        if !storages.any() {
            if settings.flag("output-mixed") || settings.flag("output-single") {
                return fail("Output is disabled, but --output-mixed or --output-single is given");
            }
            if pcm.is_none() && forward_to.is_none() {
                return fail("Both output and forwarding are disabled");
            }
        }
        let database = database(settings, output_dir)?;
        let sqlite_for_content =
            settings.is_set("sqlite-db") && matches!(database, Some(DatabaseConfig::Sqlite(_)));
        let needs: &[(bool, &str, &[&str])] = &[
            (storages.db && !sqlite_for_content, "db", &["mysql-host", "mysql-db"]),
            (storages.notify, "notify", &["notify-uri"]),
            (storages.s3, "s3", &["s3-host", "s3-access-key", "s3-secret-key", "s3-path", "s3-region"]),
            (storages.gcs, "gcs", &["gcs-uri"]),
        ];
        for (_, storage, options) in needs.iter().filter(|(wanted, ..)| *wanted) {
            if let Some(missing) = options.iter().find(|option| !settings.is_set(option)) {
                return Err(OptionError::invalid(format!("Storage '{storage}' needs --{missing}")));
            }
        }
        if storages.gcs && settings.is_set("gcs-key") == settings.is_set("gcs-service-account") {
            return fail("Storage 'gcs' needs either --gcs-key or --gcs-service-account");
        }
        let notify = notify(settings)?;
        if notify.concurrency == 0 && (storages.db || storages.notify || storages.s3 || storages.gcs) {
            return fail(
                "--notify-concurrency switches jobs off that the storages 'db', 'notify', 's3' and 'gcs' need",
            );
        }
        Ok(Self {
            storages,
            database,
            notify,
            part_octets: part_octets(settings)?,
            s3: if storages.s3 { Some(s3(settings)?) } else { None },
            gcs: if storages.gcs { Some(gcs(settings)?) } else { None },
            pcm,
            forward_to,
        })
    }
}

fn verify(settings: &Settings, option: &str) -> Verify {
    if settings.flag(option) { Verify::Nothing } else { Verify::Certificates }
}

fn database(
    settings: &Settings,
    output_dir: &std::path::Path,
) -> Result<Option<DatabaseConfig>, OptionError> {
    let sqlite = settings.text("sqlite-db");
    let mysql = match (settings.text("mysql-host"), settings.text("mysql-db")) {
        (Some(host), Some(database)) if !host.is_empty() && !database.is_empty() => Some(MySqlConfig {
            host,
            port: settings
                .int_if_set("mysql-port")
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0),
            user: settings.text("mysql-user"),
            password: settings.text("mysql-pass"),
            database,
        }),
        _ => None,
    };
    match (mysql, sqlite.as_deref()) {
        (Some(_), Some(path)) if path != "none" => {
            fail("Only one of --mysql-host and --sqlite-db can be used")
        }
        (Some(mysql), _) => Ok(Some(DatabaseConfig::MySql(mysql))),
        (None, Some("none")) => Ok(None),
        (None, Some(path)) => Ok(Some(DatabaseConfig::Sqlite(path.into()))),
        (None, None) => Ok(Some(DatabaseConfig::Sqlite(output_dir.join("recordings.sqlite3")))),
    }
}

fn pcm(settings: &Settings) -> Result<Option<PcmConfig>, OptionError> {
    let of = |address: String, kind: &str, tls: bool| {
        let number = |option: &str| u32::try_from(settings.int(option)).unwrap_or(8000);
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !has_port {
            let text = format!("Invalid value '{address}' for --{kind}-send-to: HOST:PORT is expected");
            return Err(OptionError::invalid(text));
        }
        // Both spellings mean the same; the one that was given counts.
        let sample_rate =
            if settings.is_set("tcp-resample") { number("tcp-resample") } else { number("tls-resample") };
        let mixed = settings.flag("tcp-mixed") || settings.flag("tls-mixed");
        Ok(Some(PcmConfig { address, tls, sample_rate, mixed }))
    };
    match (settings.text("tcp-send-to"), settings.text("tls-send-to")) {
        (Some(_), Some(_)) => fail("Only one of --tcp-send-to and --tls-send-to can be used"),
        (Some(address), None) => of(address, "tcp", false),
        (None, Some(address)) => of(address, "tls", true),
        (None, None) => Ok(None),
    }
}

fn notify(settings: &Settings) -> Result<NotifyConfig, OptionError> {
    let uri = settings.text("notify-uri").filter(|uri| !uri.is_empty());
    if let Some(uri) = uri.as_deref().filter(|uri| !is_http(uri)) {
        return Err(OptionError::invalid(format!(
            "Invalid value '{uri}' for --notify-uri: not an HTTP address"
        )));
    }
    Ok(NotifyConfig {
        uri,
        post: settings.flag("notify-post"),
        verify: verify(settings, "notify-no-verify"),
        command: settings.path("notify-command"),
        concurrency: usize::try_from(settings.int("notify-concurrency")).unwrap_or(0),
        retries: u32::try_from(settings.int("notify-retries")).unwrap_or(0),
        retry_delay: Duration::from_millis(settings.positive_int("notify-retry-delay").into()),
    })
}

fn part_octets(settings: &Settings) -> Result<u64, OptionError> {
    match u64::try_from(settings.int("upload-part-size")).unwrap_or(0) << 20 {
        octets @ 1..MIN_PART => Err(OptionError::invalid(format!(
            "--upload-part-size={} is too small: object stores want parts of {} MB at least (0 = no parts)",
            octets >> 20,
            MIN_PART >> 20
        ))),
        octets => Ok(octets),
    }
}

fn s3(settings: &Settings) -> Result<S3Config, OptionError> {
    let text = |option: &str| settings.text(option).unwrap_or_default();
    let path = text("s3-path");
    let path = path.trim_matches('/');
    Ok(S3Config {
        host: text("s3-host"),
        port: u16::try_from(settings.int("s3-port")).unwrap_or(443),
        path: if path.is_empty() { "/".into() } else { format!("/{path}/") },
        access_key: text("s3-access-key"),
        secret_key: text("s3-secret-key"),
        region: text("s3-region"),
        verify: verify(settings, "s3-no-verify"),
    })
}

fn gcs(settings: &Settings) -> Result<GcsConfig, OptionError> {
    let uri = settings.text("gcs-uri").unwrap_or_default();
    if !is_http(&uri) {
        return Err(OptionError::invalid(format!(
            "Invalid value '{uri}' for --gcs-uri: not an HTTP address"
        )));
    }
    let identity = match settings.path("gcs-service-account") {
        Some(path) => GcsIdentity::Account(path),
        None => GcsIdentity::Key(settings.text("gcs-key").unwrap_or_default()),
    };
    Ok(GcsConfig {
        uri,
        identity,
        scope: settings.text("gcs-scope").unwrap_or_default(),
        verify: verify(settings, "gcs-no-verify"),
        media_link: settings.flag("gcs-media-link"),
    })
}

fn is_http(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}
