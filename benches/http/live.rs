//! Live calls beside bulk: how long single numbers take while another client sends batches as fast as it gets answers.

use std::{thread, time::Duration};

use crate::{
    callers::{Calls, Pace, at, call},
    load::{Lane, Right, Window, saturate},
    measures::Bench,
    report::{Series, Table, grouped},
    samples::{self, Mode, Workload},
    servers::{Server, Setup},
};

/// Numbers in a batch.
const BATCH: usize = 10_000;

/// Connections with batches.
const CONNECTIONS: usize = 8;

/// The live calls: few enough not to slow down the batches.
const PACE: Pace = Pace { callers: 32, calls_per_second: 1000.0 };

impl Bench {
    /// Measures live calls alone and beside batches, on one thread and on two.
    pub fn live(&mut self) {
        let columns = [
            "a live call, µs",
            "p50",
            "p99",
            "p99.9",
            "p99, of that alone",
            "numbers/s beside it",
            "without it",
            "beside/without",
        ];
        let mut table = Table::new("A live call beside bulk", "", &columns);
        let live = Workload::new(Mode::PhoneToUid, &self.mobiles, 1, &self.ring);
        let (foreign, unusual) = (samples::foreign(), samples::unusual());
        let bulk = [("mobiles", &self.mobiles), ("foreign numbers", &foreign), ("unusual numbers", &unusual)];
        let bulk = bulk
            .map(|(name, samples)| (name, Workload::new(Mode::PhoneToUid, samples, BATCH, &self.ring).of_bulk_user()));
        let window = Window { warm: Duration::from_millis(300), measured: self.effort.window.measured * 2 };
        let mut came_first = true;
        for threads in [1, 2] {
            let cpus = self.cpus.load(threads);
            let server = Server::callveil(Setup { threads, cpus: self.cpus.server(threads), ..self.setup() }).0;
            let caller = Lane::new(&server, &live, Right::Exact);
            let lane = |workload| Lane::new(&server, workload, Right::Lengths).on(CONNECTIONS);
            let mut lanes: Vec<_> = bulk.iter().map(|(_, workload)| lane(workload)).collect();
            let mut alone = Vec::new();
            let mut beside: Vec<_> = lanes.iter().map(|_| (Vec::new(), Series::default(), Series::default())).collect();
            for _ in 0..self.effort.rounds {
                alone.append(&mut call(&caller, PACE, window, cpus).latencies);
                server.forget_audit();
                for (lane, (latencies, with, without)) in lanes.iter_mut().zip(&mut beside) {
                    without.0.push(saturate(lane, window, cpus).numbers_per_second);
                    let (mut calls, numbers) = both(&caller, lane, window, cpus);
                    came_first &= calls.came_first;
                    latencies.append(&mut calls.latencies);
                    with.0.push(numbers);
                }
            }
            alone.sort_unstable();
            let p99 = at(&alone, 0.99);
            let name = |what: &str| format!("{what}, {threads} thread{}", if threads == 1 { "" } else { "s" });
            let row = |latencies: &[Duration], what: &str| {
                let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| grouped(at(latencies, share)));
                [name(what), p50, p99, p999]
            };
            let [what, p50, last, very_last] = row(&alone, "alone");
            table.row([what, p50, last, very_last, "1.0".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()]);
            for ((what, _), (mut latencies, with, without)) in bulk.iter().zip(beside) {
                latencies.sort_unstable();
                let [what, p50, last, very_last] = row(&latencies, &format!("beside {what}"));
                let ratio = format!("{:.1}", at(&latencies, 0.99) / p99);
                let (beside, alone) = (grouped(with.median()), grouped(without.median()));
                table.row([what, p50, last, very_last, ratio, beside, alone, with.over(&without)]);
            }
        }
        let first = if came_first { "before" } else { "(they may not) before" };
        table.note = format!(
            "PhoneToUID. {} callers make {} calls a second, of one number each; another client sends batches of {} on \
             {CONNECTIONS} connections as fast as they are answered. Callers run {first} all else on their CPUs, so that \
             only the server keeps them waiting. Latencies of all rounds together. Where the server has all CPUs, the load \
             takes its part of them.",
            PACE.callers,
            grouped(PACE.calls_per_second),
            grouped(BATCH as f64)
        );
        self.report.table(&table);
    }
}

/// Makes calls beside batches. Returns the calls, and how many numbers of the batches were mapped per second.
fn both(caller: &Lane<'_>, bulk: &mut Lane<'_>, window: Window, cpus: &[usize]) -> (Calls, f64) {
    thread::scope(|scope| {
        let calls = scope.spawn(|| call(caller, PACE, window, cpus));
        let numbers = saturate(bulk, window, cpus).numbers_per_second;
        (calls.join().unwrap(), numbers)
    })
}
