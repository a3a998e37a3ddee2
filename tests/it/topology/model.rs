//! A provider from a script: quick, slow, wrong, or the end of the process.

use std::time::Duration;

use rusty_pinch::base::cancel::Cancel;
use rusty_pinch::base::message::Role;
use rusty_pinch::provider::class::Class;
use rusty_pinch::provider::{Attempt, Completion, Prompt, Provider, ProviderError};

use super::plan::Poison;
use super::town::{Citizen, LONG_STALL_MILLIS};
use crate::support::waiting::Gate;

/// Words of an ordinary answer, and of one that takes three parts.
pub const WORDS: u64 = 3;
pub const MANY_WORDS: u64 = 650;

/// What the thread says that the poison message ends.
const POISON: &str = "the poison message";

pub struct Model(pub Citizen);

impl Provider for Model {
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        let Model(citizen) = self;
        let update = question(prompt).ok_or_else(|| ProviderError::new(Class::InvalidRequest, "no question"))?;
        let chat = citizen.town.plan.chat(update).to_string();
        self.begin(update, &chat, prompt);
        let outcome = self.answer(update, attempt.cancel);
        let Model(citizen) = self;
        citizen.town.seen().busy.remove(&chat);
        citizen.town.went_on();
        outcome
    }
}

impl Model {
    fn begin(&self, update: u64, chat: &str, prompt: &Prompt<'_>) {
        let mut wrong = Vec::new();
        let told = prompt.messages.iter().filter(|message| message.role == Role::User);
        let told: Vec<u64> = told.filter_map(|message| number(&message.content)).collect();
        if !told.is_sorted_by(|one, next| one < next) {
            wrong.push(format!("the conversation before {update} is {told:?}"));
        }
        let mut seen = self.0.town.seen();
        *seen.asked.entry(update).or_default() += 1;
        if !seen.busy.insert(chat.to_string()) {
            wrong.push(format!("chat {chat} has two questions under way, one is {update}"));
        }
        seen.wrong.extend(wrong);
    }

    fn answer(&mut self, update: u64, cancel: &Cancel) -> Result<Completion, ProviderError> {
        let Model(citizen) = self;
        let town = citizen.town.clone();
        wait(cancel, if town.chance(700) { 0 } else { town.between(1, 15) });
        if town.chance(town.plan.model_stalls) && citizen.stall_at_stop() {
            wait(cancel, LONG_STALL_MILLIS);
        }
        match town.plan.poison {
            Some((poison, Poison::Panic)) if poison == update => {
                town.seen().poisoned += 1;
                panic!("{POISON}");
            }
            Some((poison, Poison::Kill)) if poison == update => citizen.kill(),
            _ => {}
        }
        if cancel.requested() || citizen.is_gone() {
            return Err(ProviderError::new(Class::Cancelled, "ended"));
        }
        if town.chance(50) {
            return Err(ProviderError::new(
                if town.chance(500) { Class::Server } else { Class::InvalidRequest },
                "planned",
            ));
        }
        let words = if town.chance(150) { MANY_WORDS } else { WORDS };
        let mut seen = town.seen();
        seen.nonces += 1;
        let nonce = seen.nonces;
        let text: Vec<String> = (0..words).map(|word| format!("{update}.{nonce}.{word:05}")).collect();
        Ok(Completion { text: text.join(" "), ..Completion::default() })
    }
}

fn wait(cancel: &Cancel, millis: u64) {
    if millis > 0 {
        let gate = Gate::closed();
        let wake = gate.clone();
        cancel.while_waiting(move || wake.open(), || gate.wait(Duration::from_millis(millis)));
    }
}

fn question(prompt: &Prompt<'_>) -> Option<u64> {
    number(&prompt.messages.last()?.content)
}

fn number(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}
