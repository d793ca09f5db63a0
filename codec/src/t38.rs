//! A fax gateway: modem signals in audio on one side, T.38 packets (IFP) on the other. The modems are those of libspandsp, where it is
//! installed.
//!
//! It is driven by samples: as many are to be heard as are made, 8000 a second. It has no clock.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::shared_library::SharedLibrary;

/// Samples a second on the audio side.
pub const RATE: u32 = 8000;

/// What both ends of the fax may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// T.38 version, 0–3.
    pub version: u8,
    /// Error correction mode of T.30.
    pub ecm: bool,
    /// ITU-T V.17, up to 14 400 bit/s.
    pub v17: bool,
    /// ITU-T V.27ter, up to 4800 bit/s.
    pub v27ter: bool,
    /// ITU-T V.29, up to 9600 bit/s.
    pub v29: bool,
    /// ITU-T V.34 half duplex; the library may not have it.
    pub v34: bool,
    /// Internet-aware fax.
    pub iaf: bool,
    /// The modems are trained on each side of the gateway, not end to end.
    pub local_tcf: bool,
    /// The peer removes and adds fill bits.
    pub fill_bit_removal: bool,
    /// The peer converts to and from MMR.
    pub mmr: bool,
    /// The peer converts to and from JBIG.
    pub jbig: bool,
    /// Longest packet that the peer takes, in octets.
    pub max_datagram: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: 0,
            ecm: true,
            v17: true,
            v27ter: true,
            v29: true,
            v34: true,
            iaf: true,
            local_tcf: false,
            fill_bit_removal: false,
            mmr: false,
            jbig: false,
            max_datagram: 400,
        }
    }
}

type Handle = *mut c_void;
type Handler =
    unsafe extern "C" fn(Handle, user: *mut c_void, *const u8, length: c_int, count: c_int) -> c_int;
type Switch = unsafe extern "C" fn(Handle, c_int);

/// The library's functions, as its headers declare them.
struct Library {
    init: unsafe extern "C" fn(Handle, Handler, *mut c_void) -> Handle,
    free: unsafe extern "C" fn(Handle) -> c_int,
    core: unsafe extern "C" fn(Handle) -> Handle,
    rx: unsafe extern "C" fn(Handle, *mut i16, c_int) -> c_int,
    rx_fillin: unsafe extern "C" fn(Handle, c_int) -> c_int,
    tx: unsafe extern "C" fn(Handle, *mut i16, c_int) -> c_int,
    rx_ifp: unsafe extern "C" fn(Handle, *const u8, c_int, u16) -> c_int,
    transmit_on_idle: Switch,
    ecm: Switch,
    modems: Switch,
    gateway_fill_bits: Switch,
    version: Switch,
    rate_management: Switch,
    fill_bits: Switch,
    mmr: Switch,
    jbig: Switch,
    max_datagram: Switch,
}

static LIBRARY: LazyLock<Option<Library>> = LazyLock::new(|| {
    let library = SharedLibrary::open(c"libspandsp.so.2")?;
    // SAFETY: the types are those of spandsp/t38_gateway.h and spandsp/t38_core.h, version 0.0.6.
    unsafe {
        Some(Library {
            init: library.function(c"t38_gateway_init")?,
            free: library.function(c"t38_gateway_free")?,
            core: library.function(c"t38_gateway_get_t38_core_state")?,
            rx: library.function(c"t38_gateway_rx")?,
            rx_fillin: library.function(c"t38_gateway_rx_fillin")?,
            tx: library.function(c"t38_gateway_tx")?,
            rx_ifp: library.function(c"t38_core_rx_ifp_packet")?,
            transmit_on_idle: library.function(c"t38_gateway_set_transmit_on_idle")?,
            ecm: library.function(c"t38_gateway_set_ecm_capability")?,
            modems: library.function(c"t38_gateway_set_supported_modems")?,
            gateway_fill_bits: library.function(c"t38_gateway_set_fill_bit_removal")?,
            version: library.function(c"t38_set_t38_version")?,
            rate_management: library.function(c"t38_set_data_rate_management_method")?,
            fill_bits: library.function(c"t38_set_fill_bit_removal")?,
            mmr: library.function(c"t38_set_mmr_transcoding")?,
            jbig: library.function(c"t38_set_jbig_transcoding")?,
            max_datagram: library.function(c"t38_set_max_datagram_size")?,
        })
    }
});

/// Gateways can be made on this machine.
pub fn is_available() -> bool {
    LIBRARY.is_some()
}

/// A packet to the T.38 side.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    /// The IFP packet.
    pub octets: Vec<u8>,
    /// How often it is sent: what must not be lost is repeated where the transport has no correction of its own.
    pub copies: u8,
}

/// One gateway. Allocates in the library when a modem changes, and here until its buffers have grown.
pub struct Gateway {
    library: &'static Library,
    state: NonNull<c_void>,
    core: NonNull<c_void>,
    /// What the library's callback fills, only while one of its functions runs.
    outgoing: NonNull<Outgoing>,
    spare: Vec<Packet>,
}

#[derive(Default)]
struct Outgoing {
    packets: VecDeque<Packet>,
    spare: Vec<Packet>,
}

/// Packets that may wait to be asked for.
const MOST_WAITING: usize = 64;

// SAFETY: the library's state belongs to no thread, and is only used through `&mut self`.
unsafe impl Send for Gateway {}

impl Gateway {
    /// `None` without the library.
    pub fn new(options: &Options) -> Option<Self> {
        let library = LIBRARY.as_ref()?;
        let outgoing = NonNull::from(Box::leak(Box::<Outgoing>::default()));
        // SAFETY: a null state is allocated; the handler and what it is given live as long as the state.
        let state = NonNull::new(unsafe { (library.init)(null_mut(), on_packet, outgoing.as_ptr().cast()) });
        // SAFETY: the state is valid.
        let core = state.and_then(|state| NonNull::new(unsafe { (library.core)(state.as_ptr()) }));
        let (Some(state), Some(core)) = (state, core) else {
            // SAFETY: it comes from a box, and nobody else has it.
            drop(unsafe { Box::from_raw(outgoing.as_ptr()) });
            return None;
        };
        let mut gateway = Self { library, state, core, outgoing, spare: Vec::new() };
        // SAFETY: the state is valid.
        unsafe { (library.transmit_on_idle)(gateway.state.as_ptr(), 1) };
        gateway.configure(options);
        Some(gateway)
    }

    /// Other options from now on.
    pub fn configure(&mut self, options: &Options) {
        let (library, state, core) = (self.library, self.state.as_ptr(), self.core.as_ptr());
        let modems =
            [(options.v27ter, 1), (options.v29, 2), (options.v17, 4), (options.v34, 8), (options.iaf, 16)];
        let modems = modems.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        // SAFETY: both states are valid.
        unsafe {
            (library.ecm)(state, c_int::from(options.ecm));
            (library.modems)(state, modems);
            (library.gateway_fill_bits)(state, c_int::from(options.fill_bit_removal));
            (library.version)(core, c_int::from(options.version.min(3)));
            (library.rate_management)(core, if options.local_tcf { 1 } else { 2 });
            (library.fill_bits)(core, c_int::from(options.fill_bit_removal));
            (library.mmr)(core, c_int::from(options.mmr));
            (library.jbig)(core, c_int::from(options.jbig));
            (library.max_datagram)(core, c_int::from(options.max_datagram));
        }
    }

    /// Hears samples of the audio side; they are used up.
    pub fn hear(&mut self, samples: &mut [i16]) {
        let count = c_int::try_from(samples.len()).unwrap_or(0);
        // SAFETY: the state is valid, and there are as many samples.
        unsafe { (self.library.rx)(self.state.as_ptr(), samples.as_mut_ptr(), count) };
    }

    /// Samples of the audio side are missing.
    pub fn hear_nothing(&mut self, samples: u16) {
        // SAFETY: the state is valid.
        unsafe { (self.library.rx_fillin)(self.state.as_ptr(), c_int::from(samples)) };
    }

    /// Fills a buffer with what the audio side is to hear.
    pub fn speak(&mut self, out: &mut [i16]) {
        let count = c_int::try_from(out.len()).unwrap_or(0);
        // SAFETY: the state is valid, and there is room for as many samples.
        let made = unsafe { (self.library.tx)(self.state.as_ptr(), out.as_mut_ptr(), count) };
        let made = usize::try_from(made).unwrap_or(0).min(out.len());
        out[made..].fill(0);
    }

    /// Takes an IFP packet of the T.38 side.
    pub fn receive(&mut self, ifp: &[u8], sequence_number: u16) {
        let Ok(length) = c_int::try_from(ifp.len()) else { return };
        // SAFETY: the core is valid as long as the state is; the packet has that length. What is wrong with it is found out there.
        unsafe { (self.library.rx_ifp)(self.core.as_ptr(), ifp.as_ptr(), length, sequence_number) };
    }

    /// The next packet for the T.38 side; give it back with [`Gateway::release`]. Ask after every other function.
    pub fn next_packet(&mut self) -> Option<Packet> {
        // SAFETY: none of the library's functions runs, so that nobody else uses it.
        let outgoing = unsafe { self.outgoing.as_mut() };
        outgoing.spare.append(&mut self.spare);
        outgoing.packets.pop_front()
    }

    /// Gives back a packet's buffer.
    pub fn release(&mut self, packet: Packet) {
        self.spare.push(packet);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // SAFETY: both are valid, and used by nobody after this.
        unsafe {
            (self.library.free)(self.state.as_ptr());
            drop(Box::from_raw(self.outgoing.as_ptr()));
        }
    }
}

/// # Safety
/// `user` is the [`Outgoing`] of a gateway, one of whose functions is running; the packet has that length.
unsafe extern "C" fn on_packet(
    _: Handle,
    user: *mut c_void,
    octets: *const u8,
    length: c_int,
    count: c_int,
) -> c_int {
    let Ok(length) = usize::try_from(length) else { return -1 };
    if user.is_null() || octets.is_null() {
        return -1;
    }
    // SAFETY: as the caller promises; the gateway does not use it meanwhile.
    let outgoing = unsafe { &mut *user.cast::<Outgoing>() };
    // SAFETY: as the caller promises.
    let octets = unsafe { std::slice::from_raw_parts(octets, length) };
    if outgoing.packets.len() >= MOST_WAITING {
        return -1;
    }
    let mut packet = outgoing.spare.pop().unwrap_or_default();
    packet.octets.clear();
    packet.octets.extend_from_slice(octets);
    packet.copies = count.clamp(1, 3) as u8;
    outgoing.packets.push_back(packet);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calling_tone_is_heard_and_bad_packets_do_no_harm() {
        let Some(mut other) = Gateway::new(&Options::default()) else {
            assert!(!is_available());
            return;
        };
        let mut audio = [0; 160];
        // T.30 indicator CNG.
        other.receive(&[0x02], 0);
        let mut loudest = 0;
        for _ in 0..50 {
            other.speak(&mut audio);
            loudest = audio.iter().fold(loudest, |loudest, sample| loudest.max(sample.unsigned_abs()));
        }
        assert!(loudest > 1000, "{loudest}");
        for length in 0..20 {
            other.receive(&vec![0xff; length], 1);
            other.hear(&mut audio);
        }
        assert!(other.next_packet().is_some(), "an indicator at the beginning");
    }
}
