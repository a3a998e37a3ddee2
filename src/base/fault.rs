//! What an error means to us. Callers decide on the fault alone and never on an error's text.
//! The table of consequences is in docs/architecture.md, "Errors".

use std::time::Duration;

/// The meaning of an error, decided by the module that knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The world hiccuped: timeout, reset, 5xx. Worth another try, later.
    Transient,
    /// We were told to wait.
    Throttled {
        /// How long, as the other side said.
        after: Duration,
    },
    /// Credentials or permission: only a person can mend it.
    Denied,
    /// This request can never succeed.
    Invalid,
    /// Bytes do not match their format.
    Corrupt,
    /// We cannot keep our promises any more.
    Fatal,
}

/// What a failed attempt allows. Produced from an error class, consumed by the backoff decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt cannot help.
    No,
    /// One more attempt, however many are left.
    Once,
    /// Again, as the policy allows.
    Yes,
    /// Again, but not before this delay.
    After(Duration),
}
