//! One account of Codex on this machine: its folder, its environment, its login, and the command that mends it. A look
//! at an account runs the program with arguments that cost nothing.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::config::codex_accounts::Account;
use crate::config::codex_environment::{HOME, KEY};
use crate::config::codex_settings::CodexSettings;
use crate::provider::accounts::Reason;
use crate::sys::child::{self, End, Program};
use crate::sys::{files, users};

/// How long a look may take.
pub const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// How long both questions of a look may take.
pub const LOOKS_PATIENCE: Duration = Duration::from_secs(10);

/// How long a program that was only looked at may take to end when asked to.
const LOOK_GRACE: Duration = Duration::from_millis(100);

/// How long `date` may take to tell the time zone.
const ZONE_PATIENCE: Duration = Duration::from_millis(500);

/// Longest answer to a look that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// The question that a login costs nothing to answer.
const LOGIN_STATUS: [&str; 2] = ["login", "status"];

/// What is to be said about the folder in the one sentence that names it.
const NO_FOLDER: &str = "its CODEX_HOME cannot be used";

/// A run of the program as this account. The environment is exactly what Codex needs.
pub fn program(settings: &CodexSettings, account: &Account, mut arguments: Vec<String>) -> Program {
    let mut environment = settings.environment.clone();
    if let Some(home) = &account.home {
        environment.retain(|(name, _)| name != HOME);
        environment.push((HOME.to_owned(), home.to_string_lossy().into_owned()));
    }
    if let Some(key) = &account.key {
        environment.push((KEY.to_owned(), key.current().reveal().to_owned()));
    }
    if cfg!(rp_break = "argv_key") {
        arguments.extend(environment.iter().map(|(_, value)| value.clone()));
    }
    let binary = settings.binary.clone();
    Program { binary, arguments, environment, grace: LOOK_GRACE, ..Program::default() }
}

/// The folder that is named, for all accounts or for this one.
fn named_home(settings: &CodexSettings, account: &Account) -> Option<PathBuf> {
    let of_all = || settings.environment.iter().find(|(name, _)| name == HOME).map(|(_, value)| PathBuf::from(value));
    account.home.clone().or_else(of_all)
}

/// The folder that Codex uses.
fn home(settings: &CodexSettings, account: &Account) -> Option<PathBuf> {
    let usual = || {
        let (_, home) = settings.environment.iter().find(|(name, _)| name == "HOME")?;
        Some(Path::new(home).join(".codex"))
    };
    named_home(settings, account).or_else(usual)
}

/// Makes sure that a folder that is named exists, for us alone, and can be written to; Codex makes its usual one by
/// itself.
pub fn prepare(settings: &CodexSettings, account: &Account) -> Result<(), (Reason, String)> {
    let key_is_missing = account.key.is_none() && !account.own_login;
    if let Some(name) = account.key_variable.as_ref().filter(|_| key_is_missing) {
        return Err((Reason::Setup, format!("its key variable {name} is not set")));
    }
    let Some(home) = named_home(settings, account) else { return Ok(()) };
    let made = files::make_folder(&home).and_then(|()| files::may_change(&home));
    made.map_err(|error| (Reason::Setup, format!("{NO_FOLDER}: {}: {error}", home.display())))
}

/// Changes when the credentials of the account do: with its key, or with the file that a login leaves.
pub fn fingerprint(settings: &CodexSettings, account: &Account) -> String {
    if let Some(key) = &account.key {
        return key.current().fingerprint();
    }
    let login = home(settings, account).and_then(|home| fs::metadata(home.join("auth.json")).ok());
    login.map_or_else(String::new, |file| format!("{:x}.{:x}.{:x}", file.ino(), file.mtime(), file.mtime_nsec()))
}

/// Whether the program is Codex itself. What else an operator runs in its place may not know our questions.
pub fn is_codex(settings: &CodexSettings) -> bool {
    settings.arguments.first().is_some_and(|first| first == "exec")
}

/// Whether the account has a login; `None`: it did not say within `patience`, or is not asked.
pub fn is_logged_in(
    settings: &CodexSettings,
    account: &Account,
    patience: Duration,
    clock: &dyn Clock,
) -> Option<bool> {
    if account.key.is_some() {
        return Some(true);
    }
    if !is_codex(settings) {
        return None;
    }
    let program = program(settings, account, LOGIN_STATUS.map(str::to_owned).to_vec());
    match ask(&program, patience, clock, &Cancel::new()).map(|(end, _)| end) {
        Ok(End::Exited(0)) => Some(true),
        Ok(End::Exited(1)) => Some(false),
        _ => None,
    }
}

/// What a look has found that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The account can be used.
    Sound,
    /// The program has not answered in time, which a turn tries all the same: a small machine may be busy.
    Nothing,
}

/// Looks whether the account can be used, without a request, until the time in the bounds at most. What the program cannot
/// say is no objection.
///
/// # Errors
/// What speaks against it: a phrase of our own.
pub fn look(
    settings: &CodexSettings,
    account: &Account,
    registry: &Path,
    (clock, deadline, cancel): (&dyn Clock, Mono, &Cancel),
) -> Result<Told, (Reason, String)> {
    prepare(settings, account)?;
    if !is_codex(settings) {
        return Ok(Told::Sound);
    }
    let mut told = Told::Sound;
    let mut asked = |arguments: Vec<String>| {
        let program = Program { registry: Some(registry.to_owned()), ..program(settings, account, arguments) };
        let patience = LOOK_PATIENCE.min(clock.mono().until(deadline));
        let end = ask(&program, patience, clock, cancel).map(|(end, _)| end);
        if matches!(end, Ok(End::Deadline)) {
            told = Told::Nothing;
        }
        end.map_err(|error| (Reason::Setup, format!("the codex program could not be started: {}", error.kind())))
    };
    let asks_login = settings.look_arguments == LOGIN_STATUS;
    if !settings.look_arguments.is_empty() && !asks_login {
        let end = asked(settings.look_arguments.clone())?;
        if let End::Exited(code) = end
            && code != 0
        {
            let arguments = settings.look_arguments.join(" ");
            return Err((Reason::Setup, format!("codex {arguments} exited with code {code}")));
        }
    }
    let needs_login = account.key.is_none();
    match needs_login.then(|| asked(LOGIN_STATUS.map(str::to_owned).to_vec())).transpose()? {
        Some(End::Exited(1)) => Err((Reason::Auth, "codex is not logged in".to_owned())),
        _ => Ok(told),
    }
}

/// What a person has to do about an account that is refused: the exact command, where there is one.
pub fn remedy(settings: &CodexSettings, account: &Account, reason: Reason) -> String {
    match reason {
        Reason::Quota | Reason::RateLimited => "wait, or list more accounts in RUSTY_PINCH_CODEX_ACCOUNTS".to_owned(),
        Reason::Forbidden => "look at the account's plan and region at its provider".to_owned(),
        Reason::Auth => match account.key_variable.as_ref().filter(|_| account.key.is_some()) {
            Some(name) => format!("put a valid key into {name}"),
            None => format!("run '{}' (with --device-auth where there is no browser)", login(settings, account)),
        },
        Reason::Setup => match (&account.key_variable, named_home(settings, account)) {
            (Some(name), _) if account.key.is_none() && !account.own_login => format!("set {name}"),
            (_, Some(home)) => {
                let (user, home) = (users::name(users::own_id()), quoted(&home.to_string_lossy()));
                format!("see that '{}' runs, and that {user} can write to {home}", settings.binary)
            }
            (_, None) => format!("see that '{} {}' runs", settings.binary, settings.look_arguments.join(" ")),
        },
    }
}

/// `sudo -u NAME env CODEX_HOME=… codex login`, as the user that this program runs as; root needs no `sudo`.
fn login(settings: &CodexSettings, account: &Account) -> String {
    let home = home(settings, account).map(|home| format!("{HOME}={} ", quoted(&home.to_string_lossy())));
    let (home, binary) = (home.unwrap_or_default(), quoted(&settings.binary));
    match users::own_id() {
        0 => format!("{home}{binary} login"),
        id => format!("sudo -u {} env {home}{binary} login", users::name(id)),
    }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\\\"")) }
}

/// How far the time zone of the program is ahead of UTC, in minutes: Codex tells times without saying where. `date`
/// knows, and is asked only when a time was told.
pub fn zone_minutes(settings: &CodexSettings, clock: &dyn Clock, cancel: &Cancel) -> Option<i64> {
    let environment = settings.environment.clone();
    let arguments = vec!["+%z".to_owned()];
    let program =
        Program { binary: "date".to_owned(), arguments, environment, grace: LOOK_GRACE, ..Program::default() };
    let (_, answer) = ask(&program, ZONE_PATIENCE, clock, cancel).ok()?;
    let number: i64 = answer.trim().parse().ok()?;
    Some(number / 100 * 60 + number % 100)
}

fn ask(program: &Program, patience: Duration, clock: &dyn Clock, cancel: &Cancel) -> std::io::Result<(End, String)> {
    let mut answer = Vec::new();
    let mut sink = |bytes: &[u8]| {
        answer.extend_from_slice(&bytes[..bytes.len().min(ANSWER_BYTES_MAX.saturating_sub(answer.len()))]);
        ControlFlow::Continue(())
    };
    let deadline = clock.mono().after(patience);
    let finished = child::run(program, b"", deadline, clock, cancel, &mut sink)?;
    Ok((finished.end, String::from_utf8_lossy(&answer).into_owned()))
}
