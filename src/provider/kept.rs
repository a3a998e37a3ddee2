//! What outlives a process: [`Kept`], one provider's opening and the time before which it does not want to be asked. Pure.
//!
//! Times are written as dates, for a person, and read back as what is left of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Wall;
use crate::base::moment::Moment;
use crate::base::sorted::SortedMap;
use crate::provider::breaker::{Cause, Opening, REST_MAX};
use crate::provider::class::Class;

/// Providers that are kept: those of a chain, with keys of the last day.
pub const KEYS_MAX: usize = 64;

/// What is left where nobody knows how much has passed.
const DOUBTFUL_MAX: Duration = Duration::from_secs(60);

/// One provider with one credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Why it is not asked; none if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    /// Openings in a row.
    pub openings: u32,
    /// Date of the next attempt.
    until: Wall,
    /// Date before which the provider does not want to be asked.
    not_before: Wall,
    /// Because it is overloaded, and not because we asked too often.
    pub is_overloaded: bool,
    /// When this was written.
    written: Moment,
}

impl Kept {
    /// Dates are counted from `now`.
    pub fn new(
        opening: Option<Opening>,
        openings: u32,
        not_before: Duration,
        is_overloaded: bool,
        now: Moment,
    ) -> Kept {
        let until = now.date(opening.map_or(Duration::ZERO, |opening| opening.left));
        let not_before = now.date(not_before);
        Kept { cause: opening.map(|opening| opening.cause), openings, until, not_before, is_overloaded, written: now }
    }

    /// What is left of the opening.
    pub fn opening(&self, now: &Moment) -> Option<Opening> {
        self.cause.map(|cause| Opening { cause, left: self.left(self.until, now) })
    }

    /// What is left of the time in which it does not want to be asked.
    pub fn not_before(&self, now: &Moment) -> Duration {
        self.left(self.not_before, now)
    }

    /// Why it is left alone, and for how long; `None`: it is not.
    pub fn rest(&self, now: &Moment) -> Option<(Class, Duration)> {
        let limit = if self.is_overloaded { Class::Overloaded } else { Class::RateLimited };
        let named = Some((limit, self.not_before(now))).filter(|(_, left)| !left.is_zero());
        self.opening(now).map(|opening| (opening.cause.class(), opening.left)).or(named)
    }

    /// Whether a reader could still learn something from it.
    pub fn is_worth_keeping(&self, now: &Moment) -> bool {
        self.cause.is_some()
            || !self.not_before(now).is_zero()
            || now.since(&self.written).is_none_or(|passed| passed < REST_MAX)
    }

    fn left(&self, end: Wall, now: &Moment) -> Duration {
        let at_first = Wall(self.written.wall).until(end).min(REST_MAX);
        match now.since(&self.written) {
            Some(passed) => at_first.saturating_sub(passed),
            None => at_first.min(DOUBTFUL_MAX),
        }
    }
}

/// By key: kind, place and fingerprint of the credential.
pub type Book = SortedMap<String, Kept>;

#[derive(Deserialize, Serialize)]
struct Content {
    v: u8,
    providers: Book,
}

/// The book of a file; `None` if it is damaged, or of another version.
pub fn parse(bytes: &[u8]) -> Option<Book> {
    let content: Content = serde_json::from_slice(bytes).ok()?;
    (content.v == 1 && content.providers.len() <= KEYS_MAX).then_some(content.providers)
}

/// The file of a book. What nobody can learn from is left out, and of more than [`KEYS_MAX`] the oldest.
pub fn render(mut book: Book, now: &Moment) -> Vec<u8> {
    book.retain(|_, kept| kept.is_worth_keeping(now));
    while book.len() > KEYS_MAX {
        let oldest = book.iter().min_by_key(|(_, kept)| kept.written.wall).map(|(key, _)| key.clone());
        book.remove(&oldest.unwrap_or_default());
    }
    serde_json::to_vec(&Content { v: 1, providers: book }).expect("text and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::WALL_FLOOR;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;
    const START: u64 = WALL_FLOOR.0 + YEAR;

    fn moment(wall: u64, boot: Option<(&str, u64)>) -> Moment {
        Moment { wall, boot: boot.map(|(id, uptime)| (id.to_owned(), uptime)), trusted: wall >= WALL_FLOOR.0 }
    }

    fn written(at: Moment, cause: Cause, left: u64) -> Kept {
        let left = Duration::from_millis(left);
        Kept::new(Some(Opening { cause, left }), 3, left, false, at)
    }

    #[track_caller]
    fn check(kept: &Kept, now: &Moment, want: u64) {
        let want = Duration::from_millis(want);
        assert_eq!(kept.opening(now).map(|opening| opening.left), Some(want), "{kept:?} read at {now:?}");
        assert_eq!(kept.not_before(now), want);
    }

    /// FC-6: what a clock can do between two processes. Sixty cases: six calendars at the write, five at the read, in the same
    /// boot and in another one. No timer is longer than it was, none that is in doubt is longer than a minute, and what only a
    /// person can mend is still known.
    #[test]
    fn no_clock_makes_a_timer_longer_or_forgets_what_a_person_has_to_mend() {
        let writes = [0, 60_000, WALL_FLOOR.0 - 1, WALL_FLOOR.0, START, START + 10 * YEAR];
        let moves: [i64; 5] = [0, 3_600_000, -3_600_000, 315_360_000_000, -315_360_000_000];
        let mut cases = 0;
        for (write, step) in writes.iter().flat_map(|write| moves.map(|step| (*write, step))) {
            for boot in ["same", "other"] {
                let (left, passed) = (2 * HOUR, 1000);
                let kept = written(moment(write, Some(("same", 5000))), Cause::Auth, left);
                let wall = write.saturating_add(passed).saturating_add_signed(step);
                let now = moment(wall, Some((boot, 5000 + passed)));
                let opening = kept.opening(&now).expect("still known");
                assert_eq!(opening.cause, Cause::Auth);
                let read = u64::try_from(opening.left.as_millis()).expect("short");
                let is_doubtful = write < WALL_FLOOR.0 || wall < WALL_FLOOR.0 || wall + 300_000 < write;
                match (boot, is_doubtful) {
                    ("same", _) => assert_eq!(read, left - passed, "{kept:?} {now:?}"),
                    (_, true) => assert!(read <= 60_000, "{kept:?} {now:?}"),
                    (_, false) => assert_eq!(read, left.saturating_sub(wall.saturating_sub(write)), "{kept:?} {now:?}"),
                }
                cases += 1;
            }
        }
        assert_eq!(cases, 60);
    }

    #[test]
    fn what_is_left_is_what_was_less_what_passed() {
        let kept = written(moment(START, None), Cause::Quota, HOUR);
        check(&kept, &moment(START, None), HOUR);
        check(&kept, &moment(START + HOUR / 2, None), HOUR / 2);
        check(&kept, &moment(START + 2 * HOUR, None), 0);
        check(&kept, &moment(START - 200_000, None), HOUR);
        check(&kept, &moment(START - 400_000, None), 60_000);
        check(&written(moment(START, None), Cause::Quota, 1000 * HOUR), &moment(START, None), 24 * HOUR);
        let untrusted = Moment { trusted: false, ..moment(START + 1, None) };
        check(&kept, &untrusted, 60_000);
    }

    #[test]
    fn a_book_is_read_back_and_damage_is_noticed() {
        let now = moment(START, Some(("boot", 1)));
        let book: Book = [("openai https://x 0011aabb".to_owned(), written(now.clone(), Cause::Auth, HOUR))].into();
        let bytes = render(book.clone(), &now);
        let read = parse(&bytes).expect("a book");
        assert_eq!(read, book, "what was written is not taken for news");
        assert_eq!(read["openai https://x 0011aabb"].opening(&now), book["openai https://x 0011aabb"].opening(&now));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None);
        }
        assert_eq!(parse(br#"{"v":2,"providers":{}}"#), None);
    }

    #[test]
    fn what_is_over_goes_after_a_day_and_the_oldest_of_too_many() {
        let over = Kept::new(None, 1, Duration::ZERO, false, moment(START, None));
        let book: Book = [("key".to_owned(), over)].into();
        let left = |now: u64| parse(&render(book.clone(), &moment(now, None))).expect("a book").len();
        assert_eq!((left(START + HOUR), left(START + 25 * HOUR)), (1, 0));
        let many = (0..100).map(|at| (format!("{at}"), written(moment(START + at, None), Cause::Auth, HOUR)));
        let kept = parse(&render(many.collect(), &moment(START, None))).expect("a book");
        assert!(kept.len() == KEYS_MAX && kept.contains_key("99") && !kept.contains_key("35"), "{kept:?}");
    }
}
