//! The memory allocator of the daemon: mimalloc, by its shortest way.
//!
//! The usual binding asks for an alignment with every allocation, which costs as much as the allocation itself; almost none needs
//! more than what it has anyway.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// Every block is aligned like this.
const NATURAL: usize = 8;

/// mimalloc, for `#[global_allocator]`.
pub struct Allocator;

// SAFETY: mimalloc is a general allocator of C: blocks are as large as asked, disjoint, and aligned to at least eight octets, or as asked
// where it is told; null means that there is no memory; its functions do not unwind and may be called from every thread.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and power of two is allowed.
        let block = unsafe {
            match layout.align() {
                ..=NATURAL => mi_malloc(layout.size()),
                align => mi_malloc_aligned(layout.size(), align),
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and power of two is allowed.
        let block = unsafe {
            match layout.align() {
                ..=NATURAL => mi_zalloc(layout.size()),
                align => mi_zalloc_aligned(layout.size(), align),
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: by the caller's contract it was allocated here, and is not used again.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's contract it was allocated here; any size and power of two is allowed.
        let block = unsafe {
            match layout.align() {
                ..=NATURAL => mi_realloc(block.cast(), size),
                align => mi_realloc_aligned(block.cast(), size, align),
            }
        };
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_asked_and_keep_their_octets() {
        for align in [1, 2, 4, 8, 16, 64, 4096] {
            for size in [1, 3, 7, 8, 9, 24, 100, 5000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the block is used within its layout, and freed once under the layout it has then.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    assert!((0..size).all(|at| *block.add(at) == 0), "{layout:?}");
                    block.write_bytes(0x5a, size);
                    let block = Allocator.realloc(block, layout, size * 3);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    assert!((0..size).all(|at| *block.add(at) == 0x5a), "{layout:?}");
                    Allocator.dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
                    let block = Allocator.alloc(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    Allocator.dealloc(block, layout);
                }
            }
        }
    }
}
