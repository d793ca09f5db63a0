//! The functions of libspandsp and libtiff that fax machines are made of.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::LazyLock;

type State = *mut c_void;
type OnPacket = unsafe extern "C" fn(State, *mut c_void, *const u8, c_int, c_int) -> c_int;
type OnEnd = unsafe extern "C" fn(State, *mut c_void, c_int);
type Switch = unsafe extern "C" fn(State, c_int);
type Capability = unsafe extern "C" fn(State, c_int) -> c_int;

macro_rules! library {
    ($($(#[$doc:meta])* $field:ident $name:literal: $type:ty,)*) => {
        /// As the headers declare them.
        #[derive(Debug)]
        pub struct Library {
            $($(#[$doc])* pub $field: $type,)*
        }

        fn load() -> Option<Library> {
            let fax = open(c"libspandsp.so.2")?;
            let tiff = [c"libtiff.so.6", c"libtiff.so.5"].into_iter().find_map(open)?;
            // SAFETY: the types are those of the headers.
            unsafe { Some(Library { $($field: function([fax, tiff], $name)?,)* }) }
        }
    };
}

library! {
    fax_init c"fax_init": unsafe extern "C" fn(State, c_int) -> State,
    fax_free c"fax_free": unsafe extern "C" fn(State) -> c_int,
    fax_rx c"fax_rx": unsafe extern "C" fn(State, *mut i16, c_int) -> c_int,
    fax_tx c"fax_tx": unsafe extern "C" fn(State, *mut i16, c_int) -> c_int,
    fax_set_transmit_on_idle c"fax_set_transmit_on_idle": Switch,
    fax_get_t30_state c"fax_get_t30_state": unsafe extern "C" fn(State) -> State,
    terminal_init c"t38_terminal_init": unsafe extern "C" fn(State, c_int, OnPacket, *mut c_void) -> State,
    terminal_free c"t38_terminal_free": unsafe extern "C" fn(State) -> c_int,
    terminal_send_timeout c"t38_terminal_send_timeout": unsafe extern "C" fn(State, c_int) -> c_int,
    terminal_get_t30_state c"t38_terminal_get_t30_state": unsafe extern "C" fn(State) -> State,
    terminal_get_t38_core_state c"t38_terminal_get_t38_core_state": unsafe extern "C" fn(State) -> State,
    core_rx_ifp_packet c"t38_core_rx_ifp_packet": unsafe extern "C" fn(State, *const u8, c_int, u16) -> c_int,
    t30_set_tx_ident c"t30_set_tx_ident": unsafe extern "C" fn(State, *const c_char) -> c_int,
    t30_set_ecm_capability c"t30_set_ecm_capability": Capability,
    t30_set_supported_modems c"t30_set_supported_modems": Capability,
    t30_set_supported_compressions c"t30_set_supported_compressions": Capability,
    t30_set_tx_file c"t30_set_tx_file": unsafe extern "C" fn(State, *const c_char, c_int, c_int),
    t30_set_rx_file c"t30_set_rx_file": unsafe extern "C" fn(State, *const c_char, c_int),
    t30_set_phase_e_handler c"t30_set_phase_e_handler": unsafe extern "C" fn(State, OnEnd, *mut c_void),
    tiff_open c"TIFFOpen": unsafe extern "C" fn(*const c_char, *const c_char) -> State,
    tiff_close c"TIFFClose": unsafe extern "C" fn(State),
    tiff_scanline_size c"TIFFScanlineSize": unsafe extern "C" fn(State) -> isize,
    tiff_read_scanline c"TIFFReadScanline": unsafe extern "C" fn(State, *mut c_void, u32, u16) -> c_int,
    tiff_get_field c"TIFFGetField": unsafe extern "C" fn(State, u32, ...) -> c_int,
}

/// `None` when one of them is missing.
pub fn library() -> Option<&'static Library> {
    static LIBRARY: LazyLock<Option<Library>> = LazyLock::new(load);
    LIBRARY.as_ref()
}

fn open(name: &CStr) -> Option<usize> {
    // SAFETY: the name is a C string.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    (!handle.is_null()).then_some(handle as usize)
}

/// # Safety
/// `F` is the type of a pointer to the function of that name.
unsafe fn function<F: Copy>(libraries: [usize; 2], name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    libraries.into_iter().find_map(|library| {
        // SAFETY: the handle is that of a loaded library.
        let symbol = unsafe { libc::dlsym(library as *mut c_void, name.as_ptr()) };
        // SAFETY: same size; the caller knows the type.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy(&symbol) })
    })
}
