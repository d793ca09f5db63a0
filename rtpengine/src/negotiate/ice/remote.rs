//! What a party says about its ICE agent, in a description or in a trickle fragment (RFC 8839, RFC 8840).

use crate::proto::ice::{MAX_CANDIDATES, RemoteAgent, RemoteCandidate, RemoteCredentials};
use crate::proto::sdp::model::{MediaDescription, SessionDescription};

/// Longest user fragment and password (RFC 8839 §5.4).
const MAX_CREDENTIAL: usize = 256;

impl RemoteAgent {
    /// The agent behind a media section; `None` without a (sensible) user fragment.
    pub fn from_sdp(media: &MediaDescription, session: &SessionDescription) -> Option<Self> {
        let mut agent = Self {
            credentials: credentials(media, session)?,
            lite: media.ice_lite(session),
            trickle: media.is_trickling(session),
            candidates: Vec::new(),
            end_of_candidates: media.end_of_candidates(session),
        };
        agent.add(media);
        Some(agent)
    }

    /// Takes a fragment that is about this media. `false`: it belongs to other credentials, and is not used.
    pub fn take_fragment(&mut self, media: &MediaDescription, session: &SessionDescription) -> bool {
        if let Some(ufrag) = media.ice_ufrag(session)
            && ufrag != self.credentials.ufrag
        {
            return false;
        }
        self.add(media);
        self.end_of_candidates |= media.end_of_candidates(session);
        true
    }

    /// Same credentials: not a restart.
    pub fn is_same_generation(&self, other: &Self) -> bool {
        self.credentials == other.credentials
    }

    /// Keeps what came after the last description of the same generation.
    pub(super) fn keep_candidates_of(&mut self, earlier: &Self) {
        for candidate in &earlier.candidates {
            self.add_one(candidate.clone());
        }
        self.end_of_candidates |= earlier.end_of_candidates;
    }

    fn add(&mut self, media: &MediaDescription) {
        media
            .attributes
            .candidates
            .iter()
            .filter_map(RemoteCandidate::from_sdp)
            .for_each(|c| self.add_one(c));
    }

    fn add_one(&mut self, candidate: RemoteCandidate) {
        let same = |known: &RemoteCandidate| {
            known.component == candidate.component && known.address == candidate.address
        };
        if self.candidates.len() < MAX_CANDIDATES && !self.candidates.iter().any(same) {
            self.candidates.push(candidate);
        }
    }
}

fn credentials(media: &MediaDescription, session: &SessionDescription) -> Option<RemoteCredentials> {
    let ufrag = media.ice_ufrag(session)?;
    let password = media.ice_pwd(session).unwrap_or_default();
    let sensible = (1..=MAX_CREDENTIAL).contains(&ufrag.len()) && password.len() <= MAX_CREDENTIAL;
    sensible.then(|| RemoteCredentials { ufrag: ufrag.into(), password: password.into() })
}
