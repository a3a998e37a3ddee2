//! How long a worker waits before it works that was started too often in a short time: whatever ends it again and again should
//! not do so once a second, and wear down the medium, the server and the account. Pure.

use std::time::Duration;

use crate::base::clock::Wall;

/// The time that starts are counted in.
pub const WITHIN: Duration = Duration::from_secs(600);

/// So many starts in that time, this one included, are too many.
pub const STARTS_MIN: usize = 5;

/// The first rest; each further start doubles it up to the most.
const REST_FIRST: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(300);

/// How many of these starts count. A clock that was set may have some in the future; those say nothing.
pub fn recent(starts: impl Iterator<Item = Wall>, now: Wall) -> usize {
    starts.filter(|at| *at <= now && at.until(now) <= WITHIN).count()
}

/// The rest of a worker that starts `now`, after starts at `starts`, this one included. `None`: it may work at once.
pub fn rest(starts: impl Iterator<Item = Wall>, now: Wall) -> Option<Duration> {
    let beyond = recent(starts, now).checked_sub(STARTS_MIN)?;
    let doubled = REST_FIRST * 2u32.pow(u32::try_from(beyond).unwrap_or(u32::MAX).min(8));
    Some(doubled.min(REST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: &[u64], want: Option<u64>) {
        let starts = seconds.iter().map(|at| Wall(at * 1000));
        assert_eq!(rest(starts, Wall(1_000_000)).map(|rest| rest.as_secs()), want, "{seconds:?}");
    }

    #[test]
    fn the_fifth_start_in_ten_minutes_rests_and_each_further_one_twice_as_long() {
        check(&[], None);
        check(&[990, 992, 994, 1000], None);
        check(&[400, 992, 994, 996, 1000], Some(30));
        check(&[399, 992, 994, 996, 1000], None);
        check(&[990, 991, 992, 993, 994, 1000], Some(60));
        check(&[990, 991, 992, 993, 994, 995, 996, 1000], Some(240));
        check(&[1000; 16], Some(300));
        check(&[1001; 16], None);
    }
}
