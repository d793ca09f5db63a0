//! The iptables plugin of `kernel-module/`: `-j RTPENGINE --id N` sends UDP packets to forwarding table N.
//!
//! iptables (legacy and nft) opens this library, runs its constructor, and calls the functions that [`TARGET`] names.
//! All symbols that it needs come from iptables itself, so that it links with nothing. Text goes out by C's `printf`: iptables
//! writes with stdio, and a second buffer would come out of order.

#![no_std]
#![expect(non_snake_case, reason = "iptables looks for libxt_RTPENGINE.so")]

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::offset_of;
use core::ptr;

/// Highest forwarding table.
const MAX_ID: c_uint = 63;

/// What a rule carries into the kernel (`struct xt_rtpengine_info`), aligned as x_tables aligns it.
#[repr(C, align(8))]
struct Info {
    id: u32,
}

/// `struct xt_entry_target`: the header before [`Info`].
#[repr(C, align(8))]
struct EntryTarget {
    header: [u8; 32],
}

/// `struct xt_option_entry`.
#[repr(C)]
struct OptionEntry {
    name: *const c_char,
    kind: c_uint,
    id: c_uint,
    excl: c_uint,
    also: c_uint,
    flags: c_uint,
    ptroff: c_uint,
    size: usize,
    min: c_uint,
    max: c_uint,
}

/// `XTTYPE_UINT32`
const TYPE_UINT32: c_uint = 3;
/// `XTOPT_MAND`
const MANDATORY: c_uint = 1 << 1;
/// `XTOPT_PUT`
const PUT: c_uint = 1 << 3;

/// `struct xtables_target` of libxtables 12.
#[repr(C)]
struct Target {
    version: *const c_char,
    next: *mut Target,
    name: *const c_char,
    real_name: *const c_char,
    revision: u8,
    ext_flags: u8,
    family: u16,
    size: usize,
    userspace_size: usize,
    help: Option<extern "C" fn()>,
    init: Option<extern "C" fn(*mut EntryTarget)>,
    parse: *const c_void,
    final_check: *const c_void,
    print: Option<extern "C" fn(*const c_void, *const EntryTarget, c_int)>,
    save: Option<extern "C" fn(*const c_void, *const EntryTarget)>,
    alias: *const c_void,
    extra_opts: *const c_void,
    x6_parse: Option<unsafe extern "C" fn(*mut c_void)>,
    x6_fcheck: *const c_void,
    x6_options: *const OptionEntry,
    /// None: nftables has no words for it, and `iptables-translate` says so.
    xlate: *const c_void,
    udata_size: usize,
    // What follows belongs to libxtables.
    udata: *mut c_void,
    option_offset: c_uint,
    entry: *mut EntryTarget,
    target_flags: c_uint,
    used: c_uint,
    loaded: c_uint,
}

unsafe extern "C" {
    fn printf(format: *const c_char, ...) -> c_int;
    fn abort() -> !;
    fn xtables_option_parse(call: *mut c_void);
    fn xtables_register_target(target: *mut Target);
}

/// The options, and the empty entry that ends them.
#[repr(transparent)]
struct Options([OptionEntry; 2]);

// SAFETY: nobody writes to it; the pointers in it are to literals.
unsafe impl Sync for Options {}

static OPTIONS: Options = Options([
    OptionEntry {
        name: c"id".as_ptr(),
        kind: TYPE_UINT32,
        id: 0,
        excl: 0,
        also: 0,
        flags: MANDATORY | PUT,
        ptroff: offset_of!(Info, id) as c_uint,
        size: size_of::<u32>(),
        min: 0,
        max: MAX_ID,
    },
    OptionEntry {
        name: ptr::null(),
        kind: 0,
        id: 0,
        excl: 0,
        also: 0,
        flags: 0,
        ptroff: 0,
        size: 0,
        min: 0,
        max: 0,
    },
]);

const NFPROTO_UNSPEC: u16 = 0;

static mut TARGET: Target = Target {
    version: c"libxtables.so.12".as_ptr(),
    next: ptr::null_mut(),
    name: c"RTPENGINE".as_ptr(),
    real_name: ptr::null(),
    revision: 0,
    ext_flags: 0,
    family: NFPROTO_UNSPEC,
    size: size_of::<Info>(),
    // The same: the whole of it tells rules apart (`-D`).
    userspace_size: size_of::<Info>(),
    help: Some(help),
    init: None,
    parse: ptr::null(),
    final_check: ptr::null(),
    print: Some(print),
    save: Some(save),
    alias: ptr::null(),
    extra_opts: ptr::null(),
    x6_parse: Some(xtables_option_parse),
    x6_fcheck: ptr::null(),
    x6_options: &raw const OPTIONS.0 as *const OptionEntry,
    xlate: ptr::null(),
    udata_size: 0,
    udata: ptr::null_mut(),
    option_offset: 0,
    entry: ptr::null_mut(),
    target_flags: 0,
    used: 0,
    loaded: 0,
};

extern "C" fn help() {
    write(
        c"RTPENGINE target options:\n  --id N    forwarding table (0 to 63) that packets are given to\n",
        0,
    );
}

extern "C" fn print(_ip: *const c_void, target: *const EntryTarget, _numeric: c_int) {
    write(c" RTPENGINE id:%u", table_of(target));
}

extern "C" fn save(_ip: *const c_void, target: *const EntryTarget) {
    write(c" --id %u", table_of(target));
}

/// `text` has at most one conversion, `%u`.
fn write(text: &CStr, number: u32) {
    // SAFETY: a literal whose conversions the one argument serves; C ignores arguments in excess.
    unsafe { printf(text.as_ptr(), number) };
}

fn table_of(target: *const EntryTarget) -> u32 {
    // SAFETY: iptables passes a whole rule: the header, and behind it the data whose size TARGET tells.
    unsafe { (*target.add(1).cast::<Info>()).id }
}

/// Run by the dynamic linker when iptables opens the library.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = register;

extern "C" fn register() {
    // SAFETY: iptables loads plugins in its only thread; afterwards the structure is its own.
    unsafe { xtables_register_target(&raw mut TARGET) };
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process; nothing here can panic, so this is never linked in an optimised build.
    unsafe { abort() }
}

const _: () = {
    // libxtables.so.12 on 64-bit machines; a structure of other size would be read beyond its end.
    assert!(size_of::<Info>() == 8 && size_of::<EntryTarget>() == 32);
    #[cfg(target_pointer_width = "64")]
    assert!(size_of::<Target>() == 200 && size_of::<OptionEntry>() == 48);
};
