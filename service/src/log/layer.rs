//! The `tracing` layer: decides whether a line is wanted and makes it.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::LookupSpan;

use super::context::Context;
use super::debug_calls::DebugCalls;
use super::format::{Fields, Marks};
use super::output::{Message, Output, Sink};
use super::{ContextStyle, Levels, LogConfig, LogHandle, Subsystem};

#[derive(Debug)]
pub(super) struct LogLayer {
    levels: Arc<Levels>,
    debug_calls: Arc<DebugCalls>,
    sink: Arc<Sink>,
    style: ContextStyle,
    marks: Marks,
}

impl LogLayer {
    pub fn new(config: &LogConfig, output: Output) -> (Self, LogHandle) {
        let levels = Arc::new(config.levels());
        let sink = Arc::new(Sink::new(output));
        let debug_calls = Arc::<DebugCalls>::default();
        let handle = LogHandle {
            levels: Arc::clone(&levels),
            debug_calls: Arc::clone(&debug_calls),
            sink: Arc::clone(&sink),
        };
        let marks = Marks { prefix: config.mark_prefix.clone(), suffix: config.mark_suffix.clone() };
        (LogLayer { levels, debug_calls, sink, style: config.style, marks }, handle)
    }

    /// The most talkative level of which a line may be wanted.
    fn filter(&self) -> LevelFilter {
        let levels = self.levels.filter();
        if self.debug_calls.any() { levels.max(LevelFilter::DEBUG) } else { levels }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (metadata.is_span(), *metadata.level() <= self.filter()) {
            (true, _) => Interest::always(),
            (_, true) => Interest::sometimes(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        if metadata.is_span() {
            return true;
        }
        let level = self.levels.get(Subsystem::of_target(metadata.target()));
        // A field may make a line more severe than its level says: ERROR down to EMERG, INFO to NOTICE.
        let most_severe = match *metadata.level() {
            Level::ERROR => 0,
            Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 7,
            Level::TRACE => 8,
        };
        // Whether the line belongs to a debugged call is known when it is made.
        most_severe <= level || self.debug_calls.any()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans carry the context of lines of any level.
        Some(self.filter().max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, layers: LayerContext<'_, S>) {
        let mut fields = Fields::new(&self.marks);
        attributes.record(&mut fields);
        if let Some(span) = layers.span(id).filter(|_| fields.context != Context::default()) {
            span.extensions_mut().insert(fields.context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, layers: LayerContext<'_, S>) {
        let mut fields = Fields::new(&self.marks);
        values.record(&mut fields);
        let Some(span) = layers.span(id) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Context>() {
            Some(context) => context.merge(fields.context),
            None => extensions.insert(fields.context),
        }
    }

    fn on_event(&self, event: &Event<'_>, layers: LayerContext<'_, S>) {
        let metadata = event.metadata();
        let subsystem = Subsystem::of_target(metadata.target());
        let mut fields = Fields::new(&self.marks);
        event.record(&mut fields);
        let severity = fields.severity.unwrap_or(match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG => 7,
            Level::TRACE => 8,
        });
        let is_hidden = i32::from(severity) > self.levels.get(subsystem);
        if is_hidden && (severity > 7 || !self.debug_calls.any()) {
            return;
        }
        let mut context = Context::default();
        for span in layers.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Context>() {
                context.merge(of_span.clone());
            }
        }
        let text = fields.text();
        context.merge(fields.context);
        if is_hidden && !context.call_id.as_deref().is_some_and(|call_id| self.debug_calls.contains(call_id))
        {
            return;
        }
        let context = context.render(self.style, &self.marks);
        self.sink.push(Message {
            severity,
            time: SystemTime::now(),
            prefix: format!("{}: {context}[{}] ", level_name(severity), subsystem.name()),
            text,
            limit: fields.limit,
            facility: None,
        });
    }
}

fn level_name(severity: u8) -> &'static str {
    match severity {
        0 => "EMERG",
        1 => "ALERT",
        2 => "CRIT",
        3 => "ERR",
        4 => "WARNING",
        5 => "NOTICE",
        6 => "INFO",
        _ => "DEBUG",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::Destination;
    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `work` logs with the given levels.
    fn logged(levels: [i32; Subsystem::COUNT], work: impl FnOnce(&LogHandle)) -> Vec<String> {
        let config = LogConfig {
            destination: Destination::Stderr { timestamps: false },
            levels,
            identity: "demo".into(),
            max_line_length: None,
            max_record_length: None,
            split_lines: false,
            style: ContextStyle::Default,
            mark_prefix: String::new(),
            mark_suffix: String::new(),
        };
        let stderr = Captured::default();
        let (layer, handle) = LogLayer::new(&config, Output::new(&config, Box::new(stderr.clone())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::callsite::rebuild_interest_cache();
            work(&handle);
        });
        let bytes = stderr.0.lock().expect("lock").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_have_level_context_subsystem_text_and_fields() {
        let lines = logged([6; Subsystem::COUNT], |_| {
            let call = tracing::info_span!("call", call_id = "abc", tag = tracing::field::Empty);
            let _entered = call.enter();
            tracing::info!("created\n");
            call.record("tag", "t1");
            tracing::warn!(target: "ice", media = 1u64, pairs = 3, "restart");
            tracing::error!(severity = 2, port = 30000, "Fatal error: {}", "x");
            tracing::info!(severity = 5, reason = %"a\nb", "note");
            tracing::debug!("not seen");
        });
        assert_eq!(
            lines,
            [
                "INFO: [abc]: [core] created",
                "WARNING: [abc/t1/1]: [ice] restart pairs=3",
                "CRIT: [abc/t1 port 30000]: [core] Fatal error: x",
                "NOTICE: [abc/t1]: [core] note reason=a\\nb",
            ]
        );
    }

    #[test]
    fn levels_are_per_subsystem_and_can_be_shifted() {
        let mut levels = [6; Subsystem::COUNT];
        levels[Subsystem::Ice as usize] = 7;
        levels[Subsystem::Srtp as usize] = 2;
        let lines = logged(levels, |handle| {
            tracing::debug!(target: "ice", "seen");
            tracing::debug!(target: "core", "hidden");
            tracing::error!(target: "srtp", "hidden");
            tracing::error!(target: "srtp", severity = 2, "critical");
            handle.decrease_levels();
            tracing::info!(target: "core", "hidden");
            handle.increase_levels();
            handle.increase_levels();
            tracing::debug!(target: "core", "seen too");
        });
        assert_eq!(&lines[..2], ["DEBUG: [ice] seen", "CRIT: [srtp] critical"]);
        assert!(lines.contains(&"ERR: [core] Decreased 'core' log level to 5".to_owned()));
        assert_eq!(lines.last().map(String::as_str), Some("DEBUG: [core] seen too"));
        assert!(!lines.iter().any(|line| line.contains("hidden")));
    }

    #[test]
    fn a_debugged_call_shows_what_the_levels_hide() {
        let lines = logged([4; Subsystem::COUNT], |handle| {
            let speak = || {
                tracing::debug!(call_id = "abc", "detail");
                tracing::debug!(call_id = "other", "detail");
                tracing::info!("of no call");
                let _entered = tracing::info_span!("call", call_id = "abc").entered();
                tracing::info!(target: "ice", "in its span");
            };
            speak();
            handle.debug_call("abc", true);
            speak();
            handle.retain_debugged_calls(|call_id| call_id != "abc");
            speak();
        });
        assert_eq!(lines, ["DEBUG: [abc]: [core] detail", "INFO: [abc]: [ice] in its span"]);
    }

    #[test]
    fn limited_lines_are_written_once() {
        let lines = logged([6; Subsystem::COUNT], |_| {
            for _ in 0..5 {
                tracing::warn!(limit = true, port = 5u64, "bad packet");
            }
            tracing::warn!(limit = true, port = 6u64, "bad packet");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
