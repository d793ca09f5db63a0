//! Directories and files that the configuration names.

use std::path::Path;
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;
use openssl::asn1::Asn1Time;
use openssl::x509::X509;
use service::process::ProcessConfig;

use super::Finding;
use crate::config::Config;
use crate::control::http::{Certificate, CertificateFiles};

/// Below this much free space recordings are in danger.
const LEAST_SPACE: u64 = 1 << 30;
/// A certificate is to be renewed in time.
const DAYS_LEFT: i32 = 14;

pub fn recording(config: &Config) -> Vec<Finding> {
    config
        .recording
        .dir
        .as_deref()
        .map_or_else(Vec::new, |dir| directory("recording", "recording-dir", dir, true))
}

/// Whether files can be made in a directory, which the daemon makes itself if `made`.
fn directory(topic: &'static str, option: &str, path: &Path, made: bool) -> Vec<Finding> {
    let shown = path.display();
    // The nearest one that exists.
    let Some(existing) = path.ancestors().find(|path| path.exists()) else { return Vec::new() };
    if existing != path && !made {
        let fix = format!("install -d {shown}");
        return vec![Finding::failure(topic, format!("{option}: {shown} does not exist"), fix)];
    }
    if !existing.is_dir() {
        let text = format!("{option}: {} is no directory", existing.display());
        return vec![Finding::failure(topic, text, format!("another directory for {option}"))];
    }
    if let Err(error) = tempfile_in(existing) {
        let fix = format!("install -d -o $(id -un) {shown}, or another directory for {option}");
        let text = format!("{option}: cannot write into {}: {error}", existing.display());
        return vec![Finding::failure(topic, text, fix)];
    }
    let space = statvfs(existing).map(|space| space.blocks_available() * space.fragment_size());
    vec![match space {
        Ok(octets) if octets < LEAST_SPACE => Finding::warning(
            topic,
            format!("{option}: only {} MiB are free below {}", octets >> 20, existing.display()),
            format!("`du -xh {} | sort -h | tail` shows what takes the room", existing.display()),
        ),
        Ok(octets) => {
            Finding::fine(topic, format!("{option}: {shown} can be written, {} GiB are free", octets >> 30))
        }
        Err(_) => Finding::fine(topic, format!("{option}: {shown} can be written")),
    }]
}

fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!(".rtpengine-doctor-{:016x}", rand::random::<u64>()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)
}

/// The certificate of HTTPS.
pub fn certificate(config: &Config) -> Option<Finding> {
    let topic = "certificate";
    let http = &config.control.http;
    let path = http.https_cert.as_ref().filter(|_| !http.listen_secure.is_empty())?;
    let shown = path.display();
    let key = http.https_key.as_ref().unwrap_or(path).clone();
    if let Err(error) = Certificate::load(CertificateFiles { certificate: path.clone(), key }) {
        let text = format!("https-cert: {shown}: {error}");
        return Some(Finding::failure(
            topic,
            text,
            "https-cert and https-key: PEM files that belong together",
        ));
    }
    let pem = std::fs::read(path).ok()?;
    let certificate = X509::from_pem(&pem).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let now = Asn1Time::from_unix(i64::try_from(now).ok()?).ok()?;
    let left = now.diff(certificate.not_after()).ok()?;
    let fix = "renew it; the daemon reads the file again by itself";
    Some(if left.days < 0 || left.secs < 0 {
        Finding::failure(topic, format!("{shown} has expired: {}", certificate.not_after()), fix)
    } else if left.days < DAYS_LEFT {
        Finding::warning(topic, format!("{shown} expires in {} days", left.days), fix)
    } else {
        Finding::fine(topic, format!("{shown} is valid for {} days", left.days))
    })
}

/// What else is read and written.
pub fn others(config: &Config, process: &ProcessConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(parent) = process.pidfile.as_deref().and_then(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        findings.extend(directory("pid file", "pidfile", parent, false));
    }
    if let Some(cache) = &config.library.disk_directory {
        findings.extend(directory("media cache", "db-media-cache", cache, true));
    }
    for file in &config.library.files.preload {
        if let Err(error) = std::fs::File::open(file) {
            findings.push(Finding::failure(
                "media files",
                format!("preload-media-files: {file}: {error}"),
                format!("`ls -l {file}`: it has to be there and readable"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn directories_are_made_where_that_is_possible() {
        let folder = tempfile::tempdir().expect("a folder");
        let verdict =
            |path: &Path, made| directory("x", "y", path, made).first().map(|finding| finding.verdict);
        assert_ne!(verdict(folder.path(), false), Some(Verdict::Failure));
        assert_ne!(verdict(&folder.path().join("a/b"), true), Some(Verdict::Failure));
        assert_eq!(verdict(&folder.path().join("a/b"), false), Some(Verdict::Failure));
        std::fs::write(folder.path().join("file"), "").expect("written");
        assert_eq!(verdict(&folder.path().join("file"), true), Some(Verdict::Failure));
        assert_eq!(verdict(Path::new("/proc/none"), true), Some(Verdict::Failure), "nobody can write there");
    }
}
