//! Logs in which something was altered, removed, inserted or moved.

use super::{super::chain::Chain, *};

const INSTANCE: Instance = *b"0123456789abcdef";

fn log(lines: u64) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(INSTANCE);
    let line = |number| {
        let mut line = Vec::new();
        chain.seal(format!("{{\"line\":{number}}}").as_bytes(), &mut line);
        line.pop();
        line
    };
    (1..=lines).map(line).collect()
}

/// Reads files that hold these lines, by number, of a chain of nine, and compares what is found.
fn check(files: &[&[usize]], alter: impl Fn(&mut Vec<Vec<u8>>), head: u64, expected: &[(Wrong, u64, u64)]) {
    let mut lines = log(9);
    let hash = ChainedLine::of(&lines[8]).expect("a link").hash;
    alter(&mut lines);
    let heads = HashMap::from_iter((head > 0).then_some((INSTANCE, Head { lines: head, hash })));
    let mut chains = Chains::new(heads);
    for (file, numbers) in files.iter().enumerate() {
        for (number, line) in numbers.iter().zip(1..) {
            let location = Location { file, line };
            let link = ChainedLine::of(&lines[number - 1]).expect("a link");
            chains.add(link, Facts { location, time: "", is_end: *number == 9 });
        }
    }
    let report = chains.finish();
    let found: Vec<_> = report.faults.iter().map(|fault| (fault.wrong, fault.first, fault.last)).collect();
    assert_eq!((&*found, report.count), (expected, expected.len() as u64), "{files:?}");
}

#[test]
fn whole_chains_in_any_order_of_their_files() {
    for files in [
        &[&[1, 2, 3, 4, 5, 6, 7, 8, 9][..]][..],
        &[&[7, 8, 9], &[4, 5, 6], &[1, 2, 3]],
        &[&[4, 5], &[8, 9], &[1, 2, 3], &[6, 7]],
        &[&[1, 2, 3], &[4, 5, 6, 7, 8, 9]],
    ] {
        check(files, |_| {}, 9, &[]);
    }
}

#[test]
fn what_is_wrong_is_told_where_it_is() {
    use Wrong::{Altered, Cut, Missing, Moved, Remade, Reordered, Repeated};
    let none = |_: &mut Vec<Vec<u8>>| {};
    check(&[&[1, 2, 3, 5, 6, 7, 8, 9]], none, 0, &[(Missing, 4, 4)]);
    check(&[&[1, 2, 3], &[6, 7, 8, 9]], none, 0, &[(Missing, 4, 5)]);
    check(&[&[3, 4, 5, 6, 7, 8, 9]], none, 0, &[(Missing, 1, 2)]);
    check(&[&[1, 2, 3, 4, 5, 6, 7]], none, 0, &[]);
    check(&[&[1, 2, 3, 4, 5, 6, 7]], none, 9, &[(Cut, 8, 9)]);
    check(&[], none, 9, &[(Cut, 1, 9)]);
    check(&[&[1, 2, 3, 3, 4, 5, 6, 7, 8, 9]], none, 0, &[(Repeated, 3, 3)]);
    check(&[&[1, 2, 3, 4, 5, 6, 2, 7, 8, 9]], none, 0, &[(Repeated, 2, 2)]);
    check(&[&[4, 5, 6, 7, 8, 9], &[1, 2, 3, 4]], none, 0, &[(Repeated, 4, 4)]);
    check(&[&[1, 2, 4, 3, 5, 6, 7, 8, 9]], none, 0, &[(Reordered, 3, 3)]);
    check(&[&[1, 3, 4, 5, 6, 7, 8, 9, 2]], none, 0, &[(Reordered, 2, 2)]);
    check(&[&[1, 2, 4, 5, 6, 7, 8, 9], &[3]], none, 0, &[(Moved, 3, 3)]);
    check(&[&[1, 4, 6, 7, 8, 9], &[5]], none, 0, &[(Missing, 2, 3), (Moved, 5, 5)]);
    let altered = |at: usize, byte: usize| {
        move |lines: &mut Vec<Vec<u8>>| {
            let line = &mut lines[at - 1];
            let byte = if byte < 40 { byte } else { line.len() - 3 };
            line[byte] = if line[byte] == b'7' { b'8' } else { b'7' };
        }
    };
    for byte in [8, 40] {
        check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], altered(1, byte), 0, &[(Altered, 1, 1)]);
        check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], altered(4, byte), 0, &[(Altered, 4, 4)]);
        // If nothing before it is known yet, the line after an altered hash does not fit either.
        let both = [(Altered, 5, 5), (Altered, 6, 6)];
        let found = if byte == 40 { &both[..] } else { &both[..1] };
        check(&[&[5, 6, 7, 8, 9], &[1, 2, 3, 4]], altered(5, byte), 0, found);
        check(&[&[5, 6, 7, 8, 9], &[1, 2, 3, 4]], altered(4, byte), 0, &[(Altered, 4, 4)]);
    }
    let remade = |lines: &mut Vec<Vec<u8>>| {
        let mut chain = Chain::new(INSTANCE);
        for (line, number) in lines.iter_mut().zip(1..) {
            line.clear();
            chain.seal(format!("{{\"other\":{number}}}").as_bytes(), line);
            line.pop();
        }
    };
    check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], remade, 0, &[]);
    check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], remade, 9, &[(Remade, 9, 9)]);
}

/// The chains of one file with these lines, by number, of a chain of nine.
fn chains(numbers: &[usize]) -> Chains {
    let (lines, mut chains) = (log(9), Chains::default());
    for (number, line) in numbers.iter().zip(1..) {
        let (location, link) = (Location { file: 0, line }, ChainedLine::of(&lines[number - 1]).expect("a link"));
        chains.add(link, Facts { location, time: "", is_end: *number == 9 });
    }
    chains
}

#[test]
fn a_chain_is_ended_if_its_last_line_is_there() {
    for (numbers, is_ended) in
        [(&[1, 2, 3, 4, 5, 6, 7, 8, 9][..], true), (&[9], true), (&[9, 1, 2], true), (&[1, 2, 3], false)]
    {
        let found = chains(numbers).finish().chains;
        assert_eq!(found.iter().map(|found| found.is_ended).collect::<Vec<_>>(), [is_ended], "{numbers:?}");
    }
}

#[test]
fn a_replica_that_has_not_written_yet_lacks_nothing() {
    let nothing = Chains::new(HashMap::from([(INSTANCE, Head::default())])).finish();
    assert_eq!((nothing.count, nothing.chains.len()), (0, 0));
}

#[test]
fn so_many_faults_and_chains_are_kept() {
    let repeated = chains(&vec![1; FAULTS_MAX + 8]).finish();
    assert_eq!((repeated.faults.len(), repeated.count), (FAULTS_MAX, FAULTS_MAX as u64 + 7));
    let mut many = Chains::default();
    for at in 0..CHAINS_MAX as u64 + 2 {
        let (mut instance, mut sealed) = ([0; 16], Vec::new());
        data_encoding::HEXLOWER.encode_mut(&at.to_be_bytes(), &mut instance);
        Chain::new(instance).seal(b"{}", &mut sealed);
        let link = ChainedLine::of(&sealed[..sealed.len() - 1]).expect("a link");
        many.add(link, Facts { location: Location { file: 0, line: at }, time: "", is_end: false });
    }
    let many = many.finish();
    let wrong: Vec<_> = many.faults.iter().map(|fault| fault.wrong).collect();
    assert_eq!((many.chains.len(), wrong), (CHAINS_MAX, vec![Wrong::TooMuch; 2]));
}
