//! The HTTP message about a finished output.

use std::time::SystemTime;

use media_store::sink::http::{Body, HttpMethod, Outgoing, Piece, Verification};

use crate::config::NotifyConfig;
use crate::local_time::unix_seconds;
use crate::recording::{Output, Recording};

/// Field name of the file in the form.
const FIELD: &str = "ngfile";

/// Headers tell what it is about; the content is a form with one file. `rows` are those of call and stream.
pub(super) fn request(
    uri: &str,
    config: &NotifyConfig,
    verification: Verification,
    recording: &Recording,
    output: &Output,
    rows: (Option<i64>, Option<i64>),
    content: Option<Vec<Piece>>,
) -> Outgoing {
    let now = unix_seconds(SystemTime::now());
    let seconds = |time: f64| format!("{time:.6}");
    let mut headers: Vec<(String, String)> = Vec::with_capacity(20);
    let mut add = |name: &str, value: String| headers.push((format!("X-Recording-{name}"), clean(value)));
    add("Call-ID", recording.call_id.clone());
    add("ID", recording.id.clone());
    add("File-Name", output.name.clone());
    add("Full-File-Name", output.path.to_string_lossy().into_owned());
    add("File-Format", output.format.clone());
    add("Kind", output.kind.as_str().to_owned());
    add("Call-Start-Time", seconds(recording.start));
    add("Stream-Start-Time", seconds(output.start));
    add("Call-End-Time", seconds(now));
    add("Stream-End-Time", seconds(now));
    for (name, row) in [("Call-DB-ID", rows.0), ("Stream-DB-ID", rows.1)] {
        if let Some(row) = row {
            add(name, row.to_string());
        }
    }
    if !recording.metadata.is_empty() {
        add("Call-Metadata", recording.metadata.clone());
        add("DB-Metadata", recording.metadata.clone());
    }
    if let Some(party) = output.party.and_then(|party| recording.party(party)) {
        add("Tag", party.tag.clone());
        if !party.label.is_empty() {
            add("Label", party.label.clone());
        }
        if !party.metadata.is_empty() {
            add("Tag-Metadata", party.metadata.clone());
        }
    }
    let mut body = Body::default();
    let method = if config.post || content.is_some() { HttpMethod::POST } else { HttpMethod::GET };
    if let Some(pieces) = content {
        let boundary = format!("-{}-{}", recording.id, output.ssrc);
        let file_name = output.file_name().replace(['"', '\r', '\n'], "_");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{FIELD}\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.pieces.push(Piece::Memory(head.into()));
        body.pieces.extend(pieces);
        body.pieces.push(Piece::Memory(format!("\r\n--{boundary}--\r\n").into()));
        headers.push(("Content-Type".into(), format!("multipart/form-data; boundary={boundary}")));
    }
    Outgoing { method, uri: uri.to_owned(), headers, body, verification }
}

/// Control characters cannot be in a header.
fn clean(value: String) -> String {
    if value.contains(char::is_control) { value.replace(char::is_control, " ") } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Party;
    use media_store::sink::database::OutputKind;

    #[test]
    fn headers_tell_everything_and_the_content_is_a_form() {
        let mut recording = Recording::new("p", 1.25);
        recording.call_id = "call\r\nX-Evil: 1".into();
        recording.metadata = "caller:alice".into();
        recording.parties.push(Party {
            number: 2,
            tag: "t2".into(),
            label: "lab".into(),
            ..Party::default()
        });
        let output: Output = serde_json::from_value(serde_json::json!({
            "path": "/out/a.wav", "name": "a.wav", "format": "wav", "kind": OutputKind::Single, "ssrc": 7, "stream": 0,
            "party": 2, "start": 2.0, "end": 3.0, "sample_rate": 8000, "channels": 1, "frames": 8000,
            "state": "complete", "medium": "file", "sha256": null, "delivered": [], "refused": [],
        }))
        .expect("an output");
        let config = NotifyConfig {
            uri: None,
            post: false,
            verify: crate::config::Verify::Nothing,
            command: None,
            concurrency: 1,
            retries: 0,
            retry_delay: std::time::Duration::ZERO,
        };
        let make = |content| {
            request("http://x/", &config, Verification::None, &recording, &output, (Some(5), None), content)
        };
        let plain = make(None);
        assert_eq!(plain.method, HttpMethod::GET);
        let header = |name: &str| {
            let found = plain.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("X-Recording-Call-ID"), Some("call  X-Evil: 1"));
        assert_eq!(header("X-Recording-Call-Start-Time"), Some("1.250000"));
        assert_eq!((header("X-Recording-Call-DB-ID"), header("X-Recording-Stream-DB-ID")), (Some("5"), None));
        assert_eq!((header("X-Recording-Tag"), header("X-Recording-Label")), (Some("t2"), Some("lab")));
        assert_eq!(header("X-Recording-DB-Metadata"), Some("caller:alice"));
        let with_file = make(Some(vec![Piece::Memory("RIFF".into())]));
        assert_eq!((with_file.method, with_file.body.pieces.len()), (HttpMethod::POST, 3));
    }
}
