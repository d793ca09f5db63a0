//! Packet times: what each side announces, wants, and is shown.

use serde::{Deserialize, Serialize};

/// Packet times of one media between offerer and answerer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtimeState {
    /// `a=ptime` that holds for the offerer: its own, or what the answerer said later.
    pub offerer_ms: Option<u16>,
    /// `a=ptime` that holds for the answerer.
    pub answerer_ms: Option<u16>,
    /// `ptime-reverse`: what the offerer is shown and gets. Sticky.
    pub offerer_override_ms: Option<u16>,
    /// `ptime`: what the answerer is shown and gets, even against its own answer. Sticky.
    pub answerer_override_ms: Option<u16>,
}

/// The offerer announced `received`; `ptime` and `reverse` are the keys of the message. Gives the value to print, if any, and the new
/// state. `previous` is the state of the last exchange, seen from the same side ([`PtimeState::swapped`] otherwise).
pub fn offer(
    previous: PtimeState,
    received: Option<u16>,
    ptime: Option<u16>,
    reverse: Option<u16>,
) -> (Option<u16>, PtimeState) {
    let mut state = PtimeState {
        offerer_override_ms: reverse.or(previous.offerer_override_ms),
        answerer_override_ms: ptime.or(previous.answerer_override_ms),
        ..previous
    };
    if previous.answerer_override_ms.is_none() {
        state.hear(received);
    }
    (state.answerer_override_ms.or(state.answerer_ms), state)
}

/// The answerer announced `received`; the keys have no effect in answers. Gives the value to print to the offerer: its override;
/// its own one when the answerer is silent or overridden; else the answerer's.
pub fn answer(previous: PtimeState, received: Option<u16>) -> (Option<u16>, PtimeState) {
    let mut state = previous;
    if state.offerer_override_ms.is_none() {
        let own = state.offerer_ms;
        state.hear(received);
        if state.answerer_override_ms.is_some() {
            state.offerer_ms = own.or(state.offerer_ms);
        }
    }
    (state.offerer_override_ms.or(state.offerer_ms), state)
}

impl PtimeState {
    /// What one side announces holds for both. Who says nothing leaves what holds: a re-offer without `a=ptime` repeats the
    /// last one. An override of the hearing side that was there before shuts its ears.
    fn hear(&mut self, announced: Option<u16>) {
        self.offerer_ms = announced.or(self.offerer_ms);
        self.answerer_ms = announced.or(self.answerer_ms);
    }

    /// The same with the roles exchanged, for a re-offer from the other side.
    pub fn swapped(self) -> Self {
        PtimeState {
            offerer_ms: self.answerer_ms,
            answerer_ms: self.offerer_ms,
            offerer_override_ms: self.answerer_override_ms,
            answerer_override_ms: self.offerer_override_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_and_silence_repeats_the_offerers_own() {
        // (offered, ptime, ptime-reverse, answered) → (printed to answerer, printed to offerer)
        for (offered, ptime, reverse, answered, expected) in [
            (Some(20), None, None, None, (Some(20), Some(20))),
            (Some(30), None, None, Some(40), (Some(30), Some(40))),
            (Some(20), Some(40), None, Some(30), (Some(40), Some(20))),
            (None, Some(20), None, Some(30), (Some(20), Some(30))),
            (Some(20), None, Some(30), None, (Some(20), Some(30))),
            (Some(20), Some(40), Some(30), Some(20), (Some(40), Some(30))),
            (None, None, None, None, (None, None)),
        ] {
            let (to_answerer, state) = offer(PtimeState::default(), offered, ptime, reverse);
            let (to_offerer, _) = answer(state, answered);
            assert_eq!((to_answerer, to_offerer), expected, "{offered:?} {ptime:?} {reverse:?} {answered:?}");
        }
    }

    #[test]
    fn a_re_offer_without_ptime_repeats_what_holds() {
        let (_, state) = offer(PtimeState::default(), None, None, None);
        let (_, state) = answer(state, Some(30));
        assert_eq!(offer(state, None, None, None).0, Some(30));
        assert_eq!(offer(state.swapped(), None, None, None).0, Some(30));
    }

    #[test]
    fn an_override_stays_with_its_side() {
        let (_, state) = offer(PtimeState::default(), Some(20), Some(40), None);
        let (_, state) = answer(state, Some(20));
        assert_eq!(offer(state, Some(20), None, None).0, Some(40));
        let (_, state) = offer(state.swapped(), Some(20), None, None);
        assert_eq!(answer(state, Some(20)).0, Some(40));
    }
}
