//! A global allocator that counts: how often memory is asked for, and how much of it is in use.
//!
//! It passes every call on to the system's allocator and keeps its figures by thread, so that what other threads do does
//! not show. A program that wants them says so: `#[global_allocator] static ALLOCATOR: Counting = Counting;`.
#![allow(unsafe_code, reason = "an allocator can only be wrapped by implementing an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a thread has asked for so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// How often it asked for memory, or for more of it.
    pub allocations: u64,
    /// Bytes that it got.
    pub bytes: u64,
    /// Bytes that it got less those that it gave back. What one thread gave back for another counts here too.
    pub live: i64,
}

impl Tally {
    const NOTHING: Tally = Tally { allocations: 0, bytes: 0, live: 0 };

    /// This thread's, since it began; zero if the program has another allocator.
    pub fn so_far() -> Tally {
        TALLY.with(Cell::get)
    }

    /// What came after `earlier`.
    pub fn since(self, earlier: Tally) -> Tally {
        Tally {
            allocations: self.allocations.wrapping_sub(earlier.allocations),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            live: self.live.wrapping_sub(earlier.live),
        }
    }
}

thread_local! {
    // Made without memory and never dropped, so that it can be used by an allocator.
    static TALLY: Cell<Tally> = const { Cell::new(Tally::NOTHING) };
}

/// The allocator.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// Notes that a block of `old` bytes became one of `new`; 0 is no block.
fn note(old: usize, new: usize) {
    // A thread that is ending may have no tally any more; nobody asks for it then.
    let _ = TALLY.try_with(|tally| {
        let Tally { allocations, bytes, live } = tally.get();
        let more = new.saturating_sub(old) as u64;
        tally.set(Tally {
            allocations: allocations + u64::from(new > 0),
            bytes: bytes.wrapping_add(more),
            live: live.wrapping_add(new as i64).wrapping_sub(old as i64),
        });
    });
}

// SAFETY: each method hands its arguments to the system's allocator unchanged and returns what that returns, so the
// caller's promises and the system's are those of the trait; `note` touches no memory but the thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
