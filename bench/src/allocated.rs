//! How much is allocated: the gateway's allocator, counted.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static TIMES: AtomicUsize = AtomicUsize::new(0);

/// For `#[global_allocator]`.
pub struct Counting;

/// Bytes that are allocated now, as they were asked for.
pub fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}

/// How often memory was asked for, more of what there was included.
pub fn times() -> usize {
    TIMES.load(Ordering::Relaxed)
}

// SAFETY: every call goes to mimalloc as it came; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        TIMES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        TIMES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(size, Ordering::Relaxed);
        TIMES.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from this allocator with that layout, so from mimalloc; the rest is passed on.
        unsafe { MiMalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from this allocator with that layout, so from mimalloc.
        unsafe { MiMalloc.dealloc(at, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test that uses this allocator, so nobody else counts.
    #[test]
    fn what_is_allocated_counts_until_it_is_freed_and_keeps_its_bytes() {
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        let larger = Layout::from_size_align(1_000, 8).expect("a layout");
        // SAFETY: layouts are not empty; the pointer is used within its size, and freed once, with its last layout.
        unsafe {
            let at = Counting.alloc_zeroed(layout);
            assert_eq!((bytes(), *at.add(99)), (100, 0));
            at.add(99).write(7);
            let at = Counting.realloc(at, layout, larger.size());
            assert_eq!((bytes(), *at.add(99)), (1_000, 7));
            let other = Counting.alloc(layout);
            assert_eq!(bytes(), 1_100);
            Counting.dealloc(other, layout);
            Counting.dealloc(at, larger);
        }
        assert_eq!(bytes(), 0);
    }
}
