//! What is accepted, and what is wrong: faults name keys and do not quote values.

use std::time::Duration;

use super::*;
use crate::{auth::OnPartial, item::Mode, keyring::GENERATION_MAX, limits::Limits};

const CLIENT: &str = r#"
    [[clients]]
    username = "ccc"
    password_sha256 = ["5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"]
"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("/etc/callveil"), Overrides::default())
}

#[track_caller]
fn check(text: &str, place: &str) {
    let Err(error) = read(text) else { panic!("accepted {text}") };
    assert!(error.faults().iter().any(|fault| fault.place == place), "{place}: {error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn a_day_is_twenty_minutes_unless_it_is_told_otherwise() {
    let in_client = |line: &str| format!("plaintext = true\n{CLIENT}\n{line}");
    for (limits, tokenize, detokenize) in [
        ("", Some(12_000_000), Some(1_200_000)),
        ("tokenize_per_minute = 5\ndetokenize_per_minute = 1000000000", Some(100), Some(20_000_000_000)),
        ("tokenize_per_minute = \"unlimited\"\ndetokenize_per_day = 7", None, Some(7)),
        (
            "tokenize_per_minute = \"unlimited\"\ntokenize_per_day = 1440000000000",
            Some(1_440_000_000_000),
            Some(1_200_000),
        ),
        ("tokenize_per_day = \"unlimited\"", None, Some(1_200_000)),
    ] {
        let config = read(&in_client(limits)).map_err(|error| error.to_string()).expect("it is right");
        let client = &config.clients[0];
        assert_eq!((client.tokenize.per_day(), client.detokenize.per_day()), (tokenize, detokenize), "{limits}");
    }
}

#[test]
fn defaults_are_those_of_the_specification() {
    let config = read(&format!("plaintext = true\n{CLIENT}")).expect("a good configuration");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(
        (config.terms.path.as_str(), config.keyring.path),
        ("/", PathBuf::from("/etc/callveil/keys/keyring.json"))
    );
    assert!(config.admin.is_none() && config.threads.is_none() && config.terms.allow_from.is_empty());
    assert_eq!((config.terms.limits.numbers, config.terms.limits.idle), (10_000, Duration::from_secs(75)));
    let client = &config.clients[0];
    assert_eq!((client.context.as_str(), client.partial), ("default", OnPartial::Lenient));
    assert_eq!(client.modes, [Mode::PhoneToUid, Mode::UidToPhone]);
}

/// A configuration with this line among its own keys.
fn top(line: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\n{line}\n{CLIENT}")
}

/// A configuration with this line in the table of a client.
fn in_client(line: &str) -> String {
    format!("{}\n{line}", top(""))
}

#[test]
fn a_wrong_key_is_named_and_not_quoted() {
    check(&format!("listen = \"0.0.0.0:8443\"{CLIENT}"), "`listen`");
    check("listen = \"127.0.0.1:0\"", "`clients`");
    check(&top("password = \"s3cret\""), "`password`");
    check(&top("path = \"s3cret\""), "`path`");
    check(&top("path = 5"), "`path`");
    check(&top("keyring_mode = \"s3cret\""), "`keyring_mode`");
    check(&top("ring_id = \"s3cret\""), "`ring_id`");
    check(&top(&format!("ring_id = \"{}\"", "a".repeat(32))), "`ring_id`");
    check(&top("min_generation = 0"), "`min_generation`");
    let alice = "alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    check(&top("approvals = 1"), "`approvals`");
    check(&top("approvers = []"), "`approvers`");
    check(&top("approvers = [\"s3cret\"]"), "`approvers`");
    check(&top(&format!("approvers = [\"{alice}\", \"{alice}\"]")), "`approvers`");
    check(&top(&format!("approvers = [\"{alice}\"]\napprovals = 2")), "`approvals`");
    check(&top(&format!("approvers = [\"{alice}\"]\napprovals = 0")), "`approvals`");
    assert!(read(&top(&format!("approvers = [\"{alice}\"]"))).is_ok_and(|it| it.keyring.approval.needed() == 1));
    check(&top("trunk_zero_regions = [\"s3cret\"]"), "`trunk_zero_regions`");
    check(&top("trunk_zero_regions = [\"ZZ\"]"), "`trunk_zero_regions`");
    check(&top("threads = 0"), "`threads`");
    check(&top("allow_from = [\"10.0.0.0/33\"]"), "`allow_from`");
    check(&top("allow_from = []"), "`allow_from`");
    for no_network in ["0.0.0.0", "::", "::ffff:10.0.0.0/104", "10.0.0.7/8"] {
        check(&top(&format!("allow_from = [\"{no_network}\"]")), "`allow_from`");
    }
    assert!(read(&top("allow_from = [\"10.0.0.0/8\", \"::1\"]")).is_ok());
}

#[test]
fn a_wrong_key_of_a_table_is_named_and_not_quoted() {
    let limit = |line: &str| top(&format!("[limits]\n{line}"));
    check(&top("[tls]\ncertificate = \"s3cret\""), "`tls.private_key`");
    check(&top("[tls]\ncertificate = \"a\"\nprivate_key = \"b\"\nkey = \"s3cret\""), "`tls.key`");
    check(&top("plaintext = true\n[tls]\ncertificate = \"a\"\nprivate_key = \"b\""), "`plaintext`");
    check(&top("trusted_proxies = []"), "`trusted_proxies`");
    check(&top("[audit]\nto = 5"), "`audit.to`");
    for no_file in ["none", "NONE", "stderr", "off", "-", "/dev/null", "/dev/stderr", "/dev/fd/2", "Stdout", "log/"] {
        check(&top(&format!("[audit]\nto = \"{no_file}\"")), "`audit.to`");
    }
    check(&top("[admin.tls]\ncertificate = \"s3cret\""), "`admin.tls.private_key`");
    check(&top("[tls]\ncertificate = \"a\"\nprivate_key = \"b\"\nclient_ca = \"c\""), "`tls.client_ca`");
    check(&top("[audit]\nitems = \"s3cret\""), "`audit.items`");
    check(&top("[audit]\nitems = \"hmac\""), "`audit.hmac_key`");
    check(&top("[audit]\nhmac_key = \"s3cret\""), "`audit.hmac_key`");
    check(&top("[audit]\non_full = \"s3cret\""), "`audit.on_full`");
    check(&top("[audit]\nfull = \"s3cret\""), "`audit.full`");
    check(&top("[admin]\nlisten = \"0.0.0.0:9640\""), "`admin.token_sha256`");
    check(&top("[admin]\ntoken_sha256 = \"s3cret\""), "`admin.token_sha256`");
    check(&top("[admin]\ntoken = \"s3cret\""), "`admin.token`");
    check(&limit("numbers = 0"), "`limits.numbers`");
    check(&limit("numbers = \"s3cret\""), "`limits.numbers`");
    check(&limit("numbers = 1.5"), "`limits.numbers`");
    check(&limit("numbers = -1"), "`limits.numbers`");
    check(&limit("body_bytes = 2000000\nbuffered_bytes = 1000000"), "`limits.buffered_bytes`");
    check(&limit("nmubers = 1"), "`limits.nmubers`");
}

#[test]
fn a_wrong_key_of_a_client_is_named_and_not_quoted() {
    check(&in_client("password = \"s3cret\""), "`clients[0].password`");
    check(&in_client("context = \"S3CRET\""), "`clients[0].context`");
    check(&in_client("modes = [\"s3cret\"]"), "`clients[0].modes`");
    check(&in_client("partial = \"s3cret\""), "`clients[0].partial`");
    check(&in_client("plain_numbers = \"s3cret\""), "`clients[0].plain_numbers`");
    check(&in_client("tokenize_per_minute = 0"), "`clients[0].tokenize_per_minute`");
    check(&in_client("detokenize_per_minute = \"s3cret\""), "`clients[0].detokenize_per_minute`");
    check(&in_client(CLIENT), "`clients[1].username`");
    check(&in_client("[[clients]]\nusername = \"s3:cret\""), "`clients[1].username`");
    check(&in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = \"s3cret\""), "`clients[1].password_sha256`");
    check(&in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = [\"s3cret\"]"), "`clients[1].password_sha256`");
    check(
        &top("").replace(
            "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        "`clients[0].password_sha256`",
    );
    check(&in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = []"), "`clients[1].password_sha256`");
    check(&in_client("tokenize_per_day = 0"), "`clients[0].tokenize_per_day`");
    check(&in_client("detokenize_per_day = \"s3cret\""), "`clients[0].detokenize_per_day`");
    assert!(read(&in_client("tokenize_per_minute = \"unlimited\"")).is_ok());
}

#[test]
fn what_is_no_toml_is_told_by_its_place_alone() {
    check(&top("clients = 5").replace("[[clients]]", "[x]"), "`clients`");
    check(&top("x = \"s3cret"), "line 2, column 12");
    check(&top("x = s3cret"), "line 2, column 5");
    check(&top("x = \"\\s3cret\""), "line 2, column 7");
    check(&top("s3cret.a = 1\ns3cret = 2"), "line 3, column 1");
    check(&top("s3cret\u{1}"), "line 2, column 8");
    check(&top("path = \"s3cret\"\npath = \"/\""), "line 3, column 1");
    check(&top("[limits\nnumbers = 5"), "line 2, column 8");
    check(&top("\"s3cret\" 5"), "line 2, column 10");
}

#[test]
fn no_message_of_the_parser_quotes_the_file() {
    let message = |text: &str| read(text).err().map(|error| error.to_string()).unwrap_or_default();
    let digits = "31337".repeat(20);
    for text in [format!("x = {digits}"), format!("x = [{digits}]"), format!("x = {{y = {digits}}}")] {
        assert!(message(&text).contains("a value beyond what TOML has"), "{}", message(&text));
        assert!(!message(&text).contains("31337"), "{}", message(&text));
    }
    for text in
        ["x = 0x31337g", "x = 3133-7", "x = 31337.", "x = 31:33:7", "x = +-31337", "31337", "[31337", "a.31337 ="]
    {
        assert!(message(text).contains("not TOML") && !message(text).contains("3133"), "{}", message(text));
    }
}

#[test]
fn everybody_is_doubted() {
    let doubts = |key: &str, networks: &str| {
        let config = read(&format!("listen = \"127.0.0.1:0\"\n{key} = [{networks}]\n{CLIENT}"));
        config.unwrap_or_else(|error| panic!("{error}")).doubts().len()
    };
    for networks in
        ["\"0.0.0.0/0\"", "\"::/0\"", "\"0.0.0.0/1\", \"128.0.0.0/1\"", "\"2000::/3\"", "\"::/1\", \"8000::/1\""]
    {
        assert_eq!((doubts("trusted_proxies", networks), doubts("allow_from", networks)), (1, 1), "{networks}");
    }
    for networks in ["\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\"", "\"fc00::/7\"", "\"2001:db8::/32\""] {
        assert_eq!(doubts("trusted_proxies", networks), 0, "{networks}");
    }
}

#[test]
fn nothing_told_is_the_default_of_the_code() {
    let told = |limits: &str| read(&format!("plaintext = true\n{limits}\n{CLIENT}")).expect("it is right").terms.limits;
    assert_eq!(format!("{:?}", told("[limits]")), format!("{:?}", Limits::default()));
    assert_eq!(list::find("min_generation").kind, keys::Kind::Integer(1, GENERATION_MAX.try_into().expect("fits")));
}

#[test]
fn all_faults_are_told_in_the_order_of_the_file() {
    let text =
        "path = \"s3cret\"\nnmubers = 1\n[limits]\nnumbers = 0\nidle_seconds = \"s3cret\"\n[[clients]]\nusername = 5\n";
    let error = read(text).err().expect("it is wrong");
    let places: Vec<_> = error.faults().iter().map(|fault| (fault.place.as_str(), fault.line)).collect();
    let expected = [
        ("`path`", Some(1)),
        ("`nmubers`", Some(2)),
        ("`limits.numbers`", Some(4)),
        ("`limits.idle_seconds`", Some(5)),
        ("`clients[0].password_sha256`", Some(6)),
        ("`clients[0].username`", Some(7)),
        ("`listen`", None),
    ];
    assert_eq!(places, expected);
    let none = "x = \n[limits\ny = = 1\n";
    assert!(read(none).err().is_some_and(|error| error.faults().len() > 1));
    let many: String = (0..1000).map(|at| format!("key{at} = 1\n")).collect();
    assert!(read(&many).err().is_some_and(|error| error.faults().len() < 300));
}

#[test]
fn a_secret_in_any_place_is_told_of_and_not_shown() {
    for line in
        ["identity = \"AGE-SECRET-KEY-1S3CRET\"", "approvers = [\"PRIVATE+KEY+s3cret\"]", "AGE-SECRET-KEY-1S3CRET = 1"]
    {
        let message = read(&format!("plaintext = true\n{line}\n{CLIENT}")).err().expect("it is wrong").to_string();
        assert!(!message.to_lowercase().contains("s3cret"), "{message}");
    }
}
