//! The context in front of a text: which call, tag, media, port a line is about.

use std::fmt::Write;

use super::ContextStyle;
use super::format::Marks;

/// Context fields, collected from spans (outer to inner) and the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub call_id: Option<String>,
    pub tag: Option<String>,
    pub media: Option<u64>,
    pub port: Option<u64>,
    pub context: Option<String>,
    pub metafile: Option<String>,
    pub stream: Option<String>,
    pub ssrc: Option<u64>,
}

impl Context {
    /// Takes a number; `false` if no context field has this name.
    pub fn take_number(&mut self, field: &str, value: u64) -> bool {
        let place = match field {
            "media" => &mut self.media,
            "port" => &mut self.port,
            "ssrc" => &mut self.ssrc,
            _ => return false,
        };
        *place = Some(value);
        true
    }

    /// Takes a text; `false` if no context field has this name.
    pub fn take_text(&mut self, field: &str, value: &str) -> bool {
        let place = match field {
            "call_id" => &mut self.call_id,
            "tag" => &mut self.tag,
            "context" => &mut self.context,
            "metafile" => &mut self.metafile,
            "stream" => &mut self.stream,
            "media" | "port" | "ssrc" => {
                return value.parse().is_ok_and(|value| self.take_number(field, value));
            }
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }

    /// Fields of `inner` go before those that are here.
    pub fn merge(&mut self, inner: Context) {
        let Context { call_id, tag, media, port, context, metafile, stream, ssrc } = inner;
        self.call_id = call_id.or(self.call_id.take());
        self.tag = tag.or(self.tag.take());
        self.media = media.or(self.media);
        self.port = port.or(self.port);
        self.context = context.or(self.context.take());
        self.metafile = metafile.or(self.metafile.take());
        self.stream = stream.or(self.stream.take());
        self.ssrc = ssrc.or(self.ssrc);
    }

    /// The text in front of the subsystem; empty without any field.
    pub fn render(&self, style: ContextStyle, marks: &Marks) -> String {
        let mut text = String::new();
        for (letter, name) in [('C', &self.metafile), ('S', &self.stream)] {
            if let Some(name) = name {
                let _ = write!(text, "[{letter} {}] ", marks.wrap(name));
            }
        }
        if let Some(ssrc) = self.ssrc {
            let _ = write!(text, "[0x{ssrc:x}] ");
        }
        text.push_str(&match style {
            ContextStyle::Default => self.render_default(marks),
            ContextStyle::Parsable => self.render_parsable(marks),
        });
        text
    }

    fn render_default(&self, marks: &Marks) -> String {
        let Some(call_id) = self.call_id.as_deref().or(self.context.as_deref()) else {
            return self.port.map(|port| format!("[no call, port {port:5}]: ")).unwrap_or_default();
        };
        let mut text = format!("[{}", marks.wrap(call_id));
        if let Some(tag) = &self.tag {
            let _ = write!(text, "/{}", marks.wrap(tag));
        }
        if let Some(media) = self.media {
            let _ = write!(text, "/{media}");
        }
        if let Some(port) = self.port {
            let _ = write!(text, " port {port:5}");
        }
        text.push_str("]: ");
        text
    }

    fn render_parsable(&self, marks: &Marks) -> String {
        let id = self.call_id.as_deref().or(self.context.as_deref());
        let parts = [
            id.map(|id| format!("ID=\"{}\"", marks.wrap(id))),
            self.tag.as_deref().map(|tag| format!("tag=\"{}\"", marks.wrap(tag))),
            self.media.map(|media| format!("index=\"{media}\"")),
            self.port.map(|port| format!("port=\"{port}\"")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!("[{}]: ", parts.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_show_what_is_known() {
        let context = |call: &str, tag: &str, media: i64, port: u64| Context {
            call_id: (!call.is_empty()).then(|| call.to_owned()),
            tag: (!tag.is_empty()).then(|| tag.to_owned()),
            media: u64::try_from(media).ok(),
            port: (port != 0).then_some(port),
            ..Context::default()
        };
        let cases = [
            (context("", "", -1, 0), "", ""),
            (context("c", "", -1, 0), "[<c>]: ", "[ID=\"<c>\"]: "),
            (context("c", "t", 1, 0), "[<c>/<t>/1]: ", "[ID=\"<c>\" tag=\"<t>\" index=\"1\"]: "),
            (
                context("c", "t", 0, 3000),
                "[<c>/<t>/0 port  3000]: ",
                "[ID=\"<c>\" tag=\"<t>\" index=\"0\" port=\"3000\"]: ",
            ),
            (context("c", "", -1, 30000), "[<c> port 30000]: ", "[ID=\"<c>\" port=\"30000\"]: "),
            (context("", "", -1, 30000), "[no call, port 30000]: ", "[port=\"30000\"]: "),
        ];
        let marks = Marks { prefix: "<".into(), suffix: ">".into() };
        for (context, default, parsable) in cases {
            assert_eq!(context.render(ContextStyle::Default, &marks), default);
            assert_eq!(context.render(ContextStyle::Parsable, &marks), parsable);
        }
        let recorder = Context {
            metafile: Some("m.meta".into()),
            stream: Some("tag-0".into()),
            ssrc: Some(0xabc),
            ..Context::default()
        };
        assert_eq!(
            recorder.render(ContextStyle::Default, &Marks::default()),
            "[C m.meta] [S tag-0] [0xabc] "
        );
    }
}
