//! What a failed run of Codex 0.169 means, from the phrases that Codex itself makes: in `turn.failed`, or on standard
//! error where it did not even begin. What a server says further on in a message never counts, hence the beginnings;
//! the one exception is a model that does not exist, which reaches us in the server's words alone.

use std::time::Duration;

use crate::base::clock::Wall;
use crate::provider::class::Class;

/// How a message begins, and what it means. The first that fits counts.
#[rustfmt::skip]
const BEGINNINGS: &[(&str, Class)] = &[
    ("unexpected status 401", Class::Auth), ("unexpected status 402", Class::Quota), ("unexpected status 403", Class::Forbidden),
    ("unexpected status 408", Class::Server), ("unexpected status 409", Class::Server), ("unexpected status 425", Class::Server), ("unexpected status 413", Class::ContextLength),
    ("unexpected status 429", Class::RateLimited), ("unexpected status 4", Class::InvalidRequest), ("unexpected status 5", Class::Server),
    ("exceeded retry limit, last status: 401", Class::Auth), ("exceeded retry limit, last status: 429", Class::RateLimited),
    ("exceeded retry limit", Class::Server), ("rate limit exceeded", Class::RateLimited),
    ("Quota exceeded", Class::Quota), (USAGE_LIMIT, Class::Quota), ("Your workspace is out of credits", Class::Quota), ("You hit your spend cap", Class::Quota), ("To use Codex with your ChatGPT plan", Class::Quota),
    ("Codex ran out of room", Class::ContextLength), ("Selected model is at capacity", Class::Overloaded), ("Policy-restricted capacity is unavailable", Class::Overloaded),
    ("Incomplete response returned, reason: max_output_tokens", Class::TooLarge), ("stream disconnected before completion: Incomplete response returned, reason: content_filter", Class::ContentFilter),
    ("stream disconnected before completion", Class::StreamCut),
    ("We\u{2019}re currently experiencing high demand", Class::Server), ("Connection failed", Class::Connect),
    ("Missing environment variable", Class::Auth), ("Not logged in", Class::Auth), ("Your access token could not be refreshed", Class::Auth), ("Your authentication session could not be refreshed", Class::Auth),
    ("error sending request", Class::Connect), ("request timed out", Class::TimeoutFirstByte),
];

const USAGE_LIMIT: &str = "You\u{2019}ve hit your usage limit";

/// What Codex says on standard error when it does not begin.
const SAYINGS: &[(&str, Class)] = &[
    ("Error finding codex home", Class::NotConfigured),
    ("CODEX_HOME points to", Class::NotConfigured),
    ("Error loading configuration", Class::NotConfigured),
    ("Not inside a trusted directory", Class::NotConfigured),
    ("Input exceeds the maximum length", Class::ContextLength),
];

/// A shell's way to say that it could not start a program, or has found none.
const NOT_STARTED: [i32; 2] = [126, 127];

/// The class of a failed turn.
pub fn class_of(message: &str) -> Class {
    let found = BEGINNINGS.iter().find(|(beginning, _)| message.starts_with(beginning));
    match found {
        Some((_, class)) => *class,
        None if names_no_model(message) => Class::ModelNotFound,
        None if is_body(message) => Class::InvalidRequest,
        // Something that a later Codex says: no reason not to ask somebody else.
        None => Class::Exit,
    }
}

/// Codex hands on what a server says about a request that it does not accept (400) as it is: the body of the response.
fn is_body(message: &str) -> bool {
    let parsed = serde_json::from_slice::<serde_json::Value>(message.as_bytes());
    parsed.is_ok_and(|body| body.get("error").or_else(|| body.get("detail")).is_some())
}

/// In the words of the API, and of the ChatGPT backend.
fn names_no_model(message: &str) -> bool {
    let of_api = ["The model '", "The model `"].iter().any(|start| message.starts_with(start));
    of_api && message.contains("does not exist") || message.contains("model is not supported when using Codex")
}

/// The class of a program that ended with `code` before its first event.
pub fn class_of_stderr(code: i32, text: &str) -> Class {
    match SAYINGS.iter().find(|(saying, _)| text.contains(saying)) {
        Some((_, class)) => *class,
        None if NOT_STARTED.contains(&code) => Class::Spawn,
        None => Class::Exit,
    }
}

/// When it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// After this.
    In(Duration),
    /// At this time of the day, in minutes of the program's own time zone.
    AtMinute(u64),
    /// At this minute since 1970, as if its time zone were UTC.
    AtDate(u64),
}

/// When a message says that it may be tried again: "try again in 11.5s" of a rate limit, "try again at 7:03 PM" or
/// "try again at Dec 2nd, 2026 6:03 PM" of a usage limit.
pub fn again(message: &str) -> Option<Again> {
    if let Some((_, rest)) = message.split_once("ry again in ") {
        return duration(rest).map(Again::In);
    }
    // A time counts only in the one message that Codex makes it for.
    let (_, rest) = message.split_once("ry again at ").filter(|_| message.starts_with(USAGE_LIMIT))?;
    let words: Vec<&str> = rest.split([' ', ',', '.']).filter(|word| !word.is_empty()).take(5).collect();
    match words.as_slice() {
        [month, day, year, time, half] if time.contains(':') => {
            let days = days(year.parse().ok()?, month, day)?;
            Some(Again::AtDate(days * 24 * 60 + minute(time, half)?))
        }
        [time, half, ..] => minute(time, half).map(Again::AtMinute),
        _ => None,
    }
}

impl Again {
    /// How long that is from `now`, in a time zone so many minutes ahead of UTC. A clock shows no seconds, so the minute
    /// that was named has to be over.
    pub fn wait(self, now: Wall, zone_minutes: i64) -> Duration {
        const DAY: i64 = 24 * 60;
        let here = i64::try_from(now.0 / 60_000).unwrap_or(i64::MAX / 2) + zone_minutes;
        let minutes = match self {
            Again::In(duration) => return duration,
            Again::AtDate(minute) => i64::try_from(minute).unwrap_or(i64::MAX / 2) - here,
            Again::AtMinute(minute) => {
                let ahead = i64::try_from(minute).unwrap_or(0) - here.rem_euclid(DAY);
                // Codex names a day unless it is today; a few minutes ago is not tomorrow.
                if ahead < -5 { ahead + DAY } else { ahead }
            }
        };
        Duration::from_secs(u64::try_from(minutes + 1).unwrap_or(0) * 60)
    }
}

/// `11.054s`, `6m0s`, `150ms`, `20 seconds`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut sum = None;
    while rest.starts_with(|first: char| first.is_ascii_digit()) {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let behind = behind.trim_start();
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            _ => break,
        };
        let part = number.trim_end_matches('.').parse::<f64>().ok()? * seconds;
        sum = Some(sum.unwrap_or(Duration::ZERO) + Duration::try_from_secs_f64(part).ok()?);
        rest = behind;
    }
    sum
}

/// `7:03` and `PM` as a minute of the day.
fn minute(time: &str, half: &str) -> Option<u64> {
    let (hour, minute) = time.split_once(':')?;
    let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
    let afternoon = match half {
        "AM" => 0,
        "PM" => 12,
        _ => return None,
    };
    ((1..=12).contains(&hour) && minute < 60).then_some((hour % 12 + afternoon) * 60 + minute)
}

/// `2026`, `Dec` and `2nd` as days since 1970.
fn days(year: u64, month: &str, day: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let day: u64 = day.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end (Howard Hinnant, "chrono-compatible date algorithms").
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen on the wire of codex 0.169.0; `canary` stands where a server's words are.
    #[test]
    fn messages_of_codex_have_their_classes() {
        #[rustfmt::skip]
        let cases = [
            ("unexpected status 401 Unauthorized: canary, url: http://127.0.0.1:1/v1/responses", Class::Auth),
            ("unexpected status 401 Unauthorized: quota, url: x", Class::Auth),
            ("unexpected status 402 Payment Required: canary", Class::Quota),
            ("unexpected status 403 Forbidden: canary", Class::Forbidden),
            ("unexpected status 404 Not Found: canary", Class::InvalidRequest),
            ("unexpected status 500 Internal Server Error: canary", Class::Server),
            ("exceeded retry limit, last status: 429 Too Many Requests", Class::RateLimited),
            ("exceeded retry limit, last status: 500 Internal Server Error", Class::Server),
            ("rate limit exceeded: Rate limit reached for x in y on tokens per min. Please try again in 11.054s. Visit z", Class::RateLimited),
            ("Quota exceeded. Check your plan and billing details.", Class::Quota),
            ("You\u{2019}ve hit your usage limit. To get more access now, send a request to your admin or try again later.", Class::Quota),
            ("To use Codex with your ChatGPT plan, upgrade to Plus: https://chatgpt.com/explore/plus.", Class::Quota),
            ("Codex ran out of room in the model's context window. Start a new thread or clear earlier history before retrying.", Class::ContextLength),
            ("Selected model is at capacity. Please try a different model.", Class::Overloaded),
            ("Missing environment variable: `CODEX_API_KEY`.", Class::Auth),
            ("Your access token could not be refreshed because your refresh token was revoked. Please log out and sign in again.", Class::Auth),
            ("stream disconnected before completion: idle timeout waiting for SSE", Class::StreamCut),
            ("The model 'x' does not exist", Class::ModelNotFound),
            ("The model `x` does not exist or you do not have access to it.", Class::ModelNotFound),
            ("{\"detail\": \"The 'gpt-x' model is not supported when using Codex with a ChatGPT account.\"}", Class::ModelNotFound),
            ("{\"error\":{\"message\":\"canary\",\"type\":\"invalid_request_error\"}}", Class::InvalidRequest), ("{\"detail\":\"canary\"}", Class::InvalidRequest),
            ("something the server said: unexpected status 401", Class::Exit), ("stream error: a new phrase", Class::Exit),
            ("{\"news\":1}", Class::Exit), ("", Class::Exit),
        ];
        for (message, class) in cases {
            assert_eq!(class_of(message), class, "{message}");
        }
    }

    #[test]
    fn what_keeps_codex_from_beginning_is_told_from_standard_error_and_code() {
        #[rustfmt::skip]
        let cases = [
            (1, "Error finding codex home: no such folder", Class::NotConfigured),
            (1, "Error loading configuration: CODEX_HOME points to \"/x\", but that path does not exist", Class::NotConfigured),
            (1, "something else", Class::Exit), (137, "", Class::Exit), (2, "error: unexpected argument", Class::Exit),
            (127, "env: 'node': No such file or directory", Class::Spawn), (126, "", Class::Spawn),
        ];
        for (code, text, class) in cases {
            assert_eq!(class_of_stderr(code, text), class, "{code} {text}");
        }
    }

    #[test]
    fn times_are_read_where_they_are_meant() {
        let after = |seconds| Some(Again::In(Duration::from_millis(seconds)));
        assert_eq!(again("rate limit exceeded: Please try again in 11.054s. Visit x"), after(11_054));
        assert_eq!(again("Please try again in 6m0.5s."), after(360_500));
        assert_eq!(again("try again in 150ms"), after(150));
        assert_eq!(again("try again in 20 seconds"), after(20_000));
        for nonsense in ["try again in a minute", "try again in 9 weeks", "try again in 1e9999s", "try again later", ""]
        {
            assert_eq!(again(nonsense), None, "{nonsense}");
        }
        let limit = |end: &str| again(&format!("You\u{2019}ve hit your usage limit. Visit https://x or {end}"));
        assert_eq!(limit("try again at 7:03 PM."), Some(Again::AtMinute(19 * 60 + 3)));
        assert_eq!(limit("try again at 12:00 AM."), Some(Again::AtMinute(0)));
        assert_eq!(limit("try again at Dec 2nd, 2026 6:03 PM."), Some(Again::AtDate(20_789 * 1440 + 18 * 60 + 3)));
        assert_eq!(limit("try again at Mar 1st, 2028 12:30 PM."), Some(Again::AtDate(21_244 * 1440 + 12 * 60 + 30)));
        for nonsense in
            ["try again at 25:00 PM.", "try again at noon.", "try again at Foo 2nd, 2026 6:03 PM.", "try again later."]
        {
            assert_eq!(limit(nonsense), None, "{nonsense}");
        }
        assert_eq!(again("the server says: try again at 7:03 PM."), None);
    }

    #[test]
    fn a_time_of_the_day_is_ahead_in_its_zone() {
        // 2026-11-29 12:33:27 UTC.
        let now = Wall(1_795_955_607_000);
        let minutes = |again: Again, zone| again.wait(now, zone).as_secs() / 60;
        assert_eq!(minutes(Again::AtMinute(19 * 60 + 3), 330), 61);
        assert_eq!(minutes(Again::AtMinute(13 * 60 + 33), 0), 61);
        assert_eq!(minutes(Again::AtMinute(12 * 60 + 33), 0), 1);
        assert_eq!(minutes(Again::AtMinute(12 * 60 + 30), 0), 0);
        assert_eq!(minutes(Again::AtMinute(12 * 60), 0), 24 * 60 - 32);
        assert_eq!(minutes(Again::AtDate(20_789 * 1440 + 18 * 60 + 3), 330), 3 * 1440 + 1);
        assert_eq!(minutes(Again::AtDate(0), 0), 0);
    }
}
