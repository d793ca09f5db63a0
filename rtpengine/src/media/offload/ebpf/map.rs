//! Maps of the kernel: the few `bpf` calls that are made for them. The only `unsafe` of this folder but for the layout.

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::layout::Plain;

const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const TAKE: libc::c_long = 21;

/// Copy the value under its spin lock.
const LOCKED: u64 = 4;

/// A hash map. Handles to one map may be used from several threads.
pub struct Map<K, V> {
    fd: Arc<OwnedFd>,
    flags: u64,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { fd: Arc::clone(&self.fd), flags: self.flags, types: PhantomData }
    }
}

/// `union bpf_attr`, as far as it is about elements.
#[repr(C)]
struct Attributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// A map whose keys and values are as large as these types: checked by who loads it.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd), flags: 0, types: PhantomData }
    }

    /// The same for values that begin with a spin lock.
    pub fn with_lock(fd: OwnedFd) -> Self {
        Self { flags: LOCKED, ..Self::new(fd) }
    }

    /// Reads an element.
    ///
    /// # Errors
    /// `NotFound`, or what the kernel says.
    pub fn get(&self, key: &K) -> io::Result<V> {
        self.read(LOOKUP, key, self.flags)
    }

    /// Reads an element and deletes it.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn take(&self, key: &K) -> io::Result<V> {
        self.read(TAKE, key, self.flags)
    }

    fn read(&self, command: libc::c_long, key: &K, flags: u64) -> io::Result<V> {
        let mut value = MaybeUninit::<V>::zeroed();
        self.call(command, key, value.as_mut_ptr() as u64, flags)?;
        // SAFETY: zeroed, and perhaps overwritten by the kernel; all bit patterns of a `Plain` type are valid.
        Ok(unsafe { value.assume_init() })
    }

    /// Writes an element, whether or not it exists.
    ///
    /// # Errors
    /// What the kernel says: no memory, map full.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        self.call(UPDATE, key, std::ptr::from_ref(value) as u64, 0)
    }

    /// Deletes an element.
    ///
    /// # Errors
    /// `NotFound`, or what the kernel says.
    pub fn delete(&self, key: &K) -> io::Result<()> {
        self.call(DELETE, key, 0, 0)
    }

    fn call(&self, command: libc::c_long, key: &K, value: u64, flags: u64) -> io::Result<()> {
        let attributes = Attributes {
            map_fd: self.fd.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(key) as u64,
            value,
            flags,
        };
        // SAFETY: the map has keys and values of these sizes, so that the kernel reads and writes within `key` and what `value` points
        // to, both of which live until the call returns.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(&attributes), size_of::<Attributes>())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The clocks of the program and of statistics, read one after the other: what is to be added to microseconds of the former.
pub fn clock_offset_us() -> u64 {
    let read = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is live and of the right type.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
    };
    read(libc::CLOCK_REALTIME).wrapping_sub(read(libc::CLOCK_MONOTONIC))
}
