//! Packet times: what each side announces, wants, and is shown.

/// Packet times of one media between offerer and answerer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PtimeState {
    /// `a=ptime` of the offerer.
    pub offerer_ms: Option<u16>,
    /// `a=ptime` of the answerer.
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
    let state = PtimeState {
        offerer_ms: received,
        answerer_ms: previous.answerer_ms,
        offerer_override_ms: reverse.or(previous.offerer_override_ms),
        answerer_override_ms: ptime.or(previous.answerer_override_ms),
    };
    (state.answerer_override_ms.or(received), state)
}

/// The answerer announced `received`; the keys have no effect in answers. Gives the value to print to the offerer: its override; its own one
/// when the answerer is overridden or silent; else the answerer's.
pub fn answer(previous: PtimeState, received: Option<u16>) -> (Option<u16>, PtimeState) {
    let state = PtimeState { answerer_ms: received, ..previous };
    let negotiated = match state.answerer_override_ms {
        Some(_) => state.offerer_ms,
        None => received.or(state.offerer_ms),
    };
    (state.offerer_override_ms.or(negotiated), state)
}

impl PtimeState {
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
    fn an_override_stays_with_its_side() {
        let (_, state) = offer(PtimeState::default(), Some(20), Some(40), None);
        let (_, state) = answer(state, Some(20));
        assert_eq!(offer(state, Some(20), None, None).0, Some(40));
        let (_, state) = offer(state.swapped(), Some(20), None, None);
        assert_eq!(answer(state, Some(20)).0, Some(40));
    }
}
