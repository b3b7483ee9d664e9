//! What a user sees: the real binary, real sockets, real clients. It is one crate, so that it is linked only once.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests have no callers, and a panic is how they fail"
)]

mod needs;
mod random;
mod rings;
mod support;

mod approvals;
mod audit;
mod audit_http;
mod audit_journal;
mod audit_reading;
mod bulk;
mod bulk_columns;
mod bulk_damage;
mod bulk_encodings;
mod bulk_files;
mod bulk_json;
mod bulk_left;
mod bulk_mounts;
mod bulk_odd;
mod bulk_record;
mod bulk_screen;
mod changes;
mod clients;
mod command_line;
mod configuration;
mod console;
mod crashes;
mod data_team;
mod deploy;
mod dialled;
mod doctor;
mod engines;
mod export;
mod fast_path;
mod files;
mod fleet;
mod floods;
mod forgery;
mod full_log;
mod golden;
mod greedy;
mod hardware;
mod help;
mod hostile;
mod limits;
mod logs;
mod metrics;
mod other_tools;
mod page;
mod plain;
mod platform_team;
mod post_quantum;
mod properties;
mod proxies;
mod readme;
mod reload;
mod replicas;
mod residue;
mod ring_file;
mod rotation_search;
mod runbook;
mod sealed;
mod shutdown;
mod simulation;
mod strict;
mod taken_up;
mod tls;
mod vectors;
mod wire;
mod words;
mod wrong_configurations;
