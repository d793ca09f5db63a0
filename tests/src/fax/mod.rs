//! Fax machines: T.30 terminals of libspandsp on a telephone line or on T.38, a page for them to send, and a UDPTL of their own.

mod library;
mod page;
mod udptl;

use std::collections::VecDeque;
use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;

use library::{Library, library};
pub use page::{lines, write};
pub use udptl::Udptl;

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Calls, and sends the page in this file.
    Sends,
    /// Is called, and writes the page to this file.
    Receives,
}

/// What the library tells about a terminal.
#[derive(Debug, Default)]
struct Told {
    result: Option<i32>,
    packets: VecDeque<(Vec<u8>, usize)>,
}

/// A fax machine on a line of linear samples at 8 kHz.
#[derive(Debug)]
pub struct LineFax {
    library: &'static Library,
    state: *mut c_void,
    told: *mut Told,
}

/// A fax machine that speaks T.38.
#[derive(Debug)]
pub struct T38Fax {
    library: &'static Library,
    state: *mut c_void,
    core: *mut c_void,
    told: *mut Told,
}

impl LineFax {
    /// `None` without the library.
    pub fn new(end: End, file: &Path) -> Option<Self> {
        let library = library()?;
        let told = Box::into_raw(Box::<Told>::default());
        // SAFETY: a null state is allocated; it is freed in `drop`.
        let state = unsafe { (library.fax_init)(null_mut(), c_int::from(end == End::Sends)) };
        assert!(!state.is_null(), "a fax terminal");
        // SAFETY: the state is valid.
        let t30 = unsafe {
            (library.fax_set_transmit_on_idle)(state, 1);
            (library.fax_get_t30_state)(state)
        };
        prepare(library, t30, end, file, told);
        Some(Self { library, state, told })
    }

    /// What it says.
    pub fn speak(&mut self, out: &mut [i16]) {
        // SAFETY: the state is valid and there is room.
        let made = unsafe { (self.library.fax_tx)(self.state, out.as_mut_ptr(), out.len() as c_int) };
        out[usize::try_from(made).unwrap_or(0)..].fill(0);
    }

    /// What it hears.
    pub fn hear(&mut self, samples: &mut [i16]) {
        // SAFETY: the state is valid and there are as many samples.
        unsafe { (self.library.fax_rx)(self.state, samples.as_mut_ptr(), samples.len() as c_int) };
    }

    /// The result of the call when it is over: 0 is success.
    pub fn result(&self) -> Option<i32> {
        // SAFETY: none of the library's functions runs.
        unsafe { (*self.told).result }
    }
}

impl T38Fax {
    /// `None` without the library.
    pub fn new(end: End, file: &Path) -> Option<Self> {
        let library = library()?;
        let told = Box::into_raw(Box::<Told>::default());
        let calls = c_int::from(end == End::Sends);
        // SAFETY: a null state is allocated; the handler's data live as long as it.
        let state = unsafe { (library.terminal_init)(null_mut(), calls, on_packet, told.cast()) };
        assert!(!state.is_null(), "a T.38 terminal");
        // SAFETY: the state is valid.
        let (t30, core) = unsafe {
            ((library.terminal_get_t30_state)(state), (library.terminal_get_t38_core_state)(state))
        };
        prepare(library, t30, end, file, told);
        Some(Self { library, state, core, told })
    }

    /// Time passes, in samples at 8 kHz.
    pub fn pass(&mut self, samples: usize) {
        // SAFETY: the state is valid.
        unsafe { (self.library.terminal_send_timeout)(self.state, samples as c_int) };
    }

    /// An IFP packet arrives.
    pub fn receive(&mut self, ifp: &[u8], number: u16) {
        // SAFETY: the core is valid, and the packet as long.
        unsafe { (self.library.core_rx_ifp_packet)(self.core, ifp.as_ptr(), ifp.len() as c_int, number) };
    }

    /// The next IFP packet that it sends, and how often.
    pub fn next_packet(&mut self) -> Option<(Vec<u8>, usize)> {
        // SAFETY: none of the library's functions runs.
        unsafe { (*self.told).packets.pop_front() }
    }

    /// The result of the call when it is over: 0 is success.
    pub fn result(&self) -> Option<i32> {
        // SAFETY: as above.
        unsafe { (*self.told).result }
    }
}

impl Drop for LineFax {
    fn drop(&mut self) {
        // SAFETY: both are valid, and used by nobody after this.
        unsafe {
            (self.library.fax_free)(self.state);
            drop(Box::from_raw(self.told));
        }
    }
}

impl Drop for T38Fax {
    fn drop(&mut self) {
        // SAFETY: both are valid, and used by nobody after this.
        unsafe {
            (self.library.terminal_free)(self.state);
            drop(Box::from_raw(self.told));
        }
    }
}

fn prepare(library: &Library, t30: *mut c_void, end: End, file: &Path, told: *mut Told) {
    let name = CString::new(file.to_str().expect("UTF-8")).expect("no NUL");
    // SAFETY: the engine is valid; file names are copied; the handler's data live as long as the terminal.
    unsafe {
        (library.t30_set_tx_ident)(t30, c"12345".as_ptr());
        (library.t30_set_ecm_capability)(t30, 1);
        // V.27ter, V.29, V.17; T.4 one and two-dimensional, T.6.
        (library.t30_set_supported_modems)(t30, 0x07);
        (library.t30_set_supported_compressions)(t30, 0x0e);
        match end {
            End::Sends => (library.t30_set_tx_file)(t30, name.as_ptr(), -1, -1),
            End::Receives => (library.t30_set_rx_file)(t30, name.as_ptr(), -1),
        }
        (library.t30_set_phase_e_handler)(t30, on_end, told.cast());
    }
}

/// # Safety
/// `user` is the [`Told`] of the terminal that is running.
unsafe extern "C" fn on_end(_: *mut c_void, user: *mut c_void, result: c_int) {
    // SAFETY: as the caller promises.
    unsafe { (*user.cast::<Told>()).result = Some(result) }
}

/// # Safety
/// `user` is the [`Told`] of the terminal that is running; the packet has that length.
unsafe extern "C" fn on_packet(
    _: *mut c_void,
    user: *mut c_void,
    octets: *const u8,
    length: c_int,
    count: c_int,
) -> c_int {
    // SAFETY: as the caller promises.
    let octets = unsafe { std::slice::from_raw_parts(octets, usize::try_from(length).unwrap_or(0)) };
    // SAFETY: as the caller promises.
    let told = unsafe { &mut *user.cast::<Told>() };
    told.packets.push_back((octets.to_vec(), usize::try_from(count).unwrap_or(1)));
    0
}
