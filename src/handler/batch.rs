//! A call as a batch: its size, its results, and what the audit log gets of it.

use std::{
    cell::Cell,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use crate::{
    audit::{ItemHash, ItemKey},
    auth::Client,
    ids::KeyId,
    item::Mode,
    mapped::Mapped,
    number::trim,
    tokenizer::{Tokenizer, batch::KeyUse},
    wire::Call,
};

/// How long a batch is worked on before others get their turn: a few times as long as a call of one number takes.
const TURN: Duration = Duration::from_micros(50);

/// Values that are made between two looks at the clock: a fifth of a millisecond's work if each needs libphonenumber.
const VALUES_A_LOOK: usize = 64;

/// The fewest bytes of a body that makes a batch: about two hundred numbers. Smaller calls do not wait for batches.
const BATCH_BYTES: usize = 4 * 1024;

thread_local! {
    /// The batches of a thread run one after another. So a call of one number waits for a piece of only one batch, and
    /// not for a piece of each.
    static BATCHES: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Waits until no other batch is under way on this thread, if a body of `bytes` makes a batch.
pub(super) async fn turn_of(bytes: usize) -> Option<OwnedSemaphorePermit> {
    if bytes < BATCH_BYTES {
        return None;
    }
    // The semaphore is never closed.
    BATCHES.with(Arc::clone).acquire_owned().await.ok()
}

/// Bytes that each value takes besides its text: a short UID, in memory and in the answer; the padding of a longer one;
/// and the JSON around it.
const VALUE_BYTES: usize = 144;

/// Bytes that each byte of a text takes: six as a JSON escape in the key; or two there, and 1.6 in its UID, in memory
/// and in the answer. Only a control character takes six, and a text with one has no UID.
const TEXT_FACTOR: usize = 6;

/// The size of the results of a call.
pub(super) struct Size {
    /// Values of all items together. An item has one value, but with aliases one for each enabled key.
    pub(super) values: usize,
    /// The most bytes that the values and the answer take.
    pub(super) bytes: usize,
}

impl Size {
    pub(super) fn of(call: &Call<'_>, tokenizer: &Tokenizer) -> Self {
        let values = values_an_item(call.mode, tokenizer);
        let text: usize = call.numbers.iter().map(|text| text.len()).sum();
        let bytes = text.saturating_mul(TEXT_FACTOR).saturating_add(call.count.saturating_mul(VALUE_BYTES));
        Self { values: call.count.saturating_mul(values), bytes: bytes.saturating_mul(values) }
    }
}

pub(super) fn values_an_item(mode: Mode, tokenizer: &Tokenizer) -> usize {
    match mode {
        Mode::PhoneToAliases => tokenizer.ring().enabled_newest_first().count(),
        Mode::PhoneToUid | Mode::UidToPhone | Mode::RewrapUid => 1,
    }
}

/// Bytes of texts for which room is kept from one batch to the next. For less, the allocator has memory at hand. More
/// is rare.
const KEPT_BYTES: RangeInclusive<usize> = 32 * 1024..=1024 * 1024;

thread_local! {
    /// Room for the results of the next large batch. Otherwise the allocator would ask the kernel for it each time.
    static ROOM: Cell<Mapped> = Cell::default();
}

pub(super) fn room_for(items: usize) -> Mapped {
    if !KEPT_BYTES.contains(&Mapped::bytes_for(items)) {
        return Mapped::with_capacity(items);
    }
    let mut room = ROOM.take();
    room.reserve(items);
    room
}

/// Keeps the room that `mapped` takes, and wipes what is in it.
pub(super) fn keep_room(mut mapped: Mapped) {
    if KEPT_BYTES.contains(&mapped.capacity()) {
        mapped.clear();
        ROOM.set(mapped);
    }
}

/// A batch that was mapped.
pub(super) struct Done {
    pub(super) mapped: Mapped,
    pub(super) uses: SmallVec<[(usize, KeyId, KeyUse); 2]>,
    pub(super) passed: usize,
    pub(super) now: Timestamp,
}

impl Done {
    /// Maps all of `call`, and lets other tasks have their turn now and then.
    pub(super) async fn map(tokenizer: &Tokenizer, call: &Call<'_>, client: &Client) -> Self {
        let (now, mut mapped) = (Timestamp::now(), room_for(call.numbers.len()));
        let mut batch = tokenizer.batch(&client.context, now).with_plain_numbers(client.plain_numbers);
        let items_a_look = (VALUES_A_LOOK / values_an_item(call.mode, tokenizer)).max(1);
        let mut pieces = call.numbers.chunks(items_a_look);
        let mut since = (pieces.len() > 1).then(Instant::now);
        while let Some(items) = pieces.next() {
            batch.map(call.mode, items, &mut mapped);
            if pieces.len() > 0 && since.is_some_and(|since| since.elapsed() >= TURN) {
                yield_now().await;
                since = Some(Instant::now());
            }
        }
        Self { mapped, uses: batch.uses().collect(), passed: batch.passed(), now }
    }
}

/// How many UIDs are hashed for each value of `mode`: rewrapping opens one UID and makes another.
pub(super) fn hashes_a_value(mode: Mode) -> usize {
    if mode == Mode::RewrapUid { 2 } else { 1 }
}

/// Keyed hashes of the UIDs that were opened or made, each with the hash of its number.
pub(super) fn hash_items(
    key: &ItemKey,
    tokenizer: &Tokenizer,
    client: &Client,
    call: &Call<'_>,
    mapped: &Mapped,
) -> Vec<(ItemHash, ItemHash)> {
    let done = call.numbers.iter().zip(mapped.iter()).filter_map(|(item, outcome)| Some((&**item, outcome.ok()?)));
    let uids: Vec<&str> = match call.mode {
        Mode::UidToPhone => done.map(|(item, _)| item).collect(),
        // A UID under the primary key stays as it is, and is hashed once.
        Mode::RewrapUid => done
            .flat_map(|(item, uid)| {
                let made = (!uid.eq_ignore_ascii_case(trim(item))).then_some(uid);
                [item].into_iter().chain(made)
            })
            .collect(),
        Mode::PhoneToUid | Mode::PhoneToAliases => done.flat_map(|(_, uid)| uid.split(Mapped::SEPARATOR)).collect(),
    };
    let mut numbers = Mapped::with_capacity(uids.len());
    tokenizer.batch(&client.context, Timestamp::UNIX_EPOCH).canonical(&uids, &mut numbers);
    let pairs = uids.iter().zip(numbers.iter());
    pairs.filter_map(|(uid, number)| Some((key.uid(&client.context, uid), key.number(number.ok()?)))).collect()
}
