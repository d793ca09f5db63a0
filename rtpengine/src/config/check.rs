//! Checks that need more than one value, and options whose feature comes later.

use service::address;
use service::options::number::parse_int32;
use service::options::{OptionError, Settings};

/// Netfilter rules of a kind that there is.
pub(super) fn rules(settings: &Settings) -> Result<(), OptionError> {
    if settings.flag("xtables") && settings.text("nftables-family").as_deref() == Some("inet") {
        return Err(OptionError::invalid("--nftables-family=inet cannot be used with --xtables"));
    }
    Ok(())
}

/// Values of options without effect so far are checked all the same, so that a configuration stays valid.
pub(super) fn later_features(settings: &Settings) -> Result<(), OptionError> {
    for option in ["graphite", "homer"] {
        if let Some(text) = settings.text(option) {
            address::resolve_remote(&text).map_err(|error| {
                OptionError::invalid(format!("Invalid IP or port '{text}' (--{option}): {error}"))
            })?;
        }
    }
    if let Some(query) = settings.text("mysql-query") {
        mysql_query(&query)?;
    }
    let bounds = (settings.int("jb-adaptive-min"), settings.int("jb-adaptive-max"));
    if bounds.1 != 0 && bounds.0 > bounds.1 {
        return Err(OptionError::invalid(format!(
            "--jb-adaptive-min {} exceeds --jb-adaptive-max {}",
            bounds.0, bounds.1
        )));
    }
    if settings.is_set("listen-https") && !settings.is_set("https-cert") {
        return Err(OptionError::invalid("--listen-https needs --https-cert"));
    }
    transcode_groups(settings)
}

/// Key and flag string of every template, keys in lower case.
pub(super) fn templates(settings: &Settings) -> Result<Vec<(String, String)>, OptionError> {
    let Some(name) = settings.text("templates") else { return Ok(Vec::new()) };
    let group = settings.group(&name).ok_or_else(|| {
        OptionError::invalid(format!(
            "Failed to load keys from given config file section '{name}' (--templates): there is no such section"
        ))
    })?;
    let mut templates = Vec::new();
    for key in group.keys() {
        let value = group.text(key).map_err(|_| {
            OptionError::invalid(format!("Invalid value for '{key}' in [{name}]: unknown escape sequence"))
        })?;
        templates.push((key.to_lowercase(), value.unwrap_or_default()));
    }
    Ok(templates)
}

fn mysql_query(query: &str) -> Result<(), OptionError> {
    if !query.contains("%llu") {
        return Err(OptionError::invalid(format!("No '%llu' present in --mysql-query='{query}'")));
    }
    match query.matches('%').count() {
        1 => Ok(()),
        count => Err(OptionError::invalid(format!(
            "Too many '%' placeholders ({count}) present in --mysql-query='{query}'"
        ))),
    }
}

fn transcode_groups(settings: &Settings) -> Result<(), OptionError> {
    let Some(prefix) = settings.text("transcode-config") else { return Ok(()) };
    for (name, group) in settings.groups_with_prefix(&prefix) {
        for key in ["source", "destination"] {
            if group.raw(key).is_none_or(str::is_empty) {
                return Err(OptionError::invalid(format!("Transcode config '{name}' has no '{key}' set")));
            }
        }
        if let Some(raw) = group.raw("preference").filter(|raw| parse_int32(raw).is_err()) {
            return Err(OptionError::invalid(format!(
                "Transcode config '{name}' has no integer 'preference': '{raw}'"
            )));
        }
        if !["preference", "transform", "codec-chain"].iter().any(|key| group.raw(key).is_some()) {
            return Err(OptionError::invalid(format!("Transcode config '{name}' has no verdict")));
        }
    }
    Ok(())
}
