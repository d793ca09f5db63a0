//! Codec libraries that need not be installed: looked for once, at run time, and never unloaded.

use std::ffi::{CStr, c_void};

/// Its own functions before those of the same name that happen to be loaded: some of these libraries export their internals.
const FLAGS: i32 = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND;

/// A loaded library.
pub(crate) struct SharedLibrary {
    handle: *mut c_void,
}

// SAFETY: the handle is only given to dlsym, which may be called from any thread.
unsafe impl Send for SharedLibrary {}
// SAFETY: as above.
unsafe impl Sync for SharedLibrary {}

impl SharedLibrary {
    /// `None` when it is not installed.
    pub(crate) fn open(name: &CStr) -> Option<Self> {
        // SAFETY: the name is a C string; codec libraries have no initialisers that depend on us.
        let handle = unsafe { libc::dlopen(name.as_ptr(), FLAGS) };
        (!handle.is_null()).then_some(Self { handle })
    }

    /// Of a file; the dynamic linker's words when it cannot be loaded.
    pub(crate) fn open_file(path: &CStr) -> Result<Self, String> {
        // SAFETY: the path is a C string; what the file does when it is loaded is up to who named it.
        let handle = unsafe { libc::dlopen(path.as_ptr(), FLAGS) };
        if !handle.is_null() {
            return Ok(Self { handle });
        }
        // SAFETY: takes nothing.
        let words = unsafe { libc::dlerror() };
        if words.is_null() {
            return Err("it cannot be loaded".into());
        }
        // SAFETY: not null, so a C string that stays until this thread's next call.
        Err(unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned())
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` is the type of a pointer to the C function of that name.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is that of a loaded library, the name a C string.
        let symbol = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        // SAFETY: same size; the caller knows the type.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy(&symbol) })
    }
}
