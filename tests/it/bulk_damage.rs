//! Good files with random damage: either no number of the column survives, or the run fails and names the row.

use std::{fs, io::Write as _, sync::Mutex, thread};

use flate2::{Compression, write::GzEncoder};

use crate::{
    random::{self, Random, Run},
    support::{Folder, run},
};

/// Numbers in the column. None of them is part of another.
const NUMBERS: [&str; 6] = ["13911111111", "13822222222", "13733333333", "13644444444", "13555555555", "13466666666"];

/// The number of files for one seed.
const FILES_PER_SEED: usize = 250;

/// What is inserted into a file, or replaces a byte: quotes and delimiters, line ends of all kinds, NUL, byte order
/// marks, first and last bytes of characters, look-alikes of delimiters, and digits outside ASCII.
const STRAYS: [&[u8]; 26] = [
    b"\"",
    b"\"",
    b"\"\"",
    b",",
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\n",
    b"\r",
    b"\r",
    b"\r\n",
    b"\0",
    b"\\",
    b"\\\"",
    b"'",
    b" ",
    b"\xff",
    b"\xe7\x8e",
    b"\x81",
    b"\xfe",
    "\u{FEFF}".as_bytes(),
    "\u{FF0C}".as_bytes(),
    "\u{2028}".as_bytes(),
    "１".as_bytes(),
];

/// The layout and encoding of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    CsvIn(&'static str),
    Gzip,
    Jsonl,
}

/// The rows of a file before it is damaged. The first row may be a header.
struct Rows(Vec<Vec<u8>>);

impl Rows {
    fn new(kind: Kind, random: &mut Random) -> Self {
        const NAMES: [&str; 8] = ["Ann", "\"Li, Bo\"", "\"two\nlines\"", "\"a \"\"b\"\"\"", "", "王伟", "\"\"", "'x'"];
        let end = ["\n", "\r\n", "\r"][random.below(3)];
        let mut rows = Vec::new();
        if kind != Kind::Jsonl {
            rows.push(format!("id,name,phone{end}").into_bytes());
        }
        for (id, number) in NUMBERS.iter().enumerate() {
            let name = NAMES[random.below(NAMES.len())];
            let row = match (kind, random.below(3)) {
                (Kind::Jsonl, 0) => format!("{{\"id\":{id},\"name\":\"王 \\\"伟\\\"\",\"phone\":\"{number}\"}}\n"),
                (Kind::Jsonl, 1) => format!("{{\"phone\": {number}, \"more\": {{\"of\": [1, null]}}}}\n"),
                (Kind::Jsonl, _) => format!("{{\"a\":[\"x,y\"],\"phone\":\"{number}\",\"z\":\"\\u738b\"}}\n"),
                (_, 0) => format!("{id},{name},\"{number}\"{end}"),
                _ => format!("{id},{name},{number}{end}"),
            };
            rows.push(row.into_bytes());
        }
        Self(rows)
    }

    /// Moves rows or cells. The result may be a good file with numbers in other columns.
    fn shuffle(&mut self, random: &mut Random) {
        let (one, other) = (random.below(self.0.len()), random.below(self.0.len()));
        match random.below(6) {
            // A row within another.
            0 => {
                let row = self.0.remove(one);
                let into = other.min(self.0.len() - 1);
                let at = random.below(self.0[into].len());
                self.0[into].splice(at..at, row);
            }
            1 => self.0.insert(other, self.0[0].clone()),
            2 => drop(self.0.remove(0)),
            3 => self.0.swap(one, other),
            // Two cells change places.
            4 => {
                let row = String::from_utf8(self.0[one].clone()).unwrap();
                let text = row.trim_end_matches(['\r', '\n']);
                let mut cells: Vec<_> = text.split(',').collect();
                let (first, second) = (random.below(cells.len()), random.below(cells.len()));
                cells.swap(first, second);
                self.0[one] = (cells.join(",") + &row[text.len()..]).into_bytes();
            }
            // A line end, anywhere.
            _ => {
                let at = random.below(self.0[one].len());
                self.0[one].insert(at, b'\n');
            }
        }
    }
}

/// Damages `content` in one place.
fn damage(content: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(content.len().max(1)).min(content.len().saturating_sub(1));
    let stray = STRAYS[random.below(STRAYS.len())];
    match random.below(7) {
        0 => drop(content.remove(at)),
        1 | 2 => drop(content.splice(at..at, stray.iter().copied())),
        3 => content.truncate(at.max(1)),
        4 => content[at] ^= 1 << random.below(8),
        // All of one kind, as a careless program does it.
        5 => {
            const CARELESS: [(&str, &str); 6] =
                [("\"", "\"\""), ("\"", ""), ("\"\"", "\\\""), (",", ";"), ("\n", "\r"), ("\n", "")];
            let (from, to) = CARELESS[random.below(CARELESS.len())];
            *content = replace(content, from.as_bytes(), to.as_bytes());
        }
        _ => drop(content.splice(at..=at, stray.iter().copied())),
    }
    if content.is_empty() {
        content.push(b'x');
    }
}

fn replace(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut replaced, mut rest) = (Vec::new(), content);
    while let [first, behind @ ..] = rest {
        let found = rest.strip_prefix(from);
        replaced.extend_from_slice(if found.is_some() { to } else { std::slice::from_ref(first) });
        rest = found.unwrap_or(behind);
    }
    replaced
}

fn encode(text: &[u8], encoding: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    match encoding {
        "utf-16" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        label => encoding_rs::Encoding::for_label(label.as_bytes()).unwrap().encode(&text).0.into_owned(),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Makes one file and damages it. Fails if a number of it is in the output although the run named no row.
fn check_one(folder: &Folder, random: &mut Random) {
    let kind = match random.below(10) {
        0 | 1 => Kind::CsvIn(["gb18030", "big5", "utf-16", "utf-16be", "utf-8"][random.below(5)]),
        2 => Kind::Jsonl,
        3 => Kind::Gzip,
        _ => Kind::Csv,
    };
    let mut rows = Rows::new(kind, random);
    let is_shuffled = random.percent(25);
    if is_shuffled {
        rows.shuffle(random);
    }
    let mut content = rows.0.concat();
    if let Kind::CsvIn(encoding) = kind {
        content = encode(&content, encoding);
    }
    let damages = random.below(4);
    (0..damages).for_each(|_| damage(&mut content, random));
    let mut name = "in";
    if kind == Kind::Gzip {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&content).unwrap();
        content = packed.finish().unwrap();
        name = "in.gz";
        if random.percent(20) {
            content.truncate(random.below(content.len()));
        }
    }
    let mut args = vec!["tokenize", name, "--report", "report", "--threads", "1"];
    args.extend(match kind {
        Kind::Jsonl => ["--format", "jsonl", "--column", "/phone"],
        _ => ["--format", "csv", "--column", ["phone", "3"][random.below(2)]],
    });
    if let Kind::CsvIn(encoding) = kind {
        args.extend(["--encoding", encoding]);
    }
    // One damage to a byte never makes good rows of bad ones. What moves cells can, and two damages: then a look shows it.
    if damages > 1 || is_shuffled {
        args.push("--strict");
    }
    fs::write(folder.path().join(name), &content).unwrap();
    let report = folder.path().join("report");
    let _ = fs::remove_file(&report);
    let output = run(folder.path(), &args);
    let told = fs::read_to_string(report).unwrap_or_default() + &String::from_utf8_lossy(&output.stderr);
    let names_a_row = output.status.code() == Some(1) && (told.contains("row ") || told.contains("the input is "));
    for number in NUMBERS {
        let utf16: Vec<u8> = number.encode_utf16().flat_map(u16::to_le_bytes).collect();
        // The other order, and an odd place, have the same bytes but for the outermost.
        let is_left =
            contains(&output.stdout, number.as_bytes()) || contains(&output.stdout, &utf16[..utf16.len() - 1]);
        let shown = String::from_utf8_lossy(&content);
        assert!(!is_left || names_a_row, "{args:?}\n{shown:?}\n{told}{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}\n{told}");
}

/// Damages the files of these seeds, on all cores.
fn check_damaged(seeds: impl Iterator<Item = u64> + Send) {
    let seeds = Mutex::new(seeds);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                let folder = Folder::new();
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let (_run, mut random) = (Run(seed), Random::new(seed));
                    (0..FILES_PER_SEED).for_each(|_| check_one(&folder, &mut random));
                }
            });
        }
    });
}

#[test]
fn damaged_files_hand_no_number_on() {
    check_damaged([1_000, 1_001].into_iter());
}

/// 100,000 files.
#[test]
#[ignore = "takes a quarter of an hour"]
fn many_damaged_files_hand_no_number_on() {
    check_damaged(random::seeds(400));
}
