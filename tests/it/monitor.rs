//! `monitor`: screens and frames of captured facts, the command as scripts use it, and real terminals.
//!
//! With UPDATE_GOLDEN=1 the files in `monitor/screens` are written anew, and the test still fails once.

mod command;
mod sample;
mod screens;
mod terminals;
mod tmux;
