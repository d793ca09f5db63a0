//! `sdp-attr` and its flag forms (section 11 of the flag reference).

use super::Decoder;
use super::read::{each_string, text, unescape};
use super::sdp_output::MEDIA_TYPES;
use crate::control::ng::request::RequestError;
use crate::negotiate::signal::{SdpAttrAction, SdpAttrCommand, SdpSection};
use crate::proto::value::{Dict, Value};

/// Commands, both of the dictionary and as the last part of the flag prefixes.
pub(super) const COMMANDS: &[&str] = &["add", "remove", "substitute"];

/// `{section: {command: list}}`
pub(super) fn dictionary(decoder: &mut Decoder<'_>, value: &Value) {
    let Value::Dict(sections) = value else { return decoder.fail(RequestError::WrongType) };
    for (name, commands) in &sections.0 {
        let result = match (std::str::from_utf8(name).ok().and_then(section), commands) {
            (None, _) => Err(RequestError::UnsupportedSection),
            (Some(section), Value::Dict(commands)) => section_commands(decoder, &section, commands),
            (Some(_), _) => Err(RequestError::WrongContent),
        };
        if let Err(error) = result {
            return decoder.fail(error);
        }
    }
}

/// A flag `sdp-attr-COMMAND-SECTION-text` without its first part. Returns whether it is one.
pub(super) fn flag(decoder: &mut Decoder<'_>, rest: &str) -> bool {
    let Some((command, rest)) = rest.split_once('-') else { return false };
    let Some((name, text)) = rest.split_once('-') else { return false };
    let (Some(section), true) = (section(name), COMMANDS.contains(&command)) else { return false };
    let Some(action) = action(command, &unescape(text)) else { return false };
    decoder.signal.output.sdp_attr.push(SdpAttrCommand { section, action });
    true
}

fn section(name: &str) -> Option<SdpSection> {
    match name {
        "none" | "global" => Some(SdpSection::Session),
        name if MEDIA_TYPES.contains(&name) => Some(SdpSection::Media(name.into())),
        _ => None,
    }
}

fn section_commands(
    decoder: &mut Decoder<'_>,
    section: &SdpSection,
    commands: &Dict,
) -> Result<(), RequestError> {
    for (command, list) in &commands.0 {
        let command = std::str::from_utf8(command).ok().filter(|command| COMMANDS.contains(command));
        let command = command.ok_or(RequestError::UnknownManipulation)?;
        let target = &mut decoder.signal.output.sdp_attr;
        let mut push = |action| target.push(SdpAttrCommand { section: section.clone(), action });
        match list {
            Value::List(items) if command == "substitute" => {
                items.iter().filter_map(substitution).for_each(push);
            }
            list => each_string(list, |text| {
                if let Some(action) = action(command, text) {
                    push(action);
                }
            }),
        }
    }
    Ok(())
}

/// `[from, to]` or `from>to`
fn substitution(item: &Value) -> Option<SdpAttrAction> {
    match item {
        Value::List(pair) => match pair.as_slice() {
            [from, to] => Some(SdpAttrAction::Substitute { from: text(from)?, to: text(to)? }),
            _ => None,
        },
        item => action("substitute", &text(item)?),
    }
}

fn action(command: &str, text: &str) -> Option<SdpAttrAction> {
    match command {
        "add" => Some(SdpAttrAction::Add(text.into())),
        "remove" => Some(SdpAttrAction::Remove(text.into())),
        _ => text
            .split_once('>')
            .map(|(from, to)| SdpAttrAction::Substitute { from: from.into(), to: to.into() }),
    }
}
