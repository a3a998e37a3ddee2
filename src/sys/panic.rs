//! A panic ends the process at once, in its hook: a bug has been found, nothing in memory can be trusted, and the next
//! start recovers as it does after a power cut. Release builds do not even carry the code that would unwind.

use std::panic::set_hook;
use std::process::exit;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::sys::terminal;

/// As in `sysexits.h`: an internal error.
pub const EXIT_CODE: i32 = 70;

/// An image of our memory would hold every key. Of the programs that we start, too.
pub fn leave_no_core() {
    // Lowering a limit is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// From here on a panic of any thread is handed to `say` and ends the process with [`EXIT_CODE`].
pub fn end_process(say: impl Fn(&str) + Send + Sync + 'static) {
    set_hook(Box::new(move |panic| {
        // First: what is said should be readable, and a shell usable.
        terminal::restore();
        say(&panic.to_string());
        #[expect(clippy::disallowed_methods, reason = "a bug means now")]
        exit(EXIT_CODE);
    }));
}
