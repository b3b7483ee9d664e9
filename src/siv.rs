//! AES-SIV (RFC 5297), and nothing else: the only user of the cipher.
//!
//! Each UID uses one key and one associated-data string, as section 3 of the specification fixes them:
//!
//! ```text
//! AD   = "callveil/1/" || key id as 4 lower-case hex digits || "/" || context
//! V    = S2V(K1, AD, P)                                  RFC 5297 section 2.4
//! C    = P xor AES-CTR(K2, V with bits 63 and 31 cleared) RFC 5297 section 2.6
//! ```
//!
//! With one associated-data string this is also what Tink's `AesSivKey` computes.
//!
//! [`Cipher`] uses the crate `aes-siv`, for plaintexts of any length. All numbers are [`NUMBER_BYTES`] long, and a
//! shorter way computes the same bytes for them. A plaintext shorter than a block enters S2V only in its last AES
//! block. Everything before that depends only on the key and the context, and is computed once for both
//! ([`NumberCipher`], [`Prefix`]).

use aes::{
    Aes256Enc, Block,
    cipher::{
        Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks, consts::U16,
        typenum::Unsigned,
    },
};
use aes_siv::{KeyInit, siv::Aes256Siv};
use smallvec::SmallVec;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    ids::{Context, KeyId},
    memory::{Locked, wipe},
    number::NUMBER_BYTES,
};

/// Bytes of an AES-256-SIV key: K1 for S2V, then K2 for CTR, of 32 bytes each (RFC 5297 section 2.2).
pub const KEY_BYTES: usize = 64;

/// Bytes of the synthetic initialisation vector V that precedes a ciphertext.
pub const SIV_BYTES: usize = 16;

/// Bytes of a sealed number, `V || C`.
pub const SEALED_NUMBER_BYTES: usize = SIV_BYTES + NUMBER_BYTES;

/// A cipher for plaintexts of any length, bound to one key and one context.
pub struct Cipher {
    siv: Locked<Aes256Siv>,
    associated_data: Box<[u8]>,
}

impl Cipher {
    /// The cipher for UIDs that the key `key`, named `id`, makes in `context`.
    pub fn new(key: &[u8; KEY_BYTES], id: KeyId, context: &Context) -> Self {
        let associated_data = [&prefix_of_associated_data(id), context.as_str().as_bytes()].concat().into();
        Self { siv: Locked::new(Aes256Siv::new(key.into())), associated_data }
    }

    /// `V || C`: AES-SIV-ENCRYPT of RFC 5297 section 2.6, [`SIV_BYTES`] longer than `plaintext`.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.siv.encrypt([&self.associated_data], plaintext).expect("one header is within the limit of 126")
    }

    /// The plaintext of `V || C`: AES-SIV-DECRYPT of RFC 5297 section 2.7.
    ///
    /// # Errors
    /// [`NotAuthentic`] where `sealed` was not made by [`Cipher::seal`] with this key and context.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.siv.decrypt([&self.associated_data], sealed).map(Zeroizing::new).map_err(|_| NotAuthentic)
    }
}

/// The first block of a key's associated data: `"callveil/1/" || key id || "/"`.
fn prefix_of_associated_data(id: KeyId) -> [u8; SIV_BYTES] {
    let prefix = format!("callveil/1/{id}/");
    prefix.as_bytes().try_into().expect("11 bytes, 4 hex digits and a slash are 16")
}

/// The cipher of one key for numbers, in any context.
pub struct NumberCipher(Locked<Secrets>);

struct Secrets {
    /// AES under K1, for S2V.
    mac: Aes256Enc,
    /// AES under K2, for CTR.
    ctr: Aes256Enc,
    /// CMAC's subkeys of K1, for a last block that is whole and for one that is padded (RFC 4493 section 2.3).
    whole: Block,
    padded: Block,
    /// `CMAC(K1, <zero>)`.
    zero: Block,
    /// CMAC over the first block of the associated data.
    begun: Block,
}

/// The part of S2V that depends only on the key and the context: `dbl(dbl(CMAC(<zero>)) xor CMAC(AD)) xor CMAC's
/// subkey`.
pub struct Prefix(Locked<[u8; SIV_BYTES]>);

impl NumberCipher {
    /// The cipher for UIDs that the key `key`, named `id`, makes of numbers.
    pub fn new(key: &[u8; KEY_BYTES], id: KeyId) -> Self {
        let (mac_key, ctr_key) = key.split_at(KEY_BYTES / 2);
        let aes = |key| Aes256Enc::new_from_slice(key).expect("half of the key is 32 bytes");
        let (mac, ctr) = (aes(mac_key), aes(ctr_key));
        let whole = dbl(encrypted(&mac, Block::default()));
        let zero = encrypted(&mac, whole);
        let begun = encrypted(&mac, prefix_of_associated_data(id).into());
        Self(Locked::new(Secrets { mac, ctr, padded: dbl(whole), whole, zero, begun }))
    }

    /// The part that does not depend on the number: RFC 5297 section 2.4, up to the last step.
    pub fn prefix(&self, context: &Context) -> Prefix {
        let Secrets { mac, whole, padded, zero, begun, .. } = &*self.0;
        let (blocks, last) = whole_blocks_and_last(context.as_str().as_bytes());
        let state = blocks.iter().fold(*begun, |state, block| encrypted(mac, xor(state, *block)));
        let (last, subkey) = match last.len() {
            SIV_BYTES => (Block::try_from(last).expect("it is a whole block"), whole),
            _ => (pad(last), padded),
        };
        let of_associated_data = encrypted(mac, xor(xor(state, last), *subkey));
        Prefix(Locked::new(xor(dbl(xor(dbl(*zero), of_associated_data)), *whole).into()))
    }

    /// Writes `V || C` of each of `numbers` to `sealed`, of the same length: AES-SIV-ENCRYPT of RFC 5297 section 2.6.
    pub fn seal(&self, prefix: &Prefix, numbers: &[[u8; NUMBER_BYTES]], sealed: &mut [[u8; SEALED_NUMBER_BYTES]]) {
        for (numbers, sealed) in numbers.chunks(BLOCKS).zip(sealed.chunks_mut(BLOCKS)) {
            let mut blocks = Blocks::new();
            blocks.extend(numbers.iter().map(|number| last_block(prefix, number)));
            self.0.mac.encrypt_with_backend(EncryptAll(&mut blocks));
            for (block, sealed) in blocks.iter_mut().zip(&mut *sealed) {
                sealed[..SIV_BYTES].copy_from_slice(block);
                *block = counter(*block);
            }
            self.0.ctr.encrypt_with_backend(EncryptAll(&mut blocks));
            for ((sealed, key_stream), number) in sealed.iter_mut().zip(&blocks).zip(numbers) {
                sealed[SIV_BYTES..].copy_from_slice(&xor_number(*number, key_stream));
            }
            wipe(&mut blocks);
        }
    }

    /// Writes the number in each `V || C` of `sealed` to `numbers`, which has the same length: AES-SIV-DECRYPT of RFC
    /// 5297 section 2.7. The entry is `None` if this key never made that `V || C` in this context.
    pub fn open(
        &self,
        prefix: &Prefix,
        sealed: &[[u8; SEALED_NUMBER_BYTES]],
        numbers: &mut [Option<[u8; NUMBER_BYTES]>],
    ) {
        for (sealed, numbers) in sealed.chunks(BLOCKS).zip(numbers.chunks_mut(BLOCKS)) {
            open_blocks(
                sealed,
                numbers,
                |_| prefix,
                |half, blocks| {
                    half.of(&self.0).encrypt_with_backend(EncryptAll(blocks));
                },
            );
        }
    }

    /// Does the same for entries of different keys: `keys` holds one for each.
    pub fn open_of_many(
        keys: &[(&Self, &Prefix)],
        sealed: &[[u8; SEALED_NUMBER_BYTES]],
        numbers: &mut [Option<[u8; NUMBER_BYTES]>],
    ) {
        debug_assert_eq!(keys.len(), sealed.len());
        let chunks = sealed.chunks(BLOCKS).zip(numbers.chunks_mut(BLOCKS));
        for (keys, (sealed, numbers)) in keys.chunks(BLOCKS).zip(chunks) {
            open_blocks(
                sealed,
                numbers,
                |at| keys[at].1,
                |half, blocks| {
                    // No block waits for the one before, so a processor has several under way.
                    keys.iter().zip(blocks).for_each(|((cipher, _), block)| half.of(&cipher.0).encrypt_block(block));
                },
            );
        }
    }
}

/// The halves of a key.
#[derive(Clone, Copy)]
enum Half {
    Mac,
    Ctr,
}

impl Half {
    fn of(self, secrets: &Secrets) -> &Aes256Enc {
        match self {
            Self::Mac => &secrets.mac,
            Self::Ctr => &secrets.ctr,
        }
    }
}

/// Opens up to [`BLOCKS`] entries. `prefix` is that of the entry with a given index, and `encrypt` encrypts the block of
/// each entry with one half of its key. All blocks are made before the first is encrypted: to read one that was just
/// written in two pieces takes a third of the time of entries of different keys.
#[inline]
fn open_blocks<'p>(
    sealed: &[[u8; SEALED_NUMBER_BYTES]],
    numbers: &mut [Option<[u8; NUMBER_BYTES]>],
    prefix: impl Fn(usize) -> &'p Prefix,
    encrypt: impl Fn(Half, &mut [Block]),
) {
    let mut blocks = Blocks::new();
    blocks.extend(sealed.iter().map(|sealed| counter(v_of(sealed))));
    encrypt(Half::Ctr, &mut blocks);
    for (at, ((block, number), sealed)) in blocks.iter_mut().zip(&mut *numbers).zip(sealed).enumerate() {
        let c = *sealed.last_chunk().expect("it is longer than a number");
        let opened = xor_number(c, block);
        *block = last_block(prefix(at), &opened);
        *number = Some(opened);
    }
    encrypt(Half::Mac, &mut blocks);
    for ((block, number), sealed) in blocks.iter().zip(numbers).zip(sealed) {
        let differs = u128::from_ne_bytes(xor(*block, v_of(sealed)).into());
        // It is no secret that a UID is forged: its sender is told.
        if bool::from(differs.ct_ne(&0)) {
            wipe(number.as_mut_slice());
            *number = None;
        }
    }
    wipe(&mut blocks);
}

/// The last block of S2V for `number`: RFC 5297 section 2.4.
fn last_block(prefix: &Prefix, number: &[u8; NUMBER_BYTES]) -> Block {
    xor(pad(number), (*prefix.0).into())
}

/// Blocks that are worked on together: enough for every back end of the crate `aes` to do many at once.
const BLOCKS: usize = 64;

/// Up to [`BLOCKS`] blocks, stored without an allocation.
type Blocks = SmallVec<[Block; BLOCKS]>;

/// Encrypts as many blocks at once as the back end can. A remainder that is not too small is filled up with blocks that
/// are then dropped.
struct EncryptAll<'b>(&'b mut [Block]);

impl BlockSizeUser for EncryptAll<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for EncryptAll<'_> {
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let at_once = B::ParBlocksSize::USIZE;
        let (many, few) = Array::<Block, B::ParBlocksSize>::slice_as_chunks_mut(self.0);
        many.iter_mut().for_each(|blocks| backend.encrypt_par_blocks(blocks.into()));
        // One after another, each block costs the latency of all rounds. Together, they cost little more than one.
        if few.len() * 16 > at_once {
            let mut blocks = ParBlocks::<B>::default();
            blocks[..few.len()].copy_from_slice(few);
            backend.encrypt_par_blocks((&mut blocks).into());
            few.copy_from_slice(&blocks[..few.len()]);
            wipe(&mut blocks);
        } else {
            few.iter_mut().for_each(|block| backend.encrypt_block(block.into()));
        }
    }
}

/// AES of one block.
fn encrypted(aes: &Aes256Enc, mut block: Block) -> Block {
    aes.encrypt_block(&mut block);
    block
}

/// Doubling in GF(2^128): RFC 5297 section 2.3.
fn dbl(block: Block) -> Block {
    let value = u128::from_be_bytes(block.into());
    // The mask is all ones where the top bit is set, so that no branch depends on it.
    let carried = 0x87 & 0_u128.wrapping_sub(value >> 127);
    ((value << 1) ^ carried).to_be_bytes().into()
}

fn xor(a: Block, b: Block) -> Block {
    (u128::from_ne_bytes(a.into()) ^ u128::from_ne_bytes(b.into())).to_ne_bytes().into()
}

fn xor_number(number: [u8; NUMBER_BYTES], key_stream: &Block) -> [u8; NUMBER_BYTES] {
    std::array::from_fn(|at| number[at] ^ key_stream[at])
}

/// `bytes`, which are fewer than a block, followed by 0x80 and zeros.
fn pad(bytes: &[u8]) -> Block {
    let mut block = Block::default();
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()] = 0x80;
    block
}

/// The blocks before the last one, and the last one, which may be shorter.
fn whole_blocks_and_last(bytes: &[u8]) -> (&[Block], &[u8]) {
    let whole = bytes.len().saturating_sub(1) / SIV_BYTES * SIV_BYTES;
    let (blocks, last) = bytes.split_at(whole);
    (Block::slice_as_chunks(blocks).0, last)
}

/// V as CTR's counter, with bits 63 and 31 cleared: RFC 5297 section 2.5.
fn counter(v: Block) -> Block {
    const MASK: u128 = !((1 << 63) | (1 << 31));
    (u128::from_be_bytes(v.into()) & MASK).to_be_bytes().into()
}

fn v_of(sealed: &[u8; SEALED_NUMBER_BYTES]) -> Block {
    sealed.first_chunk::<SIV_BYTES>().copied().expect("it begins with V").into()
}

/// A ciphertext that this key never made in this context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

#[cfg(test)]
mod tests {
    use aes_siv::siv::Aes128Siv;
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::random;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).expect("test vectors are hex")
    }

    #[test]
    fn rfc_5297_appendix_a1() {
        let key = hex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut siv = Aes128Siv::new_from_slice(&key).expect("32 bytes");
        let sealed = siv
            .encrypt([hex("101112131415161718191a1b1c1d1e1f2021222324252627")], &hex("112233445566778899aabbccddee"))
            .expect("one header");
        assert_eq!(sealed, hex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"));
    }

    fn both(key: &[u8; KEY_BYTES], id: KeyId, context: &Context) -> (Cipher, NumberCipher, Prefix) {
        let numbers = NumberCipher::new(key, id);
        let prefix = numbers.prefix(context);
        (Cipher::new(key, id, context), numbers, prefix)
    }

    #[test]
    fn numbers_are_sealed_as_the_crate_does() {
        let mut random = random::values(0x9e37_79b9_7f4a_7c15);
        let mut next = || random().to_be_bytes();
        for case in 0..400 {
            let key: [u8; KEY_BYTES] = std::array::from_fn(|_| next()[0]);
            let id = KeyId::from_bytes([next()[0], 1]).expect("not zero");
            let context: Context = "c".repeat(1 + case % 64).parse().expect("a context");
            let numbers: Vec<[u8; NUMBER_BYTES]> =
                (0..1 + case % 150).map(|_| std::array::from_fn(|_| next()[0])).collect();
            let (mut reference, fast, prefix) = both(&key, id, &context);
            let mut sealed = vec![[0; SEALED_NUMBER_BYTES]; numbers.len()];
            let mut opened = vec![None; numbers.len()];
            fast.seal(&prefix, &numbers, &mut sealed);
            assert!(numbers.iter().zip(&sealed).all(|(number, sealed)| reference.seal(number) == sealed));
            fast.open(&prefix, &sealed, &mut opened);
            assert!(numbers.iter().map(|number| Some(*number)).eq(opened.iter().copied()));
            for sealed in &mut sealed {
                sealed[usize::from(next()[0]) % SEALED_NUMBER_BYTES] ^= 1 << (next()[0] % 8);
            }
            fast.open(&prefix, &sealed, &mut opened);
            assert!(opened.iter().all(Option::is_none) && reference.open(&sealed[0]).is_err());
        }
    }

    #[test]
    fn opens_only_what_the_same_key_and_context_sealed() {
        let id = KeyId::from_bytes([0x3f, 0xa1]).expect("not zero");
        let other_id = KeyId::from_bytes([0x3f, 0xa2]).expect("not zero");
        let context = Context::default();
        let other_context: Context = "crm".parse().expect("a context");
        let sealed = Cipher::new(&[7; KEY_BYTES], id, &context).seal(b"seven b");
        assert_eq!(sealed.len(), SIV_BYTES + 7);
        assert_eq!(*Cipher::new(&[7; KEY_BYTES], id, &context).open(&sealed).expect("authentic"), b"seven b");
        for mut stranger in [
            Cipher::new(&[8; KEY_BYTES], id, &context),
            Cipher::new(&[7; KEY_BYTES], other_id, &context),
            Cipher::new(&[7; KEY_BYTES], id, &other_context),
        ] {
            assert_eq!(stranger.open(&sealed), Err(NotAuthentic));
        }
        let mut opened = [None; 4];
        let sealed_number = [sealed.as_slice().try_into().expect("a number's length")];
        let ciphers = [(7, id, &context), (8, id, &context), (7, other_id, &context), (7, id, &other_context)];
        for ((key, id, context), opened) in ciphers.into_iter().zip(opened.chunks_mut(1)) {
            let (_, fast, prefix) = both(&[key; KEY_BYTES], id, context);
            fast.open(&prefix, &sealed_number, opened);
        }
        assert_eq!(opened, [Some(*b"seven b"), None, None, None]);
        assert_eq!(Cipher::new(&[7; KEY_BYTES], id, &context).open(b"short"), Err(NotAuthentic));
    }
}
