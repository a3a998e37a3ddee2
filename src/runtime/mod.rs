//! The wiring: every thread, every queue, and the order of ending.

/// The thread that shows how the worker is.
pub mod health;
/// What main waits for.
pub mod supervise;
/// Every queue with its bound, every thread, in one function.
pub mod topology;
