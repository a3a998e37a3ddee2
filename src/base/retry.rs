//! [`Retry`]: what an error means to whoever could try again. Decided by the module that knows the error.

use std::time::Duration;

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
