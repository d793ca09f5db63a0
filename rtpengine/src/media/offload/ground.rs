//! Which rung this daemon stands on: tried once, when it starts.

use std::net::IpAddr;
use std::sync::Arc;

#[cfg(feature = "ebpf")]
use super::ebpf::Program;
use super::module::{KernelMedia, KernelStreams, Module, OpenError, Places, WhenInUse};
use super::{Backend, Ladder, PlayerBackend, Rung};
use crate::config::{Config, OffloadChoice, OffloadConfig};
use crate::media::tap::Producer;

/// What is below user space, for as long as the daemon runs.
#[derive(Default)]
pub struct Ground {
    module: Option<Module>,
    #[cfg(feature = "ebpf")]
    ebpf: Option<Program>,
}

/// Nothing is below user space although something has to be.
#[derive(Debug, thiserror::Error)]
#[error("Userspace fallback disallowed - exiting ({0})")]
pub struct NoFallback(String);

impl Ground {
    /// Tries the rungs that the configuration allows and says in the log where that ended, and why. Copies of packets that are forwarded
    /// by eBPF go to `recorder`.
    ///
    /// # Errors
    /// Nothing works, and user space alone is not allowed.
    pub fn find(config: &Config, recorder: Option<Producer>) -> Result<Self, NoFallback> {
        let offload = &config.offload;
        if !offload.is_wanted() {
            return Ok(Self::default());
        }
        let mut obstacles = Vec::new();
        for rung in rungs(offload) {
            match rung {
                Rung::Module => match module(config) {
                    Ok(module) => {
                        tracing::info!("established streams are forwarded by the kernel module");
                        return Ok(Self { module: Some(module), ..Self::default() });
                    }
                    Err(error) => obstacles.push(error.to_string()),
                },
                Rung::Ebpf => {
                    let addresses: Vec<IpAddr> =
                        config.local_addresses().map(|(_, local)| local.address).collect();
                    match ebpf(&addresses, recorder) {
                        Ok(ground) => {
                            let why = obstacles.join("; ");
                            tracing::info!(instead_of = %why, "established streams are forwarded by eBPF");
                            return Ok(ground);
                        }
                        Err(error) => obstacles.push(error),
                    }
                    break;
                }
            }
        }
        let obstacles = obstacles.join("; ");
        if offload.no_fallback {
            return Err(NoFallback(obstacles));
        }
        tracing::warn!(reason = %obstacles, "KERNEL FORWARDING DISABLED: all media are forwarded in user space");
        Ok(Self::default())
    }

    /// One ladder for each worker; none when there is only user space.
    pub fn ladders(&self, workers: usize, offload: &OffloadConfig) -> Vec<Ladder> {
        let places = Arc::new(Places::new(offload.kernel_players));
        let player = |module: &Module| -> Box<dyn PlayerBackend> { module.players(Arc::clone(&places)) };
        let players = || self.with_players(offload).map(player);
        let one = || match &self.module {
            Some(module) => Some(Ok(module.backend())),
            None => self.backend(),
        };
        let backends: std::io::Result<Vec<Box<dyn Backend>>> = (0..workers).filter_map(|_| one()).collect();
        match backends {
            Ok(backends) => {
                let ladder = |backend| Ladder::new(backend, offload.delay).with_players(players());
                backends.into_iter().map(ladder).collect()
            }
            Err(error) => {
                tracing::error!(%error, "no worker can reach the kernel: all media are forwarded in user space");
                Vec::new()
            }
        }
    }

    /// Where announcements are copied to that the kernel is to send. Where that is wanted and cannot be, the log says why.
    pub fn kernel_media(&self, offload: &OffloadConfig) -> Option<KernelMedia> {
        if offload.kernel_players > 0 && self.with_players(offload).is_none() {
            let reason = match self.module {
                Some(_) => "the module is too old",
                None => "there is no kernel module below",
            };
            tracing::warn!(%reason, "kernel-player: all announcements are sent from user space");
        }
        self.with_players(offload).map(Module::media)
    }

    /// The module, if it is to send announcements.
    fn with_players(&self, offload: &OffloadConfig) -> Option<&Module> {
        self.module.as_ref().filter(|module| offload.kernel_players > 0 && module.has_players())
    }

    /// Files of recorded streams, where the module makes them.
    pub fn kernel_streams(&self) -> Option<KernelStreams> {
        self.module.as_ref().map(Module::streams)
    }

    #[cfg(feature = "ebpf")]
    fn backend(&self) -> Option<std::io::Result<Box<dyn Backend>>> {
        self.ebpf.as_ref().map(Program::backend)
    }

    #[cfg(not(feature = "ebpf"))]
    fn backend(&self) -> Option<std::io::Result<Box<dyn Backend>>> {
        None
    }
}

/// This build can forward by eBPF.
pub fn has_ebpf() -> bool {
    #[cfg(feature = "ebpf")]
    let is_built = super::ebpf::is_built();
    #[cfg(not(feature = "ebpf"))]
    let is_built = false;
    is_built
}

/// In the order in which they are tried.
fn rungs(offload: &OffloadConfig) -> &'static [Rung] {
    match offload.choice {
        OffloadChoice::Auto => &[Rung::Module, Rung::Ebpf],
        OffloadChoice::Module => &[Rung::Module],
        OffloadChoice::Ebpf => &[Rung::Ebpf],
        OffloadChoice::None => &[],
    }
}

fn module(config: &Config) -> Result<Module, OpenError> {
    let hands_over = config.handover_socket.is_some();
    let when_in_use = if hands_over { WhenInUse::TakeOver } else { WhenInUse::Refuse };
    Module::open(config.offload.table.unwrap_or(0), when_in_use)
}

#[cfg(feature = "ebpf")]
fn ebpf(addresses: &[IpAddr], recorder: Option<Producer>) -> Result<Ground, String> {
    let program = Program::start(addresses, recorder).map_err(|error| error.to_string())?;
    Ok(Ground { ebpf: Some(program), ..Ground::default() })
}

#[cfg(not(feature = "ebpf"))]
fn ebpf(_addresses: &[IpAddr], _recorder: Option<Producer>) -> Result<Ground, String> {
    Err("this build has no eBPF".into())
}
