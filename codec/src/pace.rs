//! When an encoder with several bit rates goes up again by itself, and when it asks the party for a higher one.

use crate::coder::codec_options;

const FRAME_MS: u32 = 20;

/// Counts frames of 20 ms. Codec options: `mode-change-interval=ms` goes up when no request came for so long, `CMR-interval=ms` asks for
/// more every so often; without them neither happens.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    frames: u32,
    /// Frames without a request after which the bit rate goes up; 0: never.
    raise_after: u32,
    /// Frames between two requests of ours; 0: there are none.
    request_after: u32,
    raise_at: u32,
    request_at: u32,
}

impl Pace {
    /// With what option `dtx` says, if it is there.
    ///
    /// # Errors
    /// An option that is unknown or has no number.
    pub(crate) fn parse(options: &str) -> Result<(Self, Option<bool>), String> {
        let (mut pace, mut discontinuous) = (Self::default(), None);
        for (key, value) in codec_options(options) {
            let wrong = || format!("option {key}={value:?} is not a number of milliseconds");
            let frames = || value.parse::<u32>().map(|ms| ms.div_ceil(FRAME_MS)).map_err(|_| wrong());
            match key.to_ascii_lowercase().as_str() {
                "cmr-interval" => pace.request_after = frames()?,
                "mode-change-interval" => pace.raise_after = frames()?,
                "dtx" => discontinuous = Some(value != "0"),
                _ => {
                    return Err(format!(
                        "option {key:?} is unknown, CMR-interval, mode-change-interval and dtx are right"
                    ));
                }
            }
        }
        pace.raise_at = pace.raise_after;
        pace.request_at = pace.request_after;
        Ok((pace, discontinuous))
    }

    /// The party has asked for something.
    pub(crate) fn requested(&mut self) {
        self.raise_at = self.frames.wrapping_add(self.raise_after);
    }

    /// Whether the bit rate goes up with the next frame.
    pub(crate) fn raises(&mut self) -> bool {
        let is_due = self.raise_after != 0 && self.frames == self.raise_at;
        if is_due {
            self.requested();
        }
        is_due
    }

    /// Whether the mode may change with the next frame where it changes only with every so many.
    pub(crate) fn may_change(&self, period: u32) -> bool {
        self.frames.is_multiple_of(period)
    }

    /// A frame is made.
    pub(crate) fn go_on(&mut self) {
        self.frames = self.frames.wrapping_add(1);
    }

    /// Whether the next packet asks for something.
    pub(crate) fn requests(&mut self) -> bool {
        // Wrapping distance: packets hold several frames.
        let is_due = self.request_after != 0 && self.frames.wrapping_sub(self.request_at) <= u32::MAX / 2;
        if is_due {
            self.request_at = self.frames.wrapping_add(self.request_after);
        }
        is_due
    }
}
