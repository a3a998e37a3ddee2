//! The operating system, wrapped: each file owns one thing that the rest may only use through it.

// Processes that carry a token.
pub mod carriers;
// A child process in its own group, with pipes read under a deadline.
pub mod child;
// What a killed process left running.
pub mod children;
// A child process that runs beside us.
pub mod companion;
// The seed of everything random.
pub mod entropy;
// Files with the modes, locks and atomic replacement we insist on.
pub mod files;
// Threads that say that they live.
pub mod heartbeat;
// Memory, heat and power of the host.
pub mod machine;
// What a service manager is told.
pub mod notify;
// What becomes of a process with a bug.
pub mod panic;
// Queues that must never be full.
pub mod queue;
// Signals as a queue.
pub mod signal;
// Shutdown as a closed queue, and the program's only sleep.
pub mod stop;
// The real clock.
pub mod system_clock;
// The mode of the terminal, restored whatever happens.
pub mod terminal;
// Named threads that report how they ended.
pub mod thread;
// What this process uses.
pub mod usage;
// Who we are, and whose files are whose.
pub mod users;
