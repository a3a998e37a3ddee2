//! A deterministic echo for smoke tests. It needs no key, no network and no time.

use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

/// Echoes in the format that scripts of operators look for.
pub struct Local {
    /// The provider's name as configured.
    pub name: String,
    /// The model's name.
    pub model: String,
}

impl Provider for Local {
    fn complete(&mut self, prompt: &Prompt<'_>, _attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        let input = prompt.messages.last().map_or("", |message| message.content.as_str());
        let (name, model, history) = (&self.name, &self.model, prompt.ordinal);
        let text = format!("[Rusty Pinch:{name}:{model}] Received '{input}'. history={history} messages.");
        Ok(Completion { text, ..Completion::default() })
    }
}
