//! Bad settings, made from tables: each is told in one sentence that names the variable or the file, and its line. Never a
//! panic, never a silent default, never the value of a secret, and nothing on standard output.
//!
//! Seen to fail: an upper bound not checked (21 cases), keys of others not checked (9), a sentence that shows the value (25),
//! a token where the file of it should be named, modes of secret files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use rusty_pinch::config::keys::{Fate, KEYS, Key};
use rusty_pinch::config::values::Kind;

use crate::support::waiting::spawn;
use crate::support::world::World;

/// A child of another user.
mod another_user;
/// Where values come from, and which of several counts.
mod sources;

/// In every bad value of a secret.
const CANARY: &str = "canary8153";
const CASES_MIN: usize = 200;
/// Longer is no sentence.
const SENTENCE_CHARS_MAX: usize = 400;
const CONFIGURATION: i32 = 78;
const STORAGE: i32 = 74;

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// This exit code and one line on standard error.
    Refused(i32),
    /// A line of `doctor`, which is not refused.
    Warned,
}

#[derive(Clone, Debug)]
struct Case {
    settings: Vec<(String, OsString)>,
    /// Places below the world's folder; `None` is a folder.
    files: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Of the files.
    mode: u32,
    command: &'static [&'static str],
    outcome: Outcome,
    /// What the sentence must hold.
    parts: Vec<String>,
}

const RUN: &[&str] = &["run", "--message", "hello"];

impl Case {
    /// A setting that is refused by its name.
    fn refused(name: &str, value: impl Into<OsString>) -> Case {
        Case {
            settings: vec![(name.to_owned(), value.into())],
            files: Vec::new(),
            mode: 0o600,
            command: RUN,
            outcome: Outcome::Refused(CONFIGURATION),
            parts: vec![name.to_owned()],
        }
    }

    fn warned(name: &str, value: &str) -> Case {
        Case { command: &["doctor"], outcome: Outcome::Warned, ..Case::refused(name, value) }
    }

    /// A file of settings that is refused.
    fn file(content: impl Into<Vec<u8>>, parts: &[&str]) -> Case {
        let mut case = Case::refused("RUSTY_PINCH_ENV_FILE", "@settings.env");
        case.files.push(("settings.env", Some(content.into())));
        case.parts = parts.iter().map(|part| (*part).to_owned()).collect();
        case
    }

    fn with(mut self, name: &str, value: &str) -> Case {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    fn saying(mut self, part: &str) -> Case {
        self.parts.push(part.to_owned());
        self
    }
}

fn checked() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.fate == Fate::Heeded)
}

/// Values that fit no key of this kind.
fn misfits(kind: Kind) -> Vec<String> {
    let of = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    match kind {
        Kind::Count { min, max } => {
            let mut values = of(&["many", "-1", "1.5", "1e3", "0x10", "1_000", "1 2", "٣", "18446744073709551616"]);
            values.extend(min.checked_sub(1).map(|below| below.to_string()));
            values.extend(max.checked_add(1).map(|above| above.to_string()));
            values
        }
        Kind::Decimal { .. } => of(&["warm", "-0.1", "2.1", "NaN", "inf", "1,5", "0.5 0.6", "1e400"]),
        Kind::Flag => of(&["y", "2", "truee", "ja", "enabled", "true false"]),
        Kind::Choice(words) => {
            vec!["nonsense".into(), format!("{}x", words[0]), words.join(","), format!("'{}'", words[0])]
        }
        Kind::Chain(words) => vec!["nonsense".into(), format!("{},x", words[0]), words.join(" "), words.join(";")],
        Kind::Secret => vec![format!("{CANARY} two"), format!("{CANARY}\u{7}"), format!("{CANARY}-ü")],
        Kind::Url => of(&["nonsense", "ftp://host", "https://canary8153@host", "https://host?x=1", "http://8.8.8.8"]),
        Kind::Bridge => of(&[
            "nonsense",
            "http://bridge:8080",
            "ws://",
            "ws:///path",
            "wss://host:0",
            "wss://ho st",
            "ws://me:canary8153@bridge:8080",
        ]),
        Kind::Address => of(&[
            "8080",
            ":8080",
            "localhost",
            "[::1]",
            "::1:8080",
            "host:0",
            "host:99999",
            "host:http",
            "a b:1",
            "http://host:1",
        ]),
        Kind::Accounts => {
            of(&["|KEY", "a|sk-canary8153", "a|KEY|many", "a|KEY|0", "a||1|m|/home|more", "a;b|k-canary8153"])
        }
        Kind::Variable => of(&["sk-canary8153", "A=canary8153", "$canary8153", "A B", "1A"]),
        Kind::Token => {
            ["C", "C:x", ":C", "1:", "1:C/../x", "12:C?x", "bot1:C", "1:C:2", "1:C#", "-1:C", "1:C%2e", "1:C two"]
                .map(|shape| shape.replace('C', CANARY))
                .to_vec()
        }
        Kind::Text | Kind::List | Kind::Words => of(&["a\u{1b}[2Jb", "two\nlines"]),
    }
}

fn values() -> Vec<Case> {
    let of_kinds = checked().flat_map(|key| misfits(key.kind).into_iter().map(|value| Case::refused(key.name, value)));
    let too_long = checked().filter(|key| !matches!(key.kind, Kind::Count { .. } | Kind::Flag));
    let too_long = too_long.map(|key| Case::refused(key.name, CANARY.repeat(7000)).saying("longer than"));
    of_kinds.chain(too_long).collect()
}

fn urls() -> Vec<Case> {
    let bad = [
        "nonsense",
        "ftp://host",
        "https://",
        "https:/host",
        "//host",
        "https:host",
        "https://:443",
        "https://host:0",
        "https://host:port",
        "https://host:99999",
        "https://ho st",
        "https://host/a b",
        "https://host?x=1",
        "https://host#x",
        "http://example.org",
        "http://8.8.8.8",
        "https://[::1",
        "https://[nine]",
        "https://höst",
        "https://host/{x}",
        "https://ho\"st",
        "https://user:canary8153@host",
        "https://canary8153@host/v1",
    ];
    let bases = [
        ("openai", "RUSTY_PINCH_API_BASE"),
        ("groq", "RUSTY_PINCH_GROQ_API_BASE"),
        ("vllm", "RUSTY_PINCH_COMPATIBLE_API_BASE"),
        ("openrouter", "PICOCLAW_PROVIDERS_OPENROUTER_API_BASE"),
        ("openai", "OPENAI_API_BASE"),
        ("local", "RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE"),
    ];
    let of_base = |(provider, name): (&str, &str)| {
        bad.map(|url| Case::refused(name, url).with("RUSTY_PINCH_PROVIDER", provider)).to_vec()
    };
    let mut cases: Vec<Case> = bases.into_iter().flat_map(of_base).collect();
    const BRIDGE: &str = "RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL";
    let told = "put it into RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN";
    cases.push(Case::refused(BRIDGE, "ws://me:canary8153@bridge:8080").saying(told));
    cases.push(Case::refused(BRIDGE, "ws://bridge.example.org:8080").saying("use wss"));
    cases
}

/// Secrets of others are looked at where they are used.
fn secrets() -> Vec<Case> {
    let mut cases = Vec::new();
    for (provider, name) in [
        ("openai", "OPENAI_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
        ("groq", "PICOCLAW_PROVIDERS_GROQ_API_KEY"),
    ] {
        for value in misfits(Kind::Secret) {
            let case = Case::refused(name, value).with("RUSTY_PINCH_PROVIDER", provider);
            // A program that accepts it must not go out into the world with it.
            cases.push(case.with("RUSTY_PINCH_API_BASE", "http://127.0.0.1:9"));
        }
    }
    const KEY_VARIABLE: &str = "RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV";
    cases.push(Case::refused("MY_KEY", format!("{CANARY} two")).with(KEY_VARIABLE, "MY_KEY"));
    cases
}

fn env_files() -> Vec<Case> {
    let mut cases = vec![
        Case::file("A=1\nnonsense\n", &["settings.env", "line 2", "'='"]),
        Case::file("\n\nRUSTY_PINCH_PROVIDER: local\n", &["settings.env", "line 3", "'='"]),
        Case::file("RUSTY_PINCH_PROVIDER\n", &["settings.env", "line 1", "'='"]),
        Case::file("export\n", &["settings.env", "line 1", "'='"]),
        Case::file("[section]\n", &["settings.env", "line 1"]),
        Case::file("1A=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("A-B=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("A B=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("set A=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("Ä=2\n", &["settings.env", "line 1", "letters"]),
        Case::file("A=\"canary8153\nB=2\n", &["settings.env", "line 1", "quote"]),
        Case::file("B=1\nA='canary8153\n", &["settings.env", "line 2", "quote"]),
        Case::file("A=\"canary8153\\\"\n", &["settings.env", "line 1", "quote"]),
        Case::file("A=\"canary8153\\", &["settings.env", "line 1", "quote"]),
        Case::file("A='canary8153' x\n", &["settings.env", "line 1", "closing quote"]),
        Case::file("A=\"canary8153\"x\n", &["settings.env", "line 1", "closing quote"]),
        Case::file("A=\"canary\n8153\"\nnonsense", &["settings.env", "line 3", "'='"]),
        Case::file("\nA=${canary8153:-x}\n", &["settings.env", "line 2", "${…}"]),
        Case::file("A=\"${canary8153\"\n", &["settings.env", "line 1", "${…}"]),
        Case::file("A=x${}\n", &["settings.env", "line 1", "${…}"]),
        Case::file("A=1\nRUSTY_PINCH_API_KEY=x$canary8153\n", &["RUSTY_PINCH_API_KEY", "line 2", "single quotes"]),
        Case::file("A=\0\n", &["settings.env", "line 1", "NUL"]),
        Case::file("B=\"1\n\0\"\n", &["settings.env", "NUL"]),
        Case::file(b"A=\xff\xfe\n", &["settings.env", "UTF-8"]),
        Case::file(b"\x7fELF\x02\x01\x01\0\0\0\xf0\x9f", &["settings.env"]),
        Case::file(b"\xff\xfeA\0=\x001\0\n\0", &["settings.env"]),
        Case::file("x".repeat(300 * 1024), &["settings.env", "larger than 262144"]),
        Case::file(format!("A={}\n", "x".repeat(1 << 20)), &["settings.env", "larger than 262144"]),
        Case::file("RUSTY_PINCH_WORKERS=0\n", &["RUSTY_PINCH_WORKERS", "line 1"]),
        Case::file("#\n#\nRUSTY_PINCH_WORKERS=0 # many\n", &["RUSTY_PINCH_WORKERS", "line 3"]),
        Case::file("A=0\nRUSTY_PINCH_WORKERS=$A\n", &["RUSTY_PINCH_WORKERS", "line 2"]),
        Case::file("export RUSTY_PINCH_STREAM='maybe'\n", &["RUSTY_PINCH_STREAM", "line 1"]),
        Case::file("RUSTY_PINCH_API_KEY=\"canary8153\nx\"\n", &["RUSTY_PINCH_API_KEY", "line 1"]),
        Case::file(format!("RUSTY_PINCH_MODEL={}\n", "x".repeat(70_000)), &["RUSTY_PINCH_MODEL", "longer than"]),
        Case::refused("RUSTY_PINCH_ENV_FILE", "@missing.env").saying("missing.env cannot be read"),
        Case::refused("RUSTY_PINCH_ENV_FILE", "/dev/null/x").saying("cannot be read"),
        Case::refused("RUSTY_PINCH_ENV_FILE", "relative.env").saying("relative.env cannot be read"),
    ];
    for place in ["settings.env", "home/.env"] {
        let mut folder = Case::file("", &[".env", "cannot be read"]);
        folder.files = vec![(place, None)];
        if place == "home/.env" {
            folder.settings.clear();
        }
        cases.push(folder);
    }
    // The sentence names the file, not the variable that names it.
    let named = |mut case: Case| {
        case.parts.retain(|part| part != "RUSTY_PINCH_ENV_FILE");
        case
    };
    let here =
        Case { settings: Vec::new(), files: vec![("home/.env", Some(b"A=1\nB\n".to_vec()))], ..cases[0].clone() };
    cases.push(Case { parts: vec![".env".to_owned(), "line 2".to_owned()], ..here });
    cases.into_iter().map(named).collect()
}

fn secret_files() -> Vec<Case> {
    let contents: [(&str, Option<Vec<u8>>); 7] = [
        ("is empty", Some(b" \n".to_vec())),
        ("cannot be read", None),
        ("UTF-8", Some(b"canary8153\xff".to_vec())),
        ("larger than 65536", Some(CANARY.repeat(7000).into_bytes())),
        ("RUSTY_PINCH_OPENAI_API_KEY", Some(b"canary8153\ncanary8153\n".to_vec())),
        ("RUSTY_PINCH_OPENAI_API_KEY", Some(b"canary8153 two\n".to_vec())),
        ("RUSTY_PINCH_OPENAI_API_KEY", Some(b"canary8153\0".to_vec())),
    ];
    let mut cases = Vec::new();
    for (part, content) in contents {
        for (name, value, place, told) in [
            ("RUSTY_PINCH_OPENAI_API_KEY_FILE", "@key", "key", "_FILE"),
            ("CREDENTIALS_DIRECTORY", "@credentials", "credentials/RUSTY_PINCH_OPENAI_API_KEY", "(systemd credential)"),
        ] {
            let mut case = Case::refused(name, value).with("RUSTY_PINCH_PROVIDER", "openai");
            case.files.push((place, content.clone()));
            case.parts = vec![part.to_owned(), "RUSTY_PINCH_OPENAI_API_KEY".to_owned(), told.to_owned()];
            cases.push(case);
        }
    }
    for name in ["RUSTY_PINCH_API_KEY_FILE", "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN_FILE", "OPENAI_API_KEY_FILE"] {
        let says = format!("{name} (environment) names a file that cannot be read");
        cases.push(Case::refused(name, "@missing.key").saying(&says).saying("missing.key"));
        // The secret itself in the variable of its file.
        for value in
            ["123456789:AAHcanary8153", "sk-canary8153", "canary8153 two", "canary8153/x", "canary8153\u{1b}[2J"]
        {
            cases.push(Case::refused(name, value).saying("(environment)"));
        }
        cases.push(Case::refused(name, CANARY.repeat(7000)).saying("longer than"));
        cases.push(Case::file(format!("A=1\n{name}=canary8153\n"), &[name, "(env file, line 2)"]));
    }
    cases.push(
        Case { parts: Vec::new(), ..Case::refused("CREDENTIALS_DIRECTORY", "canary/8153") }.saying("absolute path"),
    );
    for mode in [0o644, 0o640, 0o604, 0o622, 0o602, 0o666, 0o777] {
        let name = "RUSTY_PINCH_GROQ_API_KEY_FILE";
        let case = Case { mode, files: vec![("key", Some(CANARY.into()))], ..Case::refused(name, "@key") };
        // Root's own file may be read by a group.
        cases.extend(
            (mode != 0o640 || !is_root()).then(|| case.saying("chmod 600 ").saying(&format!("mode {mode:o})"))),
        );
    }
    cases
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What only a command finds.
fn commands() -> Vec<Case> {
    let telegram = |name: &str, value: &str, part: &str| {
        let case = Case::refused(name, value);
        Case { command: &["channels", "telegram"], parts: vec![part.to_owned()], ..case }
    };
    let storage = |value: &str| Case {
        outcome: Outcome::Refused(STORAGE),
        parts: vec![value.trim_start_matches('@').to_owned()],
        files: vec![("occupied", Some(Vec::new()))],
        ..Case::refused("RUSTY_PINCH_DATA_DIR", value)
    };
    vec![
        telegram("RUSTY_PINCH_MODEL", "m", "disabled"),
        telegram("RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "true", "TOKEN"),
        Case {
            command: &["channels", "whatsapp"],
            parts: vec!["whatsapp is disabled".to_owned()],
            ..telegram("A", "1", "")
        },
        storage("/dev/null/data"),
        storage("@occupied"),
        storage("@occupied/below"),
    ]
}

/// Names that do nothing: misspelt, gone, or not yet.
fn names() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [
        "RUSTY_PINCH_WORKRES",
        "RUSTY_PINCH_",
        "RUSTY_PINCH_MODEL_NAME",
        "RUSTY_PINCH_PROVIDER_FILE",
        "RUSTY_PINCH_telegram",
    ] {
        cases.push(Case::warned(name, "x").saying("not a variable of ours"));
    }
    for name in [
        "RUSTY_PINCH_BUS_ANYTHING",
        "RUSTY_PINCH_EVOLUTION_X",
        "RUSTY_PINCH_PULSE_X",
        "RUSTY_PINCH_SKILL_X",
        "RUSTY_PINCH_OTEL_X",
        "OTEL_SERVICE_NAME",
        "OTEL_ANYTHING",
    ] {
        cases.push(Case::warned(name, "x").saying("no effect"));
    }
    for key in KEYS.iter().filter(|key| key.fate == Fate::NoEffect) {
        cases.push(Case::warned(key.name, "\u{1b}x").saying("no effect"));
    }
    cases
}

/// A value that is not text must not pass for an unset one.
fn not_text() -> Vec<Case> {
    let bytes = |text: &str| OsString::from_vec([text.as_bytes(), b"\xff"].concat());
    let names = ["PROVIDER", "MODEL", "WORKERS", "API_KEY", "DATA_DIR", "CODEX_ENABLED"];
    let mut cases: Vec<Case> =
        names.iter().map(|name| Case::refused(&format!("RUSTY_PINCH_{name}"), bytes(CANARY)).saying("UTF-8")).collect();
    cases.push(Case::refused("RUSTY_PINCH_ENV_FILE", bytes("settings")).saying("UTF-8"));
    cases
}

/// What fits and does not do what it seems to say.
fn surprises() -> Vec<Case> {
    const ALLOW: &str = "RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM";
    let mut cases = vec![
        Case::warned("RUSTY_PINCH_RETRY_BACKOFF_MS", "5000"),
        Case::warned("RUSTY_PINCH_REQUEST_TIMEOUT_SECS", "0"),
        Case::warned("RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS", "5"),
        Case::warned("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "NOT_SET"),
    ];
    cases.extend(["@ada", "7 8", "+7", "7;8", "ada"].map(|list| Case::warned(ALLOW, list)));
    for text in [
        "RUSTY_PINCH_MODEL=a\nRUSTY_PINCH_MODEL=b\n",
        "RUSTY_PINCH_API_KEY=canary8153\n\nexport RUSTY_PINCH_API_KEY='canary8153x'\n",
        "OPENAI_API_KEY=canary8153\nOPENAI_API_KEY=\n",
    ] {
        let mut case = Case { command: &["doctor"], outcome: Outcome::Warned, ..Case::file(text, &["line 1"]) };
        case.parts.push(text.split('=').next().unwrap_or_default().to_owned());
        cases.push(case);
    }
    cases
}

fn every_case() -> Vec<Case> {
    [not_text(), surprises(), values(), urls(), secrets(), env_files(), secret_files(), commands(), names()].concat()
}

fn world_of(case: &Case) -> World {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    if case.settings.iter().any(|(name, _)| name == "RUSTY_PINCH_DATA_DIR") {
        world.unset("RUSTY_PINCH_RUN_DIR");
    }
    for (place, content) in &case.files {
        let path = world.path(place);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        match content {
            Some(bytes) => {
                std::fs::write(&path, bytes).expect("written");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(case.mode)).expect("a mode");
            }
            None => std::fs::create_dir_all(&path).expect("created"),
        }
    }
    world
}

/// What is wrong with how the program took it; `None` if nothing is.
fn complaint(case: &Case) -> Option<String> {
    let world = world_of(case);
    let mut command = world.command(case.command);
    for (name, value) in &case.settings {
        // A value that begins with @ is a place in the world.
        let place = value.to_str().and_then(|value| value.strip_prefix('@'));
        command.env(name, place.map_or_else(|| value.clone(), |place| world.path(place).into_os_string()));
    }
    let output = command.output().expect("the product starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = format!("{stdout}{stderr}");
    let told = format!("exit {:?}, said {stdout}{stderr}", output.status.code());
    if all.contains("panicked") || matches!(output.status.code(), None | Some(70 | 101)) {
        return Some(format!("a panic: {told}"));
    }
    if all.contains(CANARY) || all.contains('\u{1b}') {
        return Some(format!("shows a value: {told}"));
    }
    match case.outcome {
        Outcome::Warned => {
            let is_told = stdout.lines().any(|line| case.parts.iter().all(|part| line.contains(part.as_str())));
            (!is_told || output.status.code() != Some(0)).then(|| format!("no warning: {told}"))
        }
        Outcome::Refused(code) => {
            let sentence = serde_json::from_str::<Value>(&stderr).ok().filter(|line| line["event"] == "fatal");
            let sentence = sentence.as_ref().and_then(|line| line["reason"].as_str()).unwrap_or_default();
            let is_sentence = !sentence.is_empty() && sentence.chars().count() < SENTENCE_CHARS_MAX;
            let is_named = case.parts.iter().all(|part| sentence.contains(part.as_str()));
            let fits = output.status.code() == Some(code) && stdout.is_empty() && is_sentence && is_named;
            (!fits).then(|| format!("not one sentence with {:?}: {told}", case.parts))
        }
    }
}

fn shortened(case: &Case) -> String {
    format!("{:?} {:?}", case.settings, case.files).chars().take(200).collect()
}

#[test]
fn every_bad_setting_is_told_in_one_sentence() {
    let cases = every_case();
    assert!(cases.len() >= CASES_MIN, "{}", cases.len());
    crate::support::cases::say(&format!("{} bad settings", cases.len()));
    let half = cases.len() / 2;
    let (complaints, results) = std::sync::mpsc::sync_channel(cases.len());
    let threads: Vec<_> = cases
        .chunks(half + 1)
        .map(|part| {
            let (part, complaints) = (part.to_vec(), complaints.clone());
            spawn("bad settings", move || {
                for case in part {
                    if let Some(complaint) = complaint(&case) {
                        complaints.send(format!("{}\n   {complaint}", shortened(&case))).expect("there is room");
                    }
                }
            })
        })
        .collect();
    drop(complaints);
    threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    let found: Vec<String> = results.into_iter().collect();
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), cases.len(), found.join("\n"));
}
