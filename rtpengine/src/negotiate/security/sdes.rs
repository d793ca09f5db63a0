//! Keys in the SDP (RFC 4568): which `a=crypto` lines a party gets, and what was agreed on.

use rand::RngCore;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::Packets;
use crate::negotiate::signal::SdesOptions;
use crate::proto::sdp::SUITES;
use crate::proto::sdp::model::{Crypto, KeySalt, Suite};

/// One party's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sdes {
    /// Lines are offered to the party.
    pub on: bool,
    /// The party's own lines: those of its offer that may be chosen from, in order of preference, or its answer.
    received: Vec<Crypto>,
    /// `offerer_pref` decides over the choice from the party's offer, not the answerer.
    pub reordered: bool,
    /// What the party was shown. An offered list stays as it is after the answer, which may come again with another choice.
    own: Vec<Crypto>,
    /// Key of the party and key towards it, after an answer.
    agreed: Option<Box<Agreed>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    /// The party encrypts with this one.
    pub receive: Crypto,
    /// We do with this one.
    pub send: Crypto,
}

impl Sdes {
    /// The party offers these lines.
    pub fn receive_offer(&mut self, lines: &[Crypto], options: &SdesOptions) {
        self.on |= !lines.is_empty();
        self.received.clear();
        self.received.extend(lines.iter().filter(|line| is_allowed(options, line.suite)).cloned());
        if self.received.is_empty() {
            // Without any suite the party could not be answered at all.
            self.received.extend(lines.first().cloned());
        }
        self.reordered = move_to_front(&mut self.received, &options.offerer_preference);
    }

    /// Makes the list for an offer to the party.
    ///
    /// The source's lines keep tag and key, so that packets need not be encrypted anew when both ends agree on one of them; the line that
    /// was accepted before comes next, and keeps its key; so do all that were offered, as long as nobody has answered (`repeated`): the
    /// offer may be a retransmission, and the answer one to the first. All other suites get new keys.
    pub fn prepare_offer(
        &mut self,
        source: &[Crypto],
        options: &SdesOptions,
        repeated: bool,
        rng: &mut impl RngCore,
    ) {
        let mut list: Vec<Crypto> = Vec::with_capacity(source.len() + SUITES.len());
        let allowed = |suite: &Suite| options.nonew || is_allowed(options, suite);
        list.extend(source.iter().filter(|line| allowed(line.suite)).cloned());
        let mut next =
            list.iter().map(|line| line.tag).max().map_or(Some(1), |highest| highest.checked_add(1));
        let accepted = self.agreed.as_ref().map(|agreed| agreed.send.clone());
        let keeps_all = repeated || accepted.is_none();
        let offered = std::mem::take(&mut self.own);
        for line in accepted.into_iter().chain(offered.into_iter().filter(|_| keeps_all)) {
            let Some(free) = next.filter(|_| allowed(line.suite) && !contains(&list, line.suite)) else {
                continue;
            };
            let tag = free.max(line.tag);
            next = tag.checked_add(1);
            list.push(Crypto { tag, ..line });
        }
        if !options.nonew {
            for suite in &SUITES {
                let Some(tag) = next.filter(|_| allowed(suite) && !contains(&list, suite)) else { continue };
                next = tag.checked_add(1);
                list.push(new_line(tag, suite, rng));
            }
        }
        for line in &mut list {
            let set = |parameter: &mut bool, wanted: Option<bool>| *parameter = wanted.unwrap_or(*parameter);
            set(&mut line.unencrypted_srtp, options.unencrypted_srtp);
            set(&mut line.unencrypted_srtcp, options.unencrypted_srtcp);
            set(&mut line.unauthenticated_srtp, options.unauthenticated_srtp);
        }
        move_to_front(&mut list, &options.order);
        self.own = list;
    }

    /// The party answers with these lines. The first one counts (RFC 4568 §5.1.2 allows no more); its suite does if its tag fits none.
    pub fn receive_answer(&mut self, lines: &[Crypto]) {
        self.on |= !lines.is_empty();
        self.received = lines.first().cloned().into_iter().collect();
        self.agreed = self.received.first().and_then(|line| {
            let send = same_line(&self.own, line)?.clone();
            Some(Box::new(Agreed { receive: line.clone(), send }))
        });
    }

    /// Chooses the line for the answer to the party's offer. `answerer` is what the other side chose from our offer; packets that do not
    /// pass unchanged get a key of their own, because under the answerer's key stream there is the answerer's packet already.
    pub fn prepare_answer(
        &mut self,
        answerer: Option<&Crypto>,
        packets: Packets,
        keep_static: bool,
        rng: &mut impl RngCore,
    ) {
        let present = self.agreed.take().and_then(|agreed| {
            let fits = |line: &&Crypto| line.tag == agreed.send.tag && line.suite == agreed.send.suite;
            let receive = self.received.iter().find(fits)?.clone();
            Some(Agreed { receive, ..*agreed })
        });
        let mut passed_on = || {
            let answerer = answerer.filter(|_| !self.reordered)?;
            let receive = same_line(&self.received, answerer)?.clone();
            let send = match (packets, &present) {
                (Packets::Unchanged, _) => Crypto { tag: receive.tag, ..answerer.clone() },
                (Packets::Rewritten, Some(present))
                    if present.send.tag == receive.tag && present.send.key_salt != answerer.key_salt =>
                {
                    present.send.clone()
                }
                (Packets::Rewritten, _) => {
                    let key_salt = KeySalt::random(receive.suite, &mut *rng);
                    Crypto { key_salt, mki: None, ..receive.clone() }
                }
            };
            Some(Agreed { send, receive })
        };
        let chosen = match &present {
            Some(_) if keep_static => present,
            _ => passed_on().or(present),
        };
        let chosen = chosen.or_else(|| {
            let receive = self.received.first()?.clone();
            let key_salt = KeySalt::random(receive.suite, rng);
            Some(Agreed { send: Crypto { key_salt, mki: None, ..receive.clone() }, receive })
        });
        self.agreed = chosen.map(Box::new);
        self.own.clear();
        self.own.extend(self.agreed.as_ref().map(|agreed| agreed.send.clone()));
    }

    /// Other keys are used with this party.
    pub fn give_up(&mut self) {
        *self = Self::default();
    }

    /// The party's own section had usable lines.
    pub fn is_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// The line of the party's last section that counts.
    pub fn choice(&self) -> Option<&Crypto> {
        self.received.first()
    }

    /// Lines for the party.
    pub fn shown(&self) -> &[Crypto] {
        &self.own
    }

    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_deref()
    }
}

/// `only-` beats `no-`.
fn is_allowed(options: &SdesOptions, suite: &Suite) -> bool {
    let named = |names: &[SmolStr]| names.iter().any(|name| name.eq_ignore_ascii_case(suite.name));
    if options.only.is_empty() { !named(&options.no) } else { named(&options.only) }
}

fn contains(list: &[Crypto], suite: &Suite) -> bool {
    list.iter().any(|line| line.suite == suite)
}

/// The line with the same suite and, if possible, the same tag.
fn same_line<'l>(list: &'l [Crypto], line: &Crypto) -> Option<&'l Crypto> {
    let mut same_suite = list.iter().filter(|other| other.suite == line.suite);
    same_suite.clone().find(|other| other.tag == line.tag).or_else(|| same_suite.next())
}

/// Moves the named suites to the front, in the order of the names. Returns whether there was any.
fn move_to_front(list: &mut [Crypto], names: &[SmolStr]) -> bool {
    let mut front = 0;
    for name in names {
        let named = |line: &Crypto| line.suite.name.eq_ignore_ascii_case(name);
        while let Some(found) = list.get(front..).and_then(|rest| rest.iter().position(named)) {
            list[front..=front + found].rotate_right(1);
            front += 1;
        }
    }
    front > 0
}

fn new_line(tag: u32, suite: &'static Suite, rng: &mut impl RngCore) -> Crypto {
    Crypto {
        tag,
        suite,
        key_salt: KeySalt::random(suite, rng),
        mki: None,
        unencrypted_srtp: false,
        unencrypted_srtcp: false,
        unauthenticated_srtp: false,
    }
}
