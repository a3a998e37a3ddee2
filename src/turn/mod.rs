//! From accepted message to reply. Knows providers, tools and the store; does not know where words come from.

// One turn, answered.
pub mod answer;
// What a control message is answered with.
pub mod control;
// Which control message next.
pub mod control_lane;
// The loop around `schedule.rs`.
pub mod dispatcher;
// One turn as a state machine.
pub mod machine;
// What open turns hold.
mod open_turns;
// What the model is told.
pub mod prompt;
// Which turn next.
pub mod schedule;
// How one turn is ended.
pub mod under_way;
// The loop around `answer.rs`.
pub mod worker;
