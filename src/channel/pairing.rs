//! [`Book`]: people who were paired, and the code by which the next one may be. Pure: it is handed the time and the random
//! bits; `pairing_file.rs` reads and writes it. What a command asks for is a page in the form of a book, which the
//! worker takes into its own: who is to go, or a code.
//!
//! A code has 50 random bits, is shown once, and is kept as a digest. It is good for [`VALID_FOR`], for one person, in a
//! private chat. [`TRIES_MAX`] wrong ones, by whomever, end it, and there is none for [`LOCKED_FOR`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::moment::Moment;
use crate::config::secret::Secret;

/// How long a code is good.
pub const VALID_FOR: Duration = Duration::from_secs(600);

/// Wrong codes that end it.
pub const TRIES_MAX: u32 = 5;

/// How long there is no other code then.
pub const LOCKED_FOR: Duration = Duration::from_secs(3600);

/// People who may be paired; beyond that one has to be removed first.
pub const PAIRED_MAX: usize = 1000;

/// Characters of a code.
pub const CODE_CHARS: usize = 10;

/// RFC 4648: no 0, 1 or 8, which are taken for letters.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Somebody who was paired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// The channel's id of the person.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offer {
    /// Of the code.
    digest: String,
    since: Moment,
    wrong: u32,
}

/// Everything that is known about pairing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    /// In the order in which they were paired.
    pub paired: Vec<Paired>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<Offer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<Moment>,
    /// The digest of the last code that paired somebody: its message may come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    /// The digest of the last offer that was taken: its request may come again, and must give neither tries nor a second person.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<String>,
}

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wrong ones were tried.
    Locked,
    /// [`PAIRED_MAX`] people are paired.
    Full,
}

/// What a text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No code, or there is none to be tried: nothing to be said or kept.
    Nothing,
    /// A wrong code.
    Wrong,
    /// A wrong code, and the last one.
    Locked,
    /// The code: its sender is paired.
    Paired,
    /// The code, or the last one that was used, from somebody who may write already: it ends, and nobody is paired.
    Spent,
}

impl Book {
    /// A new code, made from random `bits`, and the page that offers it.
    pub fn offer(&self, bits: u64, now: &Moment) -> Result<(Secret, Book), Refused> {
        self.admits(now)?;
        let digit = |place: usize| char::from(ALPHABET[usize::try_from(bits >> (5 * place) & 31).unwrap_or(0)]);
        let code = Secret::new((0..CODE_CHARS).map(digit).collect());
        let offer = Some(Offer { digest: code.digest(), since: now.clone(), wrong: 0 });
        Ok((code, Book { offer, ..Book::default() }))
    }

    fn admits(&self, now: &Moment) -> Result<(), Refused> {
        if self.locked.as_ref().is_some_and(|since| since.is_within(LOCKED_FOR, now)) {
            return Err(Refused::Locked);
        }
        if self.paired.len() < PAIRED_MAX { Ok(()) } else { Err(Refused::Full) }
    }

    /// A page without anything on it asks for nothing.
    pub fn is_blank(&self) -> bool {
        self.paired.is_empty() && self.offer.is_none()
    }

    /// Puts what another page asks for on this one. Of two codes it keeps that one's.
    pub fn add(&mut self, page: Book) {
        self.paired.extend(page.paired);
        self.offer = page.offer.or(self.offer.take());
    }

    /// Whoever is on the page is paired no more, and its code is good from now on, in place of an older one. Each offer is heeded
    /// once; one that comes too late or when there may be no code is heeded no more either.
    pub fn take(&mut self, page: Book, now: &Moment) {
        self.remove(&page.paired);
        let Some(offer) = page.offer.filter(|offer| self.taken.as_ref() != Some(&offer.digest)) else { return };
        self.taken = Some(offer.digest.clone());
        if self.admits(now).is_ok() && offer.since.is_within(VALID_FOR, now) {
            (self.locked, self.offer) = (None, Some(Offer { wrong: 0, ..offer }));
        }
    }

    /// Somebody wrote this: a stranger in a private chat, or one who `may_write` already, whose words are no tries.
    pub fn judge(&mut self, text: &str, sender: &str, may_write: bool, at: Wall, now: &Moment) -> Verdict {
        let Some(digest) = as_code(text).map(|code| code.digest()) else { return Verdict::Nothing };
        if may_write && self.used.as_ref().is_some_and(|used| is_same(used, &digest)) {
            return Verdict::Spent;
        }
        let Some(offer) = self.offer.as_mut().filter(|offer| offer.since.is_within(VALID_FOR, now)) else {
            return Verdict::Nothing;
        };
        if is_same(&offer.digest, &digest) {
            (self.offer, self.used) = (None, Some(digest));
            if may_write {
                return Verdict::Spent;
            }
            self.paired.retain(|paired| paired.id != sender);
            self.paired.push(Paired { id: sender.to_owned(), at: at.0 });
            return Verdict::Paired;
        }
        if may_write {
            return Verdict::Nothing;
        }
        offer.wrong += 1;
        if offer.wrong < TRIES_MAX {
            return Verdict::Wrong;
        }
        (self.offer, self.locked) = (None, Some(now.clone()));
        Verdict::Locked
    }

    /// These are paired no more. Whoever was paired anew since is not meant.
    pub fn remove(&mut self, removed: &[Paired]) {
        self.paired.retain(|paired| !removed.contains(paired));
    }

    /// The ids that may write.
    pub fn ids(&self) -> Vec<String> {
        self.paired.iter().map(|paired| paired.id.clone()).collect()
    }
}

/// The code in a text: one word in letters of any size, or as it is shown, in two halves; also behind `/start`, where a link puts
/// it. Two words are a greeting.
pub fn as_code(text: &str) -> Option<Secret> {
    let text = text.trim();
    let text = text.strip_prefix("/start").unwrap_or(text).trim_start();
    let (first, second) = text.split_once('-').unwrap_or((text, ""));
    let is_whole = first.len() == CODE_CHARS && second.is_empty();
    if !is_whole && (first.len(), second.len()) != (CODE_CHARS / 2, CODE_CHARS / 2) {
        return None;
    }
    let code = [first, second].concat().to_ascii_uppercase();
    code.bytes().all(|byte| ALPHABET.contains(&byte)).then(|| Secret::new(code))
}

/// Takes as long however much of it is the same.
fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |bits, (one, other)| bits | (one ^ other));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock};

    struct Table {
        book: Book,
        clock: ManualClock,
        bits: u64,
    }

    impl Table {
        fn new() -> Table {
            let clock = ManualClock::starting_at(Wall(1_800_000_000_000));
            Table { book: Book::default(), clock, bits: 0x1234_5678_9abc_def0 }
        }

        fn offer(&mut self) -> Result<String, Refused> {
            let (code, offer) = self.make()?;
            self.take(&offer);
            Ok(code)
        }

        /// Another one each time.
        fn make(&mut self) -> Result<(String, Book), Refused> {
            self.bits += 1;
            let made = self.book.offer(self.bits, &Moment::now(&self.clock));
            made.map(|(code, offer)| (code.reveal().to_owned(), offer))
        }

        /// By way of a file.
        fn take(&mut self, page: &Book) {
            let file = serde_json::to_vec(page).expect("text and numbers");
            self.book.take(serde_json::from_slice(&file).expect("what was written"), &Moment::now(&self.clock));
        }

        fn says(&mut self, text: &str) -> Verdict {
            // As over a restart.
            let file = serde_json::to_vec(&self.book).expect("text and numbers");
            self.book = serde_json::from_slice(&file).expect("what was written");
            self.book.judge(text, "7", false, self.clock.wall(), &Moment::now(&self.clock))
        }

        /// One who may write already.
        fn member_says(&mut self, text: &str) -> Verdict {
            self.book.judge(text, "6", true, self.clock.wall(), &Moment::now(&self.clock))
        }
    }

    #[test]
    fn a_code_pairs_one_person_once_however_it_is_typed() {
        for form in ["{}", " {} ", "/start {}", "lower", "dashed"] {
            let mut table = Table::new();
            let code = table.offer().expect("a code");
            let text = match form {
                "lower" => code.to_lowercase(),
                "dashed" => format!("{}-{}", &code[..5], &code[5..]),
                form => form.replace("{}", &code),
            };
            assert_eq!(table.says(&text), Verdict::Paired, "{form}");
            assert_eq!((table.book.ids(), table.says(&code)), (vec!["7".to_owned()], Verdict::Nothing));
            let paired = table.book.paired.clone();
            table.book.remove(&[Paired { at: 1, ..paired[0].clone() }]);
            assert_eq!(table.book.ids(), ["7"], "another pairing of the same person");
            (0..2).for_each(|_| table.book.remove(&paired));
            assert!(table.book.ids().is_empty());
        }
    }

    #[test]
    fn a_code_is_good_for_ten_minutes_and_a_calendar_that_jumps_ends_it() {
        let mut table = Table::new();
        let code = table.offer().expect("a code");
        table.clock.advance(VALID_FOR - Duration::from_millis(1));
        assert_eq!(table.says("AAAAAAAAAA"), Verdict::Wrong);
        table.clock.advance(Duration::from_millis(1));
        assert_eq!(table.says(&code), Verdict::Nothing);
        table.clock = ManualClock::starting_at(Wall(1_700_000_000_000));
        assert_eq!(table.says(&code), Verdict::Nothing);
        let moment = |wall, boot: &str, since| Moment { wall, boot: Some((boot.to_owned(), since)), trusted: true };
        let first = moment(5, "a", 1000);
        assert!(first.is_within(VALID_FOR, &moment(9_999_999_999, "a", 1500)), "the same boot counts for itself");
        assert!(!first.is_within(VALID_FOR, &moment(5, "a", 601_000)));
        assert!(first.is_within(VALID_FOR, &moment(6, "b", 1)) && !first.is_within(VALID_FOR, &moment(4, "b", 1)));
    }

    #[test]
    fn five_wrong_codes_lock_for_an_hour_and_a_new_offer_does_not_help() {
        let mut table = Table::new();
        let code = table.offer().expect("a code");
        for _ in 1..TRIES_MAX {
            assert_eq!(table.says("AAAAAAAAAA"), Verdict::Wrong);
        }
        assert_eq!(table.says("not a code"), Verdict::Nothing, "what is none costs no try");
        assert_eq!(table.says("AAAAAAAAAA"), Verdict::Locked);
        assert_eq!((table.says(&code), table.offer()), (Verdict::Nothing, Err(Refused::Locked)));
        table.clock.advance(LOCKED_FOR - Duration::from_millis(1));
        assert_eq!(table.offer(), Err(Refused::Locked));
        table.clock.advance(Duration::from_millis(1));
        let code = table.offer().expect("a code");
        assert_eq!(table.says(&code), Verdict::Paired);
    }

    /// Seen to fail without the digest of the last offer: four wrong codes a look, for ever, and a person for each look.
    #[test]
    fn an_offer_that_is_taken_again_gives_no_tries_and_pairs_nobody_else() {
        let mut table = Table::new();
        let (code, offer) = table.make().expect("a code");
        for _ in 1..TRIES_MAX {
            table.take(&offer);
            assert_eq!(table.says("AAAAAAAAAA"), Verdict::Wrong);
        }
        table.take(&offer);
        assert_eq!(table.says("AAAAAAAAAA"), Verdict::Locked);
        // As if the calendar had gone back behind the lock, but not behind the offer.
        table.book.locked = None;
        table.take(&offer);
        assert_eq!(table.says(&code), Verdict::Nothing);
        let (code, offer) = table.make().expect("a code");
        table.take(&offer);
        assert_eq!(table.says(&code), Verdict::Paired);
        table.take(&offer);
        assert_eq!(table.says(&code), Verdict::Nothing, "good for one person");
    }

    #[test]
    fn an_offer_that_comes_too_late_or_while_there_may_be_none_does_nothing() {
        let mut table = Table::new();
        let (stale, offer) = table.make().expect("a code");
        table.clock.advance(VALID_FOR);
        let good = table.offer().expect("a code");
        table.take(&offer);
        assert_eq!((table.says(&stale), table.says(&good)), (Verdict::Wrong, Verdict::Paired));
        // Made before the lock, and taken after.
        let (code, offer) = table.make().expect("a code");
        table.offer().expect("a code");
        assert!((1..TRIES_MAX).all(|_| table.says("AAAAAAAAAA") == Verdict::Wrong));
        assert_eq!(table.says("AAAAAAAAAA"), Verdict::Locked);
        table.take(&offer);
        assert_eq!((table.says(&code), table.offer()), (Verdict::Nothing, Err(Refused::Locked)));
        let now = Moment::now(&table.clock);
        let mut full = Book { paired: vec![Paired { id: "1".into(), at: 0 }; PAIRED_MAX], ..Book::default() };
        full.take(offer, &now);
        assert_eq!(full.judge(&code, "7", false, Wall(1), &now), Verdict::Nothing);
    }

    /// Written before there was a spool.
    #[test]
    fn a_file_of_the_first_format_is_still_read() {
        let mut table = Table::new();
        let (code, offer) = table.make().expect("a code");
        let offer =
            serde_json::to_string(&offer.offer).expect("text and numbers").replace(r#""wrong":0"#, r#""wrong":4"#);
        let file = format!(r#"{{"paired":[{{"id":"42","at":5}}],"offer":{offer},"used":"aa"}}"#);
        for (text, want) in [(code.as_str(), Verdict::Paired), ("AAAAAAAAAA", Verdict::Locked)] {
            table.book = serde_json::from_str(&file).expect("read");
            assert_eq!((table.book.ids(), table.says(text)), (vec!["42".to_owned()], want));
        }
    }

    #[test]
    fn who_may_write_already_ends_a_code_and_tries_none() {
        let mut table = Table::new();
        let code = table.offer().expect("a code");
        assert!((0..=TRIES_MAX).all(|_| table.member_says("everything") == Verdict::Nothing));
        assert_eq!((table.member_says(&code), table.says(&code)), (Verdict::Spent, Verdict::Nothing));
        assert!(table.book.ids().is_empty());
        assert_eq!(table.member_says(&code), Verdict::Spent, "its message may come again");
    }

    #[test]
    fn only_ten_characters_of_the_alphabet_are_a_code() {
        let short = ["", "-", "ABCDEFGHI", "ABCDEFGHIJK", "ABCDEFGHI1", "ABCDEFGHÄ", "hello you", "/stop ABCDEFGHIJ"];
        let parted =
            ["hello there", "HELLO THERE", "ABCD-EFGHIJ", "ABCDE--FGHIJ", "A-B-C-D-E-F", "AB CDEFGHIJ", "ABCDE-\nFGHI"];
        for text in short.into_iter().chain(parted) {
            assert!(as_code(text).is_none(), "{text}");
        }
        assert!(as_code(&"A".repeat(100_000)).is_none());
        assert!(is_same("ab", "ab") && !is_same("ab", "aB") && !is_same("ab", "abc") && !is_same("", "a"));
        let full = Book { paired: vec![Paired { id: "1".into(), at: 0 }; PAIRED_MAX], ..Book::default() };
        let now = Moment::now(&ManualClock::starting_at(Wall(1)));
        assert_eq!(full.offer(1, &now).map(|_| ()), Err(Refused::Full));
    }
}
