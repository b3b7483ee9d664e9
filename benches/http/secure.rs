//! TLS: the cost of a call over a connection that is kept, and over a new one.

use crate::{
    connection::{Way, exchange, open},
    load::{Lane, Right},
    measures::{Bench, Rounds},
    report::{Series, Table, grouped},
    samples::{Mode, Workload},
    servers::{Server, Setup},
    tls::{Certificate, Client},
};

/// Requests for each way. Every server answers each of them once before the measurement.
const REQUESTS: usize = 1000;

impl Bench {
    /// Measures single numbers over TLS 1.3, against a bare server and nginx with the same certificate.
    pub fn tls(&mut self) {
        let columns = [
            "requests/s",
            "A",
            "B",
            "nginx",
            "A/B",
            "A/nginx",
            "busy A, B, nginx",
            "CPU µs a request: A",
            "B",
            "nginx",
            "A/B, by CPU",
            "resumed A, B, nginx",
        ];
        let note = "PhoneToUID, one number a request, closed loop, 32 connections, TLS 1.3. B is hyper and tokio-rustls by \
            their defaults, nginx gives A's answer from its configuration, and logs nothing. A new connection is one for each \
            request: its rate is that of handshakes. The load checks no signature. Where a server was not busy, CPU tells \
            more than rates.";
        let mut table = Table::new("TLS", note, &columns);
        let workload = Workload::new(Mode::PhoneToUid, &self.mobiles[..REQUESTS], 1, &self.ring);
        let kept = |tls| Way { tls: Some(tls), is_new: false };
        let new = |tls| Way { tls: Some(tls), is_new: true };
        let (hybrid, classic) = (Client::HYBRID, Client::CLASSIC);
        let p256 = [
            ("P-256, kept", kept(classic)),
            ("P-256, new, X25519MLKEM768", new(hybrid)),
            ("P-256, new, X25519", new(classic)),
            ("P-256, new, X25519MLKEM768, resumed", new(hybrid.resuming())),
            ("P-256, new, X25519, resumed", new(classic.resuming())),
        ];
        let rsa = [("RSA-2048, new, X25519MLKEM768", new(hybrid)), ("RSA-2048, new, X25519", new(classic))];
        for (certificate, ways) in [(Certificate::p256(), &p256[..]), (Certificate::rsa(), &rsa[..])] {
            let callveil = Server::callveil(Setup { certificate: Some(&certificate), ..self.setup() }).0;
            let mut stream = open(callveil.address, kept(hybrid)).unwrap();
            let answer = exchange(&mut stream, &workload.requests[0].bytes);
            let cpus = self.cpus.server(1);
            let bare = Server::bare_over_tls(&answer, &certificate, cpus);
            let nginx = Server::nginx(&answer, &certificate, cpus);
            for (name, way) in ways {
                // OpenSSL has X25519MLKEM768 since version 3.5.
                let nginx = nginx.as_ref().filter(|nginx| open(nginx.address, *way).is_ok());
                let servers = [(&callveil, Right::Exact), (&bare, Right::Fixed)].into_iter();
                let lanes = servers.chain(nginx.map(|nginx| (nginx, Right::Fixed)));
                let lanes = lanes.map(|(server, right)| Lane::by(*way, server, &workload, right));
                let rounds = self.drive(&mut lanes.collect::<Vec<_>>());
                table.row(row(name, &rounds));
            }
        }
        self.report.table(&table);
    }
}

fn row(name: &str, rounds: &[Rounds]) -> [String; 12] {
    let (a, b, nginx) = (&rounds[0], &rounds[1], rounds.get(2));
    let of_nginx = |text: fn(&Rounds) -> String| nginx.map_or_else(|| "-".to_owned(), text);
    let rate = |rounds: &Rounds| grouped(rounds.requests().median());
    let cost = |rounds: &Rounds| format!("{:.1}", rounds.cost().median());
    let resumed = |rounds: &Rounds| format!("{:.0}%", rounds.series(|round| round.resumed).median() * 100.0);
    let of_all = |text: fn(&Rounds) -> String| rounds.iter().map(text).collect::<Vec<_>>().join(", ");
    [
        name.to_owned(),
        rate(a),
        rate(b),
        of_nginx(rate),
        a.requests().over(&b.requests()),
        nginx.map_or_else(|| "-".to_owned(), |nginx| a.requests().over(&nginx.requests())),
        of_all(Rounds::busy),
        cost(a),
        cost(b),
        of_nginx(cost),
        inverse(&a.cost()).over(&inverse(&b.cost())),
        of_all(resumed),
    ]
}

/// The work done per unit of cost, so that, as with rates, more is better.
pub fn inverse(cost: &Series) -> Series {
    Series(cost.0.iter().map(|cost| 1.0 / cost).collect())
}
