//! JSON lines by RFC 8259: valid JSON is mapped, whatever else the line holds; anything else is reported.

use std::fs;

use crate::support::{Folder, run};

/// Lines that are not JSON. `P` stands for a member with a number.
const NOT_JSON: &[&str] = &[
    "{P,}",
    "{,P}",
    "{P P}",
    "{P;\"a\":1}",
    "{P,\"a\"}",
    "{P,\"a\":}",
    "{P,a:1}",
    "{P,'a':1}",
    "{P,\"a\"::1}",
    "{P,\"a\" 1}",
    "{P,1:1}",
    "{P",
    "{P,\"a\":[1}",
    "{P,\"a\":[1,]}",
    "{P,\"a\":[,1]}",
    "{P,\"a\":[1 2]}",
    "{P,\"a\":[1,,2]}",
    "{P,\"a\":[1:2]}",
    "{P,\"a\":{\"b\"}}",
    "{P,\"a\":{\"b\":1,}}",
    "{P,\"a\":{,}}",
    "{P,\"a\":[}",
    "{P,\"a\":{]}",
    "{P,\"a\":[\"b\":1]}",
    "{P}}",
    "{P}x",
    "{P}{P}",
    "[{P}",
    "{P},",
    "\u{FEFF}{P}",
    "{P,\"a\":01}",
    "{P,\"a\":-01}",
    "{P,\"a\":+1}",
    "{P,\"a\":1.}",
    "{P,\"a\":.1}",
    "{P,\"a\":-}",
    "{P,\"a\":1e}",
    "{P,\"a\":1e+}",
    "{P,\"a\":1e1.5}",
    "{P,\"a\":1.5.5}",
    "{P,\"a\":0x1}",
    "{P,\"a\":1-2}",
    "{P,\"a\":--1}",
    "{P,\"a\":NaN}",
    "{P,\"a\":Infinity}",
    "{P,\"a\":-Infinity}",
    "{P,\"a\":nul}",
    "{P,\"a\":True}",
    "{P,\"a\":nulll}",
    "{P,\"a\":\u{FF11}}",
    "{P,\"a\":1\u{A0}}",
    "{P,\"a\":\u{C}1}",
    "{P,\"a\":\"\t\"}",
    "{P,\"a\":\"\u{1}\"}",
    "{P,\"a\":\"\0\"}",
    "{P,\"a\":\"\\x41\"}",
    "{P,\"a\":\"\\u12\"}",
    "{P,\"a\":\"\\u12G4\"}",
    "{P,\"a\":\"\\\"}",
    "{P,\"a\":\"\\a\"}",
    "{P,\"a\":\"\\0\"}",
    "{P,\"a\":\"\\U0041\"}",
    "{P,\"a\":'b'}",
    "{P,\"a\":\"b}",
    "{P}//c",
    "{P,/**/\"a\":1}",
    "{P}#",
    "{P,\"a\":1\0}",
    "{\"a\t\":1,P}",
    "{P,...}",
    "{\"phone\":*}",
    "phone: 1",
    "undefined",
];

/// Lines that are JSON, with a member that holds a number.
const JSON: &[&str] = &[
    "{P}",
    " {P} ",
    "\t{\tP\t}\t\r",
    "{\"a\":[],P}",
    "{\"a\":{},P}",
    "{\"a\":[[],{}],P}",
    "{\"a\":[1,2,[3,{\"b\":4}]],P}",
    "{\"a\":-0,P}",
    "{\"a\":0,P}",
    "{\"a\":-1.5e-10,P}",
    "{\"a\":1E400,P}",
    "{\"a\":0e+1,P}",
    "{\"a\":123123e100000,P}",
    "{\"a\":1234567890123456789012345678901234567890,P}",
    "{\"a\":true,\"b\":false,\"c\":null,P}",
    "{\"\":0,P}",
    "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\",P}",
    "{\"a\":\"\\ud834\\udd1e\",P}",
    "{\"a\":\"\\ud800\",P}",
    "{\"\\udfff\":1,P}",
    "{\"a\":\"\\u0000\",P}",
    "{\"a\":1,\"a\":2,P}",
    "{\"a\":\"\u{7F}\u{2028}\u{FFFF}😀\",P}",
    "{ \"a\" : [ 1 , 2 ] , P }",
];

fn tokenize(folder: &Folder, lines: &[u8]) -> (Vec<u8>, String) {
    fs::write(folder.path().join("in"), lines).unwrap();
    let args = ["tokenize", "in", "--format", "jsonl", "--column", "/phone", "--report", "report"];
    let output = run(folder.path(), &args);
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&output.stderr));
    (output.stdout, fs::read_to_string(folder.path().join("report")).unwrap())
}

#[test]
fn json_is_what_rfc_8259_says() {
    let folder = Folder::new();
    let member = "\"phone\":\"13911111111\"";
    let lines = |lines: &[&str]| lines.iter().map(|line| line.replace('P', member) + "\n").collect::<String>();
    let (out, report) = tokenize(&folder, lines(&[&["{P}"], NOT_JSON].concat()).as_bytes());
    let rows: Vec<&str> = report.lines().collect();
    for (at, line) in NOT_JSON.iter().enumerate() {
        assert_eq!(rows.get(at), Some(&format!("row {}: not_json", at + 2).as_str()), "{line}");
    }
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("139") && out.lines().skip(1).all(str::is_empty), "{out}");

    let (out, report) = tokenize(&folder, lines(JSON).as_bytes());
    assert_eq!(report, "");
    let out = String::from_utf8(out).unwrap();
    let uid = out.split('"').nth(3).unwrap().to_owned();
    assert_eq!(out.replace(&uid, "13911111111"), lines(JSON));
}

#[test]
fn only_the_value_is_lost_where_it_cannot_be_mapped() {
    let folder = Folder::new();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let objects = "{\"a\":".repeat(1000) + "1" + &"}".repeat(1000);
    let lines = format!(
        "{{\"deep\":{deep},\"phone\":\"\\ud800\"}}\n{{\"deep\":{objects},\"phone\":\"\\t\"}}\n{{\"phone\":1.5,\"deep\":{deep}}}\n"
    );
    let (out, report) = tokenize(&folder, lines.as_bytes());
    assert_eq!(report, "row 1: invalid_number\nrow 2: invalid_number\nrow 3: not_a_string\n");
    let blanked = lines.replace("\\ud800", "").replace("\\t", "").replace("1.5", "\"\"");
    assert!(String::from_utf8(out).unwrap() == blanked);
    // Brackets must match, however deep they are.
    let crossed = format!("{{\"deep\":{}{},\"phone\":\"1\"}}\n", "[".repeat(200), "]".repeat(199) + "}");
    assert_eq!(tokenize(&folder, crossed.as_bytes()).1, "row 1: not_json\n");
    let broken = b"{\"phone\":\"13911111111\"}\n{\"a\":\"\xff\",\"phone\":\"13911111111\"}\n";
    let padded = [format!("{{\"a\":\"{}\"}}\n", "x".repeat(5000)).as_bytes(), broken].concat();
    let (out, report) = tokenize(&folder, &padded);
    assert_eq!(report, "row 1: missing_column\nrow 3: not_json\n");
    assert!(!String::from_utf8_lossy(&out).contains("139"));
}
