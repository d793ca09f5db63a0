//! The service manager's notification protocol: one datagram per message to the socket in `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Start-up is complete.
pub fn ready() -> io::Result<()> {
    to_manager(b"READY=1\n")
}

/// An orderly stop has begun.
pub fn stopping() -> io::Result<()> {
    to_manager(b"STOPPING=1\n")
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
