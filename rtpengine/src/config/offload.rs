//! Options about forwarding below user space.

use std::time::Duration;

use service::options::Settings;

/// `table`, `offload`, `offload-delay`, `no-fallback`, `kernel-player`, `kernel-player-media`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadConfig {
    pub choice: OffloadChoice,
    /// Number of the kernel table; `None` = none is wanted.
    pub table: Option<u8>,
    /// Without a rung below user space the daemon does not start.
    pub no_fallback: bool,
    /// How long a stream stays in user space after it has changed.
    pub delay: Duration,
    /// Most announcements that the kernel sends at a time; 0 = none.
    pub kernel_players: usize,
    /// Most announcements that it has copies of.
    pub kernel_media: usize,
}

/// What is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffloadChoice {
    /// With a table the kernel module, else eBPF; without one nothing.
    #[default]
    Auto,
    Module,
    Ebpf,
    None,
}

/// Words of the option.
pub const CHOICES: &[&str] = &["auto", "module", "ebpf", "none"];

const DELAY: Duration = Duration::from_secs(3);

impl Default for OffloadConfig {
    fn default() -> Self {
        Self {
            choice: OffloadChoice::default(),
            table: None,
            no_fallback: false,
            delay: DELAY,
            kernel_players: 0,
            kernel_media: 128,
        }
    }
}

impl OffloadConfig {
    /// The words have been checked.
    pub fn from_settings(settings: &Settings) -> Self {
        let choice = match settings.text("offload").as_deref() {
            Some("module") => OffloadChoice::Module,
            Some("ebpf") => OffloadChoice::Ebpf,
            Some("none") => OffloadChoice::None,
            _ => OffloadChoice::Auto,
        };
        let delay = u64::try_from(settings.int("offload-delay")).map_or(DELAY, Duration::from_millis);
        let table = u8::try_from(settings.int("table")).ok();
        let count = |option| usize::try_from(settings.int(option)).unwrap_or(0);
        let (kernel_players, kernel_media) = (count("kernel-player"), count("kernel-player-media"));
        Self { choice, table, no_fallback: settings.flag("no-fallback"), delay, kernel_players, kernel_media }
    }

    /// Something below user space is wanted.
    pub fn is_wanted(&self) -> bool {
        match self.choice {
            OffloadChoice::Auto => self.table.is_some(),
            OffloadChoice::Module | OffloadChoice::Ebpf => true,
            OffloadChoice::None => false,
        }
    }
}
