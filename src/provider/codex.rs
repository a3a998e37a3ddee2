//! Runs the Codex program once per attempt: the prompt on standard input (never in the arguments, where every user of
//! the host could read it), a minimal environment, events on standard output, and a deadline that ends its whole group.
//!
//! Codex tries again by itself, so one run is the only attempt; the deadline is ours, because it has none.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::base::message::{Message, Role};
use crate::config::settings::CodexSettings;
use crate::provider::class::Class;
use crate::provider::codex_events::Events;
use crate::provider::{Completion, Prompt, Provider, ProviderError};
use crate::sys::child::{self, End, Program};

/// The Codex program.
pub struct Codex {
    settings: CodexSettings,
    workspace: PathBuf,
    registry: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Codex {
    /// Runs in `workspace`, which is created if need be; running programs are noted in `registry`.
    pub fn new(settings: CodexSettings, workspace: PathBuf, registry: PathBuf, clock: Arc<dyn Clock>) -> Codex {
        Codex { settings, workspace, registry, clock }
    }

    fn program(&self) -> Program {
        let mut arguments = arguments(&self.settings);
        if cfg!(rp_break = "argv_key") {
            arguments.extend(self.settings.environment.iter().map(|(_, value)| value.clone()));
        }
        Program {
            binary: self.settings.binary.clone(),
            arguments,
            environment: self.settings.environment.clone(),
            directory: Some(self.workspace.clone()),
            registry: Some(self.registry.clone()),
            grace: child::TERM_GRACE,
        }
    }
}

impl Provider for Codex {
    fn complete(&mut self, prompt: &Prompt<'_>, deadline: Mono, cancel: &Cancel) -> Result<Completion, ProviderError> {
        if !self.settings.enabled {
            return Err(ProviderError::new(Class::NotConfigured, "RUSTY_PINCH_CODEX_ENABLED is false"));
        }
        fs::create_dir_all(&self.workspace).map_err(|error| {
            ProviderError::new(Class::Spawn, format!("the workspace cannot be created: {}", error.kind()))
        })?;
        let deadline = deadline.min(self.clock.mono().after(self.settings.timeout));
        let input = input(prompt);
        let mut events = Events::default();
        let mut sink = |bytes: &[u8]| -> ControlFlow<()> { events.push(bytes) };
        let outcome = child::run(&self.program(), input.as_bytes(), deadline, self.clock.as_ref(), cancel, &mut sink);
        let finished = outcome.map_err(|error| spawn_error(&error))?;
        match finished.end {
            End::Exited(code) => events.finish(code, &finished.stderr),
            End::Signalled(signal) => Err(ProviderError::new(Class::Exit, format!("codex ended by signal {signal}"))),
            End::Deadline => Err(ProviderError::new(Class::Deadline, "codex was stopped at its deadline")),
            End::Cancelled => Err(ProviderError::new(Class::Cancelled, "codex was stopped")),
            End::Refused => Err(ProviderError::new(Class::TooLarge, "codex printed more than we accept")),
        }
    }
}

fn spawn_error(error: &io::Error) -> ProviderError {
    let class = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::ExecutableFileBusy => {
            Class::SpawnTransient
        }
        _ => Class::Spawn,
    };
    ProviderError::new(class, format!("the codex program could not be started: {}", error.kind()))
}

/// The operator's arguments, then the model, then what we need, unless the operator has said it already: an option
/// given twice is an error to Codex.
fn arguments(settings: &CodexSettings) -> Vec<String> {
    let mut arguments = settings.arguments.clone();
    if let Some(model) = &settings.model {
        if !settings.model_flag.is_empty() {
            arguments.push(settings.model_flag.clone());
        }
        arguments.push(model.clone());
    }
    if settings.arguments.first().map(String::as_str) != Some("exec") {
        return arguments;
    }
    let given = |names: &[&str]| settings.arguments.iter().any(|argument| names.contains(&argument.as_str()));
    if !given(&["--json", "--experimental-json"]) {
        arguments.push("--json".to_owned());
    }
    if !given(&["--ephemeral"]) {
        arguments.push("--ephemeral".to_owned());
    }
    if !given(&["--sandbox", "-s", "--full-auto", "--yolo", "--dangerously-bypass-approvals-and-sandbox"]) {
        arguments.extend(["--sandbox".to_owned(), "read-only".to_owned()]);
    }
    if !settings.arguments.iter().any(|argument| argument.starts_with("shell_environment_policy.")) {
        arguments.extend(["-c".to_owned(), "shell_environment_policy.inherit=\"core\"".to_owned()]);
    }
    if !given(&["-"]) {
        arguments.push("-".to_owned());
    }
    arguments
}

/// The whole prompt as one text: instructions, the conversation, and what is asked now.
fn input(prompt: &Prompt<'_>) -> String {
    let Some((asked, history)) = prompt.messages.split_last() else { return prompt.system.to_owned() };
    let mut text = prompt.system.to_owned();
    if !history.is_empty() {
        text.push_str("\n\n# Conversation so far\n");
        history.iter().for_each(|message| push_message(&mut text, message));
    }
    text.push_str("\n\n# Answer this\n");
    text.push_str(&asked.content);
    text
}

fn push_message(text: &mut String, message: &Message) {
    let speaker = match message.role {
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::System => "System",
    };
    text.push_str(&format!("\n## {speaker}\n{}\n", message.content));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings(arguments: &[&str], model_flag: &str, model: Option<&str>) -> CodexSettings {
        CodexSettings {
            enabled: true,
            binary: "codex".into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            model_flag: model_flag.into(),
            model: model.map(str::to_owned),
            timeout: Duration::from_secs(1),
            environment: Vec::new(),
        }
    }

    #[track_caller]
    fn check(settings: &CodexSettings, want: &str) {
        assert_eq!(arguments(settings).join(" "), want);
    }

    #[test]
    fn what_we_need_is_added_once_and_only_to_exec() {
        let common = "--sandbox read-only -c shell_environment_policy.inherit=\"core\" -";
        check(
            &settings(&["exec", "--skip-git-repo-check"], "--model", Some("m")),
            &format!("exec --skip-git-repo-check --model m --json --ephemeral {common}"),
        );
        check(
            &settings(&["exec", "--json", "-s", "workspace-write", "-"], "", Some("m")),
            "exec --json -s workspace-write - m --ephemeral -c shell_environment_policy.inherit=\"core\"",
        );
        check(&settings(&["ask"], "--model", None), "ask");
        check(&settings(&[], "", None), "");
    }

    #[test]
    fn the_whole_conversation_is_in_the_input() {
        let say = |role, content: &str| Message { role, content: content.to_owned() };
        let messages = [
            say(Role::User, "one"),
            say(Role::Assistant, "two"),
            say(Role::System, "[tool:x]\nthree"),
            say(Role::User, "--four"),
        ];
        let turn = crate::base::id::TurnId::parse("rp-00000000000000000000000001").expect("an id");
        let text = input(&Prompt { turn, system: "Be brief.", messages: &messages, ordinal: 2 });
        let wanted =
            ["Be brief.", "## User\none", "## Assistant\ntwo", "## System\n[tool:x]\nthree", "# Answer this\n--four"];
        let places: Vec<_> = wanted.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {text}");
        assert!(text.ends_with("--four"));
    }
}
