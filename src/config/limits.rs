//! [`SpendingLimits`]: how much may be asked and spent (contract §16).

use crate::config::keys::{KeyError, Reader};

/// How much may be asked and spent; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendingLimits {
    /// Turns of one sender in any minute.
    pub turns_per_minute: u64,
    /// Turns of one sender in a day.
    pub turns_per_day: u64,
    /// Tokens of all in a day.
    pub tokens_per_day: u64,
}

impl SpendingLimits {
    /// As the variables say.
    pub fn load(reader: &Reader<'_>) -> Result<SpendingLimits, KeyError> {
        Ok(SpendingLimits {
            turns_per_minute: reader.number("RUSTY_PINCH_TURNS_PER_MINUTE")?,
            turns_per_day: reader.number("RUSTY_PINCH_TURNS_PER_DAY")?,
            tokens_per_day: reader.number("RUSTY_PINCH_TOKENS_PER_DAY")?,
        })
    }
}
