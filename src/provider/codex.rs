//! Runs the Codex program once per attempt: the prompt on standard input (never in the arguments, where every user of
//! the host could read it), a minimal environment, events on standard output, and a deadline that ends its whole group.
//!
//! Codex tries again by itself, so an account has one run; only where that says that the account is of no use, another
//! account has one, too. The deadline is ours, because Codex has none.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use crate::base::clock::Clock;
use crate::base::message::{Message, Role};
use crate::config::codex_settings::CodexSettings;
use crate::provider::accounts::Reason;
use crate::provider::class::Class;
use crate::provider::classify::{Ending, Evidence, classify};
use crate::provider::codex_events::Events;
use crate::provider::codex_failure::Again;
use crate::provider::cost::is_free;
use crate::provider::pool::{Lease, Pool, RUN_TIME_MIN};
use crate::provider::{Attempt, Completion, Prompt, Provider, ProviderError, codex_home};
use crate::sys::child::{self, End, Program};
use crate::sys::children::{TOKEN_PLACE, TOKEN_VARIABLE};

/// The Codex program.
pub struct Codex {
    pool: Arc<Pool>,
    workspace: PathBuf,
    clock: Arc<dyn Clock>,
    /// Of the last attempt's failed runs.
    worked: u64,
}

impl Codex {
    /// Runs in `workspace`, which is created if need be, on the accounts of `pool`.
    pub fn new(pool: Arc<Pool>, workspace: PathBuf, clock: Arc<dyn Clock>) -> Codex {
        Codex { pool, workspace, clock, worked: 0 }
    }

    /// One run on one account. Beside a failure: whether another account may try the same.
    fn run(
        &mut self,
        lease: &Lease<'_>,
        input: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Completion, (ProviderError, bool)> {
        let (settings, account) = (self.pool.settings(), lease.account());
        let program = Program {
            directory: Some(self.workspace.clone()),
            registry: Some(self.pool.registry().clone()),
            grace: child::TERM_GRACE,
            ..codex_home::program(settings, account, arguments(settings, account.model.as_ref()))
        };
        let (clock, cancel) = (self.clock.as_ref(), attempt.cancel);
        let deadline = attempt.deadline.min(clock.mono().after(settings.timeout));
        let mut events = Events::default();
        let mut sink = |bytes: &[u8]| -> ControlFlow<()> { events.push(bytes) };
        let outcome = child::run(&program, input.as_bytes(), deadline, clock, cancel, &mut sink);
        let finished = outcome.map_err(|error| (spawn_error(&error), false))?;
        let (again, acted) = (events.again(), events.acted());
        let (when_refused, when_not) = (events.worked(true), events.worked(false));
        // Another provider can still be asked, unless the time of the turn is over, too.
        let ended = match (deadline < attempt.deadline, events.has_begun()) {
            (false, _) => Ending::Deadline,
            (true, false) => Ending::Silence,
            (true, true) => Ending::Slow,
        };
        let failed = |ending, what: &str| Err(ProviderError::new(classify(Evidence::Codex(ending)), what));
        let outcome = match finished.end {
            End::Exited(code) => events.finish(code, &finished.stderr),
            End::Signalled(signal) => failed(Ending::Exited, &format!("codex ended by signal {signal}")),
            End::Deadline => failed(ended, "codex was stopped at its deadline"),
            End::Cancelled => failed(Ending::Cancelled, "codex was stopped"),
            End::Refused => failed(Ending::Flooded, "codex printed more than we accept"),
        };
        outcome.map_err(|mut error| {
            self.worked += if is_free(error.class) { when_refused } else { when_not };
            error.retry_after = again.and_then(|again| self.wait_for(again, attempt));
            let passes_on = Reason::of(error.class).is_some() || error.class == Class::ModelNotFound;
            (error, passes_on && !acted)
        })
    }

    /// `None`: the time was told for a zone that nobody knows.
    fn wait_for(&self, again: Again, attempt: &Attempt<'_>) -> Option<Duration> {
        let clock = self.clock.as_ref();
        let zone = match again {
            Again::In(_) => 0,
            _ => codex_home::zone_minutes(self.pool.settings(), clock, attempt.cancel)?,
        };
        Some(again.wait(clock.wall(), zone))
    }
}

impl Provider for Codex {
    fn complete(&mut self, prompt: &Prompt<'_>, attempt: &mut Attempt<'_>) -> Result<Completion, ProviderError> {
        if !self.pool.settings().enabled {
            return Err(ProviderError::new(Class::NotConfigured, "RUSTY_PINCH_CODEX_ENABLED is false"));
        }
        fs::create_dir_all(&self.workspace).map_err(|error| {
            ProviderError::new(Class::Spawn, format!("the workspace cannot be created: {}", error.kind()))
        })?;
        let (input, pool) = (input(prompt), Arc::clone(&self.pool));
        self.worked = 0;
        let (mut tried, mut failure) = (Vec::new(), None);
        loop {
            let lease = match pool.take(&tried, attempt) {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    return Err(failure.unwrap_or_else(|| ProviderError::new(Class::NotConfigured, "no account")));
                }
                Err(error) => return Err(milder(failure, error)),
            };
            let outcome = self.run(&lease, &input, attempt);
            pool.settle(&lease, outcome.as_ref().err().map(|(error, _)| error));
            match outcome {
                Ok(completion) => return Ok(completion),
                Err((error, false)) => return Err(error),
                Err((error, true)) if self.clock.mono().until(attempt.deadline) < RUN_TIME_MIN => return Err(error),
                Err((error, true)) => failure = Some(milder(failure, error)),
            }
            tried.push(lease.index);
        }
    }

    fn worked(&self) -> u64 {
        self.worked
    }
}

/// What a turn fails with that has failed on several accounts: what is over soonest. One whose key was rejected must not
/// make the others look so.
fn milder(before: Option<ProviderError>, now: ProviderError) -> ProviderError {
    const MILDEST_FIRST: [Class; 5] =
        [Class::Cancelled, Class::RateLimited, Class::Quota, Class::ModelNotFound, Class::Forbidden];
    let rank = |error: &ProviderError| MILDEST_FIRST.iter().position(|class| *class == error.class);
    match before {
        Some(before) if rank(&before).unwrap_or(9) <= rank(&now).unwrap_or(9) => before,
        _ => now,
    }
}

fn spawn_error(error: &io::Error) -> ProviderError {
    let kind = error.kind();
    ProviderError::new(classify(Evidence::Spawn(kind)), format!("the codex program could not be started: {kind}"))
}

/// The operator's arguments, then the model, then what we need, unless the operator has said it already: an option
/// given twice is an error to Codex.
fn arguments(settings: &CodexSettings, model: Option<&String>) -> Vec<String> {
    let mut arguments = settings.arguments.clone();
    if let Some(model) = model.or(settings.model.as_ref()) {
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
    // Codex takes our mark out of what the model's commands see, and they are in sessions of their own.
    let mark = format!("shell_environment_policy.set.{TOKEN_VARIABLE}=\"{TOKEN_PLACE}\"");
    arguments.extend(["-c".to_owned(), mark]);
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

    fn settings(arguments: &[&str], model_flag: &str, model: Option<&str>) -> CodexSettings {
        CodexSettings {
            enabled: true,
            binary: "codex".into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            model_flag: model_flag.into(),
            model: model.map(str::to_owned),
            timeout: Duration::from_secs(1),
            environment: Vec::new(),
            accounts: Vec::new(),
            window: Duration::from_secs(1),
            reserve_percent: 25,
            look_arguments: Vec::new(),
            look_interval: Duration::from_secs(1),
        }
    }

    #[track_caller]
    fn check(settings: &CodexSettings, want: &str) {
        assert_eq!(arguments(settings, None).join(" "), want);
    }

    #[test]
    fn what_we_need_is_added_once_and_only_to_exec() {
        let mark = "-c shell_environment_policy.set.RP_CHILD_TOKEN=\"<RP_CHILD_TOKEN>\"";
        let core = "-c shell_environment_policy.inherit=\"core\"";
        let common = format!("--sandbox read-only {core} {mark} -");
        check(
            &settings(&["exec", "--skip-git-repo-check"], "--model", Some("m")),
            &format!("exec --skip-git-repo-check --model m --json --ephemeral {common}"),
        );
        check(
            &settings(&["exec", "--json", "-s", "workspace-write", "-"], "", Some("m")),
            &format!("exec --json -s workspace-write - m --ephemeral {core} {mark}"),
        );
        check(&settings(&["ask"], "--model", None), "ask");
        check(&settings(&[], "", None), "");
    }

    #[test]
    fn of_several_failures_the_mildest_counts_and_of_equals_the_first() {
        let told = |before: Option<Class>, now| {
            let error = |class| ProviderError::new(class, if before == Some(class) { "before" } else { "now" });
            milder(before.map(error), ProviderError::new(now, "now")).to_string()
        };
        assert_eq!(told(None, Class::Auth), "auth: now");
        assert_eq!(told(Some(Class::Auth), Class::RateLimited), "rate_limited: now");
        assert_eq!(told(Some(Class::Quota), Class::Auth), "quota: before");
        assert_eq!(told(Some(Class::Auth), Class::Auth), "auth: before");
        assert_eq!(told(Some(Class::Auth), Class::Cancelled), "cancelled: now");
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
        let text = input(&Prompt { turn, system: "Be brief.", messages: &messages, history: 3, ordinal: 2 });
        let wanted =
            ["Be brief.", "## User\none", "## Assistant\ntwo", "## System\n[tool:x]\nthree", "# Answer this\n--four"];
        let places: Vec<_> = wanted.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {text}");
        assert!(text.ends_with("--four"));
    }
}
