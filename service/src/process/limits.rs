//! Resource limits.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Removes the limits on core dumps and memory and raises that on open files as far as allowed.
///
/// Returns the number of files that may be open. Limits that may not be raised are left as they are: the daemon runs with
/// less room, and says so where room is missing.
pub fn raise_limits() -> u64 {
    for resource in [Resource::RLIMIT_CORE, Resource::RLIMIT_DATA, Resource::RLIMIT_RSS, Resource::RLIMIT_AS]
    {
        let raised = setrlimit(resource, RLIM_INFINITY, RLIM_INFINITY);
        if let (Err(_), Ok((_, hard))) = (raised, getrlimit(resource)) {
            let _ = setrlimit(resource, hard, hard);
        }
    }
    let files = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(files).unwrap_or((0, 0));
    let mut wanted = MOST_FILES;
    while wanted > soft {
        if setrlimit(files, wanted, hard.max(wanted)).is_ok() {
            return wanted;
        }
        if wanted > hard && hard > soft && wanted / 2 < hard && setrlimit(files, hard, hard).is_ok() {
            return hard;
        }
        wanted /= 2;
    }
    soft
}

/// How many files may be open at present; `None` = any number.
pub fn open_files() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Changes how many files may be open, the hard limit too.
///
/// # Errors
/// What the system says: mostly that only the superuser may raise the hard limit.
pub fn set_open_files(files: u64) -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(std::io::Error::from)
}

/// What the kernel allows by default at most (`fs.nr_open` − 1).
const MOST_FILES: u64 = 1_048_575;
