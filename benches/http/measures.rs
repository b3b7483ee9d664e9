//! The measurements: one function for each question, one table for each answer.

use crate::{
    load::{self, Lane, Right, Throughput, Window},
    machine::{self, Cpus},
    report::{Report, Series, Table, grouped},
    samples::{self, Mode, RingKey, Sample, Workload},
    servers::{Audit, Server, Setup},
};

/// Numbers in a request of the batches.
const BATCHES: [usize; 7] = [10, 30, 100, 300, 1000, 3000, 10_000];

/// The batch size where only one is measured.
const BATCH: usize = 1000;

/// Keys of the large ring.
const MANY_KEYS: u16 = 200;

/// How thoroughly to measure.
pub struct Effort {
    pub rounds: usize,
    pub window: Window,
    pub starts: usize,
    pub idle_connections: usize,
}

/// Everything that the measurements need.
pub struct Bench {
    pub effort: Effort,
    pub cpus: Cpus,
    pub audit: Audit,
    pub report: Report,
    pub ring: Vec<RingKey>,
    pub mobiles: Vec<Sample>,
    pub mix: Vec<Sample>,
}

/// The measured rounds of one lane.
pub struct Rounds(Vec<Throughput>);

impl Rounds {
    pub fn series(&self, of: impl Fn(&Throughput) -> f64) -> Series {
        Series(self.0.iter().map(of).collect())
    }

    pub fn requests(&self) -> Series {
        self.series(|round| round.requests_per_second)
    }

    pub fn numbers(&self) -> Series {
        self.series(|round| round.numbers_per_second)
    }

    /// CPU seconds per million numbers.
    pub fn cost(&self) -> Series {
        self.series(|round| round.busy / round.numbers_per_second * 1e6)
    }

    /// The server's load in percent of a CPU.
    pub fn busy(&self) -> String {
        format!("{:.0}%", self.series(|round| round.busy).median() * 100.0)
    }
}

impl Bench {
    pub fn new(effort: Effort, cpus: Cpus, audit: Audit) -> Self {
        machine::bind(cpus.load(1));
        let (ring, mobiles, mix) = (samples::ring(1), samples::mobiles(), samples::mix());
        Self { effort, cpus, audit, report: Report::default(), ring, mobiles, mix }
    }

    pub fn callveil(&self) -> Server {
        Server::callveil(self.setup()).0
    }

    pub fn setup(&self) -> Setup<'_> {
        Setup { ring: &self.ring, threads: 1, cpus: self.cpus.server(1), audit: self.audit, certificate: None }
    }

    fn obvious(&self, dialling: &str) -> Server {
        Server::rival(&["obvious", dialling], self.cpus.server(1))
    }

    /// A server that always gives the answer of `callveil` to the first request of `workload`.
    pub fn bare(&self, callveil: &Server, workload: &Workload) -> Server {
        Server::bare(callveil, &workload.requests[0].bytes, self.cpus.server(1))
    }

    /// Loads the lanes in turn, A B C A B C, so that disturbances by the machine affect all of them.
    pub fn drive(&self, lanes: &mut [Lane<'_>]) -> Vec<Rounds> {
        let loads = vec![self.cpus.load(1); lanes.len()];
        self.drive_from(lanes, &loads)
    }

    /// Does the same, but loads each lane from its own CPUs.
    fn drive_from(&self, lanes: &mut [Lane<'_>], loads: &[&[usize]]) -> Vec<Rounds> {
        let mut all: Vec<_> = lanes.iter().map(|_| Rounds(Vec::new())).collect();
        // The first round only warms up.
        for round in 0..=self.effort.rounds {
            for ((lane, load), rounds) in lanes.iter_mut().zip(loads).zip(&mut all) {
                let measured = load::saturate(lane, self.effort.window, load);
                rounds.0.extend((round > 0).then_some(measured));
            }
        }
        all
    }

    /// Measures requests with one number each, as fast as they are answered.
    pub fn single(&mut self) {
        let columns =
            ["requests/s", "A", "B", "C", "D", "A/B", "A/C", "D/B", "busy A, B, C, D", "A: CPU s per million"];
        let note = "Closed loop, 32 connections, one number a request. The server is the limit where it is busy.";
        let mut table = Table::new("Single numbers", note, &columns);
        let (callveil, obvious) = (self.callveil(), self.obvious("digits"));
        let mapping = Server::rival(&["mapping"], self.cpus.server(1));
        for (samples, name) in [(&self.mobiles, ""), (&self.mix, ", mix")] {
            for mode in Mode::BOTH {
                let workload = Workload::new(mode, samples, 1, &self.ring);
                let bare = self.bare(&callveil, &workload);
                let mut lanes = [
                    Lane::new(&callveil, &workload, Right::Exact),
                    Lane::new(&bare, &workload, Right::Fixed),
                    Lane::new(&obvious, &workload, Right::ButForTrunkPrefixes),
                    Lane::new(&mapping, &workload, Right::Exact),
                ];
                let rounds = self.drive(&mut lanes);
                let [a, b, c, d] = [0, 1, 2, 3].map(|lane| rounds[lane].requests());
                table.row([
                    format!("{}{name}", mode.name()),
                    grouped(a.median()),
                    grouped(b.median()),
                    grouped(c.median()),
                    grouped(d.median()),
                    a.over(&b),
                    a.over(&c),
                    d.over(&b),
                    [0, 1, 2, 3].map(|lane| rounds[lane].busy()).join(", "),
                    format!("{:.2}", rounds[0].cost().median()),
                ]);
            }
        }
        self.report.table(&table);
    }

    /// Measures how long answers take at half of the bare server's maximum rate.
    pub fn latency(&mut self) {
        let note = "Open loop: requests come at random times (Poisson), at half of the rate that B answers at most, and \
            latency counts from the time at which a request was due, whether or not it could be sent then.";
        let mut table = Table::new("Latency at half load", note, &["microseconds", "A", "B", "A/B"]);
        let callveil = self.callveil();
        for mode in Mode::BOTH {
            let workload = Workload::new(mode, &self.mobiles, 1, &self.ring);
            let bare = self.bare(&callveil, &workload);
            let mut lanes = [Lane::new(&callveil, &workload, Right::Exact), Lane::new(&bare, &workload, Right::Fixed)];
            let rate = self.drive(&mut lanes[1..])[0].requests().median() / 2.0;
            let window = Window { measured: self.effort.window.measured * 2, ..self.effort.window };
            let mut latencies = [[(); 3]; 2].map(|lane| lane.map(|()| Series::default()));
            for round in 0..self.effort.rounds {
                for (lane, latencies) in lanes.iter().zip(&mut latencies) {
                    // Both lanes of a round get their requests at the same times.
                    let sorted = load::pace(lane, rate, window, 1 + round as u64);
                    for (share, series) in [0.5, 0.99, 0.999].into_iter().zip(latencies) {
                        let at = (sorted.len() as f64 * share) as usize;
                        series.0.push(sorted[at.min(sorted.len() - 1)].as_secs_f64() * 1e6);
                    }
                }
            }
            let [a, b] = latencies;
            for (name, (a, b)) in ["p50", "p99", "p99.9"].into_iter().zip(a.iter().zip(&b)) {
                table.row([
                    format!("{}, {name}, {} requests/s", mode.name(), grouped(rate)),
                    a.spread(1.0),
                    b.spread(1.0),
                    a.over(b),
                ]);
            }
        }
        self.report.table(&table);
    }

    /// Measures batches, and fits a straight line to their cost.
    pub fn batches(&mut self) {
        let columns = ["numbers/s", "A", "C", "A/C", "busy A, C", "CPU s per million: A", "C"];
        let note = "Closed loop. C* writes UIDToPhone's numbers with libphonenumber, trunk prefix and all, as the wire \
            wants them; C writes only 00 and the digits.";
        let mut table = Table::new("Batches", note, &columns);
        let (callveil, obvious, national) = (self.callveil(), self.obvious("digits"), self.obvious("national"));
        let mut lines = Vec::new();
        for mode in Mode::BOTH {
            let workload = |samples, items| Workload::new(mode, samples, items, &self.ring);
            let mut pairs: Vec<_> = BATCHES
                .into_iter()
                .map(|items| (mode.name().to_owned(), workload(&self.mobiles, items), &obvious))
                .collect();
            pairs.push((format!("{}, mix", mode.name()), workload(&self.mix, BATCH), &obvious));
            if mode == Mode::UidToPhone {
                pairs.push((format!("{}, C*", mode.name()), workload(&self.mobiles, BATCH), &national));
            }
            // All sizes are measured in one go, so that their costs are from the same minutes.
            let lanes = pairs.iter().flat_map(|(_, workload, obvious)| {
                let right = Right::ButForTrunkPrefixes;
                [Lane::new(&callveil, workload, Right::Exact), Lane::new(obvious, workload, right)]
            });
            let rounds = self.drive(&mut lanes.collect::<Vec<_>>());
            for ((name, workload, _), lanes) in pairs.iter().zip(rounds.chunks_exact(2)) {
                let [a, c] = [0, 1].map(|lane| lanes[lane].numbers());
                table.row([
                    format!("{name}, {} a request", grouped(workload.items as f64)),
                    grouped(a.median()),
                    grouped(c.median()),
                    a.over(&c),
                    [0, 1].map(|lane| lanes[lane].busy()).join(", "),
                    format!("{:.3}", lanes[0].cost().median()),
                    format!("{:.3}", lanes[1].cost().median()),
                ]);
            }
            let cost = |(items, lanes): (usize, &[Rounds])| (items as f64, 1e9 / lanes[0].requests().median());
            lines.push((mode, BATCHES.into_iter().zip(rounds.chunks_exact(2)).map(cost).collect()));
        }
        self.report.table(&table);
        self.report.table(&fits(&lines));
    }

    /// Compares one key with many.
    pub fn keys(&mut self) {
        let columns = ["numbers/s", "1 key", "200 keys", "200/1", "200 keys in turn", "in turn/1", "busy"];
        let note = "The same numbers. The key of the small ring is one of the large one, whose UIDs are of that key, and \
            then of all its keys in turn.";
        let mut table = Table::new("Keys of the ring", note, &columns);
        let many = samples::ring(MANY_KEYS);
        let servers = [self.callveil(), Server::callveil(Setup { ring: &many, ..self.setup() }).0];
        for mode in Mode::BOTH {
            for items in [1, BATCH] {
                let few = Workload::new(mode, &self.mobiles, items, &self.ring);
                let many = Workload::new(mode, &self.mobiles, items, &many);
                let mut lanes = [
                    Lane::new(&servers[0], &few, Right::Exact),
                    Lane::new(&servers[1], &few, Right::Exact),
                    Lane::new(&servers[1], &many, Right::Exact),
                ];
                let rounds = self.drive(&mut lanes);
                let [one, few, many] = [0, 1, 2].map(|lane| rounds[lane].numbers());
                table.row([
                    format!("{}, {items} a request", mode.name()),
                    grouped(one.median()),
                    grouped(few.median()),
                    few.over(&one),
                    grouped(many.median()),
                    many.over(&one),
                    [0, 1, 2].map(|lane| rounds[lane].busy()).join(", "),
                ]);
            }
        }
        self.report.table(&table);
    }

    /// Compares one thread with two.
    pub fn threads(&mut self) {
        let columns = [
            "PhoneToUID, numbers/s",
            "1 thread",
            "2 threads",
            "2/1",
            "busy",
            "CPU s per million: 1",
            "2",
            "2/1, by CPU",
        ];
        let note = "Where no CPU is left for the load, it takes from two threads what it needs, and the last column \
            tells what they serve by themselves: twice as much, but for what a number costs more.";
        let mut table = Table::new("Server threads", note, &columns);
        let one = self.callveil();
        let two = Server::callveil(Setup { threads: 2, cpus: self.cpus.server(2), ..self.setup() }).0;
        for items in [1, BATCH] {
            let workload = Workload::new(Mode::PhoneToUid, &self.mobiles, items, &self.ring);
            let [one, mut two] = [&one, &two].map(|server| Lane::new(server, &workload, Right::Exact));
            // With this many, the kernel gives about equally many to each thread.
            two.connections = 4 * workload.connections();
            let rounds = self.drive_from(&mut [one, two], &[1, 2].map(|threads| self.cpus.load(threads)));
            let [one, two] = [0, 1].map(|lane| &rounds[lane]);
            let twice = Series(one.cost().0.iter().map(|cost| cost * 2.0).collect());
            table.row([
                format!("{items} a request"),
                grouped(one.numbers().median()),
                grouped(two.numbers().median()),
                two.numbers().over(&one.numbers()),
                format!("{}, {}", one.busy(), two.busy()),
                format!("{:.3}", one.cost().median()),
                format!("{:.3}", two.cost().median()),
                twice.over(&two.cost()),
            ]);
        }
        self.report.table(&table);
    }
}

/// Straight lines fitted to the cost of requests by their numbers. Errors are relative; otherwise the largest batches
/// alone would decide.
fn fits(lines: &[(Mode, Vec<(f64, f64)>)]) -> Table {
    let columns = ["mode", "ns a number", "ns a request", "R²", "furthest from the line"];
    let note = "Time of A for a request, from 10 to 10,000 numbers, as a straight line (least squares of the relative \
        errors).";
    let mut table = Table::new("Cost by number of items", note, &columns);
    for (mode, points) in lines {
        let sum = |of: fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(*x, *y) / (y * y)).sum::<f64>();
        let (w, x, y) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|_, y| y));
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        let slope = (w * xy - x * y) / (w * xx - x * x);
        let intercept = (y - slope * x) / w;
        let left: f64 = points.iter().map(|(x, y)| ((y - slope * x - intercept) / y).powi(2)).sum();
        let furthest = points.iter().map(|(x, y)| (y / (slope * x + intercept) - 1.0).abs()).fold(0.0, f64::max);
        table.row([
            mode.name().to_owned(),
            format!("{slope:.1}"),
            grouped(intercept),
            format!("{:.5}", 1.0 - left / (yy - y * y / w)),
            format!("{:.1}%", furthest * 100.0),
        ]);
    }
    table
}
