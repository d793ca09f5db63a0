//! Trickle fragments (RFC 8840): candidates that a party sends after its description, or, where messages overtake each other, before.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use super::model::Party;
use super::store::lock;
use crate::proto::sdp::model::SessionDescription;

/// For so long a fragment waits for its description.
const PATIENCE: Duration = Duration::from_secs(3);
/// Fragments that wait, of all calls together; the oldest goes when there are more.
const MAX_WAITING: usize = 1024;
/// Candidate lines of a fragment that waits; nobody trickles that many at once.
const MAX_CANDIDATES: usize = 64;

/// Fragments whose party is not known yet.
#[derive(Default)]
pub struct EarlyFragments {
    waiting: Mutex<VecDeque<Waiting>>,
}

struct Waiting {
    call_id: SmolStr,
    tag: SmolStr,
    fragment: SessionDescription,
    since: Instant,
}

impl EarlyFragments {
    /// Keeps a fragment for [`PATIENCE`].
    pub fn keep(&self, call_id: &str, tag: &str, fragment: SessionDescription, now: Instant) {
        let candidates: usize = fragment.media.iter().map(|media| media.attributes.candidates.len()).sum();
        if candidates == 0 || candidates > MAX_CANDIDATES {
            tracing::debug!(call_id, tag, candidates, "trickle fragment without a party dropped");
            return;
        }
        let mut waiting = lock(&self.waiting);
        waiting.retain(|waiting| waiting.is_fresh(now));
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(Waiting { call_id: call_id.into(), tag: tag.into(), fragment, since: now });
    }

    /// Gives a party that has just described itself what came before.
    pub fn apply(&self, call_id: &str, party: &mut Party) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        waiting.retain(|waiting| {
            let is_for_party = waiting.call_id == call_id && party.is_named(&waiting.tag);
            if is_for_party && waiting.is_fresh(now) {
                apply(party, &waiting.fragment);
            }
            waiting.is_fresh(now) && !is_for_party
        });
    }
}

impl Waiting {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < PATIENCE
    }
}

/// Adds the candidates of a fragment to a party's media: found by mid, or by position where the fragment has none.
pub fn apply(party: &mut Party, fragment: &SessionDescription) {
    for (position, section) in fragment.media.iter().enumerate() {
        let found = match &section.attributes.mid {
            Some(mid) => party.media.iter().position(|media| media.mid.as_ref() == Some(mid)),
            None => Some(position),
        };
        // Bundled sections have the candidates of the one that stands for them.
        let media = found.and_then(|found| {
            let carrier = party.media.get(found)?.bundling.carrier();
            party.media.get_mut(carrier.unwrap_or(found))
        });
        if !media.is_some_and(|media| media.ice.take_fragment(section, fragment)) {
            tracing::debug!(
                mid = section.attributes.mid.as_deref(),
                position,
                "trickle fragment for unknown media, or of another ICE generation"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::model::Media;
    use crate::negotiate::ice::RemoteAgent;
    use crate::proto::sdp::parse::{ParseOptions, parse};

    fn fragment(ufrag: &str, mid: &str, address: &str) -> SessionDescription {
        let body = format!(
            "a=ice-ufrag:{ufrag}\r\na=ice-pwd:pppppppppppppppppppppp\r\nm=audio 9 RTP/AVP 0\r\n{mid}\
             a=candidate:h9 1 UDP 2130706431 {address} 30900 typ host\r\na=end-of-candidates\r\n"
        );
        parse(&body, ParseOptions { fragment: true, ..ParseOptions::default() }).expect("fragment")
    }

    fn party() -> Party {
        let now = std::time::SystemTime::now();
        let mut party = Party::new(now);
        party.tag = Some("ft".into());
        let description = parse(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n\
             a=ice-ufrag:abcd\r\na=ice-pwd:pppppppppppppppppppppp\r\na=mid:a\r\n",
            ParseOptions::default(),
        )
        .expect("description");
        let mut media = Media::new(1, "audio", now);
        media.mid = Some("a".into());
        let agent = RemoteAgent::from_sdp(&description.media[0], &description);
        media.ice.sent_offer(agent, &Default::default(), &mut rand::rng());
        party.media.push(media);
        party
    }

    fn candidates(party: &Party) -> usize {
        party.media[0].ice.remote().expect("agent").candidates.len()
    }

    #[test]
    fn candidates_are_added_by_mid_or_position_within_a_generation() {
        let mut party = party();
        apply(&mut party, &fragment("abcd", "a=mid:a\r\n", "192.0.2.9"));
        apply(&mut party, &fragment("abcd", "a=mid:a\r\n", "192.0.2.9"));
        assert_eq!(candidates(&party), 1, "the same candidate twice");
        apply(&mut party, &fragment("abcd", "", "192.0.2.10"));
        assert_eq!(candidates(&party), 2, "by position");
        apply(&mut party, &fragment("other", "a=mid:a\r\n", "192.0.2.11"));
        apply(&mut party, &fragment("abcd", "a=mid:b\r\n", "192.0.2.12"));
        assert_eq!(candidates(&party), 2, "another generation, an unknown mid");
        assert!(party.media[0].ice.remote().expect("agent").end_of_candidates);
    }

    #[test]
    fn an_early_fragment_waits_for_its_party_only_for_a_moment() {
        let early = EarlyFragments::default();
        let (mut first, mut second) = (party(), party());
        early.keep("call", "ft", fragment("abcd", "", "192.0.2.9"), Instant::now());
        early.apply("other call", &mut first);
        assert_eq!(candidates(&first), 0);
        early.apply("call", &mut first);
        assert_eq!(candidates(&first), 1);
        early.apply("call", &mut second);
        assert_eq!(candidates(&second), 0, "it is used once");

        let Some(long_ago) = Instant::now().checked_sub(PATIENCE) else { return };
        early.keep("call", "ft", fragment("abcd", "", "192.0.2.9"), long_ago);
        early.apply("call", &mut second);
        assert_eq!(candidates(&second), 0, "too late");
    }

    #[test]
    fn what_waits_is_bounded() {
        let early = EarlyFragments::default();
        let now = Instant::now();
        for number in 0..2 * MAX_WAITING {
            early.keep(&number.to_string(), "ft", fragment("abcd", "", "192.0.2.9"), now);
        }
        assert_eq!(lock(&early.waiting).len(), MAX_WAITING);
    }
}
