//! The load, which checks every answer.

use std::{
    sync::atomic::Ordering,
    thread::sleep,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Fleet, POLL_EVERY, SWITCHED,
    caller::{Called, Caller, key_of},
    numbers::{Dice, NUMBERS},
    replica::Replica,
};

/// Items in the largest request.
const BATCH: usize = 20;

/// The intervals of the clients that mint, and of those that decode.
const MINT_EVERY: Duration = Duration::from_millis(65);
const DECODE_EVERY: Duration = Duration::from_millis(40);

/// A replica is polled often while its clock is this close to the new key's time.
const NEAR: SignedDuration = SignedDuration::from_secs(3);

/// The pause of a client that decodes everything, which leaves the others some time even while it catches up.
const PAUSE: Duration = Duration::from_millis(5);

/// The load.
impl Fleet {
    fn count(&self, kind: &'static str, called: &Called) {
        let mut tally = self.tally.lock().unwrap();
        *tally.requests.entry(kind).or_default() += 1;
        if let Some(replica) = &called.replica {
            *tally.answers.entry(replica.clone()).or_default() += 1;
        }
        tally.slowest = tally.slowest.max(called.received.duration_since(called.sent).unsigned_abs());
    }

    /// Does `what` repeatedly while the load lasts.
    fn repeat(&self, every: Duration, mut what: impl FnMut() -> Result<(), String>) {
        while !self.over.load(Ordering::Relaxed) {
            let next = Instant::now() + every;
            if let Err(failure) = what() {
                self.fail(failure);
            }
            sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Maps numbers to UIDs, through the load balancer.
    pub fn mint(&self, mut caller: Caller, seed: u64) {
        let mut dice = Dice(seed);
        self.repeat(MINT_EVERY, || {
            let chosen: Vec<_> = (0..=dice.below(BATCH)).map(|_| dice.below(NUMBERS)).collect();
            let spell = |at: &usize| {
                let spellings = &self.numbers[*at].spellings;
                spellings[dice.below(spellings.len())].as_str()
            };
            let items: Vec<_> = chosen.iter().map(spell).collect();
            let called = caller.call("PhoneToUID", &items)?;
            self.count("minting", &called);
            let replica = self.replicas.iter().find(|replica| Some(replica.name) == called.replica.as_deref());
            let key = self.check_key(replica.ok_or("nobody answered")?, &called)?;
            self.note(&key, &called.values, &chosen)
        });
    }

    /// Returns the key of all these UIDs, which must be the one that the clock of `replica` asked for at that time.
    fn check_key(&self, replica: &Replica, called: &Called) -> Result<String, String> {
        let mut keys: Vec<_> = called.values.iter().map(|uid| key_of(uid)).collect();
        keys.dedup();
        let [Some(key)] = &keys[..] else { return Err(format!("one request, and not one key: {keys:?}")) };
        let (sent, received) = (replica.own(called.sent), replica.own(called.received));
        let is_right = match self.rotation.get() {
            Some(rotation) if *key == rotation.key => received >= rotation.activates,
            Some(rotation) if *key == self.old_key => sent <= rotation.activates + SWITCHED,
            _ => *key == self.old_key,
        };
        let wrong = || format!("{} minted with {key} between {sent} and {received} of its clock", replica.name);
        is_right.then(|| key.clone()).ok_or_else(wrong)
    }

    /// Records UIDs for the clients that decode, and checks that others got the same ones.
    fn note(&self, key: &str, values: &[String], chosen: &[usize]) -> Result<(), String> {
        *self.tally.lock().unwrap().minted.entry(key.to_owned()).or_default() += values.len() as u64;
        let minted = values.iter().cloned().zip(chosen.iter().copied());
        self.journal.lock().unwrap().extend(minted.clone());
        let mut uids = self.uids.lock().unwrap();
        for (uid, number) in minted {
            let known = uids.entry((number, key.to_owned())).or_insert_with(|| uid.clone());
            if *known != uid {
                return Err(format!("two UIDs of {:?}: {known} and {uid}", self.numbers[number].dialled));
            }
        }
        Ok(())
    }

    /// Maps UIDs to numbers, and checks them.
    fn decode(&self, caller: &mut Caller, batch: &[(String, usize)]) -> Result<Called, String> {
        let items: Vec<_> = batch.iter().map(|(uid, _)| uid.as_str()).collect();
        let called = caller.call("UIDToPhone", &items)?;
        for ((uid, number), value) in batch.iter().zip(&called.values) {
            let wanted = &self.numbers[*number].dialled;
            if value != wanted {
                return Err(format!("{uid} opens to {value:?} at {}, and is {wanted:?}", caller.address));
            }
        }
        self.tally.lock().unwrap().decoded += batch.len() as u64;
        Ok(called)
    }

    /// Decodes UIDs of any age through the load balancer. Half of them were just minted.
    pub fn decode_any(&self, mut caller: Caller, seed: u64) {
        let mut dice = Dice(seed);
        self.repeat(DECODE_EVERY, || {
            let batch: Vec<_> = {
                let journal = self.journal.lock().unwrap();
                if journal.is_empty() {
                    return Ok(());
                }
                let items = 1 + dice.below(BATCH);
                let newest = journal.len().min(10 * BATCH);
                let mut choose = |nth| match nth % 2 {
                    0 => journal.len() - 1 - dice.below(newest),
                    _ => dice.below(journal.len()),
                };
                (0..items).map(|nth| journal[choose(nth)].clone()).collect()
            };
            let called = self.decode(&mut caller, &batch)?;
            self.count("decoding", &called);
            Ok(())
        });
    }

    /// Decodes every UID as soon as it is minted, on `replica` or through the load balancer.
    pub fn decode_all(&self, mut caller: Caller, replica: Option<&Replica>) {
        let mut next = 0;
        loop {
            let minting_over = self.minting_over.load(Ordering::Relaxed);
            let batch: Vec<_> = self.journal.lock().unwrap().iter().skip(next).take(BATCH).cloned().collect();
            if batch.is_empty() && minting_over {
                return;
            }
            if batch.len() < BATCH && !minting_over {
                sleep(POLL_EVERY);
                continue;
            }
            next += batch.len();
            let decode = |caller: &mut Caller| self.decode(caller, &batch);
            let decoded = match replica {
                Some(replica) => replica.ask(self, &mut caller, decode),
                None => Some(decode(&mut caller)),
            };
            match decoded {
                Some(Ok(called)) => self.count(if replica.is_some() { "direct" } else { "decoding" }, &called),
                Some(Err(failure)) => self.fail(failure),
                None => return self.fail(format!("some UIDs were never decoded at {}", caller.address)),
            }
            sleep(PAUSE);
        }
    }

    /// Polls which key `replica` mints with, and when that changes.
    pub fn poll(&self, replica: &Replica) -> Switch {
        let (mut caller, mut switch) = (replica.caller(), Switch::default());
        let item = &self.numbers[0].spellings[0];
        while !self.over.load(Ordering::Relaxed) {
            let Some(asked) = replica.ask(self, &mut caller, |caller| caller.call("PhoneToUID", &[item])) else {
                break;
            };
            match asked.and_then(|called| Ok((self.check_key(replica, &called)?, called))) {
                Err(failure) => self.fail(failure),
                Ok((key, _)) if key == self.old_key && switch.first_new.is_some() => {
                    self.fail(format!("{} went back to the old key", replica.name));
                }
                Ok((key, called)) if key == self.old_key => switch.last_old = Some(replica.own(called.sent)),
                Ok((_, called)) => _ = switch.first_new.get_or_insert(replica.own(called.received)),
            }
            let left =
                self.rotation.get().map(|rotation| rotation.activates.duration_since(replica.own(Timestamp::now())));
            let is_near = left.is_some_and(|left| left.abs() < NEAR);
            sleep(if is_near { POLL_EVERY } else { POLL_EVERY * 10 });
        }
        switch
    }
}

/// When a replica was last seen to mint with the old key, and first with the new one, by its own clock.
#[derive(Default)]
pub struct Switch {
    pub last_old: Option<Timestamp>,
    pub first_new: Option<Timestamp>,
}
