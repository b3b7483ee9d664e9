//! What the process does so that its secrets stay in its memory: no core dumps, no debugger of the same user, keys in
//! pages that are never swapped, and stacks wiped of what key set-up left there. What the heap held is wiped by the
//! allocator of the binary (`main.rs`).

#![allow(unsafe_code, reason = "a page that is locked and left out of core dumps cannot be had without")]

use std::{
    alloc::{Layout, handle_alloc_error},
    ops::Deref,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap},
    param::page_size,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};
use zeroize::Zeroize as _;

/// Bytes of stack below a function that are wiped for it: more than setting up a key or mapping a number uses.
const STACK_BYTES: usize = 48 * 1024;

static NOT_LOCKED: AtomicBool = AtomicBool::new(false);
static IN_DUMPS: AtomicBool = AtomicBool::new(false);

/// Keeps this process out of core dumps, and debuggers of the same user out of it. Says what could not be had.
pub fn harden() -> Vec<&'static str> {
    let mut lacking = Vec::new();
    if setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err() {
        lacking.push("core dumps could not be switched off");
    }
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        lacking.push("other processes of this user could not be kept from reading its memory");
    }
    lacking
}

/// What could not be had for the secrets that were made so far.
pub fn lacking() -> Vec<&'static str> {
    let mut lacking = Vec::new();
    if NOT_LOCKED.load(Ordering::Relaxed) {
        lacking.push("keys could not be locked in memory, and may be swapped out: raise the limit of locked memory");
    }
    if IN_DUMPS.load(Ordering::Relaxed) {
        lacking.push("keys could not be left out of core dumps");
    }
    lacking
}

/// Wipes the stack below the caller, where functions that it called have left secrets.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = [0_u8; STACK_BYTES];
    below.zeroize();
    std::hint::black_box(&below);
}

/// A secret in pages of its own, which are locked and left out of core dumps where the kernel allows. They are wiped and
/// given back when it is dropped.
pub struct Locked<T> {
    secret: NonNull<T>,
}

impl<T> Locked<T> {
    const BYTES: usize = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };

    /// Puts `secret` in pages of its own. What the caller's stack held of it is for the caller to wipe.
    pub fn new(secret: T) -> Self {
        let bytes = Self::BYTES;
        assert!(align_of::<T>() <= page_size(), "a page is aligned well enough");
        // SAFETY: a new mapping, at an address of the kernel's choice, touches nothing that is there.
        let pages =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        let place = pages.ok().and_then(NonNull::new);
        let place = place.unwrap_or_else(|| handle_alloc_error(Layout::new::<T>()));
        // SAFETY: the mapping is ours, and as long as these calls are told.
        let (locked, left_out) =
            unsafe { (mlock(place.as_ptr(), bytes), madvise(place.as_ptr(), bytes, Advice::LinuxDontDump)) };
        NOT_LOCKED.fetch_or(locked.is_err(), Ordering::Relaxed);
        IN_DUMPS.fetch_or(left_out.is_err(), Ordering::Relaxed);
        let secret_place = place.cast::<T>();
        // SAFETY: the mapping is writable, long enough, and aligned to a page.
        unsafe { secret_place.write(secret) };
        Self { secret: secret_place }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it was written by `new`, and lives until `drop`.
        unsafe { self.secret.as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the secret any more; its pages were mapped by `new`, and are as long as it wanted.
        unsafe {
            self.secret.drop_in_place();
            std::slice::from_raw_parts_mut(self.secret.as_ptr().cast::<u8>(), size_of::<T>()).zeroize();
            // Pages that the kernel does not take back are wiped all the same.
            let _ = munmap(self.secret.as_ptr().cast(), Self::BYTES);
        }
    }
}

// SAFETY: it owns its secret as a box does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: it gives out shared references alone, as a box does.
unsafe impl<T: Sync> Sync for Locked<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_secret_is_there_until_it_is_dropped() {
        let secrets: Vec<_> = (0..100_u8).map(|byte| Locked::new([byte; 5000])).collect();
        assert!(secrets.iter().zip(0_u8..).all(|(secret, byte)| **secret == [byte; 5000]));
        assert_eq!(Locked::new(Box::new(7)).as_ref(), &7);
    }
}
