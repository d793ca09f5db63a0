//! Codecs of recordings and announcements that have no RTP definition in the table: MP3, AC-3, E-AC-3, mono, a payload being a frame.

use crate::coder::Origin;
use crate::def::CodecDef;
use crate::framed::Framed;

pub(crate) const MP3: CodecDef = CodecDef { name: "MP3", family: &MPEG_LAYER_3, ..CodecDef::NO_RTP };
pub(crate) const AC3: CodecDef = CodecDef { name: "ac3", family: &DOLBY, ..CodecDef::NO_RTP };
pub(crate) const EAC3: CodecDef = CodecDef { name: "eac3", family: &DOLBY_PLUS, ..CodecDef::NO_RTP };

const ANY_RATE: Framed = Framed { clock_rate: None, ..Framed::NARROWBAND };

static MPEG_LAYER_3: Framed = Framed {
    encoder: "libmp3lame",
    decoder: "mp3float",
    origin: Origin { implementation: "libmp3lame, libavcodec", licence: "LGPL-2.1-or-later" },
    frame_samples: Some(1152),
    bitrate_bps: 64_000,
    ..ANY_RATE
};

static DOLBY: Framed =
    Framed { encoder: "ac3", decoder: "ac3", frame_samples: Some(1536), bitrate_bps: 96_000, ..ANY_RATE };

static DOLBY_PLUS: Framed =
    Framed { encoder: "eac3", decoder: "eac3", frame_samples: Some(1536), bitrate_bps: 96_000, ..ANY_RATE };
