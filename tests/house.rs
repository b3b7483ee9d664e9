//! The structure of the source: imports point downwards, siblings never meet, the core does no I/O, and nothing is too
//! long.
//!
//! The tests read `use` lines and paths that begin with `crate::`. The order of the modules is that of `src/lib.rs`.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests have no callers, and a panic is how they fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Maximum lines of a file and of a function.
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// The parts of the tokenizer: none of them knows another.
const SIBLINGS: [&str; 4] = ["keyring", "phone", "siv", "uid"];

/// Modules that do no I/O, know no clock and are not async, together with their submodules.
const PURE: [&str; 20] = [
    "wire",
    "tokenizer",
    "mapped",
    "item",
    "phone",
    "uid",
    "siv",
    "number",
    "ids",
    "keyring",
    "keyring::approval",
    "keyring::base64",
    "keyring::difference",
    "keyring::fault",
    "keyring::fingerprint",
    "keyring::json",
    "keyring::key",
    "keyring::note",
    "keyring::rotation",
    "keyring::successor",
];

/// The exceptions: impure submodules of pure modules.
const IMPURE: [&str; 5] =
    ["keyring::file", "keyring::hybrid", "keyring::identity", "keyring::recipient", "keyring::sealed"];

/// What a pure module must not use.
const WORLD: [&str; 8] =
    ["std::fs", "std::net", "std::time", "SystemTime", "Instant::now", "Timestamp::now", "tokio", "async "];

/// Modules, and others that they must not know although these stand below them.
const UNKNOWN: [(&str, &[&str]); 2] = [
    (
        "server",
        &["auth", "audit", "config", "handler", "keyring", "state", "number", "phone", "tokenizer", "uid", "wire"],
    ),
    ("operate::page", &["audit", "auth", "config", "state", "server", "tokenizer"]),
];

/// One file of `src`.
struct Module {
    file: PathBuf,
    /// Its path from the crate's root.
    path: Vec<String>,
    /// Its text without comments.
    text: String,
    is_for_tests: bool,
}

impl Module {
    fn all() -> Vec<Self> {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut files, mut folders) = (Vec::new(), vec![src.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    files.push(path);
                }
            }
        }
        files.sort();
        files.into_iter().map(|file| Self::read(&src, file)).collect()
    }

    fn read(src: &Path, file: PathBuf) -> Self {
        let path = file.strip_prefix(src).unwrap().with_extension("");
        let mut path: Vec<_> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let is_for_tests = path.last().is_some_and(|name| name == "tests" || name == "samples");
        if path.len() > 1 && path.last().is_some_and(|name| name == "mod") || path == ["lib"] {
            path.pop();
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at]));
        // Tests stand last.
        let text: Vec<_> = text.take_while(|line| *line != "mod tests {").collect();
        Self { file, path, text: text.join("\n"), is_for_tests }
    }

    fn name(&self) -> String {
        self.path.join("::")
    }

    /// The paths from the crate's root that it imports or names.
    fn imports(&self) -> Vec<Vec<String>> {
        let mut imports = Vec::new();
        for statement in self.text.split(';') {
            let Some((_, tree)) = statement.rsplit_once("\nuse ").or_else(|| statement.rsplit_once(" use ")) else {
                continue;
            };
            expand(tree, &mut Vec::new(), &mut imports);
        }
        for (at, _) in self.text.match_indices("crate::") {
            let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = self.text[at..].split(|c| !name(c)).next().unwrap_or_default();
            imports.push(path.split("::").map(str::to_owned).collect());
        }
        imports.iter().filter_map(|path| self.absolute(path)).collect()
    }

    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "super" | "self" => (self.path.clone(), path),
            _ => return None,
        };
        while let Some((first, others)) = rest.split_first().filter(|(first, _)| *first == "super" || *first == "self")
        {
            if first == "super" {
                base.pop()?;
            }
            rest = others;
        }
        Some([&base, rest].concat())
    }
}

/// The paths in the tree of a `use`.
fn expand(tree: &str, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let length = before.len();
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, group)| (head, group.rsplit_once('}')));
    let head = head.split(" as ").next().unwrap_or_default();
    before.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    match group {
        None => paths.push(before.clone()),
        Some((group, _)) => {
            let (mut depth, mut begin) = (0, 0);
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        expand(&group[begin..at], before, paths);
                        begin = at + 1;
                    }
                    _ => {}
                }
            }
            if !group[begin..].trim().is_empty() {
                expand(&group[begin..], before, paths);
            }
        }
    }
    before.truncate(length);
}

/// The modules in `src/lib.rs`, from top to bottom.
fn ranks() -> Vec<String> {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let name = |line: &str| Some(line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

fn is_within(path: &[String], module: &str) -> bool {
    let module: Vec<_> = module.split("::").collect();
    path.len() >= module.len() && path.iter().zip(module).all(|(part, other)| *part == other)
}

#[test]
fn imports_point_downwards() {
    let ranks = ranks();
    let rank = |name: &str| ranks.iter().position(|other| other == name);
    let mut upwards = Vec::new();
    for module in Module::all() {
        let Some(own) = module.path.first().and_then(|first| rank(first)) else { continue };
        for import in module.imports() {
            let Some(other) = import.first().and_then(|first| rank(first)) else { continue };
            if other < own {
                upwards.push(format!("{} knows {}", module.name(), import.join("::")));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn siblings_never_meet() {
    let mut meetings = Vec::new();
    for module in Module::all().iter().filter(|module| !module.is_for_tests) {
        let own = module.path.first().map(String::as_str).unwrap_or_default();
        for import in module.imports() {
            let other = import.first().map(String::as_str).unwrap_or_default();
            let are_siblings = own != other && SIBLINGS.contains(&own) && SIBLINGS.contains(&other);
            let is_unknown = UNKNOWN
                .iter()
                .any(|(knows_not, unknown)| is_within(&module.path, knows_not) && unknown.contains(&other));
            if are_siblings || is_unknown {
                meetings.push(format!("{} knows {}", module.name(), import.join("::")));
            }
        }
    }
    assert!(meetings.is_empty(), "{meetings:#?}");
}

#[test]
fn modules_of_one_folder_form_no_circle() {
    let modules = Module::all();
    let names: BTreeSet<_> = modules.iter().map(|module| module.path.clone()).collect();
    // Of each two paths, the folder in which they part, and the two modules of it.
    let mut edges: BTreeMap<(Vec<String>, String), BTreeSet<String>> = BTreeMap::new();
    for module in modules.iter().filter(|module| !module.is_for_tests) {
        for import in module.imports() {
            let target = (1..=import.len()).rev().map(|length| &import[..length]).find(|path| names.contains(*path));
            let Some(target) = target else { continue };
            let common = module.path.iter().zip(target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (module.path.get(common), target.get(common)) {
                edges.entry((target[..common].to_vec(), from.clone())).or_default().insert(to.clone());
            }
        }
    }
    for (folder, start) in edges.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(name) = next.pop() {
            for to in edges.get(&(folder.clone(), name)).into_iter().flatten() {
                assert!(to != start, "{}::{start} is in a circle, with {seen:?}", folder.join("::"));
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
    }
}

#[test]
fn the_core_does_no_io_and_knows_no_clock() {
    let mut found = Vec::new();
    for module in Module::all().iter().filter(|module| !module.is_for_tests) {
        let is_pure = PURE.iter().any(|pure| is_within(&module.path, pure));
        if !is_pure || IMPURE.iter().any(|impure| is_within(&module.path, impure)) {
            continue;
        }
        let imports = module.imports().iter().map(|path| path.join("::")).collect::<Vec<_>>().join("\n");
        let has = |what: &&&str| module.text.contains(**what) || imports.contains(**what);
        found.extend(WORLD.iter().filter(has).map(|what| format!("{} has {what}", module.name())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_drawing_is_in_the_order_of_the_modules() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let drawing = lib.lines().find(|line| line.starts_with("//! bytes -> ")).expect("there is a drawing");
    let ranks = ranks();
    let words = drawing.split(|c: char| !c.is_alphanumeric() && c != '_');
    let drawn: Vec<_> = words.filter_map(|word| ranks.iter().position(|name| name == word)).collect();
    let mut first: Vec<_> = Vec::new();
    drawn.into_iter().for_each(|rank| {
        if !first.contains(&rank) {
            first.push(rank)
        }
    });
    assert!(first.len() >= 9 && first.is_sorted(), "{drawing} is not in the order of {ranks:?}");
}

#[test]
fn each_file_is_a_module() {
    let modules = Module::all();
    for module in modules.iter().filter(|module| !module.path.is_empty() && module.path != ["main"]) {
        let (name, parent) = module.path.split_last().unwrap();
        let parent = modules.iter().find(|other| other.path == parent).expect("a module has a parent");
        let declared = format!("mod {name};");
        assert!(parent.text.contains(&declared), "{} is named by no module", module.file.display());
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut long = Vec::new();
    for Module { file, .. } in Module::all() {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            long.push(format!("{}: {} lines", file.display(), lines.len()));
        }
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let is_over = |line: &&str| **line == end || line.ends_with('}') && line.contains("fn ");
            let length = 1 + lines[at..].iter().position(is_over).unwrap_or_default();
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{}: {length} lines", file.display(), at + 1));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start().split(' ').take_while(|word| *word != "fn");
    let is_qualified = words
        .clone()
        .all(|word| word.starts_with("pub") || word.starts_with("in") || matches!(word, "const" | "async" | "unsafe"));
    is_qualified && words.count() < line.trim_start().split(' ').count() && !line.trim_end().ends_with(';')
}
