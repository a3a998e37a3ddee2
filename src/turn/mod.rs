//! From accepted message to reply. Knows providers, tools and the store; does not know where words come from.

/// One turn, answered.
pub mod answer;
/// The loop around `schedule.rs`.
pub mod dispatcher;
/// One turn as a state machine.
pub mod machine;
/// What the model is told.
pub mod prompt;
/// Which turn next.
pub mod schedule;
/// The loop around `answer.rs`.
pub mod worker;
