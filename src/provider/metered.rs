//! [`Metered`]: a provider whose every request is checked before it leaves and counted when it is over.

use std::sync::Arc;

use crate::provider::cost::cost;
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
        let mut counted = Attempt { deadline: attempt.deadline, cancel: attempt.cancel, deltas: &mut deltas };
        let outcome = self.provider.complete(prompt, &mut counted);
        if let Some(tokens) = cost(prompt, came_bytes, &outcome) {
            self.spending.count(&self.name, &tokens);
        }
        outcome
    }
}
