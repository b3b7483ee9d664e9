//! The cost of a call to the server if clients sleep, by the destination of its audit log.

use std::time::Duration;

use crate::{
    callers::{Pace, at, call},
    load::{Lane, Right, Window},
    measures::Bench,
    report::{Series, Table, grouped},
    samples::{Mode, Workload},
    secure::inverse,
    servers::{Audit, Server, Setup},
};

/// Numbers in a request of the batches.
const BATCH: usize = 1000;

/// Callers that sleep, from few to many.
const PACES: [Pace; 3] = [
    Pace { callers: 16, calls_per_second: 200.0 },
    Pace { callers: 32, calls_per_second: 2000.0 },
    Pace { callers: 64, calls_per_second: 10_000.0 },
];

impl Bench {
    /// Compares loads that sleep with one that never does.
    pub fn sleeping(&mut self) {
        let columns = [
            "PhoneToUID, one number",
            "requests/s A",
            "B",
            "CPU µs a request: A",
            "B",
            "A/B, by CPU",
            "p99 A, µs",
            "B",
        ];
        let note = "Closed loops have 32 connections on one thread, which never sleeps, or sleeps where there is nothing to \
            read. Callers have a connection and a thread each, one call under way, and sleep between two. The less there \
            is to do, the more often the server sleeps, too, and each time costs it as much as the kernel wants for that.";
        let mut table = Table::new("Clients that sleep", note, &columns);
        let callveil = self.callveil();
        let workload = Workload::new(Mode::PhoneToUid, &self.mobiles, 1, &self.ring);
        let bare = self.bare(&callveil, &workload);
        for sleeps in [false, true] {
            let mut lanes = [Lane::new(&callveil, &workload, Right::Exact), Lane::new(&bare, &workload, Right::Fixed)];
            lanes.iter_mut().for_each(|lane| lane.sleeps = sleeps);
            let rounds = self.drive(&mut lanes);
            let [a, b] = [0, 1].map(|lane| &rounds[lane]);
            table.row([
                format!("closed loop that {}", if sleeps { "sleeps" } else { "never sleeps" }),
                grouped(a.requests().median()),
                grouped(b.requests().median()),
                format!("{:.1}", a.cost().median()),
                format!("{:.1}", b.cost().median()),
                inverse(&a.cost()).over(&inverse(&b.cost())),
                "-".to_owned(),
                "-".to_owned(),
            ]);
        }
        let lanes = [Lane::new(&callveil, &workload, Right::Exact), Lane::new(&bare, &workload, Right::Fixed)];
        let window = Window { warm: Duration::from_millis(200), measured: self.effort.window.measured * 2 };
        for pace in PACES {
            let mut costs = [(); 2].map(|()| Series::default());
            let mut latencies = [(); 2].map(|()| Vec::new());
            for _ in 0..self.effort.rounds {
                for ((lane, cost), latencies) in lanes.iter().zip(&mut costs).zip(&mut latencies) {
                    let mut calls = call(lane, pace, window, self.cpus.load(1));
                    lane.server.forget_audit();
                    cost.0.push(calls.cost * 1e6);
                    latencies.append(&mut calls.latencies);
                }
            }
            latencies.iter_mut().for_each(|latencies| latencies.sort_unstable());
            let [a, b] = &costs;
            let rate = grouped(pace.calls_per_second);
            table.row([
                format!("{} callers", pace.callers),
                rate.clone(),
                rate,
                format!("{:.1}", a.median()),
                format!("{:.1}", b.median()),
                inverse(a).over(&inverse(b)),
                grouped(at(&latencies[0], 0.99)),
                grouped(at(&latencies[1], 0.99)),
            ]);
        }
        self.report.table(&table);
    }

    /// Compares the destinations of an audit log.
    pub fn audit_logs(&mut self) {
        let columns = [
            "PhoneToUID, numbers/s",
            "in memory",
            "disk",
            "pipe",
            "disk/memory",
            "pipe/memory",
            "busy",
            "CPU µs a request",
        ];
        let note = "The audit log of A to a file in memory, to one on a disk, and to stdout, a pipe that the load's CPU reads.";
        let mut table = Table::new("Where the audit log goes", note, &columns);
        let servers =
            [Audit::File, Audit::Disk, Audit::Pipe].map(|audit| Server::callveil(Setup { audit, ..self.setup() }).0);
        for items in [1, BATCH] {
            let workload = Workload::new(Mode::PhoneToUid, &self.mobiles, items, &self.ring);
            let mut lanes = servers.each_ref().map(|server| Lane::new(server, &workload, Right::Exact));
            let rounds = self.drive(&mut lanes);
            let [memory, disk, pipe] = [0, 1, 2].map(|lane| rounds[lane].numbers());
            table.row([
                format!("{items} a request"),
                grouped(memory.median()),
                grouped(disk.median()),
                grouped(pipe.median()),
                disk.over(&memory),
                pipe.over(&memory),
                [0, 1, 2].map(|lane| rounds[lane].busy()).join(", "),
                [0, 1, 2].map(|lane| format!("{:.1}", rounds[lane].cost().median() * items as f64)).join(", "),
            ]);
        }
        self.report.table(&table);
    }
}
