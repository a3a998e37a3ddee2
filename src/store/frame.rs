//! One commit frame: encode, check, scan. Bytes only.
//!
//! ```text
//! {"v":1,"seq":7,"prev":"…","syn":5,"n":2,"len":180,"boot":"…","crc":"…"}\n
//! <record JSON>\n   n times
//! <spaces>          up to a multiple of 4096 bytes
//! ```
//! A frame never shares a block with another, so a torn block cannot damage an earlier commit. Frame *k+1* is accepted
//! only if its `seq` follows, its `prev` is the checksum of frame *k*, and its own checksum holds. Stale frames of a
//! recycled file fail on `seq`, lost or reordered writes on `prev`, torn frames on `crc`. `syn` is the last `seq` known
//! to be on the medium when the frame was written: a damaged frame with a number up to some later frame's `syn` was
//! promised to somebody, so it is damage (a hole), and not merely the unfinished end of the log.

use serde::{Deserialize, Serialize};

use crate::base::id::CRC32C;

/// Frames start and end at multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// Longest header line accepted.
const HEADER_BYTES_MAX: usize = 320;

#[derive(Serialize, Deserialize)]
struct Header {
    v: u8,
    seq: u64,
    prev: String,
    syn: u64,
    n: usize,
    len: usize,
    boot: String,
    crc: String,
}

/// A frame that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number.
    pub seq: u64,
    /// The last frame that was on the medium when this one was written.
    pub synced: u64,
    /// Its checksum, which the next frame repeats.
    pub crc: u32,
    /// Where it starts.
    pub offset: usize,
    /// Its length with padding.
    pub len: usize,
    /// Its records, one JSON object per line.
    pub body: &'a [u8],
    /// The boot of the kernel in which it was written.
    pub boot: String,
    prev: u32,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Behind the last frame there is nothing of this generation.
    Clean,
    /// The last write did not finish. Nobody was promised what was in it.
    Torn {
        /// Where.
        at: usize,
    },
    /// A frame that had been promised is damaged.
    Hole {
        /// Where.
        at: usize,
        /// A later frame that proves it.
        next_valid: usize,
        /// The number of that frame.
        seq: u64,
    },
}

/// The frames of a file, up to the first that is not valid.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// In order.
    pub frames: Vec<Frame<'a>>,
    /// What comes behind them.
    pub tail: Tail,
    /// The highest number of a whole frame, also of one behind them. No later frame may have it again: what stands behind
    /// the end of a log would be taken for a part of it, or for proof of damage.
    pub highest: u64,
}

/// Bytes a frame with `body_len` bytes of records takes. The header is counted at its largest, so that whether a
/// frame fits does not depend on the digits of its numbers.
pub fn frame_len(body_len: usize) -> usize {
    (HEADER_BYTES_MAX + body_len).div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// Encodes a frame; returns its bytes, padding included, and its checksum.
pub fn encode(seq: u64, prev: u32, synced: u64, boot: &str, records: usize, body: &[u8]) -> (Vec<u8>, u32) {
    let crc = checksum(seq, prev, synced, body);
    let header = Header {
        v: 1,
        seq,
        prev: format!("{prev:08x}"),
        syn: synced,
        n: records,
        len: body.len(),
        boot: boot.to_owned(),
        crc: format!("{crc:08x}"),
    };
    let mut bytes = serde_json::to_vec(&header).expect("a header is text and numbers");
    bytes.push(b'\n');
    debug_assert!(bytes.len() <= HEADER_BYTES_MAX, "a boot id is 16 characters");
    bytes.extend_from_slice(body);
    bytes.resize(frame_len(body.len()), b' ');
    (bytes, crc)
}

/// Reads frames from the start of a file.
pub fn scan(bytes: &[u8]) -> Scan<'_> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut offset = 0;
    while let Some(frame) = frame_at(bytes, offset) {
        if frames.last().is_some_and(|last| frame.seq != last.seq + 1 || frame.prev != last.crc) {
            break;
        }
        offset += frame.len;
        frames.push(frame);
    }
    let expected = frames.last().map_or(0, |last| last.seq + 1);
    let (tail, behind) = tail(bytes, offset, expected);
    Scan { frames, tail, highest: behind.max(expected.saturating_sub(1)) }
}

/// What comes behind the frames, and the highest number in it.
fn tail(bytes: &[u8], at: usize, expected: u64) -> (Tail, u64) {
    let (mut highest, mut stale, mut proof) = (0, false, None::<(u64, usize)>);
    for frame in (at..bytes.len()).step_by(BLOCK_BYTES).filter_map(|offset| frame_at(bytes, offset)) {
        let is_proof = frame.offset > at && frame.seq > expected && frame.synced >= expected;
        proof = proof.max(is_proof.then_some((frame.seq, frame.offset)));
        stale |= frame.offset == at && frame.seq < expected;
        highest = highest.max(frame.seq);
    }
    let blank = bytes.get(at..).unwrap_or_default().iter().take(BLOCK_BYTES).all(|byte| matches!(byte, 0 | b' '));
    let tail = match proof {
        Some((seq, next_valid)) => Tail::Hole { at, next_valid, seq },
        None if stale || blank => Tail::Clean,
        None => Tail::Torn { at },
    };
    (tail, highest)
}

/// The frame that starts at `offset`, if there is a whole one.
fn frame_at(bytes: &[u8], offset: usize) -> Option<Frame<'_>> {
    let rest = bytes.get(offset..)?;
    if !rest.starts_with(b"{\"v\":1,") {
        return None;
    }
    let header_len = rest.iter().take(HEADER_BYTES_MAX).position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(rest.get(..header_len)?).ok()?;
    let (prev, crc) = (hex(&header.prev)?, hex(&header.crc)?);
    let body_start = header_len + 1;
    let body = rest.get(body_start..body_start.checked_add(header.len)?)?;
    if checksum(header.seq, prev, header.syn, body) != crc {
        return None;
    }
    let len = frame_len(header.len);
    Some(Frame { seq: header.seq, synced: header.syn, crc, offset, len, body, boot: header.boot, prev })
}

fn checksum(seq: u64, prev: u32, synced: u64, body: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(format!("{seq}|{prev:08x}|{synced}|{}|", body.len()).as_bytes());
    digest.update(body);
    digest.finalize()
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const BOOT: &str = "0123456789abcdef";

    /// `count` frames with bodies of growing size, each written when all before it were synced.
    fn log(count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut prev = 0;
        for seq in 1..=count {
            let body =
                format!("{{\"t\":\"x\",\"text\":\"{}\"}}\n", "y".repeat(usize::try_from(seq).unwrap_or(0) * 1500));
            let (frame, crc) = encode(seq, prev, seq - 1, BOOT, 1, body.as_bytes());
            bytes.extend_from_slice(&frame);
            prev = crc;
        }
        bytes.resize(bytes.len() + 4 * BLOCK_BYTES, b' ');
        bytes
    }

    #[test]
    fn what_was_encoded_is_found_again() {
        let bytes = log(5);
        let scan = scan(&bytes);
        assert_eq!(scan.frames.len(), 5);
        assert_eq!(scan.tail, Tail::Clean);
        assert!(scan.frames.iter().all(|frame| frame.offset % BLOCK_BYTES == 0));
    }

    #[test]
    fn every_cut_leaves_a_prefix() {
        let whole = log(4);
        let ends: Vec<usize> = scan(&whole).frames.iter().map(|frame| frame.offset + frame.len).collect();
        for cut in (0..whole.len()).step_by(61) {
            let mut bytes = whole.clone();
            bytes[cut..].fill(b' ');
            // A frame's padding is no part of what is checked, so a cut inside it leaves the frame whole.
            let found = scan(&bytes).frames.len();
            let complete = ends.iter().filter(|&&end| end <= cut).count();
            assert!((complete..=complete + 1).contains(&found), "cut at {cut}: {found} frames, {complete} complete");
        }
    }

    #[test]
    fn a_flipped_bit_is_never_read_as_something_else() {
        let whole = log(4);
        let good = scan(&whole);
        let bodies: Vec<&[u8]> = good.frames.iter().map(|frame| frame.body).collect();
        let seed = 11;
        let mut rng = Rng::from_seed(seed);
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            let at = usize::try_from(rng.up_to(bytes.len() as u64 - 1)).unwrap_or(0);
            bytes[at] ^= 1 << rng.up_to(7);
            for (frame, body) in scan(&bytes).frames.iter().zip(&bodies) {
                assert_eq!(&frame.body, body, "seed {seed}, byte {at}");
            }
        }
    }

    #[test]
    fn damage_to_a_promised_frame_is_a_hole_and_an_unfinished_end_is_not() {
        let mut bytes = log(4);
        let second = scan(&bytes).frames[1].offset;
        bytes[second + 300] ^= 1;
        assert!(matches!(scan(&bytes).tail, Tail::Hole { at, .. } if at == second));
        let mut bytes = log(4);
        let last = scan(&bytes).frames[3].offset;
        bytes[last + 300] ^= 1;
        assert_eq!(scan(&bytes).tail, Tail::Torn { at: last });
    }

    #[test]
    fn an_unsynced_frame_lost_before_a_later_one_is_no_damage() {
        let (first, crc1) = encode(1, 0, 0, BOOT, 1, b"a\n");
        let (_lost, crc2) = encode(2, crc1, 1, BOOT, 1, b"b\n");
        let (third, _) = encode(3, crc2, 1, BOOT, 1, b"c\n");
        let bytes = [first, vec![b' '; BLOCK_BYTES], third].concat();
        let scan = scan(&bytes);
        assert_eq!((scan.frames.len(), scan.tail), (1, Tail::Clean));
    }

    #[test]
    fn stale_frames_of_a_recycled_file_are_not_read() {
        let (fresh, _) = encode(9, 5, 8, BOOT, 1, b"new\n");
        let (stale, _) = encode(3, 0, 2, BOOT, 1, b"old\n");
        let bytes = [fresh, stale].concat();
        assert_eq!(scan(&bytes).frames.len(), 1);
        assert_eq!(scan(&bytes).tail, Tail::Clean);
    }
}
