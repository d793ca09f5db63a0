//! Effective values: what a media section says itself, else what its session says.
//!
//! rtcp, rtcp-mux, mid, ptime and crypto exist at media level only and are read from the attributes directly.

use std::net::{IpAddr, SocketAddr};

use smol_str::SmolStr;

use super::model::{Connection, Direction, ExtMap, Fingerprint, MediaDescription, SessionDescription, Setup};

impl MediaDescription {
    /// `c=`; [`super::parse()`] makes sure that there is one (except in fragments).
    pub fn connection(&self, session: &SessionDescription) -> Option<Connection> {
        self.connection.or(session.connection)
    }

    /// The address of `c=`.
    pub fn connection_address(&self, session: &SessionDescription) -> Option<IpAddr> {
        self.connection(session).map(|connection| connection.address)
    }

    /// Where RTP goes.
    pub fn endpoint(&self, session: &SessionDescription) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.connection_address(session)?, self.port))
    }

    /// Where RTCP goes if it is not multiplexed: `a=rtcp`, else the next port, also for whoever only offers to multiplex (RFC 5761
    /// §5.1.1). `a=rtcp` is ignored when there is a port count. `None` for rejected media.
    pub fn rtcp_endpoint(&self, session: &SessionDescription) -> Option<SocketAddr> {
        let rtp = self.endpoint(session).filter(|rtp| rtp.port() != 0)?;
        match self.attributes.rtcp.filter(|_| self.port_count == 1) {
            Some(rtcp) => Some(SocketAddr::new(rtcp.address.unwrap_or(rtp.ip()), rtcp.port)),
            None => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
        }
    }

    /// `a=rtcp-mux`, or an `a=rtcp` that equals the RTP endpoint.
    pub fn offers_rtcp_mux(&self, session: &SessionDescription) -> bool {
        let same = self.attributes.rtcp.is_some() && self.rtcp_endpoint(session) == self.endpoint(session);
        self.attributes.rtcp_mux || (same && self.port != 0)
    }

    /// Direction; sendrecv when there is none.
    pub fn direction(&self, session: &SessionDescription) -> Direction {
        self.attributes.direction.or(session.attributes.direction).unwrap_or_default()
    }

    /// `a=setup`
    pub fn setup(&self, session: &SessionDescription) -> Option<Setup> {
        self.attributes.setup.or(session.attributes.setup)
    }

    /// `a=fingerprint`
    pub fn fingerprint<'s>(&'s self, session: &'s SessionDescription) -> Option<&'s Fingerprint> {
        self.attributes.fingerprint.as_ref().or(session.attributes.fingerprint.as_ref())
    }

    /// `a=tls-id`
    pub fn tls_id<'s>(&'s self, session: &'s SessionDescription) -> Option<&'s str> {
        self.attributes.tls_id.as_deref().or(session.attributes.tls_id.as_deref())
    }

    /// `a=ice-ufrag`
    pub fn ice_ufrag<'s>(&'s self, session: &'s SessionDescription) -> Option<&'s str> {
        self.attributes.ice_ufrag.as_deref().or(session.attributes.ice_ufrag.as_deref())
    }

    /// `a=ice-pwd`
    pub fn ice_pwd<'s>(&'s self, session: &'s SessionDescription) -> Option<&'s str> {
        self.attributes.ice_pwd.as_deref().or(session.attributes.ice_pwd.as_deref())
    }

    /// There is an ICE user fragment.
    pub fn has_ice(&self, session: &SessionDescription) -> bool {
        self.ice_ufrag(session).is_some()
    }

    /// `a=ice-options`
    pub fn ice_options<'s>(&'s self, session: &'s SessionDescription) -> &'s [SmolStr] {
        let own = &self.attributes.ice_options;
        if own.is_empty() { &session.attributes.ice_options } else { own }
    }

    /// `a=ice-lite` counts at either level, but only together with a user fragment.
    pub fn ice_lite(&self, session: &SessionDescription) -> bool {
        (self.attributes.ice_lite || session.attributes.ice_lite) && self.has_ice(session)
    }

    /// `trickle` is among the ICE options, or the section is the RFC 8840 placeholder (port 9, unspecified address).
    pub fn is_trickling(&self, session: &SessionDescription) -> bool {
        let option = self.ice_options(session).iter().any(|option| option.eq_ignore_ascii_case("trickle"));
        let placeholder =
            self.port == 9 && self.connection_address(session).is_some_and(|a| a.is_unspecified());
        self.has_ice(session) && (option || placeholder)
    }

    /// Sources that `a=ssrc` names (RFC 5576 §4.1), each once, a bounded number.
    pub fn ssrcs(&self) -> Vec<u32> {
        const MOST: usize = 32;
        let mut ssrcs = Vec::new();
        let named =
            self.attributes.unknown.iter().filter_map(|line| line.strip_prefix("ssrc:")?.split(' ').next());
        for ssrc in named.filter_map(|ssrc| ssrc.parse().ok()) {
            if ssrcs.len() < MOST && !ssrcs.contains(&ssrc) {
                ssrcs.push(ssrc);
            }
        }
        ssrcs
    }

    /// The connection address is unspecified and nothing is trickled: an old-style hold.
    pub fn is_zero_address(&self, session: &SessionDescription) -> bool {
        self.connection_address(session).is_some_and(|a| a.is_unspecified()) && !self.is_trickling(session)
    }

    /// `a=end-of-candidates`
    pub fn end_of_candidates(&self, session: &SessionDescription) -> bool {
        self.attributes.end_of_candidates || session.attributes.end_of_candidates
    }

    /// `a=extmap`; the session's only when the media has none at all.
    pub fn extmap<'s>(&'s self, session: &'s SessionDescription) -> &'s [ExtMap] {
        let own = &self.attributes.extmap;
        if own.is_empty() { &session.attributes.extmap } else { own }
    }

    /// `a=extmap-allow-mixed`
    pub fn extmap_allow_mixed(&self, session: &SessionDescription) -> bool {
        self.attributes.extmap_allow_mixed || session.attributes.extmap_allow_mixed
    }

    /// Writes what the section inherits into it, so that it can do without its session.
    pub(super) fn inherit(&mut self, session: &SessionDescription) {
        fn fill<T: Clone>(own: &mut Option<T>, inherited: &Option<T>) {
            if own.is_none() {
                own.clone_from(inherited);
            }
        }
        let from = &session.attributes;
        self.connection = self.connection.or(session.connection);
        let own = &mut self.attributes;
        own.direction = own.direction.or(from.direction);
        own.setup = own.setup.or(from.setup);
        fill(&mut own.fingerprint, &from.fingerprint);
        fill(&mut own.tls_id, &from.tls_id);
        fill(&mut own.ice_ufrag, &from.ice_ufrag);
        fill(&mut own.ice_pwd, &from.ice_pwd);
        if own.ice_options.is_empty() {
            own.ice_options.clone_from(&from.ice_options);
        }
        if own.extmap.is_empty() {
            own.extmap.clone_from(&from.extmap);
        }
        own.ice_lite |= from.ice_lite;
        own.end_of_candidates |= from.end_of_candidates;
        own.extmap_allow_mixed |= from.extmap_allow_mixed;
    }
}
