//! `setup`: from nothing to a bot that answers. Asks (`config/questions.rs`), checks each answer with whom it concerns, writes at
//! the end and all at once (`setting_place.rs`), and then does with it what a worker would: a turn, a pairing, a message.

use std::env::consts::ARCH;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::base::cancel::Cancel;
use crate::base::id::ChannelId;
use crate::base::message::Chat;
use crate::channel::outbound::Sent;
use crate::channel::pairing::VALID_FOR;
use crate::channel::telegram_client::TelegramClient;
use crate::channel::{pairing_file, telegram_api as api};
use crate::cli::asking::{Answer, Asking};
use crate::cli::flags::Parsed;
use crate::cli::setting_place::{Place, Tried};
use crate::cli::{Failure, outbox, print};
use crate::config::questions::{ANSWER_BYTES_MAX, Draft, QUESTIONS, Question, Topic};
use crate::config::settings::{Config, ProviderKind};
use crate::config::{settings, surroundings::Surroundings};
use crate::doctor::probe;
use crate::doctor::report::{Check, Level};
use crate::net::http_client::HttpClient;
use crate::sys::child::End;
use crate::sys::files;

/// Answers to one question; after the last wrong one nothing is changed.
const TRIES_MAX: usize = 3;

/// How long our own check may take, that of servers included.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// How long the one turn may take: longer than the largest deadline that can be set.
const TURN_PATIENCE: Duration = Duration::from_secs(3660);

/// How long Telegram may take for one call.
const CALL_PATIENCE: Duration = Duration::from_secs(15);

/// What the provider is asked, once.
const GREETING: &str = "Say in one short sentence that you are ready.";

/// A set-up on its way.
struct FirstSetup<'a> {
    parsed: &'a Parsed,
    place: Place,
    asking: Asking,
    found: Surroundings,
    draft: Draft,
    /// What keeps messages from us, and what to do about it.
    webhook: Option<String>,
}

/// Asks, checks, writes, tries.
pub fn run(parsed: &Parsed) -> Result<(), Failure> {
    files::private_by_default();
    let place = Place::find(parsed.value("into"))?;
    let found = place.look();
    if let Some(problem) = found.problems.first() {
        return Err(Failure::Configuration(problem.sentence.clone()));
    }
    let draft = Draft { variables: found.variables.clone(), changes: Vec::new() };
    let mut setup = FirstSetup { parsed, place, asking: Asking::start()?, found, draft, webhook: None };
    setup.forget_misfits()?;
    for question in QUESTIONS {
        if setup.draft.asks(question.topic) {
            setup.settle(question)?;
        } else if question.topic == Topic::Provider && parsed.given("provider") {
            return Err(Failure::Usage("RUSTY_PINCH_PROVIDER_CHAIN says who answers: change that".to_owned()));
        }
    }
    setup.draft.finish(setup.place.is_package);
    setup.config().map_err(Failure::Configuration)?;
    for path in setup.place.write(&setup.found, &setup.draft)? {
        print(&format!("Written: {}\n", path.display()))?;
    }
    if !parsed.given("no-probe") {
        setup.round_trip()?;
    }
    print(&setup.next())
}

impl FirstSetup<'_> {
    /// A value that does not fit and is asked for counts as none; any other one has to be mended first.
    fn forget_misfits(&mut self) -> Result<(), Failure> {
        for error in settings::problems(&self.draft.variables) {
            let of = |topic: Topic| self.draft.current(topic).is_some_and(|(name, _, _)| name == error.name);
            if !QUESTIONS.iter().any(|question| of(question.topic)) {
                return Err(Failure::Configuration(error.to_string()));
            }
            print(&format!("{error}\n"))?;
            self.draft.variables.remove(&error.name);
        }
        Ok(())
    }

    /// One question until its answer is good.
    fn settle(&mut self, question: &Question) -> Result<(), Failure> {
        let mut given = self.given(question)?;
        for attempt in 1..=TRIES_MAX {
            let (answer, is_last) = match given.take() {
                Some(answer) => (Some(answer), false),
                None => self.ask(question)?,
            };
            let Some(problem) = self.attempt(question.topic, answer.as_ref().map(|text| text.as_str()))? else {
                return Ok(());
            };
            print(&format!("{problem} (try {attempt} of {TRIES_MAX})\n"))?;
            if is_last {
                let sentence = format!("nothing was changed; answer on standard input, or with --{}", question.option);
                return Err(Failure::Failed(sentence));
            }
        }
        Err(Failure::Failed(format!("nothing was changed: {TRIES_MAX} answers were wrong")))
    }

    /// What an option says.
    fn given(&self, question: &Question) -> Result<Option<Zeroizing<String>>, Failure> {
        let value = self.parsed.value(question.option);
        if value.is_empty() || !question.topic.is_secret() {
            return Ok(Some(Zeroizing::new(value.trim().to_owned())).filter(|text| !text.is_empty()));
        }
        let wrong = |problem: String| Failure::Usage(format!("--{} {value}: {problem}", question.option));
        let read = files::read_bounded(Path::new(value), ANSWER_BYTES_MAX as u64);
        let (bytes, _) = read.map_err(|error| wrong(error.to_string()))?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8 text".to_owned()))?;
        Ok(Some(Zeroizing::new(text.trim().to_owned())))
    }

    /// Asks; beside the answer whether it was the last one. `None`: what is there, or nothing.
    fn ask(&self, question: &Question) -> Result<(Option<Zeroizing<String>>, bool), Failure> {
        let topic = question.topic;
        let current = self.draft.current(topic).map(|(name, value, source)| match topic.is_secret() {
            true => format!("that of {name}, {source}"),
            false => value,
        });
        let default = current.or_else(|| self.draft.default(topic, ARCH).map(str::to_owned));
        let default = default.map_or(String::new(), |text| format!(" [{text}]"));
        Ok(match self.asking.ask(&format!("{}{default}: ", question.text), topic.is_secret())? {
            Answer::Text(text) => (Some(text), false),
            Answer::Blank => (None, false),
            Answer::End => (None, true),
        })
    }

    /// Takes an answer if it is good, else says what is wrong with it.
    fn attempt(&mut self, topic: Topic, answer: Option<&str>) -> Result<Option<String>, Failure> {
        let mut candidate = self.draft.clone();
        match (answer, candidate.current(topic), candidate.default(topic, ARCH)) {
            (Some(answer), _, _) => match candidate.problem(topic, answer, ARCH) {
                Some(problem) => return Ok(Some(problem)),
                None => candidate.answer(topic, answer),
            },
            (None, Some(_), _) => candidate.keep(topic),
            (None, None, Some(default)) => candidate.answer(topic, default),
            (None, None, None) if topic.is_optional(candidate.kind()) => {}
            (None, None, None) => return Ok(Some("an answer is needed".to_owned())),
        }
        let before = std::mem::replace(&mut self.draft, candidate);
        let problem = if self.parsed.given("no-probe") { None } else { self.probe(topic)? };
        if problem.is_some() {
            self.draft = before;
        }
        Ok(problem)
    }

    fn config(&self) -> Result<Config, String> {
        Config::load(&self.draft.variables).map_err(|error| error.to_string())
    }

    /// Asks whom the answer concerns.
    fn probe(&mut self, topic: Topic) -> Result<Option<String>, Failure> {
        if topic == Topic::Provider && self.draft.kind() == ProviderKind::Codex {
            return self.probe_codex();
        }
        if !topic.is_secret() {
            return Ok(None);
        }
        let config = match self.config() {
            Ok(config) => config,
            Err(error) => return Ok(Some(error)),
        };
        let checks = match topic {
            Topic::Key => probe::provider(&config.provider, &config.codex),
            _ => probe::telegram(&config.telegram),
        };
        let is_bad = |check: &&Check| check.level == Level::Error;
        self.webhook = checks.iter().filter(|check| check.id == "probe.webhook").find(is_bad).map(sentence_of);
        match checks.iter().filter(|check| check.id != "probe.webhook").find(is_bad) {
            // What doctor advises is about variables, and here the question comes again.
            Some(check) => Ok(Some(check.sentence.clone())),
            None => {
                let said = checks.first().map_or("", |check| check.sentence.as_str());
                print(&format!("{said}\n")).map(|()| None)
            }
        }
    }

    /// Codex has its login in the home of the user of the service, so that one has to ask.
    fn probe_codex(&self) -> Result<Option<String>, Failure> {
        let codex = [("RUSTY_PINCH_PROVIDER", "codex")];
        let Tried { said, .. } = self.try_out(&["doctor", "--probe", "--json"], &codex, CHECK_PATIENCE)?;
        let report: Value = serde_json::from_str(&said).unwrap_or_default();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let checks = report["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_bad = |check: &&Value| {
            let id = text(check, "id");
            text(check, "level") == "error" && (id.starts_with("provider.codex") || id == "probe.provider")
        };
        Ok(checks.iter().find(is_bad).map(|check| format!("{}: {}", text(check, "sentence"), text(check, "remedy"))))
    }

    fn try_out(&self, words: &[&str], more: &[(&str, &str)], patience: Duration) -> Result<Tried, Failure> {
        let tried = self.place.run(words, &self.draft, more, patience);
        tried.map_err(|error| Failure::Failed(format!("'{}' could not be started: {error}", words.join(" "))))
    }

    /// A turn, a pairing if nobody may write yet, and a message.
    fn round_trip(&self) -> Result<(), Failure> {
        let turn = ["run", "--session", "setup", "--message", GREETING];
        let turn = self.try_out(&turn, &[], TURN_PATIENCE)?;
        let said = turn.said.trim();
        if turn.end != End::Exited(0) {
            return Err(Failure::Failed(format!("the provider did not answer: {said}{}", turn.why)));
        }
        print(&format!("The provider answers: {said}\n"))?;
        if let Some(webhook) = &self.webhook {
            if !self.parsed.given("delete-webhook") {
                return Err(Failure::Failed(format!("{webhook}; 'rusty-pinch setup --delete-webhook' does that")));
            }
            self.try_out(&["channels", "telegram", "--delete-webhook"], &[], CHECK_PATIENCE)?;
        }
        let config = self.config().map_err(Failure::Configuration)?;
        let data = self.place.data(&config.data);
        if paired(&config, &data)?.is_none() && !self.pair(&data)? {
            return Ok(());
        }
        match paired(&config, &data)? {
            Some(chat) => greet(&config, chat, said),
            None => Err(Failure::Failed(
                "nobody sent the code in time; 'rusty-pinch pair telegram' shows another one".to_owned(),
            )),
        }
    }

    /// Shows a code, and lets a worker wait for it. `false`: there is no use in waiting, because that is somebody else's.
    fn pair(&self, data: &Path) -> Result<bool, Failure> {
        let is_watched = outbox::has_worker(data, ChannelId::Telegram);
        let offer = self.try_out(&["pair", "telegram"], &[], CHECK_PATIENCE)?;
        if offer.end != End::Exited(0) {
            return Err(Failure::Failed(format!("there is no code: {}", offer.why)));
        }
        print(&offer.said)?;
        if is_watched || self.parsed.given("no-pair") {
            let who = if is_watched {
                "that runs waits for it: restart it, its settings are older"
            } else {
                "that is started waits for it"
            };
            print(&format!("The worker {who}.\n"))?;
            return Ok(false);
        }
        print("Waiting for it …\n")?;
        let worker = self.try_out(&["channels", "telegram", "--max-messages", "1"], &[], VALID_FOR)?;
        match worker.end {
            End::Exited(0) | End::Deadline => Ok(true),
            _ => Err(Failure::Failed(format!("the worker that waited for the code ended: {}", worker.why))),
        }
    }

    fn next(&self) -> String {
        if self.place.is_package {
            let unit = "rusty-pinch-telegram";
            return format!("Done. Start it, now and at every boot: systemctl enable --now {unit}\n");
        }
        let (home, env_file) = (self.place.home.display(), self.place.env_file.display());
        format!("Done. Start it: cd {home} && RUSTY_PINCH_ENV_FILE={env_file} rusty-pinch channels telegram\n")
    }
}

fn sentence_of(check: &Check) -> String {
    format!("{}: {}", check.sentence, check.remedy)
}

/// The first who may write: their id is that of their chat.
fn paired(config: &Config, data: &Path) -> Result<Option<String>, Failure> {
    let book = pairing_file::read(data).map_err(|error| Failure::Storage(format!("pairing.json: {error}")))?;
    Ok(config.telegram.allow_from.iter().cloned().chain(book.ids()).next())
}

/// Sends the words of the provider to a chat.
fn greet(config: &Config, chat: String, said: &str) -> Result<(), Failure> {
    let telegram = &config.telegram;
    let Some(token) = telegram.token.as_ref().filter(|_| chat != "*") else { return Ok(()) };
    let transport = Box::new(HttpClient::new(telegram.base.is_secure()));
    let mut client = TelegramClient::new(transport, telegram.base.as_str(), token.secret.clone(), Cancel::new());
    let text = crate::base::text::shorten(&format!("This bot is set up. The provider says: {said}"), 1000);
    let body = api::send_message(&Chat { id: chat.clone(), thread: None }, &text);
    match api::send_outcome(&client.call("sendMessage", &body, CALL_PATIENCE)) {
        Sent::Confirmed { .. } => print(&format!("Sent to chat {chat}.\n")),
        Sent::Refused { why } => Err(Failure::Failed(format!("chat {chat} cannot be written to: {why}"))),
        _ => Err(Failure::Failed(format!("Telegram did not confirm the message to chat {chat}"))),
    }
}
