//! The judge of traces judged: for every invariant, evidence with one thing wrong, and what must be let pass.

use serde_json::json;

use crate::support::checker_traces::{Bounds, Exit, Forgotten, Struck, Traces, judge_traces};
use crate::support::journal_text;
use crate::support::world::Sample;

const BOUNDS: Bounds = Bounds { codes: &["0", "74"], calls_max: 6, is_recovery_timed: true };
const SECRET: &str = "sk-canary";

fn recovered(milliseconds: u64) -> String {
    json!({ "event": "recovered", "frames": 7, "took_ms": milliseconds }).to_string()
}

fn exit(code: &str) -> Exit {
    Exit { code: code.into(), cause: "a test".into() }
}

/// A frame as in a journal's file, with the bytes of its records.
fn frame(seq: u64, prev: &str, crc: &str, records: &[serde_json::Value]) -> Vec<u8> {
    let body: String = records.iter().map(|record| format!("{record}\n")).collect();
    let header = json!({ "v": 1, "seq": seq, "prev": prev, "len": body.len(), "crc": crc }).to_string();
    let mut bytes = format!("{header}\n{body}").into_bytes();
    bytes.resize((320 + body.len()).div_ceil(4096) * 4096, b' ');
    bytes
}

/// One message of update 7 was open at the checkpoint and is closed, another one came and is closed.
fn journal() -> Vec<u8> {
    let open = json!({ "rx": { "id": "rp-a", "upd": 7 }, "fin": null });
    let checkpoint = json!({ "t": "ckp", "next": [[42, 8]], "open": [open] });
    let received = json!({ "t": "rx", "id": "rp-b", "upd": 8, "text": "not \"upd\":99 but text" });
    let fin = |id: &str| json!({ "t": "fin", "id": id });
    [
        frame(3, "x", "a", &[checkpoint]),
        frame(4, "a", "b", &[received, fin("rp-a")]),
        frame(5, "b", "c", &[fin("rp-b")]),
    ]
    .concat()
}

fn good() -> Traces {
    Traces {
        files: vec![("sessions/x".into(), b"text".to_vec())],
        lines: vec![recovered(20)],
        asked: [("one".to_string(), 6)].into(),
        exits: vec![exit("0"), exit("74")],
        samples: vec![Sample { resident_kib: 9000, threads: 12, files: 20 }],
        forgotten: vec![Forgotten { update: 7, on_disk: 7 }],
        journal: vec![Vec::new(), journal()],
        struck: vec![Struck { what: "EIO".into(), was_noticed: true }],
        ..Traces::default()
    }
}

#[track_caller]
fn notices(want: &str, spoil: impl FnOnce(&mut Traces)) {
    let mut traces = good();
    spoil(&mut traces);
    let problems = judge_traces(&traces, BOUNDS, &[SECRET]);
    assert!(problems.len() == 1 && problems[0].starts_with(want), "wanted {want:?} in {problems:?}");
}

#[track_caller]
fn accepts(change: impl FnOnce(&mut Traces)) {
    let mut traces = good();
    change(&mut traces);
    assert_eq!(judge_traces(&traces, BOUNDS, &[SECRET]), Vec::<String>::new());
}

#[test]
fn the_judge_accepts_good_traces() {
    accepts(|_| {});
    accepts(|traces| traces.lines.push(recovered(900)));
    accepts(|traces| traces.lines.push(json!({ "event": "recovered", "frames": 0, "took_ms": 900 }).to_string()));
}

#[test]
fn the_judge_notices_open_turns_and_reported_damage() {
    notices("I1: turn rp-b is open", |traces| traces.journal[1].truncate(2 * 4096));
    notices("I1: turn rp-a is open", |traces| traces.journal[1].truncate(4096));
    notices("I1: damage", |traces| traces.lines.push(json!({ "event": "journal_damage", "detail": "x" }).to_string()));
}

#[test]
fn the_judge_notices_what_was_confirmed_too_early() {
    notices("I5", |traces| traces.forgotten.push(Forgotten { update: 9, on_disk: 8 }));
}

#[test]
fn the_judge_notices_too_many_calls() {
    notices("I6", |traces| traces.asked.extend([("two".to_string(), 7)]));
}

#[test]
fn the_judge_notices_bad_ends_panics_and_slow_starts() {
    for code in ["70", "101", "134", "139", "1", "signal 9", "signal 11", "no end within 10 s"] {
        notices("I8: a process ended", |traces| traces.exits.push(exit(code)));
    }
    notices("I8: {", |traces| traces.lines.push("{\"message\":\"panicked at src/x.rs\"}".into()));
    let mostly_quick = |traces: &mut Traces| {
        traces.lines = (0..38).map(recovered).chain([recovered(501), recovered(900), recovered(700)]).collect();
    };
    accepts(mostly_quick);
    notices("I8: 3 of 41", |traces| {
        mostly_quick(traces);
        traces.was_machine_calm = true;
    });
    let mostly_slow = |traces: &mut Traces| traces.lines.extend([recovered(501), recovered(900)]);
    accepts(mostly_slow);
    notices("I8: 2 of 3", |traces| {
        mostly_slow(traces);
        traces.was_machine_calm = true;
    });
    notices("I8: 2 of 3", |traces| traces.lines.extend([recovered(5001), recovered(9000)]));
}

#[test]
fn the_judge_notices_what_is_left_shown_or_used_too_much() {
    notices("I9", |traces| traces.survivors.push("4711".into()));
    notices("I10", |traces| traces.files.push(("journal/a.jnl".into(), b"..sk-canary..".to_vec())));
    notices("I10", |traces| traces.stdout = b"sk-canary".to_vec());
    notices("I10", |traces| traces.lines.push("{\"error\":\"Bearer sk-canary\"}".into()));
    for sample in [
        Sample { resident_kib: 60_000, threads: 1, files: 1 },
        Sample { resident_kib: 1, threads: 30, files: 1 },
        Sample { resident_kib: 1, threads: 1, files: 100 },
    ] {
        notices("I11", |traces| traces.samples.push(sample));
    }
}

#[test]
fn the_judge_notices_a_fault_that_nobody_told_of() {
    notices("I12", |traces| traces.struck.push(Struck { what: "EIO".into(), was_noticed: false }));
}

#[test]
fn a_journal_is_read_as_text() {
    let files = [journal(), frame(2, "x", "y", &[json!({ "t": "ckp", "next": [[42, 6]], "open": [] })])];
    assert_eq!(journal_text::position(&files), Some(8));
    assert_eq!((journal_text::read(&files).frames, journal_text::read(&files).last_seq), (3, 5));
    assert_eq!(journal_text::position(&[Vec::new()]), None);
    // A frame of an earlier use of the file does not belong to the chain.
    let stale = [journal(), frame(6, "other", "z", &[json!({ "t": "rx", "id": "rp-c", "upd": 5 })])].concat();
    assert_eq!(journal_text::read(&[stale]).frames, 3);
}
