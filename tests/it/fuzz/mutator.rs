//! Inputs from inputs: what a mutation does to bytes. Seeded, so that a run can be repeated.

use crate::support::cases::Random;

/// Most bytes of an ordinary input, and of the rare large one that shows what grows faster than its input.
const BYTES_MAX: usize = 16 * 1024;
const LARGE_BYTES_MAX: usize = 1 << 20;
/// One input in so many thousand is large.
const LARGE_PER_MILLE: u64 = 4;
const STEPS_MAX: u64 = 6;

/// Pieces that parsers stumble over.
const WORDS: [&[u8]; 44] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\r",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"\\\"",
    b"\\u0000",
    b"\\ud83d",
    b"\\udc00",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"0x10",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9",
    b"\xe2\x80\xae",
    b"\xe2\x81\xa6",
    b"\xf3\xa0\x81\xa7",
    b"e\xcc\x81",
    b"\x1b[31m",
    b"data: ",
    b"```",
    b"${",
    b"$",
    b"#",
    b"/tool ",
];

/// A new input, made of one or two of those there are.
pub fn mutated(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.index(inputs.len())].clone();
    let most = if random.chance(LARGE_PER_MILLE) { LARGE_BYTES_MAX } else { BYTES_MAX };
    if most == LARGE_BYTES_MAX {
        grow(&mut bytes, random);
    }
    for _ in 0..random.between(1, STEPS_MAX) {
        step(&mut bytes, inputs, random);
    }
    bytes.truncate(most);
    bytes
}

/// A piece of the input many times over.
fn grow(bytes: &mut Vec<u8>, random: &mut Random) {
    let (start, end) = range(bytes, random);
    let piece = if start == end { WORDS[random.index(WORDS.len())].to_vec() } else { bytes[start..end].to_vec() };
    let times = random.between(1, LARGE_BYTES_MAX as u64) as usize / piece.len().max(1);
    let many = piece.repeat(times.max(1));
    bytes.splice(start..start, many);
}

fn step(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let at = random.index(bytes.len() + 1);
    let (start, end) = range(bytes, random);
    match random.between(0, 9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.between(0, 7),
        1 if at < bytes.len() => bytes[at] = random.next() as u8,
        2 => drop(bytes.splice(at..at, WORDS[random.index(WORDS.len())].iter().copied())),
        3 => drop(bytes.drain(start..end)),
        4 => {
            let copy = bytes[start..end].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => bytes.truncate(at),
        6 => {
            let other = &inputs[random.index(inputs.len())];
            let (from, to) = range(other, random);
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        7 => {
            let piece = bytes[start..end].to_vec();
            bytes.splice(at..at, piece.repeat(random.between(1, 40) as usize));
        }
        8 => bytes[start..end].reverse(),
        _ => another_number(bytes, random),
    }
}

/// At most 64 bytes long, anywhere.
fn range(bytes: &[u8], random: &mut Random) -> (usize, usize) {
    let start = random.index(bytes.len() + 1);
    let end = (start + random.between(0, 64) as usize).min(bytes.len());
    (start, end)
}

fn another_number(bytes: &mut Vec<u8>, random: &mut Random) {
    let Some(start) = bytes.iter().position(u8::is_ascii_digit) else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = match random.between(0, 3) {
        0 => u64::MAX.to_string(),
        1 => i64::MIN.to_string(),
        2 => random.next().to_string(),
        _ => random.between(0, 4).to_string(),
    };
    bytes.splice(start..start + digits, number.into_bytes());
}
