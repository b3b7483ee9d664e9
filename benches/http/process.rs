//! The process itself: its memory, and how long it takes to start.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};
use serde_json::{Value, json};

use crate::{
    connection::{self, Way, body, exchange},
    load::{self, Lane, Right},
    machine,
    measures::Bench,
    report::{Series, Table, grouped},
    samples::{self, Mode, Workload},
    servers::Server,
};

const KIB_PER_MIB: f64 = 1024.0;

impl Bench {
    /// Measures memory: at rest, after load, after numbers of all regions, and with idle connections.
    pub fn memory(&mut self) {
        let mut table = Table::new("Memory of A", "VmRSS of the process, on one thread.", &["when", "MiB"]);
        let callveil = self.callveil();
        let mut row = |when: &str| {
            let mib = machine::rss_kib(callveil.pid()) / KIB_PER_MIB;
            table.row([when.to_owned(), format!("{mib:.1}")]);
        };
        row("at rest, ready, with a ring of one key");
        let single = Workload::new(Mode::PhoneToUid, &self.mobiles, 1, &self.ring);
        load::saturate(&mut Lane::new(&callveil, &single, Right::Exact), self.effort.window, self.cpus.load(1));
        row("after single numbers");
        for mode in Mode::BOTH {
            let batches = Workload::new(mode, &self.mobiles, 10_000, &self.ring);
            load::saturate(&mut Lane::new(&callveil, &batches, Right::Exact), self.effort.window, self.cpus.load(1));
        }
        row("after batches of 10,000, both modes");
        let regions = all_regions(&callveil);
        row(&format!("after numbers of all {regions} regions, both modes"));
        let fresh = self.callveil();
        let lane = Lane::new(&fresh, &single, Right::Exact);
        let _warm = load::idle(&lane, lane.connections);
        let before = machine::rss_kib(fresh.pid());
        let open = load::idle(&lane, self.effort.idle_connections);
        let each = (machine::rss_kib(fresh.pid()) - before) / open.len() as f64;
        let mut idle = Table::new("Idle connections of A", "After one request each.", &["connections", "KiB each"]);
        idle.row([grouped(open.len() as f64), format!("{each:.1}")]);
        self.report.table(&table);
        self.report.table(&idle);
    }

    /// Measures the time from exec to ready.
    pub fn start(&mut self) {
        let start = |_| Server::callveil(self.setup()).1.as_secs_f64() * 1e3;
        let starts = Series((0..self.effort.starts).map(start).collect());
        let note = "From before the process is started until its admin listener says that it is ready.";
        let mut table = Table::new("Start of A", note, &["starts", "milliseconds"]);
        table.row([self.effort.starts.to_string(), starts.spread(1.0)]);
        self.report.table(&table);
    }
}

/// Makes a server map numbers of all regions with an example in libphonenumber, and back. Returns how many there are.
fn all_regions(server: &Server) -> usize {
    let kinds = [
        PhoneNumberType::FixedLine,
        PhoneNumberType::Mobile,
        PhoneNumberType::TollFree,
        PhoneNumberType::PremiumRate,
        PhoneNumberType::VoIP,
    ];
    let regions: Vec<_> = PHONE_NUMBER_UTIL.get_supported_regions().collect();
    let examples = regions.iter().flat_map(|region| {
        kinds.iter().filter_map(|kind| PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(*region, *kind).ok())
    });
    let formats = [PhoneNumberFormat::E164, PhoneNumberFormat::International];
    let numbers: Vec<_> = examples
        .flat_map(|number| formats.map(|format| PHONE_NUMBER_UTIL.format(&number, format).into_owned()))
        .collect();
    for numbers in numbers.chunks(500) {
        let uids = values(server, Mode::PhoneToUid, &json!(numbers));
        values(server, Mode::UidToPhone, &uids);
    }
    regions.len()
}

fn values(server: &Server, mode: Mode, items: &Value) -> Value {
    let request = samples::raw_request(&json!({"Numbers": items, "Mode": mode.name()}).to_string());
    let mut stream = connection::open(server.address, Way::default()).unwrap();
    let answer = body(&exchange(&mut stream, &request));
    let results = answer["Results"].as_array().unwrap();
    assert!(answer["Code"] == 0 && results.iter().all(|result| result.get("Error").is_none()), "a wrong answer");
    results.iter().map(|result| result["Value"].clone()).collect()
}
