//! The list towards the answerer.

use codec::PayloadFormat;
use codec::def::{CodecDef, Kind};

use super::compare::{any_matches, compatible, matches};
use super::{CodecState, OffererFormat, Registry};
use crate::negotiate::signal::{CodecOptions, CodecSpec};
use crate::proto::sdp::model::MediaFormat;

/// Result of [`offer`].
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedCodecs {
    /// The list to print; empty only if it was so, or if the media is to be rejected.
    pub towards_receiver: Vec<MediaFormat>,
    /// No codec is left and `allow-no-codec-media` is given: print the section with port 0 and the received formats.
    pub rejected: bool,
    /// To keep for the answer.
    pub state: CodecState,
}

/// First number for codecs that have no registered one.
pub(super) const FIRST_DYNAMIC: u8 = 96;

/// Makes the list for the receiver of an offer.
///
/// `media_type` is that of the `m=` line (codecs are only added to audio); `previous_receiver` is the receiver's list so far,
/// if any: [`CodecState::receiver_list`].
pub fn offer(
    received: &[MediaFormat],
    media_type: &str,
    previous_receiver: Option<&[MediaFormat]>,
    options: &CodecOptions,
    registry: &Registry,
) -> OfferedCodecs {
    let previous = previous_receiver.unwrap_or_default();
    let offerer = offerer_list(received, options);
    let keep_static = options.static_codecs && !previous.is_empty();
    let mut list = if keep_static {
        List::new(previous.to_vec(), received, previous, registry)
    } else {
        let start = if options.reuse_codecs { reuse(received, previous) } else { received.to_vec() };
        let mut list = List::new(start, received, previous, registry);
        list.remove(options);
        list.restore(&options.offer);
        if media_type.eq_ignore_ascii_case("audio") {
            options.transcode.iter().for_each(|spec| list.transcode(spec));
        }
        list.touch_accepted(&options.accept);
        list.companions();
        list
    };
    let mut rejected = false;
    if list.formats.is_empty() && !received.is_empty() {
        if options.allow_no_codec_media {
            rejected = true;
        } else {
            list.formats = received.to_vec();
        }
    }
    let encoder_specs = options.set.iter().chain(&options.transcode).cloned().collect();
    OfferedCodecs {
        towards_receiver: list.formats.clone(),
        rejected,
        state: CodecState {
            offerer,
            offered: list.formats,
            encoder_specs,
            force_transcoding: options.force_transcoding,
            ..CodecState::default()
        },
    }
}

/// Minus `ignore` (but a consumed one stays), with accepted ones marked.
fn offerer_list(received: &[MediaFormat], options: &CodecOptions) -> Vec<OffererFormat> {
    let mark = |received: &MediaFormat| {
        let format = &received.format;
        let consumed = any_matches(&options.consume, format)
            || (options.consume_all && !any_matches(&options.except, format));
        let accepted = consumed
            || options.always_transcode
            || options.accept_all
            || options.accept_any
            || any_matches(&options.accept, format);
        let kept = consumed || !any_matches(&options.ignore, format);
        kept.then(|| OffererFormat { format: received.clone(), accepted })
    };
    received.iter().filter_map(mark).collect()
}

/// The previous order for what is still there, then what is new.
fn reuse(received: &[MediaFormat], previous: &[MediaFormat]) -> Vec<MediaFormat> {
    let same = |a: &MediaFormat, b: &MediaFormat| {
        a.format.payload_type == b.format.payload_type && compatible(&a.format, &b.format)
    };
    let kept = previous.iter().filter_map(|old| received.iter().find(|new| same(old, new)));
    let new = received.iter().filter(|new| !previous.iter().any(|old| same(old, new)));
    kept.chain(new).cloned().collect()
}

/// The receiver's list while it is worked on.
struct List<'a> {
    formats: Vec<MediaFormat>,
    received: &'a [MediaFormat],
    previous: &'a [MediaFormat],
    /// Clock rates of ordinary codecs that were added, removed or accepted by name.
    touched: Vec<u32>,
    registry: &'a Registry,
}

impl<'a> List<'a> {
    fn new(
        formats: Vec<MediaFormat>,
        received: &'a [MediaFormat],
        previous: &'a [MediaFormat],
        registry: &'a Registry,
    ) -> Self {
        Self { formats, received, previous, touched: Vec::new(), registry }
    }

    fn touch(&mut self, format: &PayloadFormat) {
        if !format.is_supplemental() && !self.touched.contains(&format.clock_rate) {
            self.touched.push(format.clock_rate);
        }
    }

    /// strip, consume, mask. What an "all" spares must be in `except`; a name or full specification beside it still counts.
    fn remove(&mut self, options: &CodecOptions) {
        let all = options.strip_all || options.consume_all || options.mask_all;
        let named = |format: &PayloadFormat| {
            [&options.strip, &options.consume, &options.mask]
                .into_iter()
                .any(|list| any_matches(list, format))
        };
        let goes = |format: &PayloadFormat| named(format) || (all && !any_matches(&options.except, format));
        let (gone, kept) =
            std::mem::take(&mut self.formats).into_iter().partition(|f: &MediaFormat| goes(&f.format));
        self.formats = kept;
        let gone: Vec<MediaFormat> = gone;
        gone.iter().for_each(|format| self.touch(&format.format));
    }

    fn touch_accepted(&mut self, accept: &[CodecSpec]) {
        for format in self.received {
            if any_matches(accept, &format.format) {
                self.touch(&format.format);
            }
        }
    }

    /// Puts received instances of the named codecs back.
    fn restore(&mut self, specs: &[CodecSpec]) {
        for spec in specs {
            let found = self.received.iter().filter(|f| matches(spec, &f.format));
            for format in found.cloned().collect::<Vec<_>>() {
                if !self.has_number(format.format.payload_type) {
                    self.insert(format);
                }
            }
        }
    }

    fn transcode(&mut self, spec: &CodecSpec) {
        let def = codec::def::by_name(&spec.name);
        let exact = exact(spec, def);
        if self.formats.iter().any(|f| matches(&exact, &f.format)) {
            return;
        }
        let back = self.received.iter().find(|f| matches(&exact, &f.format));
        if let Some(format) = back.filter(|f| !self.has_number(f.format.payload_type)) {
            let format = format.clone();
            self.touch(&format.format);
            self.insert(format);
            return;
        }
        let Some(def) = def else { return };
        let possible = match def.kind {
            Kind::Audio => (self.registry.can_encode)(def),
            Kind::TelephoneEvent | Kind::ComfortNoise => true,
            Kind::Video | Kind::Redundant => false,
        };
        let mut format = instance(def, &exact);
        if !possible || format.clock_rate == 0 {
            return;
        }
        let Some(number) = self.number_for(&format, def, Avoid::OtherReceived) else { return };
        format.payload_type = number;
        if def.kind == Kind::Audio {
            self.touch(&format);
        } else {
            // A new companion type concerns every clock rate.
            self.formats.clone().iter().for_each(|f| self.touch(&f.format));
        }
        self.insert(MediaFormat { format, feedback: Vec::new() });
    }

    /// Ordinary codecs go behind the last ordinary one, supplemental ones to the end.
    fn insert(&mut self, format: MediaFormat) {
        if format.format.is_supplemental() {
            self.formats.push(format);
        } else {
            let at = self.first_supplemental();
            self.formats.insert(at, format);
        }
    }

    /// Behind the last ordinary codec.
    fn first_supplemental(&self) -> usize {
        let last = self.formats.iter().rposition(|f| !f.format.is_supplemental());
        last.map_or(0, |index| index + 1)
    }

    fn has_number(&self, payload_type: u8) -> bool {
        self.formats.iter().any(|f| f.format.payload_type == payload_type)
    }

    /// Gives each touched clock rate its telephone-event and CN, and takes them away where no ordinary codec is left.
    fn companions(&mut self) {
        let ordinary: Vec<u32> = self
            .formats
            .iter()
            .filter(|f| !f.format.is_supplemental())
            .map(|f| f.format.clock_rate)
            .collect();
        for kind in [Kind::TelephoneEvent, Kind::ComfortNoise] {
            let name = self.formats.iter().find(|f| f.format.kind() == kind).map(|f| f.format.name.clone());
            let Some(name) = name else { continue };
            for clock_rate in self.touched.clone() {
                if ordinary.contains(&clock_rate) {
                    self.companion(kind, &name, clock_rate);
                }
            }
        }
        let Self { formats, touched, .. } = self;
        formats.retain(|f| {
            let rate = f.format.clock_rate;
            !f.format.is_supplemental() || !touched.contains(&rate) || ordinary.contains(&rate)
        });
    }

    fn companion(&mut self, kind: Kind, name: &str, clock_rate: u32) {
        let fits = |f: &&MediaFormat| f.format.kind() == kind && f.format.clock_rate == clock_rate;
        if self.formats.iter().any(|f| fits(&f)) {
            return;
        }
        let received = self.received.iter().find(fits).filter(|f| !self.has_number(f.format.payload_type));
        let format = match (received, codec::def::by_name(name)) {
            (Some(format), _) => format.clone(),
            (None, Some(def)) => {
                let spec = CodecSpec { clock_rate: Some(clock_rate), ..CodecSpec::default() };
                let mut format = instance(def, &spec);
                let Some(number) = self.number_for(&format, def, Avoid::Present) else { return };
                format.payload_type = number;
                MediaFormat { format, feedback: Vec::new() }
            }
            (None, None) => return,
        };
        let at = self.first_supplemental();
        self.formats.insert(at, format);
    }

    /// The number it had before, its registered one, or the first free dynamic one.
    fn number_for(&self, format: &PayloadFormat, def: &CodecDef, avoid: Avoid) -> Option<u8> {
        let free = |number: &u8| {
            let foreign = |f: &MediaFormat| f.format.payload_type == *number && !f.format.same_codec(format);
            !self.has_number(*number) && (avoid == Avoid::Present || !self.received.iter().any(foreign))
        };
        let before =
            self.previous.iter().find(|f| f.format.same_codec(format) && f.format.fmtp == format.fmtp);
        let registered = def
            .static_payload_type
            .filter(|_| format.clock_rate == def.clock_rate && format.channels == def.channels.max(1));
        let candidates = before.map(|f| f.format.payload_type).into_iter().chain(registered);
        candidates.chain(FIRST_DYNAMIC..=127).find(free)
    }
}

/// Which numbers a new payload type must not take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Avoid {
    /// Those in the list.
    Present,
    /// Also those that the offerer uses for another codec.
    OtherReceived,
}

/// A specification with the registered clock rate and channels where it gives none.
fn exact(spec: &CodecSpec, def: Option<&CodecDef>) -> CodecSpec {
    let mut exact = spec.clone();
    if let (None, Some(def)) = (spec.clock_rate, def) {
        exact.clock_rate = Some(def.clock_rate).filter(|clock| *clock != 0);
        exact.channels = spec.channels.or(Some(def.channels.max(1)));
    }
    exact
}

/// A payload format that we add; its number is still open.
pub(super) fn instance(def: &CodecDef, spec: &CodecSpec) -> PayloadFormat {
    PayloadFormat {
        payload_type: FIRST_DYNAMIC,
        name: def.name.into(),
        clock_rate: spec.clock_rate.unwrap_or(def.clock_rate),
        channels: spec.channels.unwrap_or(1),
        fmtp: spec.fmtp.clone().unwrap_or_else(|| def.default_fmtp.into()),
    }
}
