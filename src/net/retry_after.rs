//! How long a server asks us to wait: `retry-after` and `retry-after-ms`, in every form that servers send. Pure.
//!
//! `retry-after` is seconds or a date (RFC 9110, 10.2.3); some servers send fractions, and some send milliseconds in a
//! header of their own, which is the finer of the two and wins. Nonsense is as good as nothing: text, a number below
//! zero, a date that has passed, and a wait longer than [`DELAY_MAX`]. Zero is a wish, too: now.

use std::time::{Duration, UNIX_EPOCH};

use crate::base::clock::Wall;
use crate::net::http::Head;

/// No limit has a window longer than this: whoever asks for more has sent another unit, or a date as a number.
pub const DELAY_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The wish in a response's head. A date is only understood by who knows the time: `now` is `None` while the clock is
/// not trusted.
pub fn retry_after(head: &Head, now: Option<Wall>) -> Option<Duration> {
    let millis = head.retry_after_ms.as_deref().and_then(|text| number(text, 0.001));
    let wish = || head.retry_after.as_deref().map(str::trim);
    millis.or_else(|| number(wish()?, 1.0)).or_else(|| date(wish()?, now?))
}

fn number(text: &str, unit_seconds: f64) -> Option<Duration> {
    let seconds = text.trim().parse::<f64>().ok()? * unit_seconds;
    (0.0..=DELAY_MAX.as_secs_f64()).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may still be sent.
fn date(text: &str, now: Wall) -> Option<Duration> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut parts = text.split(' ').skip(1);
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_complete = parts.eq(["GMT"]);
    let month = MONTHS.find(month).filter(|at| is_complete && month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let then = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    let then = u64::try_from(then.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some(now.until(Wall(then))).filter(|wait| !wait.is_zero() && *wait <= DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T12:00:00Z.
    const NOW: Wall = Wall(1_795_953_600_000);

    fn read(seconds: Option<&str>, millis: Option<&str>, now: Option<Wall>) -> Option<Duration> {
        let [seconds, millis] = [seconds, millis].map(|text| text.map(str::to_owned));
        retry_after(&Head { retry_after: seconds, retry_after_ms: millis, ..Head::default() }, now)
    }

    #[track_caller]
    fn check(seconds: &str, want: Option<u64>) {
        assert_eq!(read(Some(seconds), None, Some(NOW)), want.map(Duration::from_millis), "{seconds:?}");
    }

    #[test]
    fn a_wish_is_read_in_every_form() {
        check("3", Some(3000));
        check(" 20\t", Some(20_000));
        check("0.5", Some(500));
        check("1e1", Some(10_000));
        check("0", Some(0));
        check("120", Some(120_000));
        check("2592000", Some(2_592_000_000));
        check("Sun, 29 Nov 2026 12:00:30 GMT", Some(30_000));
        check("Mon, 30 Nov 2026 12:00:00 GMT", Some(86_400_000));
        check("Xxx, 01 Dec 2026 00:00:00 GMT", Some(129_600_000));
    }

    #[test]
    fn nonsense_is_as_good_as_nothing() {
        for text in ["", "soon", "-1", "NaN", "inf", "1000000000000", "2592001", "1795953630", "3 s", "0x10", "\u{663}"]
        {
            check(text, None);
        }
        for text in [
            "Sun, 29 Nov 2026 12:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 29 Nov 2036 12:00:30 GMT",
            "Sun, 29 Nov 2026 12:00:30",
            "Sun, 29 Nov 2026 12:00:30 CET",
            "Sun, 29 Nov 2026 12:00:30 GMT GMT",
            "Sun, 29 ovD 2026 12:00:30 GMT",
            "Sun, 29 No 2026 12:00:30 GMT",
            "Sun, 31 Nov 2026 12:00:30 GMT",
            "Sun, 29 Nov 2026 25:00:30 GMT",
            "Sun, 29 Nov -026 12:00:30 GMT",
            "Sun, 29 Nov 99999 12:00:30 GMT",
            "Sunday, 29-Nov-26 12:00:30 GMT",
            "29 Nov 2026",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn the_header_in_milliseconds_wins_unless_it_is_nonsense() {
        let both = |millis| read(Some("9"), Some(millis), Some(NOW));
        assert_eq!(both("250"), Some(Duration::from_millis(250)));
        assert_eq!(both("0"), Some(Duration::ZERO));
        assert_eq!(both("0.5"), Some(Duration::from_micros(500)));
        for nonsense in ["", "soon", "-1", "NaN", "1000000000000"] {
            assert_eq!(both(nonsense), Some(Duration::from_secs(9)), "{nonsense}");
        }
        assert_eq!(read(None, Some("1500"), None), Some(Duration::from_millis(1500)));
        assert_eq!(read(None, None, Some(NOW)), None);
    }

    #[test]
    fn a_date_is_nothing_to_who_does_not_know_the_time() {
        assert_eq!(read(Some("Sun, 29 Nov 2026 12:00:30 GMT"), None, None), None);
        assert_eq!(read(Some("Sun, 29 Nov 2026 12:00:30 GMT"), None, Some(Wall(0))), None);
        assert_eq!(read(Some("30"), None, None), Some(Duration::from_secs(30)));
    }
}
