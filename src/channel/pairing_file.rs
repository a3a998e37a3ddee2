//! `<data>/pairing.json`, and the requests in `<data>/spool/pairing/` by which commands change it. [`PairingFile`] is its only
//! writer: part of the one thread that polls Telegram, in the one process that holds the channel's `LOCK`. Commands ask
//! ([`ask_offer`], [`ask_removal`]), and [`read`] the file as if their requests had been taken; they never write it.
//!
//! A request goes when what it asks for is on the medium. It may be taken twice, which does nothing: the book knows the last
//! offer again, and a removal is of one pairing and not of a person.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::moment::Moment;
use crate::channel::pairing::{Book, PAIRED_MAX, Paired, Verdict};
use crate::sys::files;

const FILE: &str = "pairing.json";
const SPOOL: &str = "spool/pairing";

/// Of commands among themselves, so that each of two codes that are made at once is whole.
const LOCK: &str = ".lock";

/// A newer one takes its place.
const OFFER: &str = "offer.json";

/// An offer while it is taken. So one that is made meanwhile is not removed with it.
const TAKEN: &str = "offer.taken";

/// Far more than all entries take.
const BYTES_MAX: u64 = 256 * 1024;

/// Far more than a request has; a larger one is passed over.
const REQUEST_BYTES_MAX: u64 = 4096;

/// Requests looked at in one go: a removal of everybody, an offer, and a few that were cut short. Beyond that they wait.
const REQUESTS_MAX: usize = PAIRED_MAX + 8;

/// How long another command may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is paired when everything that commands asked for is taken; nobody where there is no file. For everybody but the worker.
///
/// # Errors
/// Of the disk, or that the file cannot be understood. A request that cannot is the worker's to tell of.
pub fn read(data: &Path) -> io::Result<Book> {
    // Before the file: what is taken meanwhile is in one of the two.
    let requests = requests(data);
    let mut book = read_file(data)?;
    book.remove(&requests.page.paired);
    Ok(book)
}

/// Asks for the code of this page to be good, in place of one that was asked for before. It is on the medium when this returns.
///
/// # Errors
/// Of the disk, or `WouldBlock` while another command asks.
pub fn ask_offer(data: &Path, page: &Book, clock: &dyn Clock) -> io::Result<()> {
    ask(data, OFFER, page, clock)
}

/// Asks for this pairing to end; the same.
///
/// # Errors
/// As [`ask_offer`]; `InvalidInput` for an id that Telegram does not give, because it becomes the name of a file.
pub fn ask_removal(data: &Path, paired: Paired, clock: &dyn Clock) -> io::Result<()> {
    let id: i64 = paired.id.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut page = Book::default();
    page.paired.push(paired);
    ask(data, &format!("remove-{id}.json"), &page, clock)
}

fn ask(data: &Path, name: &str, page: &Book, clock: &dyn Clock) -> io::Result<()> {
    let folder = data.join(SPOOL);
    let _held = files::hold(&folder.join(LOCK), PATIENCE, clock, "another command asks for something, too")?;
    write(&folder.join(name), page)
}

fn write(path: &Path, book: &Book) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(book).map_err(io::Error::other)?;
    bytes.push(b'\n');
    files::replace_durably(path, &bytes)
}

fn read_file(data: &Path) -> io::Result<Book> {
    match parse(&data.join(FILE), BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::default()),
        other => other,
    }
}

fn parse(path: &Path, bytes_max: u64) -> io::Result<Book> {
    let (bytes, _) = files::read_bounded_itself(path, bytes_max)?;
    serde_json::from_slice(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// What waits in the spool.
#[derive(Default)]
struct Requests {
    /// All of them; of offers the one that is being taken.
    page: Book,
    /// Where it stands.
    files: Vec<PathBuf>,
    /// Why something was passed over.
    error: Option<io::Error>,
}

impl Requests {
    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name == TAKEN.as_bytes() || (name.starts_with(b"remove-") && name.ends_with(b".json")) {
            let page = parse(&path, REQUEST_BYTES_MAX)?;
            if page.is_blank() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.page.add(page);
            self.files.push(path);
        }
        Ok(())
    }

    /// What is not there was never asked for, or is taken already.
    fn fail(&mut self, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.error = Some(io::Error::new(error.kind(), format!("a request in {SPOOL}: {error}")));
        }
    }
}

fn requests(data: &Path) -> Requests {
    let mut found = Requests::default();
    let entries = fs::read_dir(data.join(SPOOL)).and_then(|listed| {
        listed.take(REQUESTS_MAX).try_for_each(|entry| {
            // One that cannot be understood stands in nobody's way.
            if let Err(error) = found.add(entry?.path()) {
                found.fail(error);
            }
            Ok(())
        })
    });
    if let Err(error) = entries {
        found.fail(error);
    }
    found
}

/// The worker's side: takes what was asked for, and reads the file when it was changed by hand.
pub struct PairingFile {
    data: PathBuf,
    seen: Option<Stamp>,
}

/// What differs after any change: of the content, of who may read it, or of the file. `None`: there is none.
type Stamp = Option<(i64, i64, u64)>;

impl PairingFile {
    /// Nothing was read.
    pub fn new(data: PathBuf) -> PairingFile {
        PairingFile { data, seen: None }
    }

    /// Takes all requests. `ids` becomes those that are paired, if they may have changed, also if that cannot be written yet:
    /// whoever was removed is gone at once. What cannot be read changes nothing; it stays, and is tried again at each look.
    ///
    /// # Errors
    /// As [`read`], and of a request; everything else is done all the same.
    pub fn look(&mut self, clock: &dyn Clock, ids: &mut Option<Vec<String>>) -> io::Result<()> {
        let folder = self.data.join(SPOOL);
        let renamed = fs::rename(folder.join(OFFER), folder.join(TAKEN));
        let mut requests = requests(&self.data);
        if let Err(error) = renamed {
            requests.fail(error);
        }
        let known = fs::metadata(self.data.join(FILE)).ok();
        let stamp = known.map(|known| (known.ctime(), known.ctime_nsec(), known.ino()));
        if self.seen != Some(stamp) || !requests.files.is_empty() {
            let before = read_file(&self.data)?;
            let mut book = before.clone();
            book.take(requests.page, &Moment::now(clock));
            *ids = Some(book.ids());
            self.seen = Some(stamp);
            if !self.save(&book, &before)? {
                // A worker may have written it, and ended before it was on the medium.
                files::flush_name(&self.data.join(FILE))?;
            }
            // One that stays does nothing when it is taken again.
            requests.files.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        requests.error.map_or(Ok(()), Err)
    }

    /// As [`Book::judge`]; what it says is true when this returns.
    ///
    /// # Errors
    /// Of the disk, or that the file cannot be understood; nothing is changed then.
    pub fn judge(&self, text: &str, sender: &str, may_write: bool, clock: &dyn Clock) -> io::Result<Verdict> {
        let before = read_file(&self.data)?;
        let mut book = before.clone();
        let verdict = book.judge(text, sender, may_write, clock.wall(), &Moment::now(clock));
        self.save(&book, &before)?;
        Ok(verdict)
    }

    /// Whether there was a difference to write.
    fn save(&self, book: &Book, before: &Book) -> io::Result<bool> {
        let differs = book != before;
        if differs {
            write(&self.data.join(FILE), book)?;
        }
        Ok(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Mono, Wall};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    struct Place {
        folder: tempfile::TempDir,
        worker: PairingFile,
        clock: ManualClock,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().expect("a folder");
            let worker = PairingFile::new(folder.path().to_owned());
            Place { folder, worker, clock: ManualClock::starting_at(Wall(1_800_000_000_000)) }
        }

        fn data(&self) -> &Path {
            self.folder.path()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.data().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.path(name), content).expect("our own folder");
        }

        /// What waits in the spool, but for the lock of commands.
        fn waiting(&self) -> Vec<String> {
            let listed =
                fs::read_dir(self.path(SPOOL)).expect("a folder").map(|entry| entry.expect("there").file_name());
            let mut names: Vec<String> = listed.filter_map(|name| name.into_string().ok()).collect();
            names.retain(|name| name != LOCK);
            names.sort();
            names
        }

        fn mode(&self, name: &str) -> u32 {
            fs::metadata(self.path(name)).expect("there").permissions().mode() & 0o777
        }

        fn offer(&self, bits: u64) -> String {
            let book = read(self.data()).expect("read");
            let (code, offer) = book.offer(bits, &Moment::now(&self.clock)).expect("a code");
            ask_offer(self.data(), &offer, &self.clock).expect("asked");
            code.reveal().to_owned()
        }

        fn remove(&self, id: &str) {
            let book = read(self.data()).expect("read");
            let paired = book.paired.into_iter().find(|paired| paired.id == id).expect("paired");
            ask_removal(self.data(), paired, &self.clock).expect("asked");
        }

        /// The ids, if there is news of them.
        fn look(&mut self) -> (Option<Vec<String>>, io::Result<()>) {
            let mut ids = None;
            let outcome = self.worker.look(&self.clock, &mut ids);
            (ids, outcome)
        }

        #[track_caller]
        fn expect(&mut self, ids: &[&str]) {
            let (news, outcome) = self.look();
            outcome.expect("nothing is wrong");
            assert_eq!(news.expect("news"), ids);
        }

        fn says(&self, text: &str, sender: &str) -> Verdict {
            self.worker.judge(text, sender, false, &self.clock).expect("written")
        }
    }

    #[test]
    fn a_command_asks_and_only_the_worker_writes() {
        let mut place = Place::new();
        place.expect(&[]);
        let code = place.offer(7);
        assert!(!place.path(FILE).exists(), "the command does not write it");
        assert_eq!((place.waiting(), place.mode(SPOOL)), (vec![OFFER.to_owned()], 0o700));
        assert_eq!(place.mode("spool/pairing/offer.json"), 0o600);
        let request = fs::read_to_string(place.path("spool/pairing/offer.json")).expect("there");
        assert_eq!(place.says(&code, "42"), Verdict::Nothing, "nobody has taken it");
        place.expect(&[]);
        assert_eq!((place.waiting().len(), place.mode(FILE)), (0, 0o600));
        let file = fs::read_to_string(place.path(FILE)).expect("there");
        assert!(!request.contains(&code) && !file.contains(&code), "the code itself is kept nowhere");
        assert_eq!(place.says(&code, "42"), Verdict::Paired);
        place.expect(&["42"]);
        assert_eq!(place.look().0, None);
        let of_file =
            |place: &Place| fs::metadata(place.path(FILE)).map(|known| (known.ino(), known.mtime_nsec())).ok();
        let before = of_file(&place);
        place.remove("42");
        place.offer(8);
        assert_eq!(
            (of_file(&place), read(place.data()).expect("read").ids()),
            (before, Vec::new()),
            "as if it were taken"
        );
        place.expect(&[]);
        assert_eq!((place.waiting().len(), read_file(place.data()).expect("read").ids().len()), (0, 0));
        place.write(FILE, "nonsense");
        place.write("spool/pairing/remove-42.json", r#"{"paired":[{"id":"42","at":1}]}"#);
        assert!(place.look().1.is_err() && read(place.data()).is_err());
        assert_eq!(
            (place.waiting().len(), fs::read_to_string(place.path(FILE)).expect("kept")),
            (1, "nonsense".into())
        );
    }

    /// As after a crash between, or if it could not be removed.
    #[test]
    fn a_request_that_is_taken_twice_does_nothing() {
        let mut place = Place::new();
        let code = place.offer(7);
        let offer = fs::read_to_string(place.path("spool/pairing/offer.json")).expect("there");
        place.expect(&[]);
        assert_eq!(place.says("AAAAAAAAAA", "1"), Verdict::Wrong);
        let before = read_file(place.data()).expect("read");
        for name in [TAKEN, OFFER] {
            place.write(&format!("{SPOOL}/{name}"), &offer);
            place.expect(&[]);
            assert_eq!((&read_file(place.data()).expect("read"), place.waiting().len()), (&before, 0), "{name}");
        }
        assert_eq!(place.says(&code, "42"), Verdict::Paired);
        place.remove("42");
        let removal = fs::read_to_string(place.path("spool/pairing/remove-42.json")).expect("there");
        place.expect(&[]);
        // The person comes back, and so does the request.
        let code = place.offer(8);
        place.expect(&[]);
        place.clock.advance(Duration::from_millis(1));
        assert_eq!(place.says(&code, "42"), Verdict::Paired);
        place.write("spool/pairing/remove-42.json", &removal);
        place.expect(&["42"]);
        assert_eq!(read(place.data()).expect("read").ids(), ["42"]);
    }

    #[test]
    fn an_offer_takes_the_place_of_one_that_a_dead_worker_was_at() {
        let mut place = Place::new();
        let first = place.offer(7);
        fs::rename(place.path("spool/pairing/offer.json"), place.path(SPOOL).join(TAKEN)).expect("begun");
        let second = place.offer(8);
        place.expect(&[]);
        assert_eq!((place.says(&first, "1"), place.says(&second, "2")), (Verdict::Wrong, Verdict::Paired));
    }

    /// Also ends the other thread if a claim fails.
    struct Over<'a>(&'a AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Seen to fail: an offer that is removed under the name that commands write, and a file that is read before the requests.
    #[test]
    fn no_request_is_lost_or_unseen_while_the_worker_takes_another() {
        for round in 0..20 {
            let mut place = Place::new();
            place.write(FILE, r#"{"paired":[{"id":"42","at":1},{"id":"43","at":1}]}"#);
            let mut worker = PairingFile::new(place.data().to_owned());
            let asked = AtomicBool::new(false);
            let code = thread::scope(|scope| {
                let clock = ManualClock::starting_at(place.clock.wall());
                let (asked, _over) = (&asked, Over(&asked));
                scope.spawn(move || {
                    while !asked.load(Ordering::SeqCst) {
                        worker.look(&clock, &mut None).expect("taken");
                    }
                });
                place.remove("42");
                let codes = (0..20).map(|bits| {
                    assert_eq!(read(place.data()).expect("read").ids(), ["43"], "round {round}");
                    place.offer(bits)
                });
                codes.last().expect("asked for")
            });
            place.look().1.expect("taken");
            assert_eq!(place.says(&code, "1"), Verdict::Paired, "round {round}");
        }
    }

    /// Seen to fail if nothing changes before the file is written.
    #[test]
    fn whoever_was_removed_is_gone_although_the_file_cannot_be_written() {
        let mut place = Place::new();
        place.write(FILE, r#"{"paired":[{"id":"42","at":1},{"id":"43","at":1}]}"#);
        place.expect(&["42", "43"]);
        place.remove("42");
        fs::create_dir(place.path("pairing.json.tmp")).expect("in the way");
        for _ in 0..2 {
            let (ids, outcome) = place.look();
            assert!(outcome.is_err() && ids == Some(vec!["43".to_owned()]), "{ids:?}");
        }
        assert_eq!((place.waiting().len(), read_file(place.data()).expect("read").ids().len()), (1, 2), "it waits");
        fs::remove_dir(place.path("pairing.json.tmp")).expect("ours");
        place.expect(&["43"]);
        assert_eq!((place.waiting().len(), read_file(place.data()).expect("read").ids().len()), (0, 1));
    }

    #[test]
    fn what_is_no_request_is_passed_over_and_kept() {
        const REMOVAL: &str = r#"{"paired":[{"id":"43","at":1}]}"#;
        let mut place = Place::new();
        place.write(FILE, r#"{"paired":[{"id":"42","at":1},{"id":"43","at":1}]}"#);
        place.remove("42");
        let large = " ".repeat(usize::try_from(REQUEST_BYTES_MAX).expect("small")) + REMOVAL;
        let nobody = "[".repeat(4000);
        for (number, junk) in ["", "{}", "nonsense", &large, &nobody, r#"{"id":"43","at":1}"#].into_iter().enumerate() {
            place.write(&format!("{SPOOL}/remove-1000{number}.json"), junk);
        }
        place.write("real.json", REMOVAL);
        std::os::unix::fs::symlink(place.path("real.json"), place.path("spool/pairing/remove-1.json")).expect("a link");
        fs::create_dir(place.path("spool/pairing/remove-2.json")).expect("a folder");
        place.write("spool/pairing/offer.json", &large);
        place.write("spool/pairing/note.txt", "of a person");
        place.write("spool/pairing/remove-43.json.tmp", REMOVAL);
        for _ in 0..2 {
            assert_eq!(read(place.data()).expect("read").ids(), ["43"]);
            let (ids, outcome) = place.look();
            assert!(ids.is_none_or(|ids| ids == ["43"]));
            let error = outcome.expect_err("told").to_string();
            assert!(error.starts_with("a request in spool/pairing: "), "{error}");
        }
        assert_eq!(place.waiting().len(), 11, "{:?}", place.waiting());
        let odd = Paired { id: "../43".to_owned(), at: 1 };
        assert!(ask_removal(place.data(), odd, &place.clock).is_err());
    }

    /// Seen to fail: a stamp that is kept before the file was read, and one of the time of the content.
    #[test]
    fn what_could_not_be_read_is_tried_again_and_no_change_is_missed() {
        let mut place = Place::new();
        fs::create_dir(place.path(FILE)).expect("something that cannot be read");
        assert!(place.look().1.is_err() && place.look().1.is_err(), "the next look may succeed");
        fs::remove_dir(place.path(FILE)).expect("ours");
        place.write(FILE, "{}");
        place.expect(&[]);
        let times = fs::metadata(place.path(FILE)).and_then(|known| known.modified()).expect("a time");
        let file = fs::File::options().write(true).open(place.path(FILE)).expect("there");
        let changed = br#"{"paired":[{"id":"42","at":1}]}"#;
        io::Write::write_all(&mut &file, changed).and_then(|()| file.set_modified(times)).expect("written");
        place.expect(&["42"]);
    }

    /// A second passes whenever somebody looks.
    struct Hurrying(ManualClock);

    impl Clock for Hurrying {
        fn mono(&self) -> Mono {
            self.0.advance(Duration::from_secs(1));
            self.0.mono()
        }

        fn wall(&self) -> Wall {
            self.0.wall()
        }
    }

    #[test]
    fn a_command_waits_for_no_other_for_long() {
        let place = Place::new();
        place.offer(7);
        let held = files::lock(&place.path(SPOOL).join(LOCK), Duration::ZERO, &place.clock).expect("locked");
        assert!(held.is_some());
        let paired = Paired { id: "42".to_owned(), at: 1 };
        let error = ask_removal(place.data(), paired, &Hurrying(ManualClock::starting_at(Wall(1)))).expect_err("busy");
        assert_eq!((error.kind(), place.waiting().len()), (io::ErrorKind::WouldBlock, 1));
    }
}
