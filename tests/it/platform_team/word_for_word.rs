//! The page in its own network, with its addresses, ports and times unchanged. `keys check`, HAProxy and Prometheus ask
//! from another address than the replicas'.

use std::process::Command;

use super::{NAME, PROXY, REPLICAS, World, lacks_a_program, play};
use crate::{
    needs::{is_here, miss},
    runbook::Rehearsal,
};

/// Set for a process inside that network.
const INSIDE: &str = "CALLVEIL_TEST_INSIDE";

/// Makes the network, and goes on as the program in its arguments.
const NETWORK: &str = r#"set -e
hosts=$(mktemp)
echo "PROXY uid.example.com localhost" >"$hosts"
mount --bind "$hosts" /etc/hosts
rm "$hosts"
ip link set lo up
for address in PROXY REPLICAS 10.0.0.77; do ip address add "$address/32" dev lo; done
for replica in REPLICAS; do ip route replace local "$replica" dev lo table local scope host src PROXY; done
exec "$0" "$@"
"#;

#[test]
#[ignore = "a minute and a half, and a network of its own, by unshare and ip"]
fn the_platform_teams_page_works_word_for_word() {
    if lacks_a_program() || !is_here("unshare") || !is_here("ip") {
        return;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount"]);
        command
    };
    if !unshare().arg("true").status().unwrap().success() {
        return miss("network for an unprivileged user", "(allow user namespaces, or be root)");
    }
    let network = NETWORK.replace("PROXY", PROXY).replace("REPLICAS", &REPLICAS.join(" "));
    let mut command = unshare();
    command.args(["sh", "-c", &network]).arg(std::env::current_exe().unwrap()).env(INSIDE, "yes");
    command.args(["--ignored", "--exact", "platform_team::word_for_word::the_page_is_done_inside"]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "a step of another test, which says where and what"]
fn the_page_is_done_inside() {
    if std::env::var_os(INSIDE).is_some() {
        play(Rehearsal::new(NAME), &World::of_the_page());
    }
}
