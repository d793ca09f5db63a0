//! DTMF security: what becomes of a sender's digits, and the digits that change it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::graph::Instead;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::coding;
use super::model::Media;
use crate::media::treatment::{DtmfTreatment, ToneFrames};
use crate::negotiate::signal::DtmfOptions;
use crate::play::tones;
use crate::proto::dtmf;

/// A `DTMF-security` mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Off,
    Drop,
    Silence,
    Tone,
    Random,
    Zero,
    Digit,
}

/// The DTMF security of a call, party or flow, as one `block DTMF` set it up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DtmfSecurity {
    /// At present.
    mode: Mode,
    /// What `DTMF` replaces digits by.
    digit: u8,
    /// What `tone` replaces digits by, in turn; never empty.
    frequencies: Vec<u32>,
    /// Level of the tones in −dBm0.
    volume: u8,
    /// Digits come this much later.
    pub delay: Duration,
    trigger: Trigger,
}

/// Digits that change the mode, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trigger {
    stage: Stage,
    begin: SmolStr,
    begin_mode: Mode,
    end: SmolStr,
    end_mode: Mode,
    end_time: Option<Duration>,
    end_digits: Option<u32>,
    /// The last digits.
    recent: String,
    #[serde(with = "crate::proto::stored::instant")]
    last_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    /// For the first trigger.
    Waiting,
    /// For whatever ends it.
    Triggered {
        #[serde(with = "crate::proto::stored::instant_always")]
        at: Instant,
        digits: u32,
    },
    Over,
}

const DEFAULT_FREQUENCY: u32 = 400;
const DEFAULT_VOLUME: u8 = 10;
/// Frequencies that take turns; more are not looked at.
const MAX_FREQUENCIES: usize = 16;
/// Digits of a trigger; a longer one can never be complete.
const MAX_TRIGGER: usize = 64;
/// Longest delay of digits.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Tones repeat after this; whole periods of every whole frequency.
const TONE_LENGTH: Duration = Duration::from_secs(1);

impl DtmfSecurity {
    /// Whether it is one that [`Self::new`] makes.
    pub fn is_sound(&self) -> bool {
        (1..=MAX_FREQUENCIES).contains(&self.frequencies.len())
            && self.frequencies.iter().all(|hertz| (1..=20_000).contains(hertz))
            && self.delay <= MAX_DELAY
            && [&self.trigger.begin, &self.trigger.end].iter().all(|digits| digits.len() <= 4 * MAX_TRIGGER)
            && self.trigger.recent.len() <= 4 * MAX_TRIGGER
    }

    /// Reads the options of `block DTMF`.
    pub fn new(options: &DtmfOptions, now: Instant) -> Self {
        let waits = options.trigger.as_ref().is_some_and(|digits| !digits.is_empty());
        let milliseconds = |ms: Option<i64>| {
            ms.and_then(|ms| u64::try_from(ms).ok()).filter(|&ms| ms > 0).map(Duration::from_millis)
        };
        let pattern = |digits: &Option<SmolStr>| {
            digits
                .iter()
                .flat_map(|text| text.chars())
                .take(MAX_TRIGGER + 1)
                .map(|digit| digit.to_ascii_uppercase())
                .collect::<SmolStr>()
        };
        let end_time = milliseconds(options.trigger_end_time_ms);
        let end_digits = options
            .trigger_end_digits
            .and_then(|digits| u32::try_from(digits).ok())
            .filter(|&digits| digits > 0);
        let end = pattern(&options.trigger_end);
        let ends = !end.is_empty() || end_time.is_some() || end_digits.is_some();
        let frequencies: Vec<u32> = options
            .frequencies
            .iter()
            .filter_map(|&hertz| u32::try_from(hertz).ok())
            .filter(|hertz| (1..=20_000).contains(hertz))
            .take(MAX_FREQUENCIES)
            .collect();
        Self {
            mode: mode(options.security.as_deref()).unwrap_or(if waits { Mode::Off } else { Mode::Drop }),
            digit: options.digit.as_deref().and_then(digit).unwrap_or(0),
            frequencies: if frequencies.is_empty() { vec![DEFAULT_FREQUENCY] } else { frequencies },
            volume: options.volume.map_or(DEFAULT_VOLUME, |volume| volume.unsigned_abs().min(63) as u8),
            delay: milliseconds(options.delay_ms).unwrap_or_default().min(MAX_DELAY),
            trigger: Trigger {
                stage: match (waits, ends) {
                    (true, _) => Stage::Waiting,
                    (false, true) => Stage::Triggered { at: now, digits: 0 },
                    (false, false) => Stage::Over,
                },
                begin: pattern(&options.trigger),
                begin_mode: mode(options.security_trigger.as_deref()).unwrap_or(Mode::Drop),
                end,
                end_mode: mode(options.security_trigger_end.as_deref()).unwrap_or(Mode::Off),
                end_time,
                end_digits,
                recent: String::new(),
                last_at: None,
            },
        }
    }

    /// Digits are interfered with at present.
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// The digits that change the mode, as `query` shows them: what they do, the digits, whether they are still waited for.
    pub fn codes(&self) -> impl Iterator<Item = (&'static str, &str, bool)> {
        let stage = self.trigger.stage;
        let begin = ("block DTMF", self.trigger.begin.as_str(), stage == Stage::Waiting);
        let end = ("unblock DTMF", self.trigger.end.as_str(), stage != Stage::Over);
        [begin, end].into_iter().filter(|(_, digits, _)| !digits.is_empty())
    }

    /// What the data plane does with digits for `to`.
    pub fn treatment(&self, to: &Media) -> DtmfTreatment {
        match self.mode {
            Mode::Off => DtmfTreatment::Pass,
            Mode::Drop | Mode::Silence => DtmfTreatment::Drop,
            Mode::Random => DtmfTreatment::Random,
            Mode::Zero => DtmfTreatment::Digit(0),
            Mode::Digit => DtmfTreatment::Digit(self.digit),
            Mode::Tone => match self.tones(to) {
                Some(tones) if !tones.is_empty() => DtmfTreatment::Tones(tones),
                // Without an encoder for what the hearer takes there is silence.
                _ => DtmfTreatment::Drop,
            },
        }
    }

    /// What becomes of digits in audio; `None`: they pass.
    pub fn instead(&self) -> Option<Instead> {
        Some(match self.mode {
            Mode::Off | Mode::Drop => return None,
            Mode::Silence => Instead::Silence,
            Mode::Random => Instead::Random,
            Mode::Zero => Instead::Digit(0),
            Mode::Digit => Instead::Digit(self.digit),
            Mode::Tone => Instead::Sine(self.frequencies.as_slice().into(), self.volume),
        })
    }

    /// A digit of the sender has ended; `true` when the mode has changed.
    pub fn on_digit(&mut self, code: u8, now: Instant, longest_pause: Duration) -> bool {
        let trigger = &mut self.trigger;
        let Some(digit) = dtmf::digit(code).filter(|_| trigger.stage != Stage::Over) else { return false };
        if trigger.last_at.is_some_and(|last| now.saturating_duration_since(last) > longest_pause) {
            trigger.recent.clear();
        }
        trigger.last_at = Some(now);
        if trigger.recent.len() >= MAX_TRIGGER {
            trigger.recent.remove(0);
        }
        trigger.recent.push(digit);
        let ends_with = |pattern: &str| !pattern.is_empty() && trigger.recent.ends_with(pattern);
        match trigger.stage {
            Stage::Waiting if ends_with(&trigger.begin) => {
                trigger.stage = Stage::Triggered { at: now, digits: 0 };
                trigger.recent.clear();
                self.mode = trigger.begin_mode;
                true
            }
            Stage::Triggered { at, digits } => {
                let digits = digits + 1;
                if ends_with(&trigger.end) || trigger.end_digits.is_some_and(|end| digits >= end) {
                    self.end();
                    return true;
                }
                trigger.stage = Stage::Triggered { at, digits };
                false
            }
            Stage::Waiting | Stage::Over => false,
        }
    }

    /// When time changes the mode next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.trigger.stage {
            Stage::Triggered { at, .. } => at.checked_add(self.trigger.end_time?),
            Stage::Waiting | Stage::Over => None,
        }
    }

    /// Time has passed; `true` when the mode has changed.
    pub fn on_time(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.end();
        }
        due
    }

    fn end(&mut self) {
        self.trigger.stage = Stage::Over;
        self.mode = self.trigger.end_mode;
    }

    fn tones(&self, to: &Media) -> Option<Arc<[Arc<ToneFrames>]>> {
        let format = coding::player_format(to)?;
        let ptime_ms = to.remote.as_ref().and_then(|remote| remote.ptime_ms).unwrap_or(20);
        let encode = |hertz: &u32| {
            tones::encode(&format, ptime_ms, &[*hertz], self.volume, TONE_LENGTH).ok().map(Arc::new)
        };
        self.frequencies.iter().map(encode).collect()
    }
}

fn mode(name: Option<&str>) -> Option<Mode> {
    Some(match name? {
        "drop" => Mode::Drop,
        "silence" => Mode::Silence,
        "tone" => Mode::Tone,
        "random" => Mode::Random,
        "zero" => Mode::Zero,
        "DTMF" => Mode::Digit,
        "off" => Mode::Off,
        _ => return None,
    })
}

/// A digit as `digit` and `code` give it: one character, or a number from 0 to 15.
pub fn digit(text: &str) -> Option<u8> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(digit), None) => dtmf::code(digit),
        _ => text.parse().ok().filter(|code| *code < 16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(2500);

    fn security(options: DtmfOptions, now: Instant) -> DtmfSecurity {
        DtmfSecurity::new(&options, now)
    }

    fn press(security: &mut DtmfSecurity, digits: &str, now: Instant) -> Vec<Mode> {
        digits
            .chars()
            .map(|character| {
                security.on_digit(dtmf::code(character).unwrap(), now, PAUSE);
                security.mode
            })
            .collect()
    }

    #[test]
    fn defaults_depend_on_the_trigger() {
        let now = Instant::now();
        let plain = security(DtmfOptions::default(), now);
        assert_eq!((plain.mode, plain.volume, &plain.frequencies[..]), (Mode::Drop, 10, &[400][..]));
        let waiting = DtmfOptions { trigger: Some("1".into()), volume: Some(-99), ..Default::default() };
        let waiting = security(waiting, now);
        assert_eq!((waiting.mode, waiting.volume), (Mode::Off, 63));
    }

    #[test]
    fn trigger_switches_once_and_its_end_switches_back() {
        let now = Instant::now();
        let options = DtmfOptions {
            trigger: Some("1*1".into()),
            trigger_end: Some("#".into()),
            security_trigger: Some("zero".into()),
            security_trigger_end: Some("random".into()),
            ..Default::default()
        };
        let mut security = security(options, now);
        use Mode::{Off, Random, Zero};
        // Matching allows for overlapping beginnings.
        assert_eq!(press(&mut security, "1*2", now), [Off; 3]);
        assert_eq!(press(&mut security, "1*1", now), [Off, Off, Zero]);
        assert_eq!(press(&mut security, "5#1*1", now), [Zero, Random, Random, Random, Random]);
    }

    #[test]
    fn pause_between_digits_starts_matching_anew() {
        let now = Instant::now();
        let mut security = security(DtmfOptions { trigger: Some("12".into()), ..Default::default() }, now);
        press(&mut security, "1", now);
        assert_eq!(press(&mut security, "2", now + PAUSE * 2), [Mode::Off]);
        assert_eq!(press(&mut security, "12", now + PAUSE * 2), [Mode::Off, Mode::Drop]);
    }

    #[test]
    fn number_of_digits_and_time_end_it() {
        let now = Instant::now();
        let options = DtmfOptions { trigger_end_digits: Some(2), ..Default::default() };
        assert_eq!(press(&mut security(options, now), "77", now), [Mode::Drop, Mode::Off]);
        let options = DtmfOptions { trigger_end_time_ms: Some(5000), ..Default::default() };
        let mut security = security(options, now);
        let end = now + Duration::from_secs(5);
        assert_eq!(security.deadline(), Some(end));
        assert!(!security.on_time(end - Duration::from_millis(1)) && security.is_on());
        assert!(security.on_time(end) && !security.is_on() && !security.on_time(end));
    }

    #[test]
    fn digits_are_characters_or_numbers() {
        const CASES: &[(&str, Option<u8>)] = &[
            ("0", Some(0)),
            ("#", Some(11)),
            ("d", Some(15)),
            ("15", Some(15)),
            ("16", None),
            ("X", None),
            ("", None),
            ("-1", None),
        ];
        for (text, code) in CASES {
            assert_eq!(digit(text), *code, "{text}");
        }
    }
}
