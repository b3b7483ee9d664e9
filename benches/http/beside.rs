//! Compares two builds of callveil in one run. Each uses a key ring that it made itself, since formats may have
//! changed.

use std::path::Path;

use crate::{
    connection::{self, Way, body, exchange},
    load::{Lane, Right},
    measures::Bench,
    report::{Table, grouped},
    samples::{self, Mode, Sample, Workload},
    servers::{BINARY, Server},
};

/// Numbers in a request of the batches.
const BATCH: usize = 10_000;

impl Bench {
    /// Compares this build with the one at `previous`.
    pub fn beside(&mut self, previous: &Path) {
        let columns = ["numbers/s", "this build", "previous", "this/previous", "busy"];
        let note = "Closed loop; both with auth, audit, and all limits.";
        let mut table = Table::new("Beside the previous build", note, &columns);
        let servers =
            [Path::new(BINARY), previous].map(|binary| Server::of_binary(binary, self.cpus.server(1), self.audit));
        let (landlines, foreign) = (samples::landlines(), samples::foreign());
        let kinds: [(_, &[Sample], _); 6] = [
            ("mobiles", &self.mobiles, 1),
            ("mix", &self.mix, 1),
            ("mobiles", &self.mobiles, BATCH),
            ("landlines", &landlines, BATCH),
            ("foreign", &foreign, BATCH),
            ("mix", &self.mix, BATCH),
        ];
        for mode in Mode::BOTH {
            for (name, samples, items) in kinds {
                let there = Workload::new(Mode::PhoneToUid, samples, items, &self.ring);
                let workloads = servers.each_ref().map(|server| match mode {
                    Mode::PhoneToUid => Workload::new(mode, samples, items, &self.ring),
                    Mode::UidToPhone => Workload::back(samples, uids(server, &there), items),
                });
                let right = match mode {
                    Mode::PhoneToUid => Right::Lengths,
                    Mode::UidToPhone => Right::ButForTrunkPrefixes,
                };
                let lanes = servers.iter().zip(&workloads).map(|(server, workload)| Lane::new(server, workload, right));
                let rounds = self.drive(&mut lanes.collect::<Vec<_>>());
                let [this, before] = [0, 1].map(|lane| rounds[lane].numbers());
                table.row([
                    format!("{}, {name}, {} a request", mode.name(), grouped(items as f64)),
                    grouped(this.median()),
                    grouped(before.median()),
                    this.over(&before),
                    [0, 1].map(|lane| rounds[lane].busy()).join(", "),
                ]);
            }
        }
        self.report.table(&table);
    }
}

/// The UIDs that `server` makes from all numbers of `workload`.
fn uids(server: &Server, workload: &Workload) -> Vec<String> {
    let mut stream = connection::open(server.address, Way::default()).unwrap();
    let answers = workload.requests.iter().map(|request| body(&exchange(&mut stream, &request.bytes)));
    let results = answers.flat_map(|answer| answer["Results"].as_array().unwrap().clone());
    results.map(|result| result["Value"].as_str().unwrap().to_owned()).collect()
}
