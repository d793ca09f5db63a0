//! The service manager's notification protocol: one datagram per message to the socket in `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Start-up is complete.
pub fn ready() -> io::Result<()> {
    to_manager(b"READY=1\n")
}

/// An orderly stop has begun.
pub fn stopping() -> io::Result<()> {
    to_manager(b"STOPPING=1\n")
}

/// All is well; must be said at least once within [`watchdog_interval`].
pub fn alive() -> io::Result<()> {
    to_manager(b"WATCHDOG=1\n")
}

/// This process is the service from now on.
pub fn main_process() -> io::Result<()> {
    to_manager(format!("MAINPID={}\nREADY=1\n", std::process::id()).as_bytes())
}

/// How long the manager waits for a sign of life before it ends the service; `None`: it does not watch this process.
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name: &str| std::env::var(name).ok();
    interval(variable("WATCHDOG_USEC")?.as_str(), variable("WATCHDOG_PID").as_deref())
}

fn interval(microseconds: &str, pid: Option<&str>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let microseconds = microseconds.parse().ok().filter(|microseconds| *microseconds > 0)?;
    is_ours.then(|| Duration::from_micros(microseconds))
}

fn to_manager(message: &[u8]) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, message),
        _ => Ok(()),
    }
}

/// `@name` is a name in the abstract namespace, everything else a path.
fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_watched_says_that_it_lives() {
        let own = std::process::id().to_string();
        let two_seconds = Some(Duration::from_secs(2));
        for (microseconds, pid, expected) in [
            ("2000000", None, two_seconds),
            ("2000000", Some(own.as_str()), two_seconds),
            ("2000000", Some("1"), None),
            ("0", None, None),
            ("soon", None, None),
        ] {
            assert_eq!(interval(microseconds, pid), expected, "{microseconds} {pid:?}");
        }
    }

    #[test]
    fn messages_arrive_at_paths_and_abstract_names() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("notify");
        let name = format!("@service-notify-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).expect("name");
        let by_path = UnixDatagram::bind(&path).expect("bind path");
        let by_name = UnixDatagram::bind_addr(&abstract_address).expect("bind name");
        for (socket, receiver) in [(path.as_os_str(), by_path), (OsStr::new(&name), by_name)] {
            send(socket, b"READY=1\n").expect("send");
            let mut buffer = [0; 32];
            let length = receiver.recv(&mut buffer).expect("receive");
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
        assert!(send(directory.path().join("absent").as_os_str(), b"READY=1\n").is_err());
    }
}
