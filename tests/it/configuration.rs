//! `docs/configuration.md` has every key that the code reads, and says of each what the code says.

use std::{collections::BTreeSet, path::Path, time::Duration};

use callveil::{
    config::{Config, Overrides},
    limits::Limits,
};
use regex::Regex;

const PAGE: &str = include_str!("../../docs/configuration.md");
const CODE: &str = include_str!("../../src/config.rs");

/// What a client must have.
const CLIENT: &str = "username = \"a\"
password_sha256 = [\"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8\"]";

const APPROVER: &str = "alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

/// A row of the page.
struct Row {
    /// The key, with the tables that it is in.
    key: &'static str,
    default: &'static str,
    values: &'static str,
}

impl Row {
    fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap()
    }

    /// What the code says of a configuration in which this key is a table, which none may be.
    fn complaint(&self) -> String {
        let listen = "listen = \"127.0.0.1:0\"\n";
        let beside = match self.key {
            "listen" => "".to_owned(),
            "approvals" => format!("{listen}approvers = [\"{APPROVER}\"]\n"),
            "tls.private_key" | "admin.tls.private_key" | "admin.tls.client_ca" => {
                let table = self.key.strip_suffix(self.name()).unwrap();
                let key =
                    if self.name() == "client_ca" { format!("{table}private_key = \"b\"\n") } else { "".to_owned() };
                format!("{listen}{table}certificate = \"a\"\n{key}")
            }
            _ => listen.to_owned(),
        };
        let client = CLIENT.lines().filter(|line| !line.starts_with(self.name())).collect::<Vec<_>>().join("\n");
        let text = match self.key.strip_prefix("clients.") {
            Some(key) => format!("{beside}[[clients]]\n{client}\n{key} = {{ x = 1 }}\n"),
            None => format!("{beside}{} = {{ x = 1 }}\n[[clients]]\n{client}\n", self.key),
        };
        let read = Config::from_toml(&text, Path::new(""), Overrides::default());
        read.err().unwrap_or_else(|| panic!("accepted:\n{text}")).to_string()
    }
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let [key, _, default, values, _] = cells[..] else { return None };
        Some(Row { key: key.trim_end_matches('`'), default, values })
    };
    PAGE.lines().filter_map(row).collect()
}

#[test]
fn every_key_of_the_code_is_in_the_page() {
    let read = Regex::new(
        r#"(?:\.(?:strings?|boolean|integer|seconds|address|sections?|take)\(|file\(|networks\(&mut top, )[ \n]*"([a-z0-9_]+)""#,
    )
    .unwrap();
    let (code, _) = CODE.split_once("#[cfg(test)]").unwrap();
    let mut names: BTreeSet<String> = read.captures_iter(code).map(|found| found[1].to_owned()).collect();
    let limits = Regex::new(r#"allowance\(&mut section, "([a-z]+)""#).unwrap();
    for found in limits.captures_iter(code) {
        names.extend(["minute", "day"].map(|span| format!("{}_per_{span}", &found[1])));
    }
    for table in ["tls", "admin", "limits", "audit", "clients"] {
        assert!(names.remove(table), "{table}");
    }
    assert_eq!(rows().iter().map(|row| row.name().to_owned()).collect::<BTreeSet<_>>(), names);
    assert!(names.len() > 40 && rows().len() > names.len());
}

#[test]
fn every_key_of_the_page_is_one_of_the_code_and_has_its_range() {
    let range = Regex::new("^([0-9]+) to ([0-9]+)(, or `\"unlimited\"`)?$").unwrap();
    let mut ranges = 0;
    for row in rows() {
        let complaint = row.complaint();
        let place = row.key.replace("clients.", "clients[0].");
        assert!(complaint.contains(&format!("`{place}`")), "{}: {complaint}", row.key);
        assert!(!complaint.contains("is not a key"), "{}: {complaint}", row.key);
        if let Some(found) = range.captures(row.values) {
            let told = format!(" from {} to {}", &found[1], &found[2]);
            let has_it = complaint.ends_with(&told) || complaint.contains(&format!("{told},"));
            assert!(has_it, "{}: {complaint}", row.key);
            assert_eq!(complaint.contains("\"unlimited\""), found.get(3).is_some(), "{}: {complaint}", row.key);
            ranges += 1;
        }
    }
    assert!(ranges > 15, "{ranges}");
}

#[test]
fn limits_have_the_defaults_of_the_page() {
    let seconds = |duration: Duration| usize::try_from(duration.as_secs()).unwrap();
    let Limits {
        body_bytes,
        buffered_bytes,
        numbers,
        connections,
        connections_per_peer,
        header,
        request,
        idle,
        drain_delay,
        drain,
    } = Limits::default();
    let defaults = [
        ("body_bytes", body_bytes),
        ("buffered_bytes", buffered_bytes),
        ("numbers", numbers),
        ("connections", connections),
        ("connections_per_peer", connections_per_peer),
        ("header_seconds", seconds(header)),
        ("request_seconds", seconds(request)),
        ("idle_seconds", seconds(idle)),
        ("drain_delay_seconds", seconds(drain_delay)),
        ("drain_seconds", seconds(drain)),
    ];
    let rows = rows();
    let told = rows.iter().filter(|row| row.key.starts_with("limits."));
    let told: Vec<_> = told.map(|row| (row.name(), row.default.parse().unwrap())).collect();
    assert_eq!(told, defaults);
}
