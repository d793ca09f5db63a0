//! Options about netfilter rules.

use service::options::{OptionError, Settings};

use crate::netfilter::{Base, Family, Forwarding, NetfilterConfig, Position};

/// Options that ask for an action instead of a daemon.
const ACTIONS: [(&str, NetfilterAction); 3] = [
    ("nftables-start", NetfilterAction::Start),
    ("nftables-stop", NetfilterAction::Stop),
    ("nftables-status", NetfilterAction::Status),
];

/// What is to be done about the rules instead of starting a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetfilterAction {
    /// Make them.
    Start,
    /// Remove them.
    Stop,
    /// Say whether they are there.
    Status,
}

/// The rules, and the number of the kernel table; `None` without a table, or where the operator wants no rules.
pub(super) fn from_settings(settings: &Settings) -> Option<(NetfilterConfig, u8)> {
    let table = u8::try_from(settings.int("table")).ok()?;
    let chain = settings.text("nftables-chain").unwrap_or_else(|| format!("rtpengine_{table}"));
    if chain.is_empty() {
        return None;
    }
    let base = match settings.text("nftables-base-chain").as_deref() {
        Some("none") => Base::Nothing,
        Some("") => Base::Itself,
        Some(chain) => Base::Chain(chain.into()),
        None => Base::Chain("INPUT".into()),
    };
    let config = NetfilterConfig {
        chain,
        base,
        position: if settings.flag("nftables-append") { Position::Last } else { Position::First },
        families: Family::list(settings.text("nftables-family").as_deref()),
        forwarding: if settings.flag("xtables") { Forwarding::Target } else { Forwarding::Expression },
    };
    Some((config, table))
}

/// The action that is asked for, with what it is about.
pub(super) fn action(
    settings: &Settings,
) -> Result<Option<(NetfilterAction, NetfilterConfig, u8)>, OptionError> {
    let mut asked = ACTIONS.iter().filter(|(option, _)| settings.flag(option));
    let Some((option, action)) = asked.next() else { return Ok(None) };
    if let Some((other, _)) = asked.next() {
        return Err(OptionError::invalid(format!("Only one of --{option} and --{other} can be done")));
    }
    match from_settings(settings) {
        Some((config, table)) => Ok(Some((*action, config, table))),
        None => Err(OptionError::invalid(format!(
            "--{option} needs a kernel table (--table) and the name of a chain (--nftables-chain)"
        ))),
    }
}
