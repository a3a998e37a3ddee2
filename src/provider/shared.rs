//! [`Shared`]: what all callers of a process have in common, whatever channel or command they ask for.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::config::settings::Config;
use crate::observe::event::Log;
use crate::provider::pool::Pool;
use crate::provider::spending_file::Spending;
use crate::provider::standing::Standing;

/// What all callers of a process share.
#[derive(Clone)]
pub struct Shared {
    /// What was spent.
    pub spending: Arc<Spending>,
    /// What is known of the providers.
    pub standing: Arc<Standing>,
    /// The accounts that Codex may use.
    pub pool: Arc<Pool>,
}

impl Shared {
    /// As [`Spending::new`] has it, `believed_after` says whether this is a process that runs on or a command that asks once.
    pub fn new(
        config: &Config,
        believed_after: Duration,
        rng: &mut Rng,
        clock: &Arc<dyn Clock>,
        log: &Arc<dyn Log>,
    ) -> Shared {
        let with = || (Arc::clone(clock), Arc::clone(log));
        let ((clock, log), (spending_clock, spending_log), (pool_clock, pool_log)) = (with(), with(), with());
        Shared {
            spending: Arc::new(Spending::new(config, believed_after, spending_clock, spending_log)),
            standing: Arc::new(Standing::new(&config.data, rng.split(), clock, log)),
            pool: Arc::new(Pool::new(config, pool_clock, pool_log)),
        }
    }
}
