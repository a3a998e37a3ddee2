//! The wiring: every thread, every queue, and the order of ending.

// Health and metrics over HTTP.
pub mod endpoint;
// What is asked of it, and the bytes of its answers.
pub mod endpoint_request;
// The thread that shows how the worker is.
pub mod health;
// What main waits for.
pub mod supervise;
// Every queue with its bound, every thread, in one function.
pub mod topology;
