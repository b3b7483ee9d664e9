//! Replicas share a file and nothing else.

use std::fs;

use serde_json::json;

use crate::support::{Folder, PASSWORD, Server, sha256_hex};

#[test]
fn replicas_of_one_ring_answer_alike_and_contexts_are_apart() {
    let (one, other) = (Folder::new(), Folder::new());
    let third = Folder::new();
    for copy in [&other, &third] {
        fs::copy(one.ring(), copy.ring()).unwrap();
    }
    let (one, other) = (Server::start(&one, "", ""), Server::start(&other, "", ""));
    let apart = Server::start(&third, "", "context = \"crm\"");
    let numbers = ["13988888888", "+86 137 8888 8888", "075586013388", "8001", "anonymous", "+1 650 253 0000"];
    let uids = one.values("PhoneToUID", &numbers);
    assert_eq!(other.values("PhoneToUID", &numbers), uids);
    let uids: Vec<_> = uids.iter().map(String::as_str).collect();
    let phones = ["008613988888888", "008613788888888", "0086075586013388", "8001", "anonymous", "0016502530000"];
    assert_eq!(other.values("UIDToPhone", &uids), phones);
    assert_eq!(one.values("UIDToPhone", &uids), phones);
    assert!(apart.values("PhoneToUID", &numbers).iter().zip(&uids).all(|(theirs, ours)| theirs != ours));
    let answer = apart.call("UIDToPhone", &uids);
    assert_eq!(answer["Code"], 207);
    for result in answer["Results"].as_array().unwrap() {
        assert_eq!((&result["Value"], &result["Error"]), (&json!(""), &json!("not_authentic")));
    }
}

#[test]
fn two_clients_of_one_replica_have_their_own_contexts_and_passwords() {
    use crate::support::{Http, basic, post};
    let folder = Folder::new();
    let more = format!(
        "[[clients]]\nusername = \"crm\"\ncontext = \"crm\"\npassword_sha256 = [\"{}\", \"{}\"]\nmodes = [\"PhoneToUID\"]\n",
        sha256_hex("old"),
        sha256_hex("new")
    );
    let server = Server::start(&folder, "", &more);
    let body = json!({"Numbers": ["13988888888"], "Mode": "PhoneToUID"}).to_string();
    let uid = |user, password| {
        let answer = Http::connect(server.address).send(post(&basic(user, password), &body));
        (answer.status, answer.json()["Results"][0]["Value"].as_str().map(str::to_owned))
    };
    let (ours, theirs) = (uid("ccc", PASSWORD), uid("crm", "old"));
    assert_eq!((ours.0, theirs.0), (200, 200));
    assert_ne!(ours, theirs);
    assert_eq!(uid("crm", "new"), theirs);
    assert_eq!(uid("crm", PASSWORD).0, 401);
    assert_eq!(uid("ccc", "old").0, 401);
}
