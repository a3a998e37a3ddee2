//! [`Retry`]: what an error means to whoever could try again. Decided by the module that knows the error.

use std::time::Duration;

/// What a failed attempt allows. Produced from an error class, consumed by the backoff decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts more.
    pub times: Times,
    /// Not before this, whatever the policy says: what the server asked for, or the least that makes sense.
    pub at_least: Duration,
    /// The usual ceiling of the delay is too low by this factor.
    pub stretch: u32,
}

/// How many attempts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Another attempt cannot help.
    Never,
    /// One more attempt, however many are left.
    Once,
    /// One more attempt, and only with a shorter conversation. There is nothing to wait for.
    OnceShorter,
    /// Again, as the policy allows.
    Allowed,
}

impl Retry {
    /// Another attempt cannot help.
    pub const NO: Retry = Retry { times: Times::Never, at_least: Duration::ZERO, stretch: 1 };
}
