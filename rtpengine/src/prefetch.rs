//! Asks for memory before it is needed.
//!
//! With one packet per socket every 20 ms, all that a packet touches has left the cache since the last one. Asked for while the packet
//! before it is handled, it is there in time. A leaf: the only `unsafe` is the instruction.

/// Octets of a cache line, for all that matters here.
pub const LINE: usize = 64;

/// Asks for cache lines of a value, counted from its first. Changes nothing, and does nothing on processors that it does not know.
#[inline(always)]
pub fn prefetch<T, const N: usize>(value: &T, lines: [usize; N]) {
    let first = std::ptr::from_ref(value).cast::<u8>();
    for line in lines {
        ask(first.wrapping_add(line * LINE));
    }
}

/// Asks for all of a value, [`MOST`] cache lines of it at the most.
#[inline(always)]
pub fn prefetch_all<T>(value: &T) {
    let first = std::ptr::from_ref(value).cast::<u8>();
    // The last one, too, where the value does not begin with a line.
    for line in 0..(size_of::<T>() / LINE + 1).min(MOST) {
        ask(first.wrapping_add(line * LINE));
    }
}

/// More at once than the processor keeps track of would hold it up.
pub const MOST: usize = 10;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and cannot fault, whatever the address; SSE is part of this architecture.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn ask(address: *const u8) {
    // SAFETY: a prefetch reads nothing and cannot fault, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn ask(_: *const u8) {}
