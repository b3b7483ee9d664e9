//! Keeps the secrets of the process in its memory: it writes no core dumps, debuggers of the same user are kept out,
//! keys are in pages that are never swapped out, and stacks are wiped after key set-up. The binary's allocator wipes
//! the heap (`main.rs`).

#![allow(unsafe_code, reason = "a page that is locked and left out of core dumps cannot be had without")]

use std::{
    alloc::{Layout, handle_alloc_error},
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

use crate::lock::lock;

/// Bytes of stack that are wiped below a function: more than setting up a key or mapping a number uses.
const STACK_BYTES: usize = 96 * 1024;

static NOT_LOCKED: AtomicBool = AtomicBool::new(false);
static IN_DUMPS: AtomicBool = AtomicBool::new(false);

/// Prevents core dumps of this process, and keeps debuggers of the same user out. Returns what failed.
pub fn harden() -> Vec<&'static str> {
    let mut lacking = Vec::new();
    if setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err() {
        lacking.push("core dumps could not be switched off");
    }
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        lacking.push("cannot keep other processes of this user from reading this process's memory");
    }
    lacking
}

/// The protections that could not be had for the secrets made so far.
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
    // As far as the compiler knows, this reads and writes the array, so it must be on this stack, all zeros.
    std::hint::black_box(&mut below);
}

/// Overwrites values that held secrets, at the speed of a `memset`.
pub fn wipe<T: Default + Copy>(values: &mut [T]) {
    values.fill(T::default());
    // As far as the compiler knows, this reads the values, so it cannot leave out the writes.
    std::hint::black_box(&values);
}

/// A secret in pages that are locked and left out of core dumps, where the kernel allows it. When it is dropped, its
/// place is wiped and may be used again.
pub struct Locked<T> {
    secret: NonNull<T>,
}

impl<T> Locked<T> {
    /// Puts `secret` there. The caller must wipe what its own stack held of the secret.
    pub fn new(secret: T) -> Self {
        const { assert!(align_of::<T>() <= PLACE_BYTES, "a place is aligned well enough") };
        let place = lock(&POOL).take(places_for::<T>()).cast::<T>();
        // SAFETY: the place is ours, large enough, aligned, and writable.
        unsafe { place.write(secret) };
        Self { secret: place }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it was written by `new`, and lives until `drop`.
        unsafe { self.secret.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it was written by `new`, lives until `drop`, and is ours alone for as long as this borrow lasts.
        unsafe { self.secret.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        let place = self.secret.cast::<u8>();
        // SAFETY: nothing refers to the secret any more, and its place is ours, and as large as `new` asked for.
        unsafe {
            self.secret.drop_in_place();
            wipe(std::slice::from_raw_parts_mut(place.as_ptr(), places_for::<T>() * PLACE_BYTES));
        }
        lock(&POOL).give_back(place, places_for::<T>());
    }
}

// SAFETY: it owns its secret as a box does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: it gives out references as a box does. A shared reference to it gives out shared references only.
unsafe impl<T: Sync> Sync for Locked<T> {}

/// Bytes of the smallest place for a secret, and the alignment of all places.
const PLACE_BYTES: usize = 64;

/// Bytes that are mapped and locked at a time: a small part of 64 KiB, the lowest limit that systems have.
const CHUNK_BYTES: usize = 16 * 1024;

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), next: None });

/// Locked pages. They are never given back, because one mapping for each secret would be too many for the kernel.
struct Pool {
    /// Free places, by their size in multiples of [`PLACE_BYTES`].
    free: BTreeMap<usize, Vec<NonNull<u8>>>,
    /// The rest of the chunk that was mapped last, and its length in bytes.
    next: Option<(NonNull<u8>, usize)>,
}

// SAFETY: its places are memory that belongs to no single thread.
unsafe impl Send for Pool {}

fn places_for<T>() -> usize {
    size_of::<T>().div_ceil(PLACE_BYTES).max(1)
}

impl Pool {
    fn take(&mut self, places: usize) -> NonNull<u8> {
        if let Some(place) = self.free.get_mut(&places).and_then(Vec::pop) {
            return place;
        }
        let bytes = places * PLACE_BYTES;
        let (place, left) = match self.next {
            Some((place, left)) if left >= bytes => (place, left),
            _ => {
                let chunk = bytes.next_multiple_of(CHUNK_BYTES);
                (map_locked(chunk), chunk)
            }
        };
        // SAFETY: at least `bytes` bytes are left from `place` on.
        self.next = Some((unsafe { place.add(bytes) }, left - bytes));
        place
    }

    fn give_back(&mut self, place: NonNull<u8>, places: usize) {
        self.free.entry(places).or_default().push(place);
    }
}

fn map_locked(bytes: usize) -> NonNull<u8> {
    // SAFETY: a new mapping, at an address of the kernel's choice, touches no existing memory.
    let pages =
        unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    let Some(pages) = pages.ok().and_then(NonNull::new) else {
        handle_alloc_error(Layout::from_size_align(bytes, PLACE_BYTES).expect("a few kilobytes are a layout"))
    };
    // SAFETY: the mapping is ours, and `bytes` long.
    let (locked, left_out) =
        unsafe { (mlock(pages.as_ptr(), bytes), madvise(pages.as_ptr(), bytes, Advice::LinuxDontDump)) };
    NOT_LOCKED.fetch_or(locked.is_err(), Ordering::Relaxed);
    IN_DUMPS.fetch_or(left_out.is_err(), Ordering::Relaxed);
    pages.cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_secret_is_there_until_it_is_dropped() {
        for _ in 0..3 {
            let large: Vec<_> = (0..100_u8)
                .map(|byte| {
                    let mut secret = Locked::new([0; 5000]);
                    secret.fill(byte);
                    secret
                })
                .collect();
            let small: Vec<_> = (0..100_u8).map(|byte| Locked::new([byte; 64])).collect();
            let (first, _) = (Locked::new(1_u8), Locked::new(()));
            assert!(large.iter().zip(0_u8..).all(|(secret, byte)| **secret == [byte; 5000]));
            assert!(small.iter().zip(0_u8..).all(|(secret, byte)| **secret == [byte; 64]));
            assert!(*first == 1 && Locked::new(Box::new(7)).as_ref() == &7);
        }
    }
}
