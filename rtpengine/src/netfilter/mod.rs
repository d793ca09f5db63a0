//! The netfilter rules that lead packets into the kernel's forwarding table: made at start, removed at the end.
//!
//! ```text
//! base chain (INPUT): udp ─ counter ─ jump managed chain (rtpengine_TABLE): forward into the table ─ counter
//!                                                                           comment "rtpengine UDP handler table N"
//! ```
//!
//! Making begins with removing what an earlier run has left, so that it can be repeated; what is removed are rules that jump to the
//! managed chain, and that chain. All changes of a family take effect together. The rule that forwards is an expression of the kernel module,
//! or its x_tables target where the module has no expression.

mod message;
mod ports;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

pub use ports::{PortRule, PortRules};

use message::{
    ACK, APPEND, Answer, Attributes, Batch, CREATE, DELETE_CHAIN, DELETE_RULE, DUMP, GET_CHAIN, GET_RULE,
    NEW_CHAIN, NEW_RULE, NEW_TABLE, answers, attributes, encode, find, text,
};

const TABLE: &str = "filter";
/// Chains that may have a rule of ours beside the configured one.
const USUAL_CHAINS: [&str; 2] = ["INPUT", "input"];
/// `NF_INET_LOCAL_IN`
const HOOK_LOCAL_IN: u32 = 1;
const POLICY_ACCEPT: u32 = 1;
const VERDICT_JUMP: u32 = -3i32 as u32;
/// `NFT_META_L4PROTO`
const META_L4PROTO: u32 = 16;
const REGISTER: u32 = 1;
/// `struct xt_rtpengine_info`, as x_tables aligns it.
const TARGET_INFO: usize = 8;
/// Octets of a list at once.
const ROOM: usize = 64 << 10;

/// `nftables-*` options and `xtables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetfilterConfig {
    /// `nftables-chain`
    pub chain: String,
    /// `nftables-base-chain`
    pub base: Base,
    /// `nftables-append`
    pub position: Position,
    /// `nftables-family`
    pub families: Vec<Family>,
    /// `xtables`: the target, not the expression.
    pub forwarding: Forwarding,
}

/// What leads to the managed chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A rule in this chain.
    Chain(String),
    /// Nothing: the operator's own rules do.
    Nothing,
    /// The managed chain is a base chain itself.
    Itself,
}

/// Where the rule stands in the base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    First,
    Last,
}

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ip = 2,
    Ip6 = 10,
    Inet = 1,
}

/// What takes packets to the forwarding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// The module's expression, else its target.
    Expression,
    /// Its x_tables target.
    Target,
    /// Nothing, in tests without the module.
    #[cfg(test)]
    None,
}

/// Why rules cannot be made, removed or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetfilterError {
    #[error("cannot talk to netfilter: {0}")]
    Netlink(io::Error),
    #[error("{what} in family {family:?}: {source}")]
    Refused { what: &'static str, family: Family, source: io::Error },
    #[error("rtpengine handler rule not found")]
    NoForwarding,
    #[error("immediate-goto rule not found in 'INPUT' or 'input' or '{0}'")]
    NoJump(String),
}

impl Family {
    /// From `nftables-family`.
    pub fn list(text: Option<&str>) -> Vec<Self> {
        match text {
            Some("ip" | "ip4") => vec![Self::Ip],
            Some("ip6") => vec![Self::Ip6],
            Some("inet") => vec![Self::Inet],
            _ => vec![Self::Ip, Self::Ip6],
        }
    }
}

impl NetfilterConfig {
    /// Makes the rules for a forwarding table, after removing what was there.
    ///
    /// # Errors
    /// [`NetfilterError`]; the family concerned is as it was without rules of ours.
    pub fn start(&self, table: u8) -> Result<(), NetfilterError> {
        let mut netlink = Netlink::open()?;
        self.remove(&mut netlink)?;
        for &family in &self.families {
            let made = match self.forwarding {
                Forwarding::Expression => {
                    match self.make(&mut netlink, family, table, Forwarding::Expression) {
                        // The module has no such expression, or is not there at all, which the target finds out.
                        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                            self.make(&mut netlink, family, table, Forwarding::Target)
                        }
                        made => made,
                    }
                }
                forwarding => self.make(&mut netlink, family, table, forwarding),
            };
            made.map_err(|source| NetfilterError::Refused { what: "rules are refused", family, source })?;
        }
        Ok(())
    }

    /// Removes all rules of ours.
    ///
    /// # Errors
    /// [`NetfilterError`]
    pub fn stop(&self) -> Result<(), NetfilterError> {
        self.remove(&mut Netlink::open()?)
    }

    /// Whether packets are led to the forwarding table.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), NetfilterError> {
        let mut netlink = Netlink::open()?;
        for &family in &self.families {
            let rules = netlink.rules(family, &self.chain)?;
            if !rules.iter().any(|rule| rule.forwards) {
                return Err(NetfilterError::NoForwarding);
            }
            if self.base == Base::Itself {
                continue;
            }
            let mut found = false;
            for chain in self.chains() {
                found |= netlink.rules(family, chain)?.iter().any(|rule| rule.leads_to(&self.chain));
            }
            if !found {
                let base = if let Base::Chain(chain) = &self.base { chain.as_str() } else { "none" };
                return Err(NetfilterError::NoJump(base.into()));
            }
        }
        Ok(())
    }

    /// Chains in which a jump may stand.
    fn chains(&self) -> impl Iterator<Item = &str> {
        let own = if let Base::Chain(chain) = &self.base { Some(chain.as_str()) } else { None };
        USUAL_CHAINS.into_iter().filter(move |usual| Some(*usual) != own).chain(own)
    }

    fn remove(&self, netlink: &mut Netlink) -> Result<(), NetfilterError> {
        for &family in &self.families {
            let mut batch = Batch::new();
            let mut count = 0;
            for chain in self.chains() {
                for rule in netlink.rules(family, chain)?.iter().filter(|rule| rule.leads_to(&self.chain)) {
                    let mut attributes = Attributes::default();
                    attributes.text(1, TABLE).text(2, chain).octets(3, &rule.handle);
                    batch.add(DELETE_RULE, 0, family as u8, &attributes);
                    count += 1;
                }
            }
            if netlink.has_chain(family, &self.chain)? {
                let mut attributes = Attributes::default();
                attributes.text(1, TABLE).text(2, &self.chain);
                // Without a handle: all rules of the chain.
                batch.add(DELETE_RULE, 0, family as u8, &attributes);
                let mut attributes = Attributes::default();
                attributes.text(1, TABLE).text(3, &self.chain);
                batch.add(DELETE_CHAIN, 0, family as u8, &attributes);
                count += 1;
            }
            if count > 0 {
                netlink.commit(batch).map_err(|source| NetfilterError::Refused {
                    what: "rules cannot be removed",
                    family,
                    source,
                })?;
            }
        }
        Ok(())
    }

    fn make(
        &self,
        netlink: &mut Netlink,
        family: Family,
        table: u8,
        forwarding: Forwarding,
    ) -> io::Result<()> {
        let number = family as u8;
        let mut batch = Batch::new();
        let mut attributes = Attributes::default();
        batch.add(NEW_TABLE, CREATE, number, attributes.text(1, TABLE));
        let is_base = self.base == Base::Itself;
        batch.add(NEW_CHAIN, CREATE, number, &chain(&self.chain, is_base));
        if let Base::Chain(base) = &self.base {
            if !netlink.has_chain(family, base).map_err(io::Error::other)? {
                batch.add(NEW_CHAIN, CREATE, number, &chain(base, true));
            }
            let mut rule = Rule::default();
            rule.udp_only().counter().jump(&self.chain);
            let place = if self.position == Position::Last { APPEND } else { 0 };
            batch.add(NEW_RULE, CREATE | place, number, &rule.attributes(base, None));
        }
        let mut rule = Rule::default();
        if is_base {
            rule.udp_only();
        }
        let is_first = self.families.first() == Some(&family);
        match forwarding {
            Forwarding::Expression => {
                rule.expression("rtpengine", |data| {
                    data.number(1, u32::from(table));
                    if is_first {
                        // The table is made with the rule, and must not be there yet.
                        data.number(2, 1).number(3, 1);
                    }
                });
            }
            Forwarding::Target => {
                let mut info = [0; TARGET_INFO];
                info[..4].copy_from_slice(&u32::from(table).to_ne_bytes());
                rule.expression("target", |data| {
                    data.text(1, "RTPENGINE").number(2, 0).octets(3, &info);
                });
            }
            #[cfg(test)]
            Forwarding::None => {}
        }
        rule.counter();
        batch.add(NEW_RULE, CREATE | APPEND, number, &rule.attributes(&self.chain, None));
        let comment = format!("rtpengine UDP handler table {table}");
        batch.add(
            NEW_RULE,
            CREATE | APPEND,
            number,
            &Rule::default().attributes(&self.chain, Some(&comment)),
        );
        netlink.commit(batch)
    }
}

fn chain(name: &str, is_base: bool) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.text(1, TABLE).text(3, name);
    if is_base {
        let mut hook = Attributes::default();
        hook.number(1, HOOK_LOCAL_IN).number(2, 0);
        attributes.nested(4, &hook).number(5, POLICY_ACCEPT).text(7, "filter");
    }
    attributes
}

/// A rule that is being made.
#[derive(Default)]
struct Rule(Attributes);

impl Rule {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes)) -> &mut Self {
        let (mut inner, mut expression) = (Attributes::default(), Attributes::default());
        data(&mut inner);
        expression.text(1, name).nested(2, &inner);
        self.0.nested(1, &expression);
        self
    }

    fn udp_only(&mut self) -> &mut Self {
        self.expression("meta", |data| {
            data.number(1, REGISTER).number(2, META_L4PROTO);
        });
        self.expression("cmp", |data| {
            let mut value = Attributes::default();
            value.octets(1, &[libc::IPPROTO_UDP as u8]);
            data.number(1, REGISTER).number(2, 0).nested(3, &value);
        })
    }

    fn counter(&mut self) -> &mut Self {
        self.expression("counter", |data| {
            data.octets(1, &[0; 8]).octets(2, &[0; 8]);
        })
    }

    fn jump(&mut self, chain: &str) -> &mut Self {
        self.expression("immediate", |data| {
            let (mut verdict, mut value) = (Attributes::default(), Attributes::default());
            verdict.number(1, VERDICT_JUMP).text(2, chain);
            value.nested(2, &verdict);
            data.number(1, 0).nested(2, &value);
        })
    }

    fn attributes(&self, chain: &str, comment: Option<&str>) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.text(1, TABLE).text(2, chain).nested(4, &self.0);
        if let Some(comment) = comment {
            // Type 0 of what nft keeps beside a rule.
            let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
            attributes.octets(7, &[&[0, length], comment.as_bytes(), &[0]].concat());
        }
        attributes
    }
}

/// A rule that is there.
struct Present {
    handle: Vec<u8>,
    /// Chains that it leads to.
    jumps: Vec<String>,
    /// It takes packets to a forwarding table.
    forwards: bool,
}

impl Present {
    fn read(item: &[u8]) -> Self {
        let mut rule =
            Self { handle: find(item, 3).unwrap_or_default().to_vec(), jumps: Vec::new(), forwards: false };
        for (_, expression) in attributes(find(item, 4).unwrap_or_default()) {
            let name = find(expression, 1).map(text).unwrap_or_default();
            let data = find(expression, 2).unwrap_or_default();
            match name.as_str() {
                "immediate" => {
                    let verdict = find(data, 2).and_then(|value| find(value, 2));
                    rule.jumps.extend(verdict.and_then(|verdict| find(verdict, 2)).map(text));
                }
                "rtpengine" => rule.forwards = true,
                "target" => rule.forwards |= find(data, 1).map(text).as_deref() == Some("RTPENGINE"),
                _ => {}
            }
        }
        rule
    }

    fn leads_to(&self, chain: &str) -> bool {
        self.jumps.iter().any(|jump| jump == chain)
    }
}

/// The way to the kernel.
struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open() -> Result<Self, NetfilterError> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket =
                socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| NetfilterError::Netlink(error.into()))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn send(&self, octets: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_raw_fd(), octets, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    /// Carries a batch out; the first failure is that of the whole.
    fn commit(&mut self, batch: Batch) -> io::Result<()> {
        let (octets, mut expected) = batch.finish();
        self.send(&octets)?;
        let mut buffer = vec![0; ROOM];
        let mut failure = None;
        while expected > 0 {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for answer in answers(&buffer[..length]) {
                if let Answer::Outcome(errno) = answer {
                    expected = expected.saturating_sub(1);
                    if errno != 0 && failure.is_none() {
                        failure = Some(io::Error::from_raw_os_error(errno));
                    }
                }
            }
            if failure.is_some() {
                // Messages behind a failure may not be answered.
                self.drain();
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn drain(&self) {
        let mut buffer = vec![0; ROOM];
        while recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    /// Members of a list; a table or chain that is not there has none.
    fn list(
        &mut self,
        message: u16,
        flags: u16,
        family: Family,
        about: &Attributes,
    ) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        self.send(&encode(message, flags, family as u8, self.sequence, about))?;
        let mut items = Vec::new();
        let mut buffer = vec![0; ROOM];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for answer in answers(&buffer[..length]) {
                match answer {
                    Answer::Done | Answer::Outcome(0 | libc::ENOENT) => return Ok(items),
                    Answer::Outcome(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Answer::Item(item) => items.push(item.to_vec()),
                }
            }
        }
    }

    fn rules(&mut self, family: Family, chain: &str) -> Result<Vec<Present>, NetfilterError> {
        let mut about = Attributes::default();
        about.text(1, TABLE).text(2, chain);
        let items = self.list(GET_RULE, DUMP, family, &about).map_err(NetfilterError::Netlink)?;
        // Kernels that know no filter list more than was asked for.
        let fits = |item: &&Vec<u8>| find(item, 2).map(text).as_deref() == Some(chain);
        Ok(items.iter().filter(fits).map(|item| Present::read(item)).collect())
    }

    fn has_chain(&mut self, family: Family, chain: &str) -> Result<bool, NetfilterError> {
        let mut about = Attributes::default();
        about.text(1, TABLE).text(3, chain);
        let items = self.list(GET_CHAIN, ACK, family, &about).map_err(NetfilterError::Netlink)?;
        Ok(items.iter().any(|item| find(item, 3).map(text).as_deref() == Some(chain)))
    }
}

#[cfg(test)]
mod tests;
