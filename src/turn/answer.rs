//! [`Answerer`]: one turn from question to reply. The channel workers and the one-shot commands share it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono, Wall};
use crate::base::control::Control;
use crate::base::id::{SessionId, TurnId};
use crate::base::message::{EXPIRED, INTERRUPTED, Message, Path, REPLY_BYTES_MAX, Reply, Role, STOPPED, Summary};
use crate::base::text;
use crate::config::settings::{Config, HistoryLimits};
use crate::observe::event::{Event, Log};
use crate::observe::note::Note;
use crate::observe::redact::Redactor;
use crate::provider::caller::Caller;
use crate::provider::class::Class;
use crate::provider::effort::Effort;
use crate::provider::spending_file::Asker;
use crate::provider::{Prompt, ProviderError};
use crate::store::sessions::{self, History};
use crate::store::storage::Storage;
use crate::store::transcript::Line;
use crate::tool::{self, Context, Tail, TailLine};
use crate::turn::control::{self, Facts};
use crate::turn::control_lane::Order;
use crate::turn::machine::{Answered, STOPPED_TEXT, Step, Turn, expired, given_up, refused};
use crate::turn::prompt;

/// Attempts that the end of a process cut off, before a message is given up.
pub const INTERRUPTIONS_MAX: u32 = 3;

/// From this age on a reply says that it is late.
pub const DELAYED_AFTER: Duration = Duration::from_secs(3600);

/// From this age on a message is not answered any more: who wrote it has gone on.
pub const EXPIRED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What stands before the reply to a message that had to wait long.
pub const DELAYED_MARK: &str = "(delayed) ";

/// What stands behind a reply that was too long to keep.
const CUT: &str = "\n\n(This reply was cut: it was too long.)";

/// What stands for a reply of white space only.
const EMPTY: &str = "(empty response)";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The turn.
    pub turn: TurnId,
    /// The conversation.
    pub session: &'a SessionId,
    /// The person's text.
    pub text: &'a str,
    /// When it was received.
    pub received: Wall,
    /// How long it had waited by then, if that is known.
    pub waited: Option<Duration>,
    /// Attempts that the end of a process cut off.
    pub interrupted: u32,
    /// Whose limit of questions it falls under; `None`: nobody's.
    pub asker: Option<Asker<'a>>,
    /// What is wanted, if it is a control message.
    pub order: Option<&'a Order>,
}

/// Answers questions, one at a time.
pub struct Answerer {
    caller: Caller,
    provider: String,
    model: String,
    system: String,
    history: HistoryLimits,
    deadline: Duration,
    sessions: Box<dyn Storage>,
    since: Mono,
    clock: Arc<dyn Clock>,
    log: Arc<dyn Log>,
    redactor: Redactor,
}

impl Answerer {
    /// `sessions` is read only.
    pub fn new(
        config: &Config,
        caller: Caller,
        sessions: Box<dyn Storage>,
        clock: Arc<dyn Clock>,
        log: Arc<dyn Log>,
    ) -> Answerer {
        let (provider, model) = (config.provider.name.clone(), config.provider.model.clone());
        let system = prompt::system();
        let (history, deadline) = (config.history, config.provider.deadline);
        Answerer {
            caller,
            provider,
            model,
            system,
            history,
            deadline,
            sessions,
            since: clock.mono(),
            clock,
            log,
            redactor: Redactor::new(&config.secrets),
        }
    }

    /// How long a question may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The reply. `Err` if the work was cancelled before there was one: what is to be kept if a person wanted that.
    pub fn answer(&mut self, question: &Question<'_>, cancel: &Cancel) -> Result<Box<Reply>, Box<Reply>> {
        let queued = question.received.until(self.clock.wall());
        let age = self.age(question);
        let mut turn = Turn::begin(question.text);
        let mut effort = Effort::default();
        let (mut failure, mut is_cut) = (None, false);
        let answered = if question.interrupted >= INTERRUPTIONS_MAX {
            unanswered(given_up(&question.turn.to_string()), INTERRUPTED)
        } else if age >= EXPIRED_AFTER {
            unanswered(expired(&question.turn.to_string()), EXPIRED)
        } else if let Some(order) = question.order {
            self.obey(question, order)
        } else {
            self.work(question, &mut turn, &mut effort, &mut failure, cancel).unwrap_or_else(|| {
                is_cut = true;
                unanswered(STOPPED_TEXT.to_owned(), STOPPED)
            })
        };
        let names = effort.by.unwrap_or_else(|| (self.provider.clone(), self.model.clone()));
        let asked = answered.path == Path::Provider;
        let summary = Summary {
            path: Some(answered.path),
            provider: names.0,
            model: names.1,
            fallback_from: effort.fallback_from,
            tool_name: answered.tool,
            attempts: asked.then_some(effort.attempts),
            latency_ms: asked.then_some(effort.latency_ms),
            user_chars: question.text.chars().count() as u64,
            response_chars: if answered.error.is_some() { 0 } else { answered.text.chars().count() as u64 },
            error: answered.error.map(str::to_owned),
            error_detail: failure.map(|error: ProviderError| self.redactor.clean(&error.detail)),
            queue_ms: Some(u64::try_from(queued.as_millis()).unwrap_or(u64::MAX)),
            input_tokens: effort.input_tokens,
            output_tokens: effort.output_tokens,
            provider_ms: asked.then_some(effort.provider_ms),
            response_model: effort.response_model,
            upstream_id: effort.upstream_id,
        };
        let mark = if age >= DELAYED_AFTER && summary.error.is_none() { DELAYED_MARK } else { "" };
        let reply = reply(question.turn, turn.user_text(question.text), answered.text, mark, summary);
        if is_cut { Err(Box::new(reply)) } else { Ok(Box::new(reply)) }
    }

    /// A control message: asks nobody.
    fn obey(&mut self, question: &Question<'_>, order: &Order) -> Answered {
        let is_answer = |line: &Line| line.known_role() == Some(Role::Assistant) && prompt::belongs(line);
        let limits = HistoryLimits { lines: 1, bytes: usize::MAX };
        let last = || self.read(question.session, limits, &is_answer).ok()?.lines.pop();
        let last = matches!(order.control, Control::Last(_)).then(last).flatten().map(|line| line.content);
        let up = self.since.until(self.clock.mono());
        let facts = Facts { providers: self.caller.providers(), tokens: self.caller.tokens(), up, last };
        let text = control::reply(order.control, order.seen, &facts);
        Answered { text, path: Path::Tool, tool: Some(order.control.name().to_owned()), error: None }
    }

    /// Zero as long as the clock is not to be trusted: nothing is late because of a clock that jumped.
    fn age(&self, question: &Question<'_>) -> Duration {
        match question.waited.filter(|_| self.clock.is_trusted()) {
            Some(waited) => waited + question.received.until(self.clock.wall()),
            None => Duration::ZERO,
        }
    }

    fn work(
        &mut self,
        question: &Question<'_>,
        turn: &mut Turn,
        effort: &mut Effort,
        failure: &mut Option<ProviderError>,
        cancel: &Cancel,
    ) -> Option<Answered> {
        let deadline = self.clock.mono().after(self.deadline);
        let reference = question.turn.to_string();
        loop {
            match turn.next().clone() {
                Step::Reply(answered) => return Some(answered),
                Step::Run { name, arguments } => {
                    let output = self.run_tool(question, &name, &arguments);
                    let source = if turn.is_command() { "user" } else { "model" };
                    self.log.note(Note::ToolCalled { tool: &name, source, ok: output.is_ok() });
                    turn.on_tool(output);
                }
                Step::Ask => {
                    // A question is admitted once; what a model asks for in answering it belongs to it.
                    let is_first = turn.follow_up().is_empty();
                    if is_first && let Err(refusal) = self.caller.begin(question.turn, question.asker) {
                        return Some(unanswered(refused(&refusal, &reference), refusal.class().name()));
                    }
                    let outcome = self.ask(question, turn.follow_up(), deadline, effort, cancel);
                    *failure = outcome.as_ref().err().cloned();
                    if outcome.as_ref().is_err_and(|error| error.class == Class::Cancelled) {
                        return None;
                    }
                    if outcome.is_err() && effort.attempts == 0 {
                        self.caller.give_back(question.turn, question.asker);
                    }
                    turn.on_answer(outcome.map_err(|error| (error.class, error.retry_after)), &reference);
                }
            }
        }
    }

    fn ask(
        &mut self,
        question: &Question<'_>,
        follow_up: &[Message],
        deadline: Mono,
        effort: &mut Effort,
        cancel: &Cancel,
    ) -> Result<String, ProviderError> {
        // A session that cannot be read is a conversation that starts anew: better than no answer, and told.
        let read = self.read(question.session, self.history, &prompt::belongs);
        let history = read.unwrap_or_else(|error| {
            let session = question.session.stem().to_owned();
            self.log.emit(self.clock.wall(), &Event::SessionReadError { session, error: error.to_string() });
            History::default()
        });
        if history.bad_lines > 0 {
            self.log.note(Note::BadLines { lines: history.bad_lines });
        }
        let ordinal = history.last_ordinal;
        let messages = prompt::messages(history.lines, question.text, follow_up);
        let said_before = messages.len() - follow_up.len() - 1;
        let prompt =
            Prompt { turn: question.turn, system: &self.system, messages: &messages, history: said_before, ordinal };
        // A server that repeats our key does not get it into the chat.
        self.caller
            .ask(&prompt, deadline, cancel, effort)
            .map(|completion| self.redactor.without_known(&completion.text))
    }

    fn read(
        &self,
        session: &SessionId,
        limits: HistoryLimits,
        wanted: &dyn Fn(&Line) -> bool,
    ) -> std::io::Result<History> {
        sessions::history(self.sessions.as_ref(), session, limits.lines, limits.bytes, wanted)
    }

    fn run_tool(&self, question: &Question<'_>, name: &str, arguments: &str) -> Result<String, String> {
        let tail = |count| {
            let limits = HistoryLimits { lines: count, bytes: usize::MAX };
            let history = self.read(question.session, limits, &|_| true).ok()?;
            let line = |line: Line| TailLine { role: line.role, content: line.content, timestamp: line.timestamp };
            Some(Tail { lines: history.lines.into_iter().map(line).collect(), total: history.last_ordinal })
        };
        let context = Context {
            provider: &self.provider,
            model: &self.model,
            session: question.session.name(),
            now: self.clock.wall(),
            tail: &tail,
        };
        tool::run(name, arguments, &context).map_err(|error| error.to_string())
    }
}

fn unanswered(text: String, error: &'static str) -> Answered {
    Answered { text, path: Path::Provider, tool: None, error: Some(error) }
}

/// Keeps the reply within its limits and cuts it into parts. The mark is for the person only, not for the conversation.
fn reply(turn: TurnId, user_text: &str, text: String, mark: &str, summary: Summary) -> Reply {
    let whole = if text.trim().is_empty() { EMPTY.to_owned() } else { text };
    let kept = text::fit_json(&whole, REPLY_BYTES_MAX - 2 * CUT.len());
    let text = if kept.len() < whole.len() { format!("{kept}{CUT}") } else { whole };
    let parts = text::split(&format!("{mark}{text}"), text::PART_UNITS_MAX, text::PARTS_MAX);
    Reply { turn, user_text: user_text.to_owned(), text, parts, summary }
}
