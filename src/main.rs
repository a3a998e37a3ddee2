//! The binary: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

/// The static program's: musl's own keeps ever more of what was freed (docs/architecture.md, "Dependencies"). Between fork and
/// exec it must not be asked, which `src/sys/child.rs` keeps to.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    rusty_pinch::cli::main()
}
