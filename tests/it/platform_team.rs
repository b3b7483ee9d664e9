//! Follows `docs/platform-team.md`: three replicas over TLS behind HAProxy and nginx, Prometheus, and rolling restarts
//! under callers that accept only success.
//!
//! The short version uses loopback addresses with free ports. The full version runs word for word in its own network,
//! with the page's addresses, ports and times.

mod callers;
mod machines;
mod word_for_word;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use self::{callers::Callers, machines::Machines};
use crate::{
    needs::is_here,
    runbook::{Rehearsal, Step, Terminal, steps},
    support::{PATIENCE, send},
};

const PAGE: &str = include_str!("../../docs/platform-team.md");
const NAME: &str = "docs/platform-team.md";

/// If fewer blocks are found, something is wrong with finding them.
const BLOCKS_MIN: usize = 12;

/// The addresses of the page's replicas and proxy, and the URL that CCC calls.
const REPLICAS: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
const PROXY: &str = "10.0.0.10";
const PUBLIC_URL: &str = "https://uid.example.com/";

/// The folder with the example of Prometheus' configuration, on the page and here.
const EXAMPLES: &str = "~/callveil/deploy/prometheus";
const EXAMPLES_HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

/// The programs that the page starts in the background.
const PROCESSES: [&str; 3] = ["haproxy", "nginx", "prometheus"];

/// The minimum calls of each caller; with fewer, a restart was not under load.
const CALLS_MIN: usize = 20;

/// The page's names with their replacements here, and what a test needs to know of the world.
struct World {
    names: Vec<(String, String)>,
    /// The public URL and its address.
    url: String,
    public: SocketAddr,
    /// An address that only a caller has.
    caller: &'static str,
}

impl World {
    /// A world of loopback addresses that no other test uses, with free ports and short times.
    fn of_loopback(rehearsal: &Rehearsal) -> Self {
        let [replicas @ .., proxy] = [41, 42, 43, 45].map(|host| Ipv4Addr::new(127, 0, 0, host));
        let (port, admin) = (common_port(&replicas), common_port(&replicas));
        let [public, state, metrics] = [(); 3].map(|()| SocketAddr::from((proxy, common_port(&[proxy]))));
        let url = format!("https://{public}/");
        let pairs = [
            (PUBLIC_URL, url.clone()),
            ("DNS:uid.example.com", format!("IP:{proxy}")),
            ("uid.example.com", proxy.to_string()),
            // Who connects to a loopback address does so from this one.
            ("[\"10.0.0.10\"]", "[\"127.0.0.1\"]".to_owned()),
            ("10.0.0.10:443", public.to_string()),
            (REPLICAS[0], replicas[0].to_string()),
            (REPLICAS[1], replicas[1].to_string()),
            (REPLICAS[2], replicas[2].to_string()),
            ("8443", port.to_string()),
            ("9640", admin.to_string()),
            ("127.0.0.1:8404", state.to_string()),
            ("127.0.0.1:9090", metrics.to_string()),
            ("drain_delay_seconds = 5", "drain_delay_seconds = 1".to_owned()),
            ("inter 1s", "inter 100ms".to_owned()),
            ("sleep 1", "sleep 0.1".to_owned()),
        ];
        let mut names: Vec<_> = pairs.into_iter().map(|(theirs, ours)| (theirs.to_owned(), ours)).collect();
        let examples = rehearsal.behind("examples");
        let translate = |text: String| names.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
        fs::create_dir(&examples).unwrap();
        for name in ["prometheus.yaml", "alerts.yaml"] {
            let text = fs::read_to_string(Path::new(EXAMPLES_HERE).join(name)).unwrap();
            fs::write(examples.join(name), translate(text).replace("scrape_interval: 15s", "scrape_interval: 1s"))
                .unwrap();
        }
        names.push((EXAMPLES.to_owned(), examples.display().to_string()));
        Self { names, url, public, caller: "127.0.0.77" }
    }

    /// The page's own world, for a process inside the network of [`word_for_word`].
    fn of_the_page() -> Self {
        // To nginx, who is root there is root, and yet has nobody else to be.
        let pairs = [(EXAMPLES, EXAMPLES_HERE), ("pid nginx.pid;", "pid nginx.pid;\nuser root;")];
        let names = pairs.map(|(theirs, ours)| (theirs.to_owned(), ours.to_owned())).into();
        let public = format!("{PROXY}:443").parse().unwrap();
        Self { names, url: PUBLIC_URL.to_owned(), public, caller: "10.0.0.77" }
    }
}

/// A port that is free on all of these addresses.
fn common_port(addresses: &[Ipv4Addr]) -> u16 {
    let begun = Instant::now();
    loop {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if addresses[1..].iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
        assert!(begun.elapsed() < PATIENCE, "no port is free");
    }
}

/// Ends what the page started, if a failed step kept the page from doing so itself.
struct Processes(PathBuf);

impl Drop for Processes {
    fn drop(&mut self) {
        for name in PROCESSES {
            let Ok(id) = fs::read_to_string(self.0.join(format!("{name}.pid"))) else { continue };
            if fs::read_to_string(format!("/proc/{}/cmdline", id.trim())).is_ok_and(|line| line.contains(name)) {
                send(id.trim().parse().unwrap(), "TERM");
            }
        }
    }
}

fn lacks_a_program() -> bool {
    !["curl", "haproxy", "jq", "nginx", "openssl", "prometheus", "promtool"].into_iter().all(is_here)
}

#[test]
fn every_command_of_the_platform_teams_page_works() {
    if lacks_a_program() {
        return;
    }
    let rehearsal = Rehearsal::new(NAME);
    let world = World::of_loopback(&rehearsal);
    play(rehearsal, &world);
    assert!(include_str!("../../README.md").contains("(docs/platform-team.md)"), "nobody would find the page");
}

/// Follows the page from top to bottom.
fn play(mut rehearsal: Rehearsal, world: &World) {
    let steps = steps(PAGE);
    let blocks = steps.iter().filter(|step| matches!(step, Step::Run(..))).count();
    assert!(blocks >= BLOCKS_MIN, "only {blocks} blocks");
    assert_eq!(PAGE.matches("```").count(), 2 * blocks);
    let machines = Machines::start(&rehearsal);
    let _processes = Processes(rehearsal.path(""));
    world.names.iter().for_each(|(theirs, ours)| rehearsal.rename(theirs, ours));
    // Machines have a folder for all.
    rehearsal.rename("/var/log/callveil/", "");
    let mut callers = None;
    for step in &steps {
        match step {
            Step::Run(line, block) => rehearsal.run(*line, block, Terminal::None),
            Step::Do("a caller's address is passed on") => check_address(&rehearsal, &machines, world),
            Step::Do("callers call from here on") => {
                callers = Some(Callers::start(&rehearsal.path(""), &world.url, world.public));
            }
            Step::Do("no call has failed") => {
                let called = callers.take().expect("they call").end();
                assert!(called.iter().all(|calls| *calls >= CALLS_MIN), "hardly any load: {called:?} calls");
            }
            Step::Do(unknown) => panic!("the page wants something that this test cannot do: {unknown}"),
        }
    }
}

/// Checks that a call through the proxy is in a replica's audit log with the caller's own address.
fn check_address(rehearsal: &Rehearsal, machines: &Machines, world: &World) {
    let password = fs::read_to_string(rehearsal.path("password")).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--noproxy", "*", "--interface", world.caller, "--cacert", "public.crt"])
        .args(["-H", "X-Forwarded-For: 203.0.113.9", "-u", &format!("ccc:{password}")])
        .args(["-d", r#"{"Numbers":[],"Mode":"PhoneToUID"}"#, &world.url])
        .current_dir(rehearsal.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"Code":0,"Results":[]}"#, "{output:?}");
    let (begun, peer) = (Instant::now(), format!("\"peer\":\"{}\"", world.caller));
    // Lines are written a little after the answer.
    while !machines.audit_logs().iter().any(|log| log.contains(&peer)) {
        assert!(begun.elapsed() < PATIENCE, "{peer} is in no audit log");
        std::thread::sleep(Duration::from_millis(5));
    }
}
