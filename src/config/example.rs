//! The whole configuration as a file with comments, for people to begin with.

use super::{
    keys::{Default, Key, Taken},
    list::KEYS,
};

/// Characters of a line.
const LINE_CHARS_MAX: usize = 94;

/// Keys that are set. With them, the file passes the check, and serves once a ring is made and a password is set.
const SET: [&str; 5] = ["listen", "keyring", "admin.listen", "clients.username", "clients.password_sha256"];

const INTRODUCTION: &str = "\
# The configuration of callveil. `callveil config check FILE` tells all that is wrong with it,
# and what `callveil serve --config FILE` would do.
#
# A line that begins with # and no space is a setting that is not made. It shows what holds
# without it, or an example. Paths are relative to this file's folder, sizes are in bytes.
# SIGHUP takes up what says so; all else wants a restart.
";

/// The tables: each name, its heading, and what the table is about.
const TABLES: [(&str, &str, &str); 6] = [
    ("tls", "#[tls]", "Without this table the endpoint speaks plain HTTP."),
    ("admin", "[admin]", "Without this table there is no admin listener: no /readyz, no /metrics, no /keyring."),
    ("admin.tls", "#[admin.tls]", "Without this table the admin listener speaks plain HTTP."),
    ("limits", "[limits]", "Of one replica. `callveil config check` tells the most memory that follows from them."),
    ("audit", "[audit]", "There is always an audit log."),
    ("clients", "[[clients]]", "Who may call: one table each."),
];

/// The configuration, each key with what it does. What is set in it passes the check.
pub fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut current = "";
    for key in KEYS {
        let (table, name) = key.split();
        if table != current {
            let (_, head, words) = TABLES.iter().find(|(of, ..)| *of == table).expect("each table is told of");
            text += "\n";
            comment(&mut text, words);
            text += &format!("{head}\n");
            current = table;
        }
        text += "\n";
        comment(&mut text, &sentence(key));
        let mark = if SET.contains(&key.path) { "" } else { "#" };
        text += &format!("{mark}{name} = {}\n", key.example());
    }
    text
}

/// What `key` does, its values, and its default.
fn sentence(key: &Key) -> String {
    let mut letters = key.words.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let default = match key.default {
        Default::Value(value) => format!("default {value}"),
        Default::Words(words) => format!("default: {words}"),
        Default::Required(words, _) => words.to_owned(),
    };
    let taken = if key.taken == Taken::OnReload { "; SIGHUP" } else { "" };
    format!("{first}{}. ({}; {default}{taken})", letters.as_str(), key.values())
}

/// Adds `words` as comments, wrapped.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            *text += &format!("{line}\n");
            line = "#".to_owned();
        }
        line += &format!(" {word}");
    }
    *text += &format!("{line}\n");
}
