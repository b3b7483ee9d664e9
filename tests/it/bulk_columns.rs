//! Several columns in a row, and the forms of decoded numbers.

use std::{fs, time::Instant};

use serde_json::Value;

use crate::support::{Folder, PATIENCE, run};

#[track_caller]
fn check(folder: &Folder, content: &str, args: &[&str], code: i32, says: &[&str]) -> String {
    fs::write(folder.path().join("in"), content).unwrap();
    let output = run(folder.path(), args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?} {content:?}\n{told}");
    says.iter().for_each(|says| assert!(told.contains(says), "{args:?} does not say {says:?}:\n{told}"));
    String::from_utf8(output.stdout).unwrap()
}

/// Three numbers as they are written, each with its UID.
fn uids(folder: &Folder) -> Vec<(String, String)> {
    let numbers = ["13911111111", "13822222222", "0755-86013388"].map(str::to_owned);
    let lines = check(folder, &numbers.join("\n"), &["tokenize", "in", "-q"], 0, &[]);
    numbers.into_iter().zip(lines.lines().map(str::to_owned)).collect()
}

/// `text` with all numbers replaced by UIDs.
fn with_uids(text: &str, uids: &[(String, String)]) -> String {
    uids.iter().fold(text.to_owned(), |text, (number, uid)| text.replace(number, uid))
}

#[test]
fn several_columns_of_csv_are_mapped_and_nothing_else() {
    let folder = Folder::new();
    let uids = uids(&folder);
    let content = "a,b,c,d\n13911111111,x,13822222222,\"0755-86013388\"\n\
                   \"13822222222\",\"x, y\",,13911111111\r\n\\N,\"\",\"13911111111\",\"13822222222\"\r";
    for columns in [&["a", "c", "d"][..], &["d", "a", "c", "1"], &["4", "3", "1"]] {
        let columns = columns.iter().flat_map(|column| ["--column", column]);
        let args: Vec<&str> = ["tokenize", "in", "--format", "csv"].into_iter().chain(columns).collect();
        let out = check(&folder, content, &args, 0, &["3 rows: 7 mapped", "2 empty"]);
        assert_eq!(out, with_uids(content, &uids));
    }
    let args = ["tokenize", "in", "--format", "csv", "--no-header", "--column", "2", "--column", "1"];
    let content = "13911111111,13822222222\n";
    assert_eq!(check(&folder, content, &args, 0, &["2 mapped"]), with_uids(content, &uids));
    // Two columns of four: the scan looks between and behind them.
    let args = ["tokenize", "in", "--format", "csv", "--column", "a", "--column", "c"];
    let content = "a,b,c,d\n13911111111,13822222222,13911111111,13822222222\n";
    check(&folder, content, &args, 0, &["other columns", "b: 1", "d: 1"]);
    check(&folder, content, &[&args[..], &["--column", "phone"]].concat(), 1, &["no column has that name"]);
}

#[test]
fn a_row_fails_once_whatever_fails_in_it() {
    let folder = Folder::new();
    let uids = uids(&folder);
    let (good, bad) = ("13911111111,x,13822222222\n", "\u{1},x,13911111111\n");
    let content = format!("a,b,c\n{good}{bad}\u{1},y,\u{1}\n1,2\n{good}");
    let args = ["tokenize", "in", "--format", "csv", "--column", "a", "--column", "c", "--rejects", "rejects"];
    let told =
        ["row 3, a: invalid_number", "row 4, a: invalid_number", "row 4, c: invalid_number", "row 5: wrong_shape"];
    let out = check(&folder, &content, &args, 1, &told);
    assert_eq!(out, with_uids(&format!("a,b,c\n{good},x,13911111111\n,y,\n{good}"), &uids));
    let out = check(&folder, &content, &[&args[..], &["--on-error", "drop"]].concat(), 0, &[]);
    assert_eq!(out, with_uids(&format!("a,b,c\n{good}{good}"), &uids));
    let rejects = fs::read_to_string(folder.path().join("rejects")).unwrap();
    assert_eq!(rejects, format!("{bad}\u{1},y,\u{1}\n1,2\n"));
    let out = check(&folder, &content, &[&args[..], &["--on-error", "fail"]].concat(), 1, &["row 3"]);
    assert_eq!(out, with_uids(&format!("a,b,c\n{good}"), &uids));
    let out = check(&folder, &content, &[&args[..], &["--on-error", "keep"]].concat(), 0, &[]);
    assert_eq!(out, with_uids(&content.replace("1,2\n", ""), &uids));
}

#[test]
fn pointers_name_all_elements_of_an_array() {
    let folder = Folder::new();
    let uids = uids(&folder);
    let content = concat!(
        r#"{"p":["13911111111","13822222222",13911111111],"q":"13822222222"}"#,
        "\n",
        r#"{"q":null,"p":[]}"#,
        "\n",
        r#"{"q":"","p":[null,"\u0031\u0033911111111",""]}"#,
        "\n",
    );
    let args = ["tokenize", "in", "--format", "jsonl", "--column", "/q", "--column", "/p/*"];
    let out = check(&folder, content, &args, 0, &["3 rows: 5 mapped"]);
    let wanted = content.replace(r"\u0031\u0033911111111", "13911111111").replace(",13911111111]", ",\"13911111111\"]");
    assert_eq!(out, with_uids(&wanted, &uids));
    // Arrays of objects, of arrays, and what is none.
    let content = r#"{"c":[{"p":["13911111111"]},{"p":["13822222222","0755-86013388"]},{}]}"#;
    let args = ["tokenize", "in", "--format", "jsonl", "--column", "/c/*/p/*"];
    assert_eq!(check(&folder, content, &args, 0, &["3 mapped"]), with_uids(content, &uids));
    let content = "{\"c\":{\"p\":1}}\n{\"c\":[{\"p\":[\"13911111111\"]}]}\n";
    check(&folder, content, &args, 1, &["row 1: missing_column"]);
    // A pointer to what holds another's value fails, and nothing of it is seen.
    let content = r#"{"p":["13911111111"],"q":"13822222222"}"#;
    let args = ["tokenize", "in", "--format", "jsonl", "--column", "/p/*", "--column", "/q", "--column", "/p"];
    let out = check(&folder, content, &args, 1, &["row 1, /p: not_a_string"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&out["p"], out["q"].as_str()), (&"".into(), Some(uids[1].1.as_str())));
    let content = "{\"p\":[\"13911111111\"]\n";
    let out = check(&folder, content, &args, 1, &["row 1: not_json"]);
    assert!(!out.contains("1391111"));
    let content = "{\"p\":[\"13911111111\"],\"r\":\"13911111111\"}\n{\"p\":[\"13911111111\",{}],\"q\":null}\n";
    let args = ["tokenize", "in", "--format", "jsonl", "--column", "/q", "--column", "/p/*"];
    check(&folder, content, &args, 1, &["row 1, /q: missing_column", "row 2, /p/*: not_a_string"]);
}

#[test]
fn numbers_come_back_in_the_form_that_is_asked_for() {
    let folder = Folder::new();
    let texts = ["13911111111", "0755-86013388", "+44 7700 900123", "10086", "8001", "王伟"];
    let uids = check(&folder, &texts.join("\n"), &["tokenize", "in"], 0, &[]);
    let forms = [
        ("dialled", ["008613911111111", "0086075586013388", "00447700900123", "008610086", "8001", "王伟"]),
        ("e164", ["+8613911111111", "+8675586013388", "+447700900123", "10086", "8001", "王伟"]),
        ("national", ["13911111111", "075586013388", "+447700900123", "10086", "8001", "王伟"]),
    ];
    let kinds = ["6 mapped", "3 E.164", "1 hotline"];
    for (form, wanted) in forms {
        let out = check(&folder, &uids, &["detokenize", "in", "--form", form], 0, &[]);
        assert_eq!(out.lines().collect::<Vec<_>>(), wanted, "{form}");
        // Whatever the form, it is the same number.
        assert_eq!(check(&folder, &out, &["tokenize", "in"], 0, &[]), uids, "{form}");
    }
    check(&folder, &uids, &["tokenize", "in", "--form", "e164"], 2, &["--form"]);
    // A UID is a hotline by the rules of its own key; but what comes back is read by those of the primary.
    assert!(run(folder.path(), &["keys", "rotate", "--region", "US", "--activate-in", "0s"]).status.success());
    let since = Instant::now();
    while check(&folder, &texts.join("\n"), &["tokenize", "in"], 0, &[]) == uids {
        assert!(since.elapsed() < PATIENCE, "the new key is never the primary");
    }
    let abroad = ["+8613911111111", "+8675586013388", "+447700900123", "008610086", "8001", "王伟"];
    for (form, wanted) in [forms[0], ("e164", abroad), ("national", abroad)] {
        let out = check(&folder, &uids, &["detokenize", "in", "--form", form], 0, &kinds);
        assert_eq!(out.lines().collect::<Vec<_>>(), wanted, "{form}");
    }
}

#[test]
fn texts_that_a_spreadsheet_would_run_are_counted_and_guarded() {
    let folder = Folder::new();
    let texts = ["=1+1", "@SUM(A1)", "-2+3", "＝1", "+5", "13911111111", "a=b"];
    let uids = check(&folder, &texts.join("\n"), &["tokenize", "in"], 0, &[]);
    let out = check(&folder, &uids, &["detokenize", "in"], 0, &["4 that a spreadsheet would run"]);
    assert!(out.starts_with("=1+1\n@SUM(A1)\n-2+3\n＝1\n+5\n"), "{out}");
    let out = check(&folder, &uids, &["detokenize", "in", "--guard-formulas", "--form", "e164"], 0, &["4 that"]);
    assert_eq!(out, "'=1+1\n'@SUM(A1)\n'-2+3\n'＝1\n+5\n+8613911111111\na=b\n");
}
