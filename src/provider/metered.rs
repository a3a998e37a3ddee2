//! [`Metered`]: a provider whose every request is checked before it leaves and counted when it is over.

use std::sync::Arc;

use crate::provider::cost::{Tokens, cost};
use crate::provider::spending_file::Spending;
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

/// The layer between patience and provider: whatever asks again is counted again.
pub struct Metered {
    /// Who is asked.
    pub provider: Box<dyn Provider>,
    /// By this name it is counted.
    pub name: String,
    /// Where it is counted.
    pub spending: Arc<Spending>,
}

impl Provider for Metered {
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        self.spending.check().map_err(|refusal| {
            let detail = format!("{} ({}) is reached", refusal.name(), refusal.most);
            ProviderError { class: refusal.class(), retry_after: Some(refusal.wait), detail, unasked: true }
        })?;
        let mut came_bytes = 0;
        let hear = &mut *attempt.deltas;
        let mut deltas = |piece: &str| {
            came_bytes += piece.len();
            hear(piece);
        };
        let spare = attempt.spare;
        let mut counted = Attempt { deltas: &mut deltas, ..*attempt };
        let outcome = self.provider.complete(prompt, &mut counted);
        attempt.spare = counted.spare;
        // What was asked again was refused before, which costs a request and no tokens.
        let refused = Tokens { requests: u64::from(spare - attempt.spare), ..Tokens::default() };
        let mut tokens = cost(prompt, came_bytes, self.provider.worked(), &outcome).unwrap_or_default();
        tokens.add(&refused);
        if tokens != Tokens::default() {
            self.spending.count(&self.name, &tokens);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cancel::Cancel;
    use crate::base::clock::{Clock, ManualClock, Mono, WALL_FLOOR, Wall};
    use crate::base::id::TurnId;
    use crate::config::keys::{Environment, Source};
    use crate::config::settings::Config;
    use crate::observe::event::{Event, Log};
    use crate::provider::class::Class;
    use crate::provider::spending_file;
    use std::time::Duration;

    struct Nobody;

    impl Log for Nobody {
        fn emit(&self, _at: Wall, _event: &Event) {}
    }

    /// Says eight bytes and breaks off.
    struct BreaksOff;

    impl Provider for BreaksOff {
        fn complete(&mut self, _prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
            ["1234", "5678"].into_iter().for_each(|piece| (attempt.deltas)(piece));
            Err(ProviderError::new(Class::StreamCut, "cut"))
        }
    }

    #[test]
    fn an_answer_that_broke_off_costs_what_came_and_the_cap_stops_the_next_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let pairs = [("DATA_DIR", folder.path().to_str().expect("text")), ("TOKENS_PER_DAY", "10")];
        let pairs = pairs.map(|(name, value)| (format!("RUSTY_PINCH_{name}"), (value.to_owned(), Source::Environment)));
        let config = Config::load(&Environment::from(pairs)).expect("a configuration");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at(WALL_FLOOR));
        let spending = Arc::new(Spending::new(&config, Duration::ZERO, clock, Arc::new(Nobody)));
        let mut metered = Metered { provider: Box::new(BreaksOff), name: "x".to_owned(), spending };
        let turn = TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let prompt = Prompt { turn, system: "0123456789abcdef", messages: &[], history: 0, ordinal: 0 };
        let (mut heard, cancel) = (String::new(), Cancel::new());
        let classes = [(); 3].map(|()| {
            let deltas = &mut |piece: &str| heard.push_str(piece);
            let mut attempt = Attempt { deadline: Mono(1), cancel: &cancel, spare: 0, may_wait: true, deltas };
            metered.complete(&prompt, &mut attempt).map_err(|error| error.class)
        });
        assert_eq!(classes, [Err(Class::StreamCut), Err(Class::StreamCut), Err(Class::TokenLimit)]);
        assert_eq!(heard, "1234567812345678", "whoever listens hears all of it");
        let spent = spending_file::read(folder.path()).expect("is whole");
        // A prompt of four tokens and an answer of two, twice.
        assert_eq!(spent.tokens(WALL_FLOOR), 12);
    }
}
