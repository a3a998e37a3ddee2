//! Sizes and seeds of the tests: `RP_TEST_CASES` makes them bigger, `RP_TEST_SEED` repeats a run, `RP_TEST_PRODUCT` runs
//! another build.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The size of a test: its own default, or `RP_TEST_CASES`, never more than `most`.
pub fn cases(default: usize, most: usize) -> usize {
    number("RP_TEST_CASES").map_or(default, |cases| (cases as usize).clamp(1, most))
}

/// Whether somebody asked for a long run (`RP_TEST_CASES` of 100 and more).
pub fn is_long_run() -> bool {
    number("RP_TEST_CASES").is_some_and(|cases| cases >= 100)
}

/// Another binary of the product than the one built with the tests: `RP_TEST_PRODUCT`, for long runs of a release build.
pub fn product() -> Option<String> {
    text("RP_TEST_PRODUCT")
}

#[allow(clippy::disallowed_methods, reason = "the one reader of the environment of the test run")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    let text = text(name)?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Shown with `--nocapture`, and when the test fails.
#[allow(clippy::print_stdout, clippy::disallowed_macros, reason = "the one voice of the tests")]
pub fn say(line: &str) {
    println!("{line}");
}

/// On standard error: what must not wait for the end of the test.
#[allow(clippy::print_stderr, clippy::disallowed_macros, reason = "the one voice of the tests")]
pub fn warn(line: &str) {
    eprintln!("{line}");
}

/// Small, seeded, not for secrets (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    pub fn from_seed(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// A fresh seed, or `RP_TEST_SEED`; printed, so that a failure can be repeated.
    pub fn for_test(name: &str) -> Random {
        let seed = number("RP_TEST_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
        say(&format!("{name}: RP_TEST_SEED={seed}"));
        Random::from_seed(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range: {low} to {high}");
        low + self.next() % (high - low + 1)
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.between(0, length as u64 - 1) as usize
    }

    /// True in `per_mille` of a thousand calls.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 999) < per_mille
    }
}
