//! Gathers the facts: files and their modes, the clock, the Codex program. Creates nothing but a probe file in each
//! folder, which it removes again. Waits for programs, which are systemd and Codex, [`PROGRAMS_PATIENCE`] at most.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use std::{env, fs};

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono, Wall};
use crate::base::id::ChannelId;
use crate::base::moment::Moment;
use crate::channel::pairing_file;
use crate::config::codex_accounts::Account;
use crate::config::codex_settings::CodexSettings;
use crate::config::keys::Environment;
use crate::config::settings::Config;
use crate::doctor::facts::{
    Access, AccountFacts, CodexFacts, Facts, Folder, JournalFacts, Login, MetricsFile, Resting, WorkerFacts,
};
use crate::doctor::service::{self, Unit};
use crate::observe::status::Status;
use crate::observe::{status_file, telemetry_file};
use crate::provider::accounts::{Reason, Standing};
use crate::provider::{accounts_file, codex_home, pool, spending_file, standing_file};
use crate::store::archive::MARKER;
use crate::store::dead;
use crate::store::directory::Directory;
use crate::store::inspect::{self, JournalDamage};
use crate::sys::child::{self, End, Program};
use crate::sys::machine::{self, Machine};
use crate::sys::system_clock::{self, SystemClock};
use crate::sys::{entropy, files, users};

/// How long the Codex program may take to say whether it has an account. On a small machine it needs half a second.
const LOGIN_PATIENCE: Duration = Duration::from_millis(600);

/// How long all programs together may take, so that somebody who looks every minute is not kept waiting.
const PROGRAMS_PATIENCE: Duration = Duration::from_millis(900);

/// How long the machine may take to say whether somebody listens on one of its own ports.
const ENDPOINT_PATIENCE: Duration = Duration::from_millis(100);

/// More than it says of three units.
const SYSTEMD_BYTES_MAX: usize = 16 * 1024;

/// Where everything is, but in tests.
const ROOT: &str = "/";

fn is_denied(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// Looks at everything.
pub fn facts(config: &Config, variables: &Environment) -> Facts {
    let clock = SystemClock::new();
    let end = clock.mono().after(PROGRAMS_PATIENCE);
    let found = inspect::session_damage(&Directory::reading(&config.data.join("sessions")));
    let spent = spending_file::read(&config.data);
    let session_error = found.as_ref().err().map(|error| error.to_string());
    let sessions = found.unwrap_or_default();
    let telemetry_folder = config.telemetry_file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let folder = |path: &Path, variable| Folder { path: path.to_owned(), variable, refusal: refusal(path) };
    let paired = pairing_file::read(&config.data);
    Facts {
        // A stranger is told so by a check of its own.
        pairing_error: paired.as_ref().err().filter(|error| !is_denied(error)).map(|error| error.to_string()),
        paired: paired.map_or(0, |book| book.paired.len()),
        user: users::own_id(),
        now: clock.wall(),
        synchronised: system_clock::synchronised(),
        stranger_to: users::stranger_to(&config.data).map(users::name),
        data: access(&config.data),
        restoring: fs::symlink_metadata(config.data.join(MARKER)).is_ok(),
        folders: vec![
            folder(&config.data, "RUSTY_PINCH_DATA_DIR"),
            folder(&config.workspace, "RUSTY_PINCH_WORKSPACE"),
            folder(&telemetry_folder, "RUSTY_PINCH_TELEMETRY_FILE"),
            folder(&config.run, "RUSTY_PINCH_RUN_DIR"),
        ],
        machine: Machine::look(Path::new(ROOT)),
        read_only: Some(machine::is_read_only(&existing(&config.data))),
        units: units(Path::new(ROOT), end, &clock),
        workers: workers(config),
        endpoint_answers: config.health.address.as_deref().map(answers),
        metrics_file: metrics_file(variables),
        disk_free: files::free_bytes(&existing(&config.data)).ok(),
        codex: config.uses_codex().then(|| codex(config, end, &clock)),
        resting: resting(&config.data, &clock),
        journals: journals(&config.data),
        session_bad_lines: sessions.bad_lines,
        session_torn_files: sessions.torn_files,
        session_unreadable: sessions.unreadable,
        session_error,
        locked_out: locked_out(config),
        dead_letters: dead::names(&Directory::reading(&config.data.join("dead"))).map_or(0, |names| names.len()),
        spent_tokens: spent.as_ref().map_or(0, |spent| spent.tokens(clock.wall())),
        spending_error: spent.err().map(|error| (error.to_string(), files::is_damage(&error))),
        telemetry_error: telemetry_file::read(&config.telemetry_file)
            .err()
            .map(|error| (error.to_string(), files::is_damage(&error))),
    }
}

fn resting(data: &Path, clock: &dyn Clock) -> Vec<Resting> {
    let (now, book) = (Moment::now(clock), standing_file::read(&standing_file::path(data)).unwrap_or_default());
    let resting = book.into_iter().filter_map(|(who, kept)| {
        let (class, left) = kept.rest(&now)?;
        Some(Resting { who, class: class.name(), until: now.date(left) })
    });
    resting.collect()
}

fn access(path: &Path) -> Option<Access> {
    let known = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    Some(Access { path: path.to_owned(), owner: known.uid(), mode: known.mode() })
}

/// The folder, or the nearest parent that exists.
fn existing(folder: &Path) -> PathBuf {
    let nearest = folder.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    nearest.unwrap_or(Path::new(".")).to_owned()
}

/// A folder that does not exist yet counts as writable if its parent is.
fn refusal(folder: &Path) -> Option<String> {
    files::probe(&existing(folder)).err().map(|error| error.to_string())
}

/// Folders and locks inside the data folder that somebody else may have made.
fn locked_out(config: &Config) -> Vec<String> {
    let data = &config.data;
    let folders = [
        "sessions",
        "journal/telegram",
        "journal/whatsapp",
        "dead",
        "spool/telegram",
        "spool/whatsapp",
        "spool/pairing",
        "provider",
    ];
    let folders = folders.map(|folder| data.join(folder)).into_iter().filter(|folder| folder.exists());
    let refused = folders.filter_map(|folder| files::probe(&folder).err().map(|error| (folder, error)));
    let mut lock = config.telemetry_file.clone().into_os_string();
    lock.push(".lock");
    let locks = [
        "sessions/.lock",
        "journal/telegram/LOCK",
        "journal/whatsapp/LOCK",
        "provider/spending.lock",
        "spool/pairing/.lock",
    ];
    let locks = locks.map(|lock| data.join(lock));
    let locks = locks.into_iter().chain([PathBuf::from(lock)]);
    let locks = locks.filter_map(|lock| files::may_write(&lock).err().map(|error| (lock, error)));
    refused.chain(locks).map(|(path, error)| format!("{} ({error})", path.display())).collect()
}

fn codex(config: &Config, end: Mono, clock: &dyn Clock) -> CodexFacts {
    let settings = &config.codex;
    let found = program_exists(settings);
    let known = accounts_file::read(&pool::file(config));
    let file_error = known.as_ref().err().map(|error| error.to_string());
    let known = known.unwrap_or_default();
    let asks = found && settings.enabled;
    let about = |account: &Account| {
        let patience = if asks { clock.mono().until(end).min(LOGIN_PATIENCE) } else { Duration::ZERO };
        let login = (!patience.is_zero()).then(|| codex_home::is_logged_in(settings, account, patience, clock));
        let login = match login.flatten() {
            Some(true) => Login::Yes,
            Some(false) => Login::No,
            None => Login::Unknown,
        };
        let fingerprint = codex_home::fingerprint(settings, account);
        let standing = known.get(&account.id).map(|state| state.standing(&fingerprint, clock.wall()));
        let of_run = match standing {
            Some(Standing::Refused(reason, left)) => {
                Some((reason, format!("{}, for another {} s", reason.class().name(), left.as_secs())))
            }
            _ => None,
        };
        let lacks_key = account.key.is_none() && !account.own_login;
        let refused = of_run.or_else(|| lacks_key.then(|| (Reason::Setup, "its key variable is not set".to_owned())));
        let reason = refused.as_ref().map_or(Reason::Auth, |(reason, _)| *reason);
        let remedy = codex_home::remedy(settings, account, reason);
        AccountFacts { id: account.id.clone(), login, refused: refused.map(|(_, sentence)| sentence), remedy }
    };
    CodexFacts { found, accounts: settings.accounts.iter().map(about).collect(), file_error }
}

fn program_exists(settings: &CodexSettings) -> bool {
    let path = settings.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let runs = |file: &Path| fs::metadata(file).is_ok_and(|known| known.is_file() && known.mode() & 0o111 != 0);
    match settings.binary.contains('/') {
        true => runs(Path::new(&settings.binary)),
        false => env::split_paths(path).any(|folder| runs(&folder.join(&settings.binary))),
    }
}

/// What systemd says of our units; `None` if it does not in time. Where it does not run, there are none.
fn units(root: &Path, end: Mono, clock: &dyn Clock) -> Option<Vec<Unit>> {
    if !root.join("run/systemd/system").is_dir() {
        return Some(Vec::new());
    }
    let properties = format!("--property={}", service::PROPERTIES);
    let words = ["show", "--no-pager", &properties].into_iter().chain(service::UNITS).map(str::to_owned);
    let program = Program {
        binary: root.join("usr/bin/systemctl").to_string_lossy().into_owned(),
        arguments: words.collect(),
        ..Program::default()
    };
    let mut text = Vec::new();
    let mut sink = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        if text.len() > SYSTEMD_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let finished = child::run(&program, b"", end, clock, &Cancel::new(), &mut sink);
    finished.ok().filter(|finished| finished.end == End::Exited(0))?;
    let mut units = service::units(&String::from_utf8_lossy(&text));
    for unit in &mut units {
        let places = ["usr/lib/systemd/system", "lib/systemd/system"].map(|place| root.join(place).join(&unit.name));
        unit.in_package = places.iter().any(|place| place.exists());
    }
    Some(units)
}

/// The workers of this data folder, by their documents.
fn workers(config: &Config) -> Vec<WorkerFacts> {
    let boot = entropy::boot_id();
    let about = |status: Status| {
        // A process number says nothing of another boot.
        let is_ours = status.boot.as_ref() == Some(&boot);
        let program = is_ours.then(|| machine::program_of(Path::new(ROOT), status.pid)).flatten();
        WorkerFacts { is_replaced: program.is_some_and(|program| program.ends_with(" (deleted)")), status }
    };
    status_file::read(&config.run, &config.data).into_iter().map(about).collect()
}

/// Whether somebody listens there. One that is to be reached at every address of this machine is looked for here.
fn answers(address: &str) -> bool {
    let found = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.is_some_and(|mut address| {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        TcpStream::connect_timeout(&address, ENDPOINT_PATIENCE).is_ok()
    })
}

fn metrics_file(variables: &Environment) -> Option<MetricsFile> {
    let (value, _) = variables.get("RUSTY_PINCH_METRICS_FILE").filter(|(value, _)| !value.trim().is_empty())?;
    let path = PathBuf::from(value.trim());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A worker does not make that folder, so it has to be there.
    let refusal = files::probe(folder).err().map(|error| error.to_string());
    // With several workers each has a file of its own, with the channel before the suffix.
    let of_channel = |channel: ChannelId| match path.extension() {
        Some(suffix) => path.with_extension(format!("{}.{}", channel.name(), suffix.to_string_lossy())),
        None => path.with_extension(channel.name()),
    };
    let names = ChannelId::WITH_WORKER.into_iter().map(of_channel).chain([path.clone()]);
    let written = names.filter_map(|name| fs::metadata(name).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    let written = written.max().map(|since| Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    Some(MetricsFile { refusal, path, written })
}

fn journals(data: &Path) -> Vec<JournalFacts> {
    let channels = ChannelId::WITH_WORKER.map(|channel| channel.name());
    channels.into_iter().filter_map(|channel| journal(channel, &data.join("journal").join(channel))).collect()
}

fn journal(channel: &'static str, folder: &Path) -> Option<JournalFacts> {
    folder.is_dir().then(|| {
        let found = inspect::journal_damage(&Directory::reading(folder));
        let found =
            found.unwrap_or_else(|error| JournalDamage { damage: Some(error.to_string()), ..JournalDamage::default() });
        JournalFacts {
            channel,
            running: files::is_locked(&folder.join("LOCK")).unwrap_or(false),
            kept_aside: found.bad_files,
            damage: found.damage,
            starts: found.starts,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(refusal(&folder.path().join("a/b/c")), None);
        assert_eq!(existing(&folder.path().join("a/b/c")), folder.path());
        assert!(refusal(Path::new("/proc/none")).is_some());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
    }

    /// A stand-in for systemctl, in a root of its own.
    #[test]
    fn systemd_is_asked_only_where_it_runs_and_not_waited_for() {
        let root = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::new();
        let ask = |patience: u64| units(root.path(), clock.mono().after(Duration::from_millis(patience)), &clock);
        assert_eq!(ask(5000), Some(Vec::new()));
        for folder in ["run/systemd/system", "usr/bin", "usr/lib/systemd/system"] {
            fs::create_dir_all(root.path().join(folder)).expect("made");
        }
        assert_eq!(ask(5000), None, "there is no such program");
        let program = root.path().join("usr/bin/systemctl");
        let answer = |script: &str| {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
        };
        fs::write(root.path().join("usr/lib/systemd/system/rusty-pinch.service"), "").expect("written");
        answer("printf 'Id=rusty-pinch.service\\nLoadState=loaded\\nActiveState=failed\\n'");
        let found = ask(5000).expect("it answers");
        assert_eq!((found.len(), found[0].active.as_str(), found[0].in_package), (1, "failed", true));
        answer("exit 1");
        assert_eq!(ask(5000), None);
        answer("read -r never < /dev/zero; while :; do :; done");
        assert_eq!(ask(50), None);
    }

    #[test]
    fn an_endpoint_that_listens_is_told_from_one_that_does_not() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert!(answers(&format!("127.0.0.1:{port}")) && answers(&format!("0.0.0.0:{port}")));
        drop(listener);
        assert!(!answers(&format!("127.0.0.1:{port}")) && !answers("nonsense"));
    }
}
