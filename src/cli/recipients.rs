//! `callveil keys recipients`: who the ring is encrypted for.

use clap::Args;
use serde_json::json;

use super::{
    change::ChangeArgs,
    failure::Failure,
    say::{print, tell},
};
use crate::keyring::{KeyRing, recipient::Recipient, rotation};

#[derive(Args)]
pub(super) struct RecipientsArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Encrypt it for these age public keys, and for nobody else; a name may stand before each
    #[arg(long, value_name = "[NAME=]AGE1…", num_args = 1..)]
    set: Vec<String>,
    /// Confirm that current recipients missing from --set lose access
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &RecipientsArgs) -> Result<(), Failure> {
    let RecipientsArgs { change, set, yes } = args;
    let set = recipients_of(set)?;
    if set.is_empty() {
        let ring = change.ring.ring()?;
        if change.json {
            return print(json!({"recipients": ring.recipients()}));
        }
        if ring.recipients().is_empty() {
            tell("the ring is plain, or was encrypted by something else: it names no recipients");
        }
        return ring.recipients().iter().try_for_each(print);
    }
    let (file, config) = change.ring.file()?;
    // The ring may still be plain although there is an identity. This change then encrypts it.
    if !file.wants_sealed() {
        return Err(Failure::usage("say with --identity how you will open it: nobody locks themselves out"));
    }
    let file = file.or_plain();
    let dropped = dropped(&file.read()?, &set);
    if !dropped.is_empty() && !yes {
        return Err(Failure::usage(format_args!(
            "that leaves out {}: say --yes if they are not to open the ring any more",
            dropped.join(", ")
        )));
    }
    let mut texts: Vec<_> = set.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    let about = |(): &()| json!({"recipients": texts});
    let change_ring = |ring: &KeyRing, _| Ok(((), rotation::set_recipients(ring, &texts)?));
    let (ring, ()) = change.update_file(&file, &config, "keys recipients", about, change_ring)?;
    let text = format!("encrypted for {} recipients; keys and UIDs are as they were", texts.len());
    change.done(&ring, &text, json!({"recipients": texts}))?;
    dropped.iter().for_each(|recipient| tell(format_args!("no recipient any more: {recipient}")));
    tell(
        "a removed recipient may still know the keys: to shut one out, rotate, rewrap the UIDs, and destroy the old key",
    );
    tell("not reached: backups, other copies of the file, old versions of a Kubernetes Secret, exported keys");
    Ok(())
}

/// Parses the recipients of an encryption. A text that is no public key may be a secret key, so no message shows it.
pub(super) fn recipients_of(texts: &[String]) -> Result<Vec<Recipient>, Failure> {
    let mut recipients: Vec<Recipient> = Vec::new();
    for (at, text) in (1..).zip(texts) {
        let recipient = Recipient::parse(text).ok_or_else(|| {
            Failure::usage(format_args!(
                "recipient {at} is no age public key: age1… or age1pq1…, as age-keygen prints it, or a hardware key's age1tag1…; with a name, NAME=age1…"
            ))
        })?;
        // A key that is repeated, under the same name or another, counts once.
        if !recipients.iter().any(|other| other.key() == recipient.key()) {
            recipients.push(recipient);
        }
    }
    Ok(recipients)
}

/// The recipients of `ring` that are not in `set`.
fn dropped(ring: &KeyRing, set: &[Recipient]) -> Vec<String> {
    let stays = |text: &&String| {
        let key = Recipient::parse(text);
        set.iter().any(|recipient| key.as_ref().is_some_and(|key| key.key() == recipient.key()))
    };
    ring.recipients().iter().filter(|text| !stays(text)).cloned().collect()
}
