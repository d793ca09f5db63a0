//! A database server of the test's own: MariaDB (Debian: mariadb-server) on a free loopback port, with its data in a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::{Process, wait_for};

/// Where Debian puts the server, which is not always in the path.
const PROGRAMS: [&str; 2] = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd"];
/// Long enough for a machine that compiles meanwhile.
const START: Duration = Duration::from_secs(60);

/// A running server, or one that was stopped and can be started again. Its user for clients is `media` with password `secret`.
#[derive(Debug)]
pub struct MariaDb {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl MariaDb {
    /// A server with an empty database `rtpengine` and the user; `None` where none is installed.
    pub fn start() -> Option<Self> {
        let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let install = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .args(user())
            .arg(format!("--datadir={}", folder.path().join("data").display()))
            .stdin(Stdio::null())
            .output()
            .expect("mariadb-install-db comes with the server");
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let mut server = Self { program, folder, port, process: None };
        server.restart();
        server.run(
            "CREATE DATABASE rtpengine; CREATE USER 'media'@'%' IDENTIFIED BY 'secret'; \
             GRANT SELECT ON rtpengine.* TO 'media'@'%'",
        );
        Some(server)
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries out SQL text as administrator.
    pub fn run(&self, sql: &str) {
        let done =
            self.client().arg("--execute").arg(sql).output().expect("the client comes with the server");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Answer to a query in the database `rtpengine`: a line for each row, columns separated by tabs.
    pub fn query(&self, sql: &str) -> String {
        let done = self
            .client()
            .args(["--batch", "--skip-column-names", "rtpengine", "--execute"])
            .arg(sql)
            .output();
        let done = done.expect("the client comes with the server");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    }

    /// Carries out a file of SQL in the database `rtpengine`.
    pub fn run_file(&self, path: &Path) {
        let file = std::fs::File::open(path).expect("a file");
        let done = self.client().arg("rtpengine").stdin(file).output().expect("the client");
        assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    }

    /// Puts a medium into the table of `sql/media-mysql.sql`.
    pub fn store(&self, id: u64, octets: &[u8]) {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let file = self.folder.path().join("row.sql");
        std::fs::write(&file, format!("REPLACE INTO media (id, data) VALUES ({id}, x'{hex}');"))
            .expect("written");
        self.run_file(&file);
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it from answering anything, without closing connections; the other way round with `false`.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { libc::SIGSTOP } else { libc::SIGCONT };
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Starts it (again) on the same port and waits until it answers.
    pub fn restart(&mut self) {
        self.process = None;
        let folder = self.folder.path();
        let mut command = Command::new(&self.program);
        command
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=2"])
            .args(user())
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()));
        let mut process = Process::start(command, &folder.join("server.log")).expect("the server starts");
        let answers = wait_for(START, || {
            if let Some(status) = process.ended() {
                panic!("the server ended with {status}:\n{}", process.log());
            }
            let asked = self.client().args(["--execute", "SELECT 1"]).output();
            asked.is_ok_and(|asked| asked.status.success()).then_some(())
        });
        assert!(answers.is_some(), "no answer from the server:\n{}", process.log());
        self.process = Some(process);
    }

    fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket().display()));
        command.stdin(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

/// The server refuses to run as root unless told to.
fn user() -> Option<&'static str> {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::geteuid() } == 0).then_some("--user=root")
}
