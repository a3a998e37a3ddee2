//! [`Class`]: every way an attempt can fail, and the table of what follows from each: another attempt, another provider,
//! what the breaker makes of it, what the person is told. [`crate::provider::classify`] decides which class it is.
//!
//! No `match` over a class has a catch-all arm: a class without a row does not compile.

use std::time::Duration;

use crate::base::retry::{Retry, Times};

/// A class that is waited for patiently is not asked again before this.
const PATIENCE: Duration = Duration::from_secs(1);

/// An overloaded server that names no delay gets this many times the usual one.
const OVERLOADED_STRETCH: u32 = 4;

/// A limit of requests that is over sooner than this is waited for, even if there is another provider.
const FALLBACK_WAIT: Duration = Duration::from_secs(10);

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below and docs/providers.md say what each one means")]
pub enum Class {
    Dns,
    Connect,
    Tls,
    TimeoutFirstByte,
    TimeoutIdle,
    Deadline,
    StreamCut,
    Server,
    Overloaded,
    RateLimited,
    Quota,
    Auth,
    Forbidden,
    ModelNotFound,
    ContextLength,
    ContentFilter,
    InvalidRequest,
    Malformed,
    TooLarge,
    Spawn,
    SpawnTransient,
    Exit,
    NotConfigured,
    SenderLimit,
    TokenLimit,
    Cancelled,
}

/// Whether the same provider is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    No,
    /// Only while the clock is not trusted: then it is the clock that makes certificates look wrong, and it may be set
    /// at any moment. Such a failure says nothing about the provider.
    WhileClockIsWrong,
    /// Once.
    Once,
    /// Once, and it costs the retry budget twice: a timeout has bound the other side, too.
    OnceSlow,
    /// Once, with a shorter conversation.
    OnceShorter,
    /// As often as allowed.
    Yes,
    /// As often as allowed, never within [`PATIENCE`].
    Patiently,
    /// As often as allowed, never within [`PATIENCE`], and four times slower if the server names no delay.
    Slowly,
}

/// Whether another provider of the chain is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It would fail there, too, or must not be tried.
    No,
    /// When this one is not asked again.
    Yes,
    /// Before this one is asked again.
    Preferred,
    /// When this one is not asked again, or not within this time.
    IfWaitOver(Duration),
}

/// What the breaker makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Says nothing about the provider.
    None,
    /// One more failure.
    Count,
    /// No attempt until the reason has gone.
    Open(Reason),
}

/// Why a provider is not asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It rejects the credentials.
    Auth,
    /// It has been used up.
    Quota,
    /// It does not let us in.
    Forbidden,
}

/// What follows from a class.
pub struct Row {
    /// The name in logs and session files.
    pub name: &'static str,
    /// The same provider again.
    pub again: Again,
    /// Another provider.
    pub fallback: Fallback,
    /// The breaker.
    pub effect: Effect,
    /// Whether the provider is left alone, by every turn, until the time it named.
    pub sets_not_before: bool,
    /// What the person is told; completes "Sorry, …".
    pub sentence: &'static str,
}

impl Class {
    /// In the order of the type.
    #[rustfmt::skip]
    pub const ALL: [Class; Class::Cancelled as usize + 1] = [
        Class::Dns, Class::Connect, Class::Tls, Class::TimeoutFirstByte, Class::TimeoutIdle, Class::Deadline, Class::StreamCut,
        Class::Server, Class::Overloaded, Class::RateLimited, Class::Quota, Class::Auth, Class::Forbidden, Class::ModelNotFound,
        Class::ContextLength, Class::ContentFilter, Class::InvalidRequest, Class::Malformed, Class::TooLarge, Class::Spawn,
        Class::SpawnTransient, Class::Exit, Class::NotConfigured, Class::SenderLimit, Class::TokenLimit,
        Class::Cancelled,
    ];

    /// The table.
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        const NETWORK: &str = "I cannot reach the model right now because of a network problem. Please try again in a minute.";
        const TROUBLE: &str = "the model's provider has a problem right now. Please try again in a minute.";
        const SLOW: &str = "the model is too slow to answer right now. Please try again in a minute.";
        const SETUP: &str = "I cannot use the model as I am set up. My operator has to look at it.";
        let row = |name, again, fallback, effect, sentence| Row { name, again, fallback, effect, sets_not_before: false, sentence };
        let until_named = |row: Row| Row { sets_not_before: true, ..row };
        let open = Effect::Open;
        match self {
            Class::Dns => row("dns", Again::Patiently, Fallback::Yes, Effect::Count, NETWORK),
            Class::Connect => row("connect", Again::Yes, Fallback::Yes, Effect::Count, NETWORK),
            Class::Tls => row("tls", Again::WhileClockIsWrong, Fallback::Yes, Effect::Count, "I cannot reach the model safely (TLS problem). My operator has to look at it."),
            Class::TimeoutFirstByte => row("timeout_first_byte", Again::OnceSlow, Fallback::Yes, Effect::Count, SLOW),
            Class::TimeoutIdle => row("timeout_idle", Again::OnceSlow, Fallback::Yes, Effect::Count, SLOW),
            Class::Deadline => row("deadline", Again::No, Fallback::No, Effect::Count, "that took too long, so I stopped. Please try again, perhaps with a smaller question."),
            Class::StreamCut => row("stream_cut", Again::Yes, Fallback::Yes, Effect::Count, TROUBLE),
            Class::Server => until_named(row("server", Again::Yes, Fallback::Yes, Effect::Count, TROUBLE)),
            Class::Overloaded => until_named(row("overloaded", Again::Slowly, Fallback::Preferred, Effect::Count, "the model is busy right now. Please try again in a few minutes.")),
            Class::RateLimited => until_named(row("rate_limited", Again::Patiently, Fallback::IfWaitOver(FALLBACK_WAIT), Effect::None, "I have asked the model too often for now. Please try again in a few minutes.")),
            Class::Quota => row("quota", Again::No, Fallback::Yes, open(Reason::Quota), "the model's quota is used up. My operator has to look at it."),
            Class::Auth => row("auth", Again::No, Fallback::Yes, open(Reason::Auth), "the model's provider rejects my credentials. My operator has to look at it."),
            Class::Forbidden => row("forbidden", Again::No, Fallback::Yes, open(Reason::Forbidden), "the model's provider does not let me in. My operator has to look at it."),
            Class::ModelNotFound => row("model_not_found", Again::No, Fallback::Yes, Effect::None, "the configured model does not exist. My operator has to look at it."),
            Class::ContextLength => row("context_length", Again::OnceShorter, Fallback::No, Effect::None, "this conversation has become too long for the model. Please send a shorter message."),
            Class::ContentFilter => row("content_filter", Again::No, Fallback::No, Effect::None, "the model declined to answer that."),
            Class::InvalidRequest => row("invalid_request", Again::No, Fallback::No, Effect::None, "the model's provider did not understand my request. My operator has to look at it."),
            Class::Malformed => row("malformed", Again::Once, Fallback::Yes, Effect::Count, TROUBLE),
            Class::TooLarge => row("too_large", Again::No, Fallback::Yes, Effect::Count, "the model's answer was too large."),
            Class::Spawn => row("spawn", Again::No, Fallback::Yes, Effect::Count, SETUP),
            Class::SpawnTransient => row("spawn", Again::Once, Fallback::Yes, Effect::Count, TROUBLE),
            Class::Exit => row("exit", Again::No, Fallback::Yes, Effect::Count, TROUBLE),
            Class::NotConfigured => row("not_configured", Again::No, Fallback::Yes, Effect::None, SETUP),
            Class::SenderLimit => row("sender_limit", Again::No, Fallback::No, Effect::None, "you have asked as many questions as you may for now. Please try again later."),
            Class::TokenLimit => row("token_limit", Again::No, Fallback::No, Effect::None, "all tokens that I may use in a day are used up. Please try again tomorrow."),
            Class::Cancelled => row("cancelled", Again::No, Fallback::No, Effect::None, "I was stopped before I could answer."),
        }
    }

    /// The name in logs and session files.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the person is told; completes "Sorry, …".
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }

    /// What a failed attempt allows, given what the server asked for and whether the host's clock is trusted
    /// ([`crate::base::clock::Clock::is_trusted`]).
    pub fn retry(self, asked: Option<Duration>, clock_trusted: bool) -> Retry {
        let (times, floor, stretch) = match self.row().again {
            Again::No => return Retry::NO,
            Again::WhileClockIsWrong if clock_trusted => return Retry::NO,
            Again::WhileClockIsWrong | Again::Yes => (Times::Allowed, Duration::ZERO, 1),
            Again::Once | Again::OnceSlow => (Times::Once, Duration::ZERO, 1),
            Again::OnceShorter => (Times::OnceShorter, Duration::ZERO, 1),
            Again::Patiently => (Times::Allowed, PATIENCE, 1),
            Again::Slowly => (Times::Allowed, PATIENCE, if asked.is_none() { OVERLOADED_STRETCH } else { 1 }),
        };
        Retry { times, at_least: asked.unwrap_or_default().max(floor), stretch }
    }

    /// Whether another provider, if there is one, is to be asked now, instead of this one after `wait`. `None`: this one
    /// is not asked again in this turn.
    pub fn falls_back(self, wait: Option<Duration>) -> bool {
        match self.row().fallback {
            Fallback::No => false,
            Fallback::Yes => wait.is_none(),
            Fallback::Preferred => true,
            Fallback::IfWaitOver(limit) => wait.is_none_or(|wait| wait > limit),
        }
    }

    /// What the breaker makes of it.
    pub fn effect(self, clock_trusted: bool) -> Effect {
        let row = self.row();
        if row.again == Again::WhileClockIsWrong && !clock_trusted { Effect::None } else { row.effect }
    }

    /// Whether the provider is left alone, by every turn and over a restart, until the time it named.
    pub fn sets_not_before(self) -> bool {
        self.row().sets_not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_wish_is_kept_and_a_hopeless_case_is_not_repeated() {
        let (two, ten, second) = (Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(1));
        let again = |at_least| Retry { times: Times::Allowed, at_least, stretch: 1 };
        assert_eq!(Class::RateLimited.retry(Some(ten), true), again(ten));
        assert_eq!(Class::RateLimited.retry(Some(Duration::ZERO), true), again(second));
        assert_eq!(Class::RateLimited.retry(None, true), again(second));
        assert_eq!(Class::Overloaded.retry(Some(two), true), again(two));
        assert_eq!(Class::Overloaded.retry(None, true), Retry { stretch: 4, ..again(second) });
        assert_eq!(Class::Server.retry(Some(two), true), again(two));
        assert_eq!(Class::Auth.retry(Some(two), true), Retry::NO);
        assert_eq!(Class::TimeoutIdle.retry(None, true), Retry { times: Times::Once, ..again(Duration::ZERO) });
        assert_eq!(Class::ContextLength.retry(None, true).times, Times::OnceShorter);
    }

    #[test]
    fn a_certificate_is_not_held_against_a_provider_while_the_clock_is_wrong() {
        assert_eq!((Class::Tls.retry(None, true), Class::Tls.effect(true)), (Retry::NO, Effect::Count));
        assert_eq!((Class::Tls.retry(None, false).times, Class::Tls.effect(false)), (Times::Allowed, Effect::None));
        assert_eq!(
            (Class::Connect.effect(false), Class::Auth.effect(false)),
            (Effect::Count, Effect::Open(Reason::Auth))
        );
    }

    #[test]
    fn another_provider_is_asked_when_this_one_would_take_longer() {
        let (ten, eleven) = (Some(Duration::from_secs(10)), Some(Duration::from_secs(11)));
        let of = |class: Class| [class.falls_back(ten), class.falls_back(eleven), class.falls_back(None)];
        assert_eq!(of(Class::Server), [false, false, true]);
        assert_eq!(of(Class::Overloaded), [true, true, true]);
        assert_eq!(of(Class::RateLimited), [false, true, true]);
        assert_eq!(of(Class::InvalidRequest), [false, false, false]);
    }

    #[test]
    fn whoever_names_a_time_without_refusing_us_is_left_alone_until_then() {
        let named = Class::ALL.iter().filter(|class| class.sets_not_before());
        assert!(named.eq(&[Class::Server, Class::Overloaded, Class::RateLimited]));
    }

    #[test]
    fn the_list_is_in_the_order_of_the_type() {
        assert!(Class::ALL.iter().enumerate().all(|(at, class)| *class as usize == at));
    }
}
