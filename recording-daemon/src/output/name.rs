//! Names of outputs.

use std::path::PathBuf;
use std::time::SystemTime;

use media_store::sink::database::OutputKind;

use super::Contents;
use crate::local_time::LocalTime;
use crate::metadata::CallInfo;
use crate::pattern::{self, Values};
use crate::settings::OutputSettings;

/// A name that is not taken yet, perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Without extension.
    pub path: PathBuf,
    /// Left out when signalling gave the whole name.
    pub extension: Option<&'static str>,
}

impl Name {
    /// The whole path as it is meant to be.
    pub fn whole(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        if let Some(extension) = self.extension {
            path.push(".");
            path.push(extension);
        }
        path.into()
    }
}

/// Directory, name and extension of an output: `RECORDING_FILE` wins, then pattern and directory of the call, then the
/// options.
pub(super) fn of_output(
    settings: &OutputSettings,
    call: &CallInfo,
    contents: &Contents,
    now: SystemTime,
) -> Name {
    let format = settings.format.extension();
    if let Some(file) = call.names.file.as_deref().filter(|file| !file.is_empty() && !file.contains('\0')) {
        let extension = if file.contains('/') { None } else { Some(format) };
        let file = if matches!(file, "." | "..") {
            spool::names::percent_encode(file).replace('.', "%2E")
        } else {
            file.into()
        };
        return Name { path: settings.directory.join(file), extension };
    }
    let stream_type = match contents.kind {
        OutputKind::Mixed => "mix".to_owned(),
        OutputKind::Single => format!("{:08x}", contents.ssrc),
    };
    let values = Values {
        call_id: &call.call_id,
        random_tag: call
            .random_tag
            .as_deref()
            .or_else(|| spool::names::random_tag(&call.parent))
            .unwrap_or_default(),
        stream_type: &stream_type,
        label: &contents.label,
        metadata: &call.metadata,
        time: LocalTime::from_system(now),
    };
    let (name, errors) = pattern::expand(call.names.pattern.as_deref().unwrap_or(&settings.pattern), &values);
    for error in errors {
        tracing::warn!("{error}");
    }
    let directory = call.names.directory.as_ref().map_or_else(|| settings.directory.clone(), PathBuf::from);
    Name { path: directory.join(name.trim_start_matches('/')), extension: Some(format) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_asked_for_by_signalling_win() {
        type Asked<'a> = Option<&'a str>;
        let cases: &[(Asked<'_>, Asked<'_>, Asked<'_>, &str)] = &[
            (None, None, None, "/out/c%401-0011223344556677-000000ab.wav"),
            (None, None, Some("x/%t"), "/out/x/000000ab.wav"),
            (None, Some("/other"), None, "/other/c%401-0011223344556677-000000ab.wav"),
            (Some("name"), Some("/other"), Some("x"), "/out/name.wav"),
            (Some("/abs/name"), None, None, "/abs/name"),
            (None, None, Some("/../%t"), "/out/%2E%2E/000000ab.wav"),
        ];
        for (file, directory, pattern, expected) in cases {
            let mut call = CallInfo {
                call_id: "c@1".into(),
                parent: "c%401-0011223344556677".into(),
                ..CallInfo::default()
            };
            call.names.file = file.map(Into::into);
            call.names.directory = directory.map(Into::into);
            call.names.pattern = pattern.map(Into::into);
            let contents = Contents {
                kind: OutputKind::Single,
                ssrc: 0xab,
                stream: 0,
                party: None,
                label: String::new(),
            };
            let settings =
                OutputSettings { pattern: "%c-%r-%t".into(), ..OutputSettings::for_tests("/out".as_ref()) };
            let name = of_output(&settings, &call, &contents, SystemTime::now());
            assert_eq!(name.whole(), PathBuf::from(expected));
        }
    }
}
