//! Changes of the ring on disk.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Found, RingFile, RingFileError, target::Target};
use crate::{
    disk::{
        FILE_BYTES_MAX, Lock,
        exposure::{Exposure, FileMode},
    },
    keyring::{
        KeyRing,
        fingerprint::Fingerprint,
        json::with_line,
        note::Signer,
        recipient::Recipient,
        rotation::{ChangeError, Previous, Revision},
        sealed::seal,
    },
};

impl RingFile {
    /// Writes the first generation of a ring. It is encrypted if it names recipients.
    ///
    /// # Errors
    /// [`RingFileError::Exists`] if there is already something at the path.
    pub fn create(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        if self.mode != FileMode::Any && self.disk.is_replaceable(&self.path) {
            return Err(RingFileError::Exposed { path: self.path.clone(), how: Exposure::Replaceable });
        }
        let _lock = target.lock(None, self.tell_of_waiting)?;
        if self.disk.exists(&self.path) {
            return Err(RingFileError::Exists { path: self.path.clone() });
        }
        let previous = target.beside(".previous");
        if self.disk.exists(&previous) {
            return Err(RingFileError::PreviousLeft { path: previous });
        }
        let ring = self.check(plain)?;
        let bytes =
            if ring.recipients().is_empty() { Zeroizing::new(plain.to_vec()) } else { self.seal(&ring, plain)? };
        target.tidy()?;
        target.replace(&target.ring, &bytes, None)?;
        target.sync_folder()?;
        Ok(ring)
    }

    /// Replaces the ring by the one that `change` makes from it, and keeps the old one as `<name>.previous`.
    ///
    /// The lock is held from before the ring is read until the new one is safe on disk, and `clock` is read under it.
    /// `change` returns the revision and any other value, which is passed on. An encrypted ring stays encrypted, for
    /// the recipients that the revision names. A plain ring stays plain, unless the revision is the first to name
    /// recipients.
    ///
    /// # Errors
    /// [`RingFileError`]. The ring is then unchanged or, if only the last sync failed, the new one.
    pub fn update<T>(
        &self,
        clock: impl FnOnce() -> Timestamp,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        let (_lock, old) = self.find_locked(&target)?;
        let now = clock();
        let (made, revision) = change(&old.ring, now).map_err(RingFileError::Change)?;
        let new = self.check(&revision.next)?;
        old.ring.check_successor(&new, now).map_err(RingFileError::Successor)?;
        let newly_sealed = !new.recipients().is_empty() && old.ring.recipients().is_empty();
        let encode = |plain: &Zeroizing<Vec<u8>>| {
            if old.is_sealed() || newly_sealed { self.seal(&new, plain) } else { Ok(plain.clone()) }
        };
        let previous = match &revision.previous {
            Previous::AsItWas if newly_sealed => encode(&old.plain)?,
            Previous::AsItWas => old.raw.clone(),
            Previous::Rewritten(plain) => encode(plain)?,
        };
        let next = encode(&revision.next)?;
        let access = Some(self.mode.kept(old.access));
        target.replace(&target.beside(".previous"), &previous, access)?;
        target.sync_folder()?;
        target.replace(&target.ring, &next, access)?;
        target.sync_folder()?;
        Ok((new, made))
    }

    /// Adds the signature of `signer` to the ring. Its content must have this `hash`, which is the content that was
    /// shown. The content does not change, and neither does the previous ring.
    ///
    /// # Errors
    /// [`RingFileError`]. The ring is then unchanged or, if only the last sync failed, signed.
    pub fn approve(&self, signer: &Signer, hash: Fingerprint) -> Result<KeyRing, RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        let (_lock, old) = self.find_locked(&target)?;
        if old.ring.hash() != hash {
            return Err(RingFileError::Change(ChangeError::Moved));
        }
        let signed = with_line(&old.plain, signer).ok_or(RingFileError::Change(ChangeError::Approved))?;
        let new = self.check(&signed)?;
        let next = if old.is_sealed() { self.seal(&new, &signed)? } else { signed };
        target.replace(&target.ring, &next, Some(self.mode.kept(old.access)))?;
        target.sync_folder()?;
        Ok(new)
    }

    /// Takes the lock and reads the ring. Nobody else can change it until the lock is dropped.
    fn find_locked(&self, target: &Target<'_>) -> Result<(Lock, Found), RingFileError> {
        let before = self.read_raw(&target.ring)?.1;
        let lock = target.lock(Some(self.mode.kept(before)), self.tell_of_waiting)?;
        target.tidy()?;
        Ok((lock, self.find(&target.ring)?))
    }

    /// Checks that what will be written can be read again, by us and by every replica.
    fn check(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        if plain.len() >= FILE_BYTES_MAX {
            return Err(RingFileError::TooLarge);
        }
        self.parse(plain).map_err(RingFileError::Unfit)
    }

    /// Encrypts `plain` for the recipients of `ring`. If there are identities, one of them must be able to open it
    /// again, so that nobody locks themselves out.
    fn seal(&self, ring: &KeyRing, plain: &[u8]) -> Result<Zeroizing<Vec<u8>>, RingFileError> {
        let recipients = ring.recipients().iter().map(|text| Recipient::parse(text)).collect::<Option<Vec<_>>>();
        let recipients = recipients.filter(|recipients| !recipients.is_empty()).ok_or(RingFileError::NoRecipients)?;
        let sealed = Zeroizing::new(seal(plain, &recipients).map_err(RingFileError::Unsealable)?);
        if let Some(identities) = &self.identities
            && !identities.open(&sealed).is_ok_and(|opened| *opened == plain)
        {
            return Err(RingFileError::LocksUsOut);
        }
        Ok(sealed)
    }
}
