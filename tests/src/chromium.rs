//! Headless Chromium as a WebRTC party: a page takes commands as JSON values and answers each by one. Spoken to over the browser's
//! own debugging protocol.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Process, wait_for};
use crate::websocket::{TEXT, WebSocket};

const PROGRAMS: [&str; 3] =
    ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium", "/usr/bin/google-chrome"];
/// It has no sound card, and no sandbox when root runs it; nothing of it leaves the machine.
const ARGUMENTS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    // Without a microphone that the user has allowed, candidates would be names that only multicast DNS resolves.
    "--disable-features=WebRtcHideLocalIpsWithMdns,Translate,MediaRouter,OptimizationHints",
    "--remote-debugging-port=0",
];
const START: Duration = Duration::from_secs(30);
/// Longer than what the page itself waits for.
const ANSWER: Duration = Duration::from_secs(30);

/// A browser with one page. Killed when dropped.
#[derive(Debug)]
pub struct Chromium {
    process: Process,
    _folder: tempfile::TempDir,
    socket: WebSocket<TcpStream>,
    session: String,
    last: u64,
}

impl Chromium {
    /// A browser whose page has run `script`, which defines `command(value)`; `None` where none is installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(script: &str) -> Option<Self> {
        let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        command.args(ARGUMENTS).process_group(0).env("HOME", folder.path());
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.arg("about:blank");
        let process = Process::start(command, &folder.path().join("log")).expect("the browser starts");
        let url = wait_for(START, || {
            let log = process.log();
            let url = log.split_once("DevTools listening on ws://")?.1.split_once('\n')?.0;
            Some(url.trim().to_owned())
        });
        let url = url.expect("the browser listens");
        let (address, path) = url.split_once('/').expect("an address and a path");
        let stream = TcpStream::connect(address).expect("the browser accepts");
        stream.set_read_timeout(Some(ANSWER)).expect("a time-out");
        let socket = WebSocket::open(stream, &format!("/{path}"), None).expect("a debugging connection");
        let session = String::new();
        let mut browser = Self { process, _folder: folder, socket, session, last: 0 };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        browser.evaluate(script);
        Some(browser)
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Panics
    /// When the answer is an error, or none.
    pub fn tell(&mut self, command: &Value) -> Value {
        self.evaluate(&format!("command({command})"))
    }

    /// The value of an expression, awaited.
    fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let reply = self.call("Runtime.evaluate", &parameters);
        assert!(reply.get("exceptionDetails").is_none(), "in the page: {:#}", reply["exceptionDetails"]);
        reply["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(TEXT, message.to_string().as_bytes()).expect("the browser reads");
        loop {
            let (_, reply) = self.socket.receive().expect("the browser answers");
            let mut reply: Value = serde_json::from_slice(&reply).expect("JSON");
            // Others are events.
            if reply["id"] == self.last {
                assert!(reply.get("error").is_none(), "{method}: {reply}");
                return reply["result"].take();
            }
        }
    }
}

impl Drop for Chromium {
    /// What is installed may be a script that starts the browser, and the browser starts many processes: all of them end.
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).expect("a process number");
        // SAFETY: no memory is passed; the group is that of a child that was not waited for yet.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}
