//! The door with its threads.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::runtime::{self, Runtime};

use super::Services;
use super::server::{HttpError, HttpListeners, Limits};
use super::tls::CertificateFiles;
use crate::config::HttpConfig;

/// How long answers that are being made may take when the door is closed.
const DRAIN: Duration = Duration::from_secs(1);

/// An open door.
#[derive(Debug)]
pub struct HttpDoor {
    runtime: Runtime,
}

impl HttpDoor {
    /// Listens and serves, with that many threads unless the configuration has a number of its own. `None`, and no threads, when nothing is to be listened on.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be used, or no threads.
    pub fn open(config: &HttpConfig, threads: usize, services: Services) -> Result<Option<Self>, HttpError> {
        if config.listen.is_empty() && config.listen_secure.is_empty() {
            return Ok(None);
        }
        let certificate = config.https_cert.as_ref().filter(|_| !config.listen_secure.is_empty());
        let certificate = certificate.map(|certificate| CertificateFiles {
            certificate: certificate.clone(),
            key: config.https_key.as_ref().unwrap_or(certificate).clone(),
        });
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.map_or(threads, NonZeroUsize::get))
            .thread_name("http")
            .thread_stack_size(service::process::threads::stack_octets())
            .enable_all()
            .build()
            .map_err(HttpError::Threads)?;
        let entered = runtime.enter();
        let listeners =
            HttpListeners::bind(&config.listen, &config.listen_secure, certificate, config.send_buffer)?;
        // They run until the runtime ends.
        listeners.run(services, Limits { idle: config.idle_timeout, ..Limits::default() })?;
        drop(entered);
        Ok(Some(HttpDoor { runtime }))
    }

    /// Ends all connections.
    pub fn close(self) {
        self.runtime.shutdown_timeout(DRAIN);
    }
}
