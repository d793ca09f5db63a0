//! Whether a media proxy works on a spool: it holds an advisory lock on the directory of exposed packets.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Somebody holds the spool. Looks at the system's list of locks, so that nobody is disturbed who wants the lock just now.
pub fn is_held(spool: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(spool.join("calls")) else { return false };
    // When the list cannot be read, nothing is concluded from it.
    std::fs::read_to_string("/proc/locks").map_or(true, |locks| lists(&locks, metadata.dev(), metadata.ino()))
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF`
fn lists(locks: &str, device: u64, inode: u64) -> bool {
    let wanted = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.any(|word| word == "FLOCK") && words.any(|word| word == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_noticed_and_gone_with_its_holder() {
        let spool = tempfile::tempdir().expect("temporary directory");
        assert!(!is_held(spool.path()));
        std::fs::create_dir(spool.path().join("calls")).expect("directory");
        let directory = std::fs::File::open(spool.path().join("calls")).expect("open");
        assert!(!is_held(spool.path()));
        directory.lock().expect("lock");
        assert!(is_held(spool.path()));
        drop(directory);
        assert!(!is_held(spool.path()));
    }
}
