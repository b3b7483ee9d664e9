//! A batch of strings to a batch of results, over one snapshot of the ring and one `now`. Pure.
//!
//! One bad item never spoils the others: it fails by itself, with an [`ItemError`].

use std::{collections::BTreeSet, fmt, mem, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use smallvec::{SmallVec, smallvec};
use zeroize::Zeroizing;

use crate::{
    ids::{Context, KeyId},
    keyring::{Key, KeyRing, Status},
    memory,
    number::{E164, InvalidNumber, NUMBER_BYTES, Number, trim},
    phone::{Numbering, TrunkZeroRegions},
    siv::{Cipher, NotAuthentic, NumberCipher, Prefix, SEALED_NUMBER_BYTES},
    uid::{self, Plaintext, Sealed, Uid},
};

/// What a batch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Numbers to UIDs, under the primary key.
    PhoneToUid,
    /// UIDs to numbers, as CCC dials them.
    UidToPhone,
    /// UIDs under any enabled key to the UIDs of the same numbers under the primary key.
    RewrapUid,
    /// Numbers to their UIDs under every enabled key.
    PhoneToAliases,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::PhoneToUid, Self::UidToPhone, Self::RewrapUid, Self::PhoneToAliases];

    /// The mode as it is written on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::PhoneToUid => "PhoneToUID",
            Self::UidToPhone => "UIDToPhone",
            Self::RewrapUid => "RewrapUID",
            Self::PhoneToAliases => "PhoneToAliases",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What became of a batch's items, in their order: one buffer holds all texts, so that an item costs no allocation.
#[derive(Default)]
pub struct Mapped {
    texts: String,
    /// Where the text of each item ends, or why it has none.
    items: SmallVec<[Result<usize, ItemError>; 1]>,
}

impl Mapped {
    /// Stands between the UIDs of one item, which is the only item to have several with [`Mode::PhoneToAliases`]. No text
    /// holds it: a UID is base32, and a number with a control character is none.
    pub const SEPARATOR: char = '\n';

    /// Room for `items` of the usual length.
    pub fn with_capacity(items: usize) -> Self {
        Self { texts: String::with_capacity(Self::bytes_for(items)), items: SmallVec::with_capacity(items) }
    }

    /// The number or UID that each item became, or why it became none. With [`Mode::PhoneToAliases`] the UID under the
    /// primary key comes first, then those under the other enabled keys, newest first, [`Mapped::SEPARATOR`] between.
    pub fn iter(&self) -> impl Iterator<Item = Result<&str, ItemError>> {
        let mut begin = 0;
        self.items.iter().map(move |item| {
            let end = (*item)?;
            let text = &self.texts[begin..end];
            begin = end;
            Ok(text)
        })
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items failed, in all and for each reason.
    pub fn failures(&self) -> Failures {
        let mut failures = Failures::default();
        for error in self.items.iter().filter_map(|item| item.err()) {
            failures.0[error as usize] += 1;
        }
        failures
    }

    /// Makes room for `items` more of the usual length.
    pub fn reserve(&mut self, items: usize) {
        self.texts.reserve(Self::bytes_for(items));
        self.items.reserve(items);
    }

    /// Bytes of the texts of `items` of the usual length.
    pub fn bytes_for(items: usize) -> usize {
        items * uid::CHARS_MIN
    }

    /// Bytes of texts that there is room for.
    pub fn capacity(&self) -> usize {
        self.texts.capacity()
    }

    /// Forgets all items, and keeps the room that they had.
    pub fn clear(&mut self) {
        let mut texts = mem::take(&mut self.texts).into_bytes();
        memory::wipe(&mut texts);
        texts.clear();
        self.texts = String::from_utf8(texts).expect("nothing is UTF-8");
        self.items.clear();
    }

    /// Notes what became of the next item: what `write` adds to the texts, or its error.
    fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), ItemError>) {
        let begin = self.texts.len();
        let item = write(&mut self.texts).map(|()| self.texts.len());
        if item.is_err() {
            self.texts.truncate(begin);
        }
        self.items.push(item);
    }

    /// Notes the UIDs that `key_id` made of the next items.
    fn push_uids(&mut self, key_id: KeyId, sealed: &[[u8; SEALED_NUMBER_BYTES]]) {
        let begin = self.texts.len();
        uid::push_short(key_id, sealed, &mut self.texts);
        self.items.extend((1..=sealed.len()).map(|uids| Ok(begin + uids * uid::CHARS_MIN)));
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How many items failed for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures([usize; ItemError::ALL.len()]);

impl Failures {
    /// The reasons for which items failed, and how many did.
    pub fn iter(&self) -> impl Iterator<Item = (ItemError, usize)> {
        ItemError::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// How many items failed.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// Whether another ring might have opened some of them.
    pub fn are_about_keys(&self) -> bool {
        self.iter().any(|(error, _)| error.is_about_the_key())
    }
}

/// Why one item failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemError {
    /// Empty, over 128 bytes, or with a control character inside.
    InvalidNumber,
    /// A number where a UID is wanted: somebody dialled by hand.
    PlainNumber,
    /// Not the text of a UID, or one that holds what tokenizing never wrote.
    MalformedUid,
    /// A UID of a key that is not in this ring.
    UnknownKey,
    /// A UID of a key that is disabled.
    KeyDisabled,
    /// A UID of a key whose material is gone for good.
    KeyDestroyed,
    /// A UID that its key never made in this context: mistyped, forged, or another context's.
    NotAuthentic,
}

impl ItemError {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::InvalidNumber,
        Self::PlainNumber,
        Self::MalformedUid,
        Self::UnknownKey,
        Self::KeyDisabled,
        Self::KeyDestroyed,
        Self::NotAuthentic,
    ];

    /// Whether another ring might open the UID.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::UnknownKey | Self::KeyDisabled | Self::KeyDestroyed)
    }

    /// The error as it is written on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidNumber => "invalid_number",
            Self::PlainNumber => "plain_number",
            Self::MalformedUid => "malformed_uid",
            Self::UnknownKey => "unknown_key",
            Self::KeyDisabled => "key_disabled",
            Self::KeyDestroyed => "key_destroyed",
            Self::NotAuthentic => "not_authentic",
        }
    }
}

/// What UIDToPhone does with a number where a UID is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainNumbers {
    /// It fails, with [`ItemError::PlainNumber`].
    #[default]
    Refuse,
    /// It comes back, as UIDToPhone writes it.
    Pass,
}

/// Whether `text` has a UID's form, whoever made it. What has it is never taken for a number.
pub fn has_uid_form(text: &str) -> bool {
    text.len() >= uid::CHARS_MIN && Uid::parse(text).is_ok()
}

/// Whether this program knows a key's `numbers` and `region`: what every ring is read with.
pub fn knows(numbers: &str, region: &str) -> bool {
    Numbering::new(numbers, region).is_some()
}

/// A key ring, ready to map.
pub struct Tokenizer {
    ring: KeyRing,
    /// One for each key of the ring, in its order.
    mappers: Vec<Mapper>,
    trunk_zero: TrunkZeroRegions,
    /// Made for each context when it is first asked for; there are no more of them than clients.
    spaces: ArcSwap<Spaces>,
}

/// What one key maps with.
struct Mapper {
    numbering: Numbering,
    /// That of a key that is enabled.
    cipher: Option<NumberCipher>,
}

/// What is computed once for a context: for each key of the ring that is enabled, how its UIDs begin there.
struct Space(Vec<Option<Prefix>>);

type Spaces = Vec<(Context, Arc<Space>)>;

impl Tokenizer {
    /// A tokenizer over `ring`, which was read with [`knows`].
    ///
    /// # Panics
    /// Where the ring was read with anything else, and has a key whose numbering this program does not know.
    pub fn new(ring: KeyRing, trunk_zero: TrunkZeroRegions) -> Self {
        let mapper = |key: &Key| Mapper {
            numbering: Numbering::new(&key.numbers, &key.region).expect("a ring was read with `knows`"),
            cipher: key.material().map(|material| NumberCipher::new(material.expose(), key.id)),
        };
        let mappers = ring.keys().iter().map(mapper).collect();
        Self { ring, mappers, trunk_zero, spaces: ArcSwap::default() }
    }

    /// The ring.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The same, but for the regions whose numbers have their trunk prefix.
    #[must_use]
    pub fn dialling(self, trunk_zero: TrunkZeroRegions) -> Self {
        Self { trunk_zero, ..self }
    }

    /// How numbers that are sealed at `now` are read.
    pub fn numbering(&self, now: Timestamp) -> &Numbering {
        let place = self.ring.place(self.ring.primary(now).id).expect("the primary is a key of the ring");
        &self.mappers[place].numbering
    }

    /// How numbers are read and written by the key of `uid`, where that is a UID of this ring.
    pub fn numbering_of(&self, uid: &str) -> Option<&Numbering> {
        let place = self.ring.place(Uid::parse(uid).ok()?.key_id)?;
        Some(&self.mappers[place].numbering)
    }

    /// Whether its keys have one region and one set of rules.
    pub fn has_one_numbering(&self) -> bool {
        let mut keys = self.ring.keys().iter().map(|key| (&key.region, &key.numbers));
        let first = keys.next();
        keys.all(|other| Some(other) == first)
    }

    /// `text` as each key of the ring, also one that opens nothing any more, reads it, in the form of [`Batch::canonical`].
    ///
    /// # Errors
    /// [`InvalidNumber`].
    pub fn canonical(&self, text: &str) -> Result<BTreeSet<String>, InvalidNumber> {
        let mut readings = BTreeSet::new();
        for mapper in &self.mappers {
            let mut reading = String::new();
            push_canonical(&mapper.numbering.normalize(text)?, &mut reading);
            readings.insert(reading);
        }
        Ok(readings)
    }

    /// Does now what the first numbers of each region would otherwise have to wait for.
    pub fn warm_up(&self) {
        let mut warm: Vec<(&str, &str)> = Vec::new();
        for (key, mapper) in self.ring.keys().iter().zip(&self.mappers) {
            if mapper.cipher.is_some() && !warm.contains(&(&*key.numbers, &*key.region)) {
                mapper.numbering.warm_up();
                warm.push((&key.numbers, &key.region));
            }
        }
    }

    /// Seals a number with every enabled key in both ways, the crates' and the short one, and opens it again.
    ///
    /// # Errors
    /// [`Miscomputed`] where this machine comes to different UIDs: then none that it makes can be trusted.
    pub fn self_test(&self) -> Result<(), Miscomputed> {
        let (context, number) = (Context::default(), E164::new(8_613_988_888_888).ok_or(Miscomputed)?);
        let Plaintext::Short(plaintext) = Plaintext::of(&Number::E164(number)) else { return Err(Miscomputed) };
        for (key, mapper) in self.ring.keys().iter().zip(&self.mappers) {
            let (Some(material), Some(cipher)) = (key.material(), &mapper.cipher) else { continue };
            let (prefix, mut sealed, mut opened) = (cipher.prefix(&context), [[0; SEALED_NUMBER_BYTES]], [None]);
            cipher.seal(&prefix, &[plaintext], &mut sealed);
            cipher.open(&prefix, &sealed, &mut opened);
            let reference = Cipher::new(material.expose(), key.id, &context).seal(&plaintext);
            let uid = Uid { key_id: key.id, sealed: Sealed::Short(sealed[0]) };
            let reference_uid = Uid { key_id: key.id, sealed: Sealed::Long(reference) };
            if uid.to_string() != reference_uid.to_string() || opened != [Some(plaintext)] {
                return Err(Miscomputed);
            }
        }
        Ok(())
    }

    /// A batch for `context` at `now`, to which items are given one by one.
    pub fn batch<'t>(&'t self, context: &'t Context, now: Timestamp) -> Batch<'t> {
        let primary = self.ring.primary(now).id;
        let primary = self.ring.place(primary).expect("the primary is a key of the ring");
        let (spaces, space) = self.space(context);
        Batch {
            tokenizer: self,
            context,
            spaces,
            space,
            primary,
            plain_numbers: PlainNumbers::default(),
            passed: 0,
            uses: smallvec![KeyUse::default(); self.mappers.len()],
        }
    }

    /// All spaces, and which of them is that of `context`.
    fn space(&self, context: &Context) -> (Guard<Arc<Spaces>>, usize) {
        let known = |spaces: &Spaces| spaces.iter().position(|(known, _)| known == context);
        loop {
            let spaces = self.spaces.load();
            if let Some(space) = known(&spaces) {
                return (spaces, space);
            }
            let prefixes =
                self.mappers.iter().map(|mapper| mapper.cipher.as_ref().map(|cipher| cipher.prefix(context)));
            let space = Arc::new(Space(prefixes.collect()));
            self.spaces.rcu(|spaces| {
                let mut spaces = spaces.to_vec();
                if known(&spaces).is_none() {
                    spaces.push((context.clone(), space.clone()));
                }
                spaces
            });
        }
    }
}

/// A machine that computes wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miscomputed;

impl fmt::Display for Miscomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two ways to make one UID come to different ones: this machine or this build computes wrongly")
    }
}

impl std::error::Error for Miscomputed {}

/// Items that are sealed together.
const SEAL_WINDOW: usize = 64;

/// Items that are opened together: more, so that each of many keys finds several of its UIDs among them.
const OPEN_WINDOW: usize = 512;

/// One batch: it uses one ring and one primary.
pub struct Batch<'t> {
    tokenizer: &'t Tokenizer,
    context: &'t Context,
    spaces: Guard<Arc<Spaces>>,
    /// That of the context.
    space: usize,
    /// Its place in the ring, as all places here.
    primary: usize,
    plain_numbers: PlainNumbers,
    passed: usize,
    uses: SmallVec<[KeyUse; 4]>,
}

/// Adds `number` in the form that no configuration changes: `+` and the digits of its E.164 form, a hotline's digits, or
/// the verbatim text.
pub fn push_canonical(number: &Number<'_>, text: &mut String) {
    match number {
        Number::E164(number) => {
            text.push('+');
            text.push_str(itoa::Buffer::new().format(number.digits()));
        }
        Number::Hotline(hotline) => text.push_str(hotline.as_str()),
        Number::Verbatim(verbatim) => text.push_str(verbatim.as_str()),
    }
}

/// How many items of a batch a key was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// UIDs that it opened.
    pub opened: u64,
    /// UIDs that it made.
    pub sealed: u64,
}

impl Batch<'_> {
    /// The same, with this done to numbers where UIDs are wanted.
    #[must_use]
    pub fn with_plain_numbers(self, plain_numbers: PlainNumbers) -> Self {
        Self { plain_numbers, ..self }
    }

    /// Adds to `mapped` what `mode` makes of each of the `items`.
    pub fn map(&mut self, mode: Mode, items: &[impl AsRef<str>], mapped: &mut Mapped) {
        match mode {
            Mode::PhoneToUid => {
                self.seal(self.primary, items.iter().map(|item| Ok(item.as_ref())), Uids::Stay, mapped);
            }
            Mode::UidToPhone => self.open(items, self.plain_numbers, mapped),
            Mode::RewrapUid => {
                let mut dialled = Mapped::with_capacity(items.len());
                self.open(items, PlainNumbers::Refuse, &mut dialled);
                self.seal(self.primary, dialled.iter(), Uids::AreTexts, mapped);
            }
            Mode::PhoneToAliases => self.aliases(items, mapped),
        }
    }

    /// Adds to `mapped` the number in each of the `uids` in the form that no configuration changes: `+` and the digits of
    /// its E.164 form, or the verbatim text.
    pub fn canonical(&mut self, uids: &[impl AsRef<str>], mapped: &mut Mapped) {
        self.open_with(uids, PlainNumbers::Refuse, mapped, |_, number, text| push_canonical(number, text));
    }

    /// The keys that this batch used, and for how many items.
    pub fn uses(&self) -> impl Iterator<Item = (KeyId, KeyUse)> {
        let keys = self.tokenizer.ring.keys().iter().zip(&self.uses);
        keys.filter(|(_, uses)| **uses != KeyUse::default()).map(|(key, uses)| (key.id, *uses))
    }

    /// How many items were what was asked for already: UIDs where UIDs are made, and numbers that were passed.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// Adds the UID of each of the `texts` under the key at `place`, which must be enabled.
    fn seal<'i>(
        &mut self,
        place: usize,
        mut texts: impl Iterator<Item = Result<&'i str, ItemError>>,
        uids: Uids,
        mapped: &mut Mapped,
    ) {
        let Mapper { numbering, cipher } = &self.tokenizer.mappers[place];
        let (Some(cipher), Some(prefix)) = (cipher, self.prefix(place)) else {
            let error = self.tokenizer.unusable(place);
            return texts.for_each(|text| mapped.push(|_| text.and(Err(error))));
        };
        let key_id = self.tokenizer.ring.keys()[place].id;
        let window = texts.size_hint().0.clamp(1, SEAL_WINDOW);
        let mut short: SmallVec<[_; 1]> = SmallVec::with_capacity(window);
        let mut sealed: SmallVec<[_; 1]> = SmallVec::with_capacity(window);
        // Each with how many that are sealed come before it.
        let mut others: SmallVec<[(usize, NotShort); 1]> = SmallVec::new();
        let (mut count, mut already) = (0, 0);
        loop {
            for text in texts.by_ref().take(window) {
                match text.map_err(NotShort::Failed).and_then(|text| self.short(numbering, text, uids)) {
                    Ok(plaintext) => short.push(plaintext),
                    Err(other) => others.push((short.len(), other)),
                }
            }
            if short.is_empty() && others.is_empty() {
                break;
            }
            sealed.resize(short.len(), [0; SEALED_NUMBER_BYTES]);
            cipher.seal(prefix, &short, &mut sealed);
            let mut written = 0;
            for (before, other) in others.drain(..) {
                mapped.push_uids(key_id, &sealed[written..before]);
                written = before;
                mapped.push(|text| {
                    match other {
                        NotShort::Long(plaintext) => {
                            let sealed = Sealed::Long(self.reference(place)?.seal(&plaintext));
                            Uid { key_id, sealed }.push_to(text);
                            count += 1;
                        }
                        NotShort::Already(uid) => {
                            uid.push_to(text);
                            already += 1;
                        }
                        NotShort::Failed(error) => return Err(error),
                    }
                    Ok(())
                });
            }
            mapped.push_uids(key_id, &sealed[written..]);
            count += short.len();
            short.clear();
        }
        self.uses[place].sealed += count as u64;
        if place == self.primary {
            self.passed += already;
        }
    }

    /// The plaintext of the UID of `text`, if it is as short as that of a number.
    #[inline]
    fn short(&self, numbering: &Numbering, text: &str, uids: Uids) -> Result<[u8; NUMBER_BYTES], NotShort> {
        if matches!(uids, Uids::Stay)
            && text.len() >= uid::CHARS_MIN
            && let Some(uid) = self.authentic(trim(text))
        {
            return Err(NotShort::Already(Box::new(uid)));
        }
        match numbering.normalize(text).map(|number| Plaintext::of(&number)) {
            Ok(Plaintext::Short(short)) => Ok(short),
            Ok(Plaintext::Long(long)) => Err(NotShort::Long(long)),
            Err(InvalidNumber) => Err(NotShort::Failed(ItemError::InvalidNumber)),
        }
    }

    /// The UID that `text` is, where an enabled key made it in this context.
    fn authentic(&self, text: &str) -> Option<Uid> {
        let uid = Uid::parse(text).ok()?;
        let place = self.tokenizer.place(uid.key_id).ok()?;
        let (mut short, long);
        let plaintext: &[u8] = match &uid.sealed {
            Sealed::Short(sealed) => {
                short = [None];
                self.tokenizer.mappers[place].cipher.as_ref()?.open(self.prefix(place)?, &[*sealed], &mut short);
                short[0].as_ref()?
            }
            Sealed::Long(sealed) => {
                long = self.reference(place).ok()?.open(sealed).ok()?;
                &long
            }
        };
        let is_written = uid::from_plaintext(plaintext).is_ok();
        is_written.then_some(uid)
    }

    /// Adds the number in each of the `uids`, as CCC dials it.
    fn open(&mut self, uids: &[impl AsRef<str>], plain_numbers: PlainNumbers, mapped: &mut Mapped) {
        let trunk_zero = &self.tokenizer.trunk_zero;
        self.open_with(uids, plain_numbers, mapped, |numbering, number, text| numbering.dial(number, trunk_zero, text));
    }

    /// Opens `uids`, those of one key together, and has `write` add the number of each to the texts of `mapped`.
    fn open_with(
        &mut self,
        uids: &[impl AsRef<str>],
        plain_numbers: PlainNumbers,
        mapped: &mut Mapped,
        write: impl Fn(&Numbering, &Number<'_>, &mut String),
    ) {
        let window = uids.len().min(OPEN_WINDOW);
        let mut places: SmallVec<[usize; 1]> = SmallVec::with_capacity(window);
        let mut sealed: SmallVec<[_; 1]> = smallvec![[0; SEALED_NUMBER_BYTES]; window];
        let mut numbers: SmallVec<[Option<[u8; NUMBER_BYTES]>; 1]> = smallvec![None; window];
        // Each with how many that are opened together come before it.
        let mut others: SmallVec<[(usize, &str, NotShortUid); 1]> = SmallVec::new();
        for uids in uids.chunks(OPEN_WINDOW) {
            for uid in uids.iter().map(AsRef::as_ref) {
                match self.tokenizer.find(uid, &mut sealed[places.len()]) {
                    Ok(place) => places.push(place),
                    Err(other) => others.push((places.len(), uid, other)),
                }
            }
            let numbers = &mut numbers[..places.len()];
            self.open_short(&places, &sealed[..places.len()], numbers);
            let mut written = 0;
            for (before, text, other) in others.drain(..) {
                self.push_numbers(&places[written..before], &numbers[written..before], mapped, &write);
                written = before;
                mapped.push(|dialled| {
                    self.open_other(text, other, plain_numbers, |numbering, number| write(numbering, number, dialled))
                });
            }
            self.push_numbers(&places[written..], &numbers[written..], mapped, &write);
            places.clear();
        }
        memory::wipe(&mut numbers);
    }

    /// Opens what short UIDs sealed with the keys at `places`, those of one key together: the number of each is put into
    /// `numbers`.
    fn open_short(
        &self,
        places: &[usize],
        sealed: &[[u8; SEALED_NUMBER_BYTES]],
        numbers: &mut [Option<[u8; NUMBER_BYTES]>],
    ) {
        let open = |place: usize, sealed: &[_], numbers: &mut [_]| {
            if let (Some(cipher), Some(prefix)) = (&self.tokenizer.mappers[place].cipher, self.prefix(place)) {
                cipher.open(prefix, sealed, numbers);
            } else {
                numbers.fill(None);
            }
        };
        let Some(first) = places.first() else { return };
        if places.iter().all(|place| place == first) {
            return open(*first, sealed, numbers);
        }
        let mut by_key: Vec<(usize, usize)> =
            places.iter().copied().enumerate().map(|(at, place)| (place, at)).collect();
        by_key.sort_unstable();
        let (mut of_key, mut opened): (Vec<_>, Vec<_>) = Default::default();
        for one_key in by_key.chunk_by(|(one, _), (next, _)| one == next) {
            of_key.extend(one_key.iter().map(|(_, at)| sealed[*at]));
            opened.resize(one_key.len(), None);
            open(one_key[0].0, &of_key, &mut opened);
            of_key.clear();
            for ((_, at), number) in one_key.iter().zip(&mut opened) {
                numbers[*at] = number.take();
            }
        }
        memory::wipe(&mut opened);
    }

    /// Notes the `numbers` that the keys at `places` opened.
    fn push_numbers(
        &mut self,
        places: &[usize],
        numbers: &[Option<[u8; NUMBER_BYTES]>],
        mapped: &mut Mapped,
        write: impl Fn(&Numbering, &Number<'_>, &mut String),
    ) {
        for (place, number) in places.iter().zip(numbers) {
            mapped.push(|text| {
                let plaintext = number.as_ref().ok_or(ItemError::NotAuthentic)?;
                let number = uid::from_plaintext(plaintext).map_err(|_| ItemError::MalformedUid)?;
                write(&self.tokenizer.mappers[*place].numbering, &number, text);
                self.uses[*place].opened += 1;
                Ok(())
            });
        }
    }

    /// Has `write` add the number in `text`, which is no short UID.
    fn open_other(
        &mut self,
        text: &str,
        other: NotShortUid,
        plain_numbers: PlainNumbers,
        write: impl FnOnce(&Numbering, &Number<'_>),
    ) -> Result<(), ItemError> {
        match other {
            NotShortUid::Long(place, sealed) => {
                let plaintext = self.reference(place)?.open(&sealed).map_err(|NotAuthentic| ItemError::NotAuthentic)?;
                let number = uid::from_plaintext(&plaintext).map_err(|_| ItemError::MalformedUid)?;
                write(&self.tokenizer.mappers[place].numbering, &number);
                self.uses[place].opened += 1;
            }
            NotShortUid::Failed(ItemError::MalformedUid) => {
                let numbering = &self.tokenizer.mappers[self.primary].numbering;
                write(numbering, &plain_number(numbering, text, plain_numbers)?);
                self.passed += 1;
            }
            NotShortUid::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn aliases(&mut self, items: &[impl AsRef<str>], mapped: &mut Mapped) {
        let (ring, primary) = (&self.tokenizer.ring, self.primary);
        let others = ring.enabled_newest_first().filter_map(|key| ring.place(key.id)).filter(|place| *place != primary);
        let places: Vec<usize> = std::iter::once(primary).chain(others).collect();
        for items in items.chunks(SEAL_WINDOW) {
            let mut under_each = Vec::with_capacity(places.len());
            for place in &places {
                let mut uids = Mapped::with_capacity(items.len());
                self.seal(*place, items.iter().map(|item| Ok(item.as_ref())), Uids::Stay, &mut uids);
                under_each.push(uids);
            }
            let mut under_each: Vec<_> = under_each.iter().map(Mapped::iter).collect();
            for _ in items {
                // All are taken, also after one key failed, so that those of the next item come next.
                let uids = under_each.iter_mut().map(|uids| uids.next().expect("each key mapped each item"));
                let uids: SmallVec<[_; 4]> = uids.collect();
                mapped.push(|text| {
                    if let Some(error) = uids.iter().find_map(|uid| uid.err()) {
                        return Err(error);
                    }
                    let begin = text.len();
                    for uid in uids.into_iter().flatten() {
                        match &text[begin..] {
                            "" => text.push_str(uid),
                            // What was a UID already is the same under each key.
                            first if first == uid => {}
                            _ => {
                                text.push(Mapped::SEPARATOR);
                                text.push_str(uid);
                            }
                        }
                    }
                    Ok(())
                });
            }
        }
    }

    fn prefix(&self, place: usize) -> Option<&Prefix> {
        let (_, space) = &self.spaces[self.space];
        space.0[place].as_ref()
    }

    /// The crate's own cipher of the key at `place`, for texts that are longer than a number.
    fn reference(&self, place: usize) -> Result<Cipher, ItemError> {
        let key = &self.tokenizer.ring.keys()[place];
        let material = key.material().ok_or_else(|| self.tokenizer.unusable(place))?;
        Ok(Cipher::new(material.expose(), key.id, self.context))
    }
}

/// What becomes of texts that are UIDs of the same context.
#[derive(Clone, Copy)]
enum Uids {
    /// Each stays the UID that it is, so that what is mapped twice is no UID of a UID.
    Stay,
    /// They are texts as any other: they were what a UID stands for.
    AreTexts,
}

/// What is not opened with others.
enum NotShortUid {
    /// A UID that is longer than that of a number: the place of its key, and what that sealed.
    Long(usize, Vec<u8>),
    Failed(ItemError),
}

/// What is not sealed with others.
enum NotShort {
    Long(Zeroizing<Vec<u8>>),
    /// It is a UID.
    Already(Box<Uid>),
    Failed(ItemError),
}

/// The number that stands where a UID is wanted, if there stands one that may pass.
fn plain_number<'t>(numbering: &Numbering, text: &'t str, passing: PlainNumbers) -> Result<Number<'t>, ItemError> {
    match (numbering.normalize(text), passing) {
        (Ok(number @ (Number::E164(_) | Number::Hotline(_))), PlainNumbers::Pass) => Ok(number),
        (Ok(Number::E164(_) | Number::Hotline(_)), PlainNumbers::Refuse) => Err(ItemError::PlainNumber),
        (Ok(Number::Verbatim(_)) | Err(InvalidNumber), _) => Err(ItemError::MalformedUid),
    }
}

impl Tokenizer {
    /// The place of the key that made the UID `text`, if it is enabled, and puts what that sealed into `sealed`.
    #[inline]
    fn find(&self, text: &str, sealed: &mut [u8; SEALED_NUMBER_BYTES]) -> Result<usize, NotShortUid> {
        match uid::read_short(text, sealed) {
            Some(key_id) => self.place(key_id).map_err(NotShortUid::Failed),
            None => self.find_other(text, sealed),
        }
    }

    /// The same of a text that is not just a short UID.
    #[cold]
    fn find_other(&self, text: &str, short: &mut [u8; SEALED_NUMBER_BYTES]) -> Result<usize, NotShortUid> {
        let uid = Uid::parse(text).map_err(|_| NotShortUid::Failed(ItemError::MalformedUid))?;
        let place = self.place(uid.key_id).map_err(NotShortUid::Failed)?;
        match uid.sealed {
            Sealed::Long(sealed) => Err(NotShortUid::Long(place, sealed)),
            Sealed::Short(sealed) => {
                *short = sealed;
                Ok(place)
            }
        }
    }

    /// The place of this key, if it is enabled.
    fn place(&self, key_id: KeyId) -> Result<usize, ItemError> {
        let place = self.ring.place(key_id).ok_or(ItemError::UnknownKey)?;
        if self.mappers[place].cipher.is_some() { Ok(place) } else { Err(self.unusable(place)) }
    }

    /// Why the key at `place` maps nothing.
    fn unusable(&self, place: usize) -> ItemError {
        match self.ring.keys()[place].status {
            Status::Destroyed => ItemError::KeyDestroyed,
            Status::Enabled | Status::Disabled => ItemError::KeyDisabled,
        }
    }
}
