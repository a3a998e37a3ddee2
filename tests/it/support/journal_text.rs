//! The two files of a journal, read with no code of the product: as text, by the format in docs/architecture.md.
//!
//! Enough for a judge: how far the messages on disk reach, and which turns are still open. Checksums are not computed;
//! the chain of `seq` and `prev` tells frames that belong together from those of an earlier use of the file.

use std::collections::BTreeSet;

use serde_json::Value;

const BLOCK_BYTES: usize = 4096;
/// A header is counted at its largest where the length of a frame is computed.
const HEADER_BYTES_MAX: usize = 320;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalText {
    pub frames: usize,
    /// Of the last frame: how many were written since the journal was made.
    pub last_seq: u64,
    pub open: BTreeSet<String>,
}

/// The highest update that the files hold as received; None when there is none.
pub fn position(files: &[Vec<u8>]) -> Option<i64> {
    let texts = files.iter().map(|bytes| String::from_utf8_lossy(bytes));
    texts.filter_map(|text| position_in(&text)).max()
}

/// Inside a message's text the quotes would be escaped, so what is found here was written by the journal.
fn position_in(text: &str) -> Option<i64> {
    let received = text.match_indices("\"upd\":").filter_map(|(at, name)| number_at(&text[at + name.len()..]));
    let next = text.match_indices("\"next\":[[").filter_map(|(at, name)| {
        let (_, next) = text[at + name.len()..].split_once(',')?;
        Some(number_at(next)? - 1)
    });
    received.chain(next).max()
}

fn number_at(text: &str) -> Option<i64> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    text[..end].parse().ok()
}

/// The file with the higher checkpoint, up to the first frame that does not belong to it.
pub fn read(files: &[Vec<u8>]) -> JournalText {
    let chains = files.iter().map(|bytes| chain(bytes));
    let newest = chains.filter(|frames| !frames.is_empty()).max_by_key(|frames| frames[0].seq).unwrap_or_default();
    let last_seq = newest.last().map_or(0, |frame| frame.seq);
    let mut journal = JournalText { frames: newest.len(), last_seq, open: BTreeSet::new() };
    for record in newest.iter().flat_map(|frame| &frame.records) {
        journal.apply(record);
    }
    journal
}

struct Frame {
    seq: u64,
    records: Vec<Value>,
}

fn chain(bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut last_crc = Value::Null;
    let mut offset = 0;
    while let Some((header, body)) = bytes.get(offset..).and_then(header_and_body) {
        let seq = header["seq"].as_u64().unwrap_or_default();
        if frames.last().is_some_and(|last| seq != last.seq + 1 || header["prev"] != last_crc) {
            break;
        }
        last_crc = header["crc"].clone();
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        frames.push(Frame { seq, records: lines.filter_map(|line| serde_json::from_slice(line).ok()).collect() });
        offset += (HEADER_BYTES_MAX + body.len()).div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
    }
    frames
}

fn header_and_body(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let end = bytes.iter().take(BLOCK_BYTES).position(|byte| *byte == b'\n')?;
    let header: Value = serde_json::from_slice(&bytes[..end]).ok()?;
    let length = usize::try_from(header["len"].as_u64()?).ok()?;
    Some((header, bytes.get(end + 1..end + 1 + length)?))
}

impl JournalText {
    fn apply(&mut self, record: &Value) {
        let id = record["id"].as_str().unwrap_or_default().to_string();
        match record["t"].as_str() {
            Some("rx") => drop(self.open.insert(id)),
            Some("fin") => drop(self.open.remove(&id)),
            Some("ckp") => {
                let open = record["open"].as_array().map(Vec::as_slice).unwrap_or_default();
                let unfinished = open.iter().filter(|one| one["fin"].is_null());
                self.open = unfinished.filter_map(|one| Some(one["rx"]["id"].as_str()?.to_string())).collect();
            }
            _ => {}
        }
    }
}
