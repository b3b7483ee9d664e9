//! What waits, and what goes on, while the log cannot be written; and how long an event may be.

use std::{io, sync::mpsc};

use super::{
    chain::{LINE_BYTES_MAX, LINK_BYTES_MAX},
    entry::PLACES_AT_THE_END,
    *,
};
use crate::auth::Username;

/// A file that fails while it is full.
struct Valve {
    full: Arc<AtomicBool>,
    written: mpsc::Sender<Vec<u8>>,
}

impl io::Write for Valve {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let _ = self.written.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn full(on_full: OnFull) -> (Arc<Audit>, Arc<AtomicBool>, mpsc::Receiver<Vec<u8>>, std::thread::JoinHandle<usize>) {
    let (written, lines) = mpsc::channel();
    let valve = Arc::new(AtomicBool::new(true));
    let destination = Destination::Other(Box::new(Valve { full: valve.clone(), written }));
    let (audit, writer) = Audit::new(destination, on_full, None, 1);
    (Arc::new(audit), valve, lines, std::thread::spawn(move || writer.run()))
}

/// How many lines were written. No piece ends in the middle of a line.
fn lines(written: &mpsc::Receiver<Vec<u8>>) -> usize {
    let pieces: Vec<_> = written.iter().collect();
    assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
    writer::lines(&pieces.concat())
}

/// A request of a client, up to the point where it is mapped.
async fn call<'a>(audit: &'a Audit, client: &'a Username) -> Entry<'a> {
    let mut entry = audit.begin(IpAddr::from([192, 0, 2, 1]));
    entry.record.client = Some(client);
    entry.make_room(0).await;
    entry
}

fn client() -> Username {
    Username::new("ccc").expect("a username")
}

#[tokio::test]
async fn blocked_requests_wait_for_room_and_all_are_written() {
    let (audit, valve, written, thread) = full(OnFull::Block);
    let client = client();
    assert!(!audit.lacks_room());
    for _ in 0..PLACES {
        drop(call(&audit, &client).await);
    }
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (audit, client) = (audit.clone(), client.clone());
            tokio::spawn(async move { drop(call(&audit, &client).await) })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|task| !task.is_finished()), "there was no room");
    while !audit.lacks_room() {
        tokio::task::yield_now().await;
    }
    // Strangers wait for nothing, and take no place that others wait for.
    for _ in 0..100 {
        drop(audit.begin(IpAddr::from([192, 0, 2, 1])));
    }
    assert_eq!((audit.queued(), audit.unwritten(), audit.summed()), (PLACES, PLACES + 1, 100));
    valve.store(false, Ordering::SeqCst);
    for task in waiting {
        task.await.expect("it does not panic");
    }
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    assert!(!audit.lacks_room() && audit.unwritten() == 0);
    drop(audit);
    // Two lines are about the strangers, and one marks the end.
    assert_eq!(lines(&written), PLACES + 100 + 3);
}

#[tokio::test]
async fn dropped_requests_are_counted_and_the_others_are_written() {
    let (audit, valve, written, thread) = full(OnFull::Drop);
    let client = client();
    for _ in 0..PLACES + 100 {
        drop(call(&audit, &client).await);
    }
    assert_eq!((audit.dropped(), audit.queued(), audit.lacks_room()), (100, PLACES, false));
    valve.store(false, Ordering::SeqCst);
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    drop(audit);
    // One more line tells how many were dropped, and one marks the end.
    assert_eq!(lines(&written), PLACES + 2);
}

#[tokio::test]
async fn a_request_that_is_broken_off_is_noted() {
    let (audit, valve, written, thread) = full(OnFull::Block);
    let client = client();
    valve.store(false, Ordering::SeqCst);
    let handled = async {
        let mut entry = call(&audit, &client).await;
        entry.record.items = 7;
        std::future::pending::<()>().await;
    };
    let _ = tokio::time::timeout(Duration::from_millis(1), handled).await;
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    let line: Vec<u8> = written.try_iter().flatten().take_while(|byte| *byte != b'\n').collect();
    let line: Value = serde_json::from_slice(&line).expect("it is JSON");
    assert_eq!((&line["items"], &line["peer"], &line["status"]), (&7.into(), &"192.0.2.1".into(), &0.into()));
    assert!(line["id"].as_str().is_some_and(|id| id.starts_with(audit.instance())));
}

/// Such a request waits for room, or for its body, while nothing is written.
#[test]
fn requests_broken_off_before_they_had_room_are_noted_within_a_bound() {
    let (audit, valve, written, thread) = full(OnFull::Block);
    let client = client();
    for _ in 0..PLACES_AT_THE_END + 7 {
        audit.begin(IpAddr::from([192, 0, 2, 1])).record.client = Some(&client);
    }
    assert_eq!((audit.queued(), audit.dropped()), (PLACES_AT_THE_END, 7));
    valve.store(false, Ordering::SeqCst);
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    drop(audit);
    assert_eq!(lines(&written), PLACES_AT_THE_END + 2);
}

#[test]
fn a_write_that_does_not_return_is_stuck() {
    struct Pipe(mpsc::Receiver<()>);
    impl io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (read, pipe) = mpsc::channel();
    let (audit, writer) = Audit::new(Destination::Other(Box::new(Pipe(pipe))), OnFull::Block, None, 1);
    let thread = std::thread::spawn(move || writer.run());
    audit.event("start", Map::new());
    let since = Instant::now();
    while !audit.is_stuck() {
        assert!(since.elapsed() < 30 * STUCK_AFTER);
        std::thread::yield_now();
    }
    assert!(since.elapsed() >= STUCK_AFTER / 2 && audit.unwritten() == 1);
    drop(read);
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    assert!(!audit.is_stuck());
}

#[test]
fn a_line_without_an_end_is_ended_before_others_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    for (before, after) in [("", "x"), ("a\n", "a\nx"), ("a\nb", "a\nb\nx")] {
        std::fs::write(&path, before).expect("it is ours");
        io::Write::write_all(&mut open(&path).expect("it is ours"), b"x").expect("it is ours");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), after);
    }
}

#[tokio::test]
async fn what_the_log_says_of_itself() {
    let (written, lines) = mpsc::channel();
    let full = Arc::new(AtomicBool::new(false));
    let destination = Destination::Other(Box::new(Valve { full, written }));
    let key = || ItemKey::new(&[7; KEY_BYTES]);
    let (audit, writer) = Audit::new(destination, OnFull::Block, Some(key()), 0x1a);
    assert_eq!((audit.instance(), audit.item_key_id()), ("000000000000001a", Some(key().id())));
    let client = client();
    let mut entry = audit.begin(IpAddr::from([192, 0, 2, 1]));
    entry.record.client = Some(&client);
    assert!(!entry.is_settled() && entry.item_key().is_none());
    entry.make_room(8).await;
    assert!(entry.is_settled() && entry.item_key().is_some_and(|key| Some(key.id()) == audit.item_key_id()));
    entry.make_room(8).await;
    assert_eq!(audit.queued(), 3, "one for the line, and one for four hashes each");
    drop(entry);
    audit.stop();
    assert_eq!(writer.run(), 0);
    let Head { lines: count, hash } = audit.head();
    let text = String::from_utf8(lines.try_iter().flatten().collect()).expect("text");
    assert!(count == 2 && text.ends_with(&format!("\"chain\":\"000000000000001a/2/{hash}\"}}\n")), "{text}");
    assert_eq!((format!("{hash:?}"), audit.told()), (hash.to_string(), 0));
    audit.tell_head();
    assert_eq!(audit.told(), 2);
}

#[tokio::test]
async fn requests_turn_away_before_the_places_run_out() {
    let (audit, valve, _written, thread) = full(OnFull::Block);
    drop(call(&audit, &client()).await);
    while !audit.is_stuck() {
        tokio::task::yield_now().await;
    }
    assert!(audit.lacks_room() && audit.queued() == 1);
    valve.store(false, Ordering::SeqCst);
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    assert!(!audit.lacks_room() && audit.queued() == 0);
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    let (audit, writer) = Audit::new(Destination::file(&path).expect("it is ours"), OnFull::Block, None, 1);
    let thread = std::thread::spawn(move || writer.run());
    audit.event("first", Map::new());
    while audit.unwritten() > 0 {
        std::thread::yield_now();
    }
    std::fs::rename(&path, &moved).expect("it is ours");
    audit.reopen();
    while !path.exists() {
        std::thread::yield_now();
    }
    audit.event("second", Map::new());
    audit.stop();
    assert_eq!(thread.join().expect("it does not panic"), 0);
    let lines = |path| std::fs::read_to_string(path).expect("text").lines().count();
    assert_eq!((lines(&moved), lines(&path)), (1, 2));
}

#[tokio::test]
async fn a_request_that_waits_goes_on_once_there_are_places() {
    let (written, _lines) = mpsc::channel();
    let destination = Destination::Other(Box::new(Valve { full: Arc::default(), written }));
    let (audit, _writer) = Audit::new(destination, OnFull::Block, None, 1);
    assert!(audit.take(PLACES).await);
    let places = async {
        tokio::task::yield_now().await;
        audit.shared.give_back(PLACES);
    };
    let waiting = async { tokio::join!(audit.take(1), places).0 };
    assert_eq!(tokio::time::timeout(STUCK_AFTER, waiting).await, Ok(true));
}

#[test]
fn an_event_is_no_longer_than_the_bound() {
    let most = LINE_BYTES_MAX - LINK_BYTES_MAX;
    let length = |last: usize| {
        let fields = (0..(most - 70) / 1009).map(|at| (format!("a{at:02}"), "a".repeat(1000).into()));
        event_line(Timestamp::UNIX_EPOCH, "start", fields.chain([("b".into(), "b".repeat(last).into())]).collect())
            .len()
    };
    let left = most - length(0);
    assert!(length(left) == most && length(left + 1) < most);
}
