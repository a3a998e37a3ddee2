//! [`Writer`] and [`read`]: the archive of `backup` and `restore`. A POSIX tar file: the files, each with its name in the data
//! folder, and last `manifest.json` with the length and checksum of each. A name too long for a header stands in a
//! header of its own before it (pax, `path`).
//!
//! What is read is believed only when the manifest agrees, and only names that we write are accepted: an archive cannot
//! reach outside the folders below.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::id::CRC32C;
use crate::store::journal_files;

/// As long as it is in the data folder, what is there is half of one thing and half of another.
pub const MARKER: &str = "restore-in-progress";

/// The counters, wherever they are configured to be.
pub const TELEMETRY: &str = "telemetry/latest.json";

/// Everything else is in one of these.
pub const FOLDERS: [&str; 6] =
    ["sessions", "journal/telegram", "journal/whatsapp", "dead", "spool/telegram", "spool/whatsapp"];

/// Files in an archive.
const FILES_MAX: usize = 200_000;

/// A letter or the counters.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// What a header has room for.
const LARGE_BYTES_MAX: u64 = (1 << 33) - 1;

const MANIFEST: &str = "manifest.json";
/// The list of 200,000 files; an archive with a longer one is refused.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const VERSION: u32 = 1;

/// Of tar (POSIX ustar): headers and contents are padded to this, and a name in a header has so much room.
const BLOCK_BYTES: usize = 512;
const NAME_BYTES: usize = 100;
/// Longest path in an archive; a longer one is refused.
const LONG_NAME_BYTES_MAX: u64 = 512;
const COPY_BYTES: usize = 64 * 1024;

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub v: u32,
    /// RFC 3339.
    pub created: String,
    /// The boot of the kernel it was made in.
    pub boot: String,
    /// The program that made it.
    pub version: String,
    /// Every file, in the order of the archive.
    pub files: Vec<Entry>,
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the data folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its checksum.
    pub crc32c: String,
}

/// The longest file that an archive may hold under this name; `None`: it may hold none.
pub fn bytes_max(name: &str) -> Option<u64> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name == TELEMETRY {
        return Some(SMALL_BYTES_MAX);
    }
    let (folder, file) = name.rsplit_once('/').filter(|(_, file)| file.bytes().all(is_plain))?;
    let place = FOLDERS.iter().position(|known| *known == folder)?;
    let is_journal =
        || journal_files::FILES.iter().any(|known| file == *known || file.starts_with(&format!("{known}.bad-")));
    match place {
        0 if file.contains(".jsonl") => Some(LARGE_BYTES_MAX),
        1 | 2 if is_journal() => Some(journal_files::FILE_BYTES),
        3.. if file.ends_with(".json") => Some(SMALL_BYTES_MAX),
        _ => None,
    }
}

/// Writes an archive.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    time: Wall,
    files: Vec<Entry>,
    names: HashSet<String>,
}

impl Writer<'_> {
    /// Nothing is written yet.
    pub fn new(out: &mut dyn Write, time: Wall) -> Writer<'_> {
        Writer { out, time, files: Vec::new(), names: HashSet::new() }
    }

    /// Whether there is a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Files so far.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Adds the first `bytes` bytes of `input`.
    ///
    /// # Errors
    /// Of either end; it says of which.
    pub fn add(&mut self, name: &str, bytes: u64, input: &mut dyn Read) -> io::Result<()> {
        if bytes_max(name).is_none_or(|max| bytes > max) || self.files.len() >= FILES_MAX {
            return Err(wrong(format!("{name} is too large for an archive, or there are too many files")));
        }
        let mut member = Member { input, left: bytes, digest: CRC32C.digest() };
        self.member(name, bytes, &mut member)?;
        let crc32c = format!("{:08x}", member.digest.finalize());
        self.names.insert(name.to_owned());
        self.files.push(Entry { name: name.to_owned(), bytes, crc32c });
        Ok(())
    }

    /// Writes the manifest and the end.
    pub fn finish(mut self, boot: &str) -> io::Result<Manifest> {
        let manifest = Manifest {
            v: VERSION,
            created: self.time.rfc3339(),
            boot: boot.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            files: std::mem::take(&mut self.files),
        };
        let text = serde_json::to_string(&manifest)? + "\n";
        self.member(MANIFEST, text.len() as u64, &mut text.as_bytes())?;
        self.out.write_all(&[0; 2 * BLOCK_BYTES]).map_err(of_archive)?;
        Ok(manifest)
    }

    fn member(&mut self, name: &str, bytes: u64, input: &mut dyn Read) -> io::Result<()> {
        if name.len() > NAME_BYTES {
            let record = pax_record(name);
            self.part(b'x', "long-name", record.len() as u64, &mut record.as_bytes())?;
        }
        self.part(b'0', name, bytes, input).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }

    fn part(&mut self, kind: u8, name: &str, bytes: u64, input: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(&header(kind, name, bytes, self.time.0 / 1000)).map_err(of_archive)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut left = bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let read = input.read(&mut buffer[..wanted])?;
            if read == 0 {
                return Err(wrong("it became shorter while it was read".to_owned()));
            }
            self.out.write_all(&buffer[..read]).map_err(of_archive)?;
            left -= read as u64;
        }
        self.out.write_all(&[0; BLOCK_BYTES][..padding(bytes)]).map_err(of_archive)
    }
}

/// Hands every file to `visit` and checks everything. What `visit` saw is good only if this returns no error.
///
/// # Errors
/// Of `input` or `visit`, or `InvalidData` with what is wrong with the archive.
pub fn read(
    input: &mut dyn Read,
    visit: &mut dyn FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> io::Result<Manifest> {
    let (mut files, mut names) = (Vec::new(), HashSet::new());
    loop {
        let (name, bytes) = next(input)?.ok_or_else(|| wrong("it has no manifest: it is not whole".to_owned()))?;
        if name == MANIFEST {
            let manifest = manifest(input, bytes)?;
            if manifest.files != files {
                return Err(wrong("its files are not those of its manifest".to_owned()));
            }
            return match next(input)? {
                None => Ok(manifest),
                Some(_) => Err(wrong("something stands behind its manifest".to_owned())),
            };
        }
        let max = bytes_max(&name).ok_or_else(|| wrong(format!("{name:?} is no file of a data folder")))?;
        if bytes > max || files.len() >= FILES_MAX {
            return Err(wrong(format!("{name} is too large, or there are too many files")));
        }
        if !names.insert(name.clone()) {
            return Err(wrong(format!("{name} is in it twice")));
        }
        let mut member = Member { input, left: bytes, digest: CRC32C.digest() };
        visit(&name, &mut member)?;
        io::copy(&mut member, &mut io::sink())?;
        if member.left > 0 {
            return Err(wrong(format!("it ends within {name}")));
        }
        let crc32c = format!("{:08x}", member.digest.finalize());
        files.push(Entry { name, bytes, crc32c });
        skip(input, padding(bytes))?;
    }
}

fn manifest(input: &mut dyn Read, bytes: u64) -> io::Result<Manifest> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    if bytes > MANIFEST_BYTES_MAX {
        return Err(wrong("its manifest is too large".to_owned()));
    }
    let mut text = Vec::new();
    input.take(bytes).read_to_end(&mut text)?;
    skip(input, padding(bytes))?;
    let unreadable = |error: serde_json::Error| wrong(format!("its manifest cannot be read: {error}"));
    let Version { v } = serde_json::from_slice(&text).map_err(unreadable)?;
    if v != VERSION {
        return Err(wrong(format!("it is of version {v}, and this program reads version {VERSION}")));
    }
    serde_json::from_slice(&text).map_err(unreadable)
}

/// The bytes of one file, counted and summed.
struct Member<'a> {
    input: &'a mut dyn Read,
    left: u64,
    digest: crc::Digest<'static, u32>,
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.input.read(&mut buffer[..wanted])?;
        self.digest.update(&buffer[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// The name and length of the next file; `None` at the end.
fn next(input: &mut dyn Read) -> io::Result<Option<(String, u64)>> {
    let Some((kind, name, bytes)) = read_header(input)? else { return Ok(None) };
    if kind == b'0' {
        return Ok(Some((name, bytes)));
    }
    if kind != b'x' || bytes > LONG_NAME_BYTES_MAX {
        return Err(wrong(format!("{name:?} is no plain file")));
    }
    let mut record = String::new();
    input.take(bytes).read_to_string(&mut record)?;
    skip(input, padding(bytes))?;
    let long = record.split_once(" path=").and_then(|(_, rest)| rest.strip_suffix('\n')).unwrap_or_default();
    match read_header(input)? {
        Some((b'0', _, bytes)) if pax_record(long) == record => Ok(Some((long.to_owned(), bytes))),
        _ => Err(wrong("a long name in it cannot be read".to_owned())),
    }
}

fn header(kind: u8, name: &str, bytes: u64, time: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(NAME_BYTES)]);
    put(100, b"0000600\x000000000\x000000000\0");
    put(124, format!("{bytes:011o}\0{time:011o}\0        ").as_bytes());
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn read_header(input: &mut dyn Read) -> io::Result<Option<(u8, String, u64)>> {
    let mut block = [0; BLOCK_BYTES];
    input.read_exact(&mut block).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it ends too early".to_owned()),
        _ => error,
    })?;
    if block == [0; BLOCK_BYTES] {
        return Ok(None);
    }
    let text = |from: usize, to: usize| {
        let field = block[from..to].split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(field).ok()
    };
    let number = |from, to| u64::from_str_radix(text(from, to)?.trim(), 8).ok();
    let is_sound = &block[257..265] == b"ustar\x0000" && number(148, 156) == Some(checksum(&block));
    match (text(0, NAME_BYTES), number(124, 136)) {
        (Some(name), Some(bytes)) if is_sound => Ok(Some((block[156], name.to_owned(), bytes))),
        _ => Err(wrong("a header in it is damaged, or it is no archive of ours".to_owned())),
    }
}

/// The sum of all bytes, its own place counted as spaces.
fn checksum(block: &[u8; BLOCK_BYTES]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// `<length of all this> path=<name>`.
fn pax_record(name: &str) -> String {
    let rest = format!(" path={name}\n");
    let digits = |number: usize| number.to_string().len();
    let mut len = rest.len() + digits(rest.len());
    len = rest.len() + digits(len);
    format!("{len}{rest}")
}

fn padding(bytes: u64) -> usize {
    usize::try_from(bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes).unwrap_or(0)
}

fn skip(input: &mut dyn Read, bytes: usize) -> io::Result<()> {
    io::copy(&mut input.take(bytes as u64), &mut io::sink()).map(drop)
}

fn of_archive(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the archive cannot be written: {error}"))
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Wall = Wall(1_795_562_271_042);

    fn long_name() -> String {
        format!("sessions/{}.7.jsonl.torn-1795562271", "long_".repeat(40))
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, TIME);
        for (name, content) in files {
            writer.add(name, content.len() as u64, &mut &content[..]).expect("added");
        }
        writer.finish("0123456789abcdef").expect("written");
        bytes
    }

    fn good() -> Vec<u8> {
        archive(&[
            ("sessions/telegram_42.jsonl", b"line\n"),
            (&long_name(), &[7; 513]),
            ("dead/rp-1.json", b""),
            (TELEMETRY, &[b'x'; 512]),
        ])
    }

    fn contents(archive: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        let manifest = read(&mut &archive[..], &mut |name, member| {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes)?;
            found.push((name.to_owned(), bytes));
            Ok(())
        })?;
        assert_eq!(manifest.v, VERSION);
        Ok(found)
    }

    #[track_caller]
    fn refuse(archive: &[u8], part: &str) {
        let error = contents(archive).expect_err("refused");
        assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(part), "{error}");
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let found = contents(&good()).expect("whole");
        let lengths: Vec<(&str, usize)> = found.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
        assert_eq!(
            lengths,
            [("sessions/telegram_42.jsonl", 5), (&*long_name(), 513), ("dead/rp-1.json", 0), (TELEMETRY, 512)]
        );
    }

    #[test]
    fn no_bit_may_change_and_nothing_may_be_missing() {
        let good = good();
        let last = good.len() - 2 * BLOCK_BYTES;
        let whole = contents(&good).expect("whole");
        for at in (0..good.len()).step_by(3) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            // What nobody reads: padding, and fields of headers that say nothing to us are in their sum.
            assert!(contents(&bytes).map_or(true, |found| found == whole), "byte {at}");
            if at < last {
                assert!(contents(&good[..at]).is_err(), "cut at {at}");
            }
        }
        let content = good.windows(5).position(|bytes| bytes == b"line\n").expect("there");
        let mut bytes = good.clone();
        bytes[content] ^= 1;
        refuse(&bytes, "its files are not those of its manifest");
    }

    /// An archive whose second file was given another name by somebody who knows how.
    fn renamed(name: &str) -> Vec<u8> {
        let mut bytes = archive(&[("dead/first.json", b"1"), ("dead/second.json", b"2")]);
        let at = 2 * BLOCK_BYTES;
        bytes[at..at + BLOCK_BYTES].copy_from_slice(&header(b'0', name, 1, 0));
        bytes
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "../x.json",
            "/etc/x.json",
            "dead/../x.json",
            "dead/",
            "dead",
            "",
            ".",
            "sessions/.lock",
            "sessions/x.txt",
            "journal/telegram/LOCK",
            "journal/other/a.jnl",
            "dead/a/b.json",
            "dead/x.json\n",
            "run/x.json",
            "telemetry/x.json",
            "dead/\u{e9}.json",
            "sessions//x.jsonl",
            "sessions/./x.jsonl",
        ] {
            refuse(&renamed(name), "is no file of a data folder");
        }
        refuse(&renamed("dead/first.json"), "is in it twice");
        assert!(bytes_max("sessions/.jsonl").is_some() && bytes_max("journal/telegram/b.jnl.bad-5").is_some());
    }

    #[test]
    fn what_is_too_large_or_unknown_is_refused_before_it_is_read() {
        let claims = |name: &str, kind: u8, bytes: u64| header(kind, name, bytes, 0).to_vec();
        refuse(&claims("dead/x.json", b'0', SMALL_BYTES_MAX + 1), "too large");
        refuse(&claims("journal/telegram/a.jnl", b'0', journal_files::FILE_BYTES + 1), "too large");
        refuse(&claims(MANIFEST, b'0', MANIFEST_BYTES_MAX + 1), "too large");
        refuse(&claims("sessions/x.jsonl", b'2', 0), "no plain file");
        refuse(b"", "ends too early");
        refuse(&[b'{'; 2000], "no archive of ours");
        refuse(&[0; 1024], "no manifest");
        let newer = String::from_utf8_lossy(&good()).replace("{\"v\":1,", "{\"v\":2,").into_bytes();
        refuse(&newer, "version 2");
    }

    #[test]
    fn a_file_that_grows_is_cut_and_one_that_shrinks_is_an_error() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, TIME);
        writer.add("dead/x.json", 2, &mut &b"three"[..]).expect("added");
        let error = writer.add("dead/y.json", 6, &mut &b"three"[..]).expect_err("refused");
        assert!(error.to_string().contains("dead/y.json: it became shorter"), "{error}");
    }
}
