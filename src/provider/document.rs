//! The table of classes in docs/providers.md, from [`Class::row`]. Only tests ask for it.

use crate::provider::class::{Again, Class, Effect, Fallback, Reason};

/// The lines between these two are made; the others are a person's.
pub const MARKS: [&str; 2] = ["<!-- classes: made from src/provider/class.rs -->\n", "<!-- end of classes -->\n"];

/// The table.
pub fn classes() -> String {
    let mut text = String::from(
        "| class | when | asked again | another provider | breaker | kept over a restart | the person reads: Sorry, … |
|---|---|---|---|---|---|---|
",
    );
    for class in Class::ALL {
        let row = class.row();
        let cells =
            [when(class), again(row.again), fallback(row.fallback), effect(row.effect), kept(class), row.sentence];
        text.push_str(&format!("| `{}` | {} |\n", row.name, cells.join(" | ")));
    }
    text
}

#[rustfmt::skip]
fn when(class: Class) -> &'static str {
    match class {
        Class::Dns => "the host name has no address",
        Class::Connect => "no connection: refused, unreachable, or not within 5 s",
        Class::Tls => "no trusted connection: the certificate or the handshake",
        Class::TimeoutFirstByte => "no response began in time; Codex printed no event in its time",
        Class::TimeoutIdle => "the response stopped; Codex did not end in its time",
        Class::Deadline => "the turn's time was used up",
        Class::StreamCut => "the response ended before it was complete, or says so",
        Class::Server => "status 408, 409, 425 or 5xx",
        Class::Overloaded => "status 503 or 529 with a code that says so",
        Class::RateLimited => "status 429",
        Class::Quota => "status 402, or 429 with a code that says so",
        Class::Auth => "status 401, or 400 or 403 with a code that says so; Codex has no login",
        Class::Forbidden => "status 403: a region, a policy, a firewall",
        Class::ModelNotFound => "status 404 about the model",
        Class::ContextLength => "status 400 or 413 with a code that says so",
        Class::ContentFilter => "a code or a `finish_reason` that says so",
        Class::InvalidRequest => "any other status 3xx or 4xx; redirects are not followed",
        Class::Malformed => "a success that is no answer: no JSON, no text, a login page",
        Class::TooLarge => "an answer over 8 MiB, a line over 1 MiB, too many events, too deep",
        Class::Spawn => "the Codex program cannot be started",
        Class::SpawnTransient => "the Codex program cannot be started just now",
        Class::Exit => "the Codex program failed and did not say why, or in words that we do not know",
        Class::NotConfigured => "something is not set; `rusty-pinch doctor` says what",
        Class::SenderLimit => "somebody asks more often than our limits allow",
        Class::TokenLimit => "the tokens of the day are used up: our own limit",
        Class::Cancelled => "we stop; the message is answered after the next start",
    }
}

fn again(again: Again) -> &'static str {
    match again {
        Again::No => "no",
        Again::WhileClockIsWrong => "no; yes while the clock is not set",
        Again::Once => "once",
        Again::OnceSlow => "once, at twice the price",
        Again::OnceShorter => "once, with half of the history",
        Again::Yes => "yes",
        Again::Patiently => "yes, after 1 s or what it asked for",
        Again::Slowly => "yes, after what it asked for, else 1 s and four times the usual delay",
    }
}

fn fallback(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::No => "no",
        Fallback::Yes => "yes",
        Fallback::Preferred => "yes, at once",
        Fallback::IfWaitOver(_) => "yes; at once if the wait is over 10 s",
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "–",
        Effect::Count => "counts",
        Effect::Open(Reason::Auth) => "open until the credentials change; tried again after 15 min, later up to 6 h",
        Effect::Open(Reason::Quota) => "open until the time it named, else 1 h, later up to 24 h",
        Effect::Open(Reason::Forbidden) => "open for 1 h",
    }
}

fn kept(class: Class) -> &'static str {
    match class.row().effect {
        Effect::Open(_) => "yes",
        Effect::None | Effect::Count if class.sets_not_before() => "the time it named",
        Effect::None | Effect::Count => "–",
    }
}
