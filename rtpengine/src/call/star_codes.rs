//! Star codes: digits with which a party switches the recording of its call (`recording-VSC`).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::recording::{CallRecording, RecordingCommand};
use crate::proto::dtmf;

/// The codes of one party.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StarCodes {
    codes: Vec<(Action, SmolStr)>,
    /// The last digits, as many as the longest code has.
    recent: String,
    #[serde(with = "crate::proto::stored::instant")]
    last_at: Option<Instant>,
}

/// What a code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Start,
    Stop,
    StartOrStop,
    Pause,
    PauseOrResume,
    /// Start, then pause and resume in turn.
    StartPauseOrResume,
}

impl StarCodes {
    /// `configured` codes apply unless `signalled` ones have the same purpose (`start-rec`, `stop-rec` …); an empty code does nothing.
    pub fn new(configured: &[(SmolStr, SmolStr)], signalled: &[(SmolStr, SmolStr)]) -> Self {
        let overridden = |purpose: &SmolStr| signalled.iter().any(|(other, _)| other == purpose);
        let codes = configured.iter().filter(|(purpose, _)| !overridden(purpose)).chain(signalled);
        let mut known = Self::default();
        for (purpose, digits) in codes.filter(|(_, digits)| !digits.is_empty()) {
            match (Action::named(purpose), dtmf::digits(digits)) {
                (Some(action), Some(digits)) => known.codes.push((action, digits)),
                (_, None) => tracing::warn!(%purpose, %digits, "not a star code: digits are 0-9, *, #, A-D"),
                (None, _) => {}
            }
        }
        known
    }

    /// No digits do anything.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The codes as `query` shows them: what they do, the digits.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SmolStr)> {
        self.codes.iter().map(|(action, digits)| (action.title(), digits))
    }

    /// A digit has ended; the action of the code that is complete now. Of several codes the longest counts.
    pub fn on_digit(&mut self, code: u8, now: Instant, longest_pause: Duration) -> Option<Action> {
        let digit = dtmf::digit(code)?;
        if self.last_at.is_some_and(|last| now.saturating_duration_since(last) > longest_pause) {
            self.recent.clear();
        }
        self.last_at = Some(now);
        self.recent.push(digit);
        let longest = self.codes.iter().map(|(_, digits)| digits.len()).max().unwrap_or(0);
        if self.recent.len() > longest {
            self.recent.remove(0);
        }
        let complete = self.codes.iter().filter(|(_, digits)| self.recent.ends_with(digits.as_str()));
        let (action, _) = complete.max_by_key(|(_, digits)| digits.len())?;
        Some(*action)
    }
}

impl Action {
    fn named(purpose: &str) -> Option<Self> {
        Some(match purpose {
            "start-rec" => Self::Start,
            "stop-rec" => Self::Stop,
            "start-stop-rec" => Self::StartOrStop,
            "pause-rec" => Self::Pause,
            "pause-resume-rec" => Self::PauseOrResume,
            "start-pause-resume-rec" => Self::StartPauseOrResume,
            _ => return None,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::Start => "start recording",
            Self::Stop => "stop recording",
            Self::StartOrStop => "start/stop recording",
            Self::Pause => "pause recording",
            Self::PauseOrResume => "pause/resume recording",
            Self::StartPauseOrResume => "start/pause/resume recording",
        }
    }

    /// What it means for a recording as it is; `None`: nothing.
    pub fn command(self, recording: &CallRecording) -> Option<RecordingCommand> {
        use RecordingCommand::{Pause, Start, Stop};
        let (runs, exists) = (recording.on, recording.exists());
        match self {
            Self::Start => (!runs).then_some(Start),
            Self::Stop => exists.then_some(Stop),
            Self::StartOrStop => Some(if runs { Stop } else { Start }),
            Self::Pause => runs.then_some(Pause),
            Self::PauseOrResume if !exists => None,
            Self::PauseOrResume | Self::StartPauseOrResume => Some(if runs { Pause } else { Start }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(2500);

    fn codes(list: &[(&str, &str)]) -> StarCodes {
        let list: Vec<(SmolStr, SmolStr)> = list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        StarCodes::new(&[], &list)
    }

    /// What happens at each digit, a second apart.
    fn press(codes: &mut StarCodes, digits: &str) -> Vec<Option<Action>> {
        let start = Instant::now();
        let code = |digit: char| (0..16).find(|&code| dtmf::digit(code) == Some(digit)).expect("a digit");
        let each = digits.chars().enumerate();
        each.map(|(n, c)| codes.on_digit(code(c), start + Duration::from_secs(n as u64), PAUSE)).collect()
    }

    #[test]
    fn codes_may_overlap_and_repeat() {
        use Action::{Pause, Start, Stop};
        let mut codes = codes(&[("start-rec", "*1"), ("stop-rec", "*12"), ("pause-rec", "2*")]);
        assert_eq!(press(&mut codes, "*12*1"), [None, Some(Start), Some(Stop), Some(Pause), Some(Start)]);
    }

    #[test]
    fn a_long_pause_begins_anew() {
        let mut codes = codes(&[("start-rec", "12")]);
        let start = Instant::now();
        assert_eq!(codes.on_digit(1, start, PAUSE), None);
        assert_eq!(codes.on_digit(2, start + Duration::from_millis(2501), PAUSE), None);
        assert_eq!(codes.on_digit(1, start + Duration::from_millis(2600), PAUSE), None);
        assert_eq!(codes.on_digit(2, start + Duration::from_millis(5100), PAUSE), Some(Action::Start));
    }

    #[test]
    fn signalled_codes_replace_configured_ones_of_the_same_purpose() {
        let pair = |a: &str, b: &str| (SmolStr::new(a), SmolStr::new(b));
        let configured = [pair("start-rec", "1"), pair("stop-rec", "2"), pair("pause-rec", "3")];
        let codes = StarCodes::new(&configured, &[pair("stop-rec", "b"), pair("pause-rec", "")]);
        let shown: Vec<_> = codes.iter().map(|(title, digits)| (title, digits.as_str())).collect();
        assert_eq!(shown, [("start recording", "1"), ("stop recording", "B")]);
        assert!(StarCodes::new(&[pair("start-rec", "x")], &[]).is_empty());
    }

    #[test]
    fn what_a_code_does_depends_on_the_recording() {
        use RecordingCommand::{Pause, Start, Stop};
        let recording = |on, forwarding| {
            let mut recording = CallRecording::default();
            (recording.on, recording.forwarding) = (on, forwarding);
            recording
        };
        let (none, runs, paused) = (recording(false, false), recording(true, false), recording(false, true));
        let cases = [
            (Action::Start, [Some(Start), None, Some(Start)]),
            (Action::Stop, [None, Some(Stop), Some(Stop)]),
            (Action::StartOrStop, [Some(Start), Some(Stop), Some(Start)]),
            (Action::Pause, [None, Some(Pause), None]),
            (Action::PauseOrResume, [None, Some(Pause), Some(Start)]),
            (Action::StartPauseOrResume, [Some(Start), Some(Pause), Some(Start)]),
        ];
        for (action, expected) in cases {
            assert_eq!(
                [&none, &runs, &paused].map(|recording| action.command(recording)),
                expected,
                "{action:?}"
            );
        }
    }
}
