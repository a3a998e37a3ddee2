//! Faults of the machine under load: the worker is killed at its k-th system call, calls fail, the power is cut, the disk
//! is full. Real processes, real files, the judges of the campaign.
//!
//! `RP_TEST_CASES` (n) sets all sizes: calls up to the (n/10)-th of each kind, 2n/5 power cuts, n injected errors, n/5 short writes, n/50 full
//! disks; n = 5000 is the long form. What needs root, strace, loop devices or python3 and does not find it says so and
//! is skipped. Each item writes its evidence to `target/campaign/<item>.json`.
//!
//! Seen to fail with these breakages of the product: commits that are not flushed (`cuts`: lost messages within 20 cuts); a
//! failed flush that is tried again (`errors`: flushed again); a failed append to a session that nobody is told of
//! (`errors`); a failed disk that is told by another event (`errors`: nothing told of); a short write that is believed
//! (`short_writes`: no answer); a start that does not end the programs of the killed worker (`orphans`); a
//! restore whose note of being half-way is not flushed (`restores`).

use std::path::PathBuf;

use crate::support::cases::say;
use crate::support::people::CHATS;
use crate::support::world::World;

/// Power cuts, on an ext4 of our own.
mod cuts;
/// System calls that fail.
mod errors;
/// A disk that is filled and freed.
mod full_disk;
/// Programs that a killed worker had started.
mod orphans;
/// Power cuts within a restore.
mod restores;
/// Faults that must be noticed: the campaign proves itself.
mod sabotage;
/// kill -9 at system calls.
mod system_calls;

/// What is needed, or nothing and the reason said.
fn or_skip<T>(what: &str, needed: Result<T, String>) -> Option<T> {
    needed.map_err(|reason| say(&format!("skip: {what}: {reason}"))).ok()
}

/// The files that hold what was promised, and what guards them. (strace knows whole names only.)
fn data_files(world: &World) -> Vec<PathBuf> {
    let fixed = ["journal/telegram/a.jnl", "journal/telegram/b.jnl", "journal/telegram/LOCK", "sessions/.lock"];
    let fixed = fixed.iter().map(|name| world.data().join(name));
    let folders = ["journal/telegram", "sessions", "dead"].iter().map(|name| world.data().join(name));
    fixed.chain(folders).chain((1..=CHATS as i64).map(|chat| world.session_path(chat))).collect()
}
