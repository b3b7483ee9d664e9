//! Whether numbers become UIDs and come back as CCC's documentation says: one result per input, in order, with its
//! `Key`; numbers with `00` and the country code; and no number for a text that is not a UID.

use std::collections::BTreeSet;

use http::HeaderValue;

use super::{
    client::EndpointClient,
    numbers::{Number, Numbers},
    reply::Item,
    report::{Check, Report},
    trouble::Trouble,
};
use crate::item::Mode;

/// A text that is nobody's UID.
const NO_UID: &str = "no-such-uid-callveil-doctor";

/// With this many characters, a UID with one changed character cannot be another valid UID by chance.
const UNGUESSABLE_CHARS_MIN: usize = 32;

/// A number as it was sent, its UID, and the number that the UID came back as.
pub(super) struct Pair {
    pub(super) written: String,
    pub(super) uid: String,
    phone: String,
}

/// Judges the mapping. Returns a pair that works, for the checks after it.
pub(super) async fn check(
    client: &mut EndpointClient,
    report: &mut Report,
    login: &HeaderValue,
    numbers: &Numbers,
) -> Option<Pair> {
    let mut pairs = Vec::new();
    for (number, written) in numbers.as_ccc_writes_them() {
        match learn(client, login, number, written).await {
            Ok(pair) => pairs.push((number, pair)),
            Err(trouble) => {
                report.trouble(
                    Check::RoundTrip,
                    &trouble,
                    "with this user's password CCC sends numbers as PhoneToUID and their UIDs back as UIDToPhone: answer both",
                );
                return None;
            }
        }
    }
    judge_pairs(report, &pairs);
    let pairs: Vec<Pair> = pairs.into_iter().map(|(_, pair)| pair).collect();
    check_batches(client, report, login, &pairs).await;
    check_spellings(client, report, login, numbers, &pairs[0].uid).await;
    check_unknown(client, report, login, &pairs[0]).await;
    pairs.into_iter().next()
}

/// Maps one number, alone in its requests, so that its UID is certain.
async fn learn(
    client: &mut EndpointClient,
    login: &HeaderValue,
    number: &Number,
    written: String,
) -> Result<Pair, Trouble> {
    let uid = one(client, login, Mode::PhoneToUid, &written).await?;
    let phone = one(client, login, Mode::UidToPhone, &uid).await?;
    if phone.ends_with(&number.national()) {
        Ok(Pair { written, uid, phone })
    } else {
        Err(Trouble::of(
            "UIDToPhone gives another number than PhoneToUID was given",
            "UIDToPhone gives back the number that has the UID: have all replicas one key ring, and this user one context?",
        ))
    }
}

async fn one(client: &mut EndpointClient, login: &HeaderValue, mode: Mode, input: &str) -> Result<String, Trouble> {
    let results = client.ask(Some(login), mode, &[input]).await.and_then(|reply| reply.results());
    let (code, results) = results.map_err(|trouble| trouble.of_request(mode.name()))?;
    if results.first().is_some_and(|item| item.key != input && item.value() == Some(input)) {
        let found = format!("{}: the text that was sent stands in Value", mode.name());
        return Err(Trouble::of(found, "swap them: Key is the text that was sent, Value is what it was mapped to"));
    }
    let value = results.first().and_then(Item::value).map(str::to_owned);
    if code != 0 {
        return Err(Trouble::only(format!("{}: Code {code}", mode.name())));
    }
    value.ok_or_else(|| Trouble::only(format!("{}: no Value for a good input", mode.name())))
}

fn judge_pairs(report: &mut Report, pairs: &[(&Number, Pair)]) {
    let distinct: BTreeSet<_> = pairs.iter().map(|(_, pair)| &pair.uid).collect();
    if distinct.len() < pairs.len() {
        report.bad(Check::RoundTrip, "two numbers have one UID", "give each number a UID of its own");
    } else {
        report.good(Check::RoundTrip, "yes");
    }
    if pairs.iter().any(|(number, pair)| pair.uid.contains(&number.national())) {
        report.bad(Check::Hidden, "the number stands in its UID", "agents see UIDs: they must not tell the number");
    } else {
        report.good(Check::Hidden, "yes");
    }
    let wrong = |abroad: bool| {
        let mut numbers = pairs.iter().enumerate().filter(|(at, _)| (*at == pairs.len() - 1) == abroad);
        numbers.any(|(_, (number, pair))| pair.phone != number.dialled())
    };
    let found = match (wrong(false), wrong(true)) {
        (false, false) => return report.good(Check::CountryCode, "yes, abroad too"),
        (true, true) => "it is not what comes back",
        (true, false) => "not for numbers of the region",
        (false, true) => "not for numbers of another country",
    };
    report.bad(
        Check::CountryCode,
        found,
        "UIDToPhone answers 00, the country code and the number; --region tells what it takes national numbers for",
    );
}

/// The faults of a batch.
#[derive(Default, PartialEq, Eq, Debug)]
struct Faults {
    order: bool,
    duplicates: bool,
    key: bool,
}

/// Checks a batch with a repeated item, in both modes.
async fn check_batches(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, pairs: &[Pair]) {
    const BATCH: [usize; 4] = [2, 0, 1, 0];
    let mut faults = Faults::default();
    let to_uids: fn(&Pair) -> (&str, &str) = |pair| (&pair.written, &pair.uid);
    let to_phones: fn(&Pair) -> (&str, &str) = |pair| (&pair.uid, &pair.phone);
    for (mode, expected) in [(Mode::PhoneToUid, to_uids), (Mode::UidToPhone, to_phones)] {
        let known: Vec<(&str, &str)> = pairs.iter().map(expected).collect();
        let inputs = BATCH.map(|at| known[at].0);
        match client.ask(Some(login), mode, &inputs).await.and_then(|reply| reply.results()) {
            Ok((_, results)) => {
                let found = judge_batch(&known, &BATCH, &results);
                faults.order |= found.order;
                faults.duplicates |= found.duplicates;
                faults.key |= found.key;
            }
            Err(trouble) => {
                let trouble = trouble.of_request(&format!("{} of {} at once", mode.name(), BATCH.len()));
                report.trouble(Check::Order, &trouble, "CCC sends many at once: map each, in order");
                return;
            }
        }
    }
    let rows = [
        (Check::Order, faults.order, "results are not in the order of the numbers"),
        (Check::Duplicates, faults.duplicates, "a number that is there twice has not two results"),
        (Check::Key, faults.key, "a Key is not the text that was sent"),
    ];
    for (check, is_bad, found) in rows {
        if is_bad {
            report.bad(check, found, "answer one result per number, in order, with the number as sent as its Key");
        } else {
            report.good(check, "yes");
        }
    }
}

/// Judges the results of a batch. `batch` gives the index of each input in `known`, which holds the inputs and their
/// values.
fn judge_batch(known: &[(&str, &str)], batch: &[usize], results: &[Item]) -> Faults {
    // A result is recognised by its value, which is least likely to be mixed up, or else by its key, if values change
    // each time.
    let place = |item: &Item| {
        let by_value = known.iter().position(|(_, value)| Some(*value) == item.value());
        by_value.or_else(|| known.iter().position(|(key, _)| *key == item.key))
    };
    let found: Vec<Option<usize>> = results.iter().map(place).collect();
    let expected: Vec<Option<usize>> = batch.iter().copied().map(Some).collect();
    let is_echo = |(item, place): (&Item, &Option<usize>)| {
        let same = place.is_some_and(|place| known[place].0 == item.key);
        // If the order is wrong, a key beside the value of another is not a second fault.
        same || (found != expected && known.iter().any(|(key, _)| *key == item.key))
    };
    Faults {
        order: once_each(&found) != once_each(&expected),
        duplicates: found.len() != expected.len(),
        key: !results.iter().zip(&found).all(is_echo),
    }
}

/// The places in the order of their first occurrence.
fn once_each(places: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut seen = Vec::new();
    places.iter().for_each(|place| {
        if !seen.contains(place) {
            seen.push(*place);
        }
    });
    seen
}

async fn check_spellings(
    client: &mut EndpointClient,
    report: &mut Report,
    login: &HeaderValue,
    numbers: &Numbers,
    uid: &str,
) {
    const REMEDY: &str =
        "read every spelling as the number it means (libphonenumber does), with the region that --region names";
    let groups = numbers.groups();
    let texts: Vec<&str> = groups.iter().flatten().map(|(_, text)| &**text).collect();
    let reply = client.ask(Some(login), Mode::PhoneToUid, &texts).await.and_then(|reply| reply.results());
    let results = match reply {
        Ok((_, results)) => results,
        Err(trouble) => return report.trouble(Check::Spellings, &trouble, REMEDY),
    };
    let value = |at: usize| {
        let of_key = results.iter().find(|item| item.key == texts[at]);
        of_key.or_else(|| results.get(at)).and_then(Item::value)
    };
    let (mut other, mut begin) = (Vec::new(), 0);
    for group in &groups {
        // The UID of the first group's number is known.
        let wanted = if begin == 0 { Some(uid) } else { value(begin) };
        let is_other = |at: &usize| value(begin + at).is_none() || value(begin + at) != wanted;
        other.extend((0..group.len()).filter(is_other).map(|at| group[at].0));
        begin += group.len();
    }
    if other.is_empty() {
        report.good(Check::Spellings, format!("yes, {} of {} numbers", texts.len(), groups.len()));
    } else {
        report.bad(Check::Spellings, format!("another, or none, for: {}", other.join("; ")), REMEDY);
    }
}

/// Checks a text that is nobody's UID, and a UID with one character changed, which is nobody's either, beside a good
/// one.
async fn check_unknown(client: &mut EndpointClient, report: &mut Report, login: &HeaderValue, good: &Pair) {
    let forged = (good.uid.chars().count() >= UNGUESSABLE_CHARS_MIN).then(|| forge(&good.uid));
    let mut inputs = vec![good.uid.as_str(), NO_UID];
    inputs.extend(forged.as_deref());
    let reply = client.ask(Some(login), Mode::UidToPhone, &inputs).await.and_then(|reply| reply.results());
    const SPOILS: &str =
        "refuse what is no UID in its own result, with an empty Value, and map the others all the same";
    let (code, results) = match reply {
        Err(reason) => {
            return report.bad(Check::UnknownUid, format!("one spoils the whole request: {reason}"), SPOILS);
        }
        Ok(reply) => reply,
    };
    let by_key = |at: usize| results.iter().find(|item| item.key == inputs[at]);
    let keyed = (0..inputs.len()).any(|at| by_key(at).is_some());
    let value = |at: usize| if keyed { by_key(at) } else { results.get(at) }.and_then(Item::value);
    if (1..inputs.len()).any(|at| value(at).is_some()) {
        report.bad(
            Check::UnknownUid,
            "it is mapped to something",
            "refuse what is no UID: or agents dial made-up numbers",
        );
    } else if value(0).is_none() {
        report.bad(Check::UnknownUid, "one spoils the others", SPOILS);
    } else {
        let code = if code == 0 { String::new() } else { format!(", with Code {code}") };
        report.good(Check::UnknownUid, format!("yes, alone{code}"));
    }
}

/// `uid` with its fifth character from the end changed to another of the same kind.
fn forge(uid: &str) -> String {
    let place = uid.chars().count().saturating_sub(5);
    let changed = |c: char| match c {
        'a' => 'b',
        'A' => 'B',
        '0'..='9' => {
            if c == '4' {
                '5'
            } else {
                '4'
            }
        }
        c if c.is_ascii_uppercase() => 'A',
        _ => 'a',
    };
    uid.chars().enumerate().map(|(at, c)| if at == place { changed(c) } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, &str); 3] = [("one", "A"), ("two", "B"), ("three", "C")];
    const BATCH: [usize; 4] = [2, 0, 1, 0];

    #[track_caller]
    fn check(results: &[(&str, &str)], order: bool, duplicates: bool, key: bool) {
        let item = |(key, value): &(&str, &str)| Item { key: (*key).to_owned(), value: Some((*value).to_owned()) };
        let results: Vec<Item> = results.iter().map(item).collect();
        assert_eq!(judge_batch(&KNOWN, &BATCH, &results), Faults { order, duplicates, key });
    }

    #[test]
    fn each_fault_of_a_batch_is_told_apart() {
        check(&[("three", "C"), ("one", "A"), ("two", "B"), ("one", "A")], false, false, false);
        check(&[("one", "A"), ("two", "B"), ("one", "A"), ("three", "C")], true, false, false);
        check(&[("three", "C"), ("one", "A"), ("two", "B")], false, true, false);
        check(&[("THREE", "C"), ("ONE", "A"), ("TWO", "B"), ("ONE", "A")], false, false, true);
        // Values went to the keys of others, and a UID is different each time.
        check(&[("three", "A"), ("one", "B"), ("two", "A"), ("one", "C")], true, false, false);
        check(&[("three", "x"), ("one", "y"), ("two", "z"), ("one", "w")], false, false, false);
        check(&[], true, true, false);
    }

    #[test]
    fn a_forged_uid_is_another_one() {
        for uid in ["aaaaaaaa", "44444444", "ZZZZZZZZ", "漢字漢字漢字漢字"] {
            assert_ne!(forge(uid), uid);
            assert_eq!(forge(uid).chars().count(), uid.chars().count());
        }
    }
}
