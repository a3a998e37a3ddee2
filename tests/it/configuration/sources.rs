//! Where values come from: which of several sources counts, what is said of the others, and that a source which cannot be
//! used ends the program instead of being passed over. Seen to fail: a file behind its credential, the system's file before
//! the one here, an unreadable file taken for an empty one, secrets that do not count left out, a fatal line that knows none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::configuration::another_user;
use crate::support::cases::{Random, say};
use crate::support::fake_provider::FakeProvider;
use crate::support::world::World;

const KEY: &str = "RUSTY_PINCH_OPENAI_API_KEY";

fn world() -> World {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    world.set("RUSTY_PINCH_API_BASE", "http://127.0.0.1:9/v1");
    fs::create_dir(world.path("credentials")).expect("a folder");
    world
}

fn private(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path.to_owned()
}

fn credential(world: &mut World, text: &str) {
    private(&world.path("credentials").join(KEY), text);
    world.set("CREDENTIALS_DIRECTORY", &world.path("credentials").to_string_lossy());
}

fn named_file(world: &mut World, text: &str) {
    let path = private(&world.path("key"), text);
    world.set(&format!("{KEY}_FILE"), &path.to_string_lossy());
}

/// The sentence of exit 78.
#[track_caller]
fn refused(world: &World) -> String {
    let finished = world.run(&["run", "--message", "x"]);
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.len()), (Some(78), "", 1), "{finished:?}");
    let line: Value = serde_json::from_str(&finished.stderr[0]).expect("JSON");
    line["reason"].as_str().expect("a reason").to_owned()
}

/// The sentences of doctor with this id.
fn told(world: &World, id: &str) -> Vec<String> {
    let finished = world.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let checks = report["checks"].as_array().expect("a list").iter().filter(|check| check["id"] == id);
    checks.map(|check| check["sentence"].as_str().expect("a sentence").to_owned()).collect()
}

#[track_caller]
fn source(world: &World, want: &str) {
    let text = world.run(&["doctor"]).stdout;
    let line = text.lines().find(|line| line.starts_with("api_key_source: "));
    assert_eq!(line, Some(format!("api_key_source: {want}").as_str()), "{text}");
}

#[test]
fn a_secrets_file_beats_its_credential_that_beats_the_environment_that_beats_the_env_file() {
    let provider = FakeProvider::start(&mut Random::from_seed(1));
    let mut world = world();
    world.set("RUSTY_PINCH_API_BASE", &provider.url());
    private(&world.path("home/.env"), &format!("# mine\n{KEY}=sk-of-the-line\n"));
    world.set(KEY, "sk-of-the-process");
    credential(&mut world, "sk-of-the-credential\n");
    named_file(&mut world, "sk-of-the-file\n");
    for (variable, where_from, key) in [
        (format!("{KEY}_FILE"), "the file named by its _FILE variable", "sk-of-the-file"),
        ("CREDENTIALS_DIRECTORY".to_owned(), "systemd credential", "sk-of-the-credential"),
        (KEY.to_owned(), "environment", "sk-of-the-process"),
        (String::new(), "env file, line 2", "sk-of-the-line"),
    ] {
        source(&world, &format!("{KEY} ({where_from})"));
        assert_eq!(world.run(&["run", "--message", "x"]).code, Some(0));
        let asked = provider.asked();
        let bearer = format!("Bearer {key}");
        assert_eq!(asked.last().and_then(|asked| asked.header("authorization")), Some(bearer.as_str()));
        let hidden = told(&world, "secret.shadowed");
        let start = format!("{KEY} comes from {where_from}; ");
        assert!(hidden.iter().all(|line| line.starts_with(&start)), "{hidden:#?}");
        world.unset(&variable);
    }
}

/// Each loser is told once, and with the source that counts in the end.
#[test]
fn every_hidden_source_is_told_once_with_the_one_that_counts() {
    let mut world = world();
    private(&world.path("home/.env"), &format!("{KEY}=sk-of-the-line\n"));
    credential(&mut world, "sk-of-the-credential");
    named_file(&mut world, "sk-of-the-file");
    let start = format!("{KEY} comes from the file named by its _FILE variable; ");
    let line = |source: &str| format!("{start}{source} has another value, which is not used");
    assert_eq!(told(&world, "secret.shadowed"), [line("systemd credential"), line("env file, line 1")]);
    world.set(KEY, " ");
    assert_eq!(told(&world, "secret.shadowed"), [line("systemd credential"), line("env file, line 1")]);
    world.set(KEY, "sk-of-the-file");
    assert_eq!(told(&world, "secret.shadowed"), [line("systemd credential"), line("env file, line 1")]);
    // Blank in the environment is unset, and hides the line; that is told in other words.
    world.unset(&format!("{KEY}_FILE"));
    world.unset("CREDENTIALS_DIRECTORY");
    world.set(KEY, "");
    assert_eq!(told(&world, "secret.shadowed"), Vec::<String>::new());
    let surprise = told(&world, "config.surprise");
    assert!(surprise.len() == 1 && surprise[0].contains(KEY) && surprise[0].contains("line 1"), "{surprise:?}");
}

#[test]
fn a_credentials_folder_comes_from_the_supervisor_and_blank_is_none() {
    let mut world = world();
    private(&world.path("home").join(KEY), "sk-from-the-current-folder");
    credential(&mut world, "sk-of-the-credential");
    let folder = world.path("credentials").to_string_lossy().into_owned();
    for blank in ["", "  "] {
        world.set("CREDENTIALS_DIRECTORY", blank);
        source(&world, "<unset>");
    }
    world.set("CREDENTIALS_DIRECTORY", "../credentials");
    assert!(refused(&world).starts_with("CREDENTIALS_DIRECTORY (environment) must be"));
    world.unset("CREDENTIALS_DIRECTORY");
    private(&world.path("home/.env"), &format!("\nCREDENTIALS_DIRECTORY={folder}\n"));
    source(&world, "<unset>");
    let surprise = told(&world, "config.no_effect");
    assert!(
        surprise.iter().any(|line| line.contains("CREDENTIALS_DIRECTORY") && line.contains("line 2")),
        "{surprise:?}"
    );
}

/// Another key would be used in its place, and nobody would know.
#[test]
fn a_credential_that_may_not_be_read_is_an_error() {
    if !another_user::can_be() {
        return;
    }
    let mut world = world();
    credential(&mut world, "sk-of-the-credential");
    world.set(KEY, "sk-of-the-process");
    let (folder, file) = (world.path("credentials"), world.path("credentials").join(KEY));
    let told_of_file = format!("{KEY} (systemd credential) cannot be read");
    let told_of_folder = "CREDENTIALS_DIRECTORY (environment) names a folder that cannot be read".to_owned();
    for (kept, told) in [(&file, told_of_file), (&folder, told_of_folder)] {
        let mut command = world.command(&["doctor", "--quiet"]);
        another_user::become_for(&mut command, &world.path(""), &[kept]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&told) && said.contains("Permission denied") && said.lines().count() == 1, "{said}");
        assert_eq!(output.status.code(), Some(78), "{said}");
        let run = world.command(&["run", "--message", "x"]).uid(another_user::USER).output().expect("it runs");
        assert_eq!(run.status.code(), Some(78), "{run:?}");
        // For the next round the folder is closed to the other user.
        std::os::unix::fs::chown(&folder, Some(0), Some(0)).expect("root's again");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a mode");
    }
}

/// What the world may do with a file of ours: its owner, its mode, and the remedy. `None`: it is used.
#[test]
fn a_secrets_file_that_others_can_use_is_refused_with_the_command_that_mends_it() {
    let mut world = world();
    named_file(&mut world, "sk-of-the-file\n");
    let (path, name) = (world.path("key"), format!("{KEY}_FILE (environment) names a file that"));
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    for mode in [0o600, 0o400, 0o700] {
        set(mode);
        source(&world, &format!("{KEY} (the file named by its _FILE variable)"));
    }
    for mode in [0o644, 0o604, 0o602, 0o620, 0o660, 0o666, 0o777] {
        set(mode);
        let sentence = refused(&world);
        assert!(sentence.starts_with(&name) && sentence.contains(&format!("mode {mode:o}")), "{sentence}");
        assert!(sentence.contains(&format!("chmod 600 {}", path.display())), "{sentence}");
        let sentence = told(&world, "secret.mode");
        assert!(sentence.len() == 1 && sentence[0].starts_with(&name), "{sentence:?}");
    }
    // The command does mend it.
    set(0o600);
    let link = world.path("link");
    symlink(&path, &link).expect("linked");
    world.set(&format!("{KEY}_FILE"), &link.to_string_lossy());
    let sentence = refused(&world);
    assert!(sentence.starts_with(&name) && sentence.contains("symbolic link"), "{sentence}");
}

#[test]
fn a_secrets_file_of_another_owner_is_refused() {
    if !another_user::can_be() {
        return;
    }
    let mut world = world();
    named_file(&mut world, "sk-of-the-file\n");
    let path = world.path("key");
    let id = another_user::USER;
    for (owner, group, mode, part) in [
        (id + 1, id, 0o640, Some(format!("chown {id} {}", path.display()))),
        (id + 1, id, 0o644, Some(format!("chown {id} {0} && sudo chmod 600 {0}", path.display()))),
        (id, id, 0o640, Some(format!("chmod 600 {}", path.display()))),
        (0, id, 0o644, Some(format!("chmod 640 {}", path.display()))),
        (0, id + 1, 0o644, Some(format!("chown {id} {0} && sudo chmod 600 {0}", path.display()))),
        (0, id, 0o640, None),
        (id, id, 0o600, None),
    ] {
        std::os::unix::fs::chown(&path, Some(owner), Some(group)).expect("given");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let mut command = world.command(&["doctor"]);
        another_user::become_for(&mut command, path.parent().expect("a world"), &[&path]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(if part.is_some() { 78 } else { 0 }), "{owner} {group} {mode:o}: {said}");
        assert!(said.contains(part.as_deref().unwrap_or("api_key_loaded: true")), "{owner} {group} {mode:o}: {said}");
    }
}

/// Secrets that nothing uses now were set all the same, and an answer can hold them.
#[test]
fn every_secret_that_is_set_is_redacted_wherever_it_stands() {
    let mut world = World::new();
    let secrets: Vec<String> = (1..=9).map(|at| format!("Canary-{at}-of-nine-secrets")).collect();
    let program = world.path("codex-stand-in");
    private(&program, &format!("#!/bin/sh\ncat > /dev/null\necho '{} end'\n", secrets.join(" ")));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    world.set("RUSTY_PINCH_CODEX_CLI_ARGS", "ask");
    world.set("RUSTY_PINCH_GROQ_API_KEY", &secrets[0]);
    world.set("OPENROUTER_API_KEY", &secrets[1]);
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", &secrets[2]);
    world.set("RUSTY_PINCH_HEALTH_TOKEN", &secrets[3]);
    world.set("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "MINE");
    world.set("MINE", &secrets[4]);
    world.set("CODEX_API_KEY", &secrets[5]);
    // Hidden ones: by the process, by an earlier line, by a file.
    private(
        &world.path("home/.env"),
        &format!("RUSTY_PINCH_GROQ_API_KEY={}\nOPENAI_API_KEY=x\nOPENAI_API_KEY={}\n", secrets[6], secrets[7]),
    );
    let file = private(&world.path("key"), "sk-another-one");
    world.set(KEY, &secrets[8]);
    world.set(&format!("{KEY}_FILE"), &file.to_string_lossy());
    let finished = world.run(&["run", "--message", "hello"]);
    let redacted = vec!["[redacted]"; secrets.len()].join(" ");
    assert_eq!(finished.stdout, format!("{redacted} end\n"), "{finished:?}");
    assert!(!crate::support::world::folder_contains(&world.data(), "Canary-"));
    // What is said before there is a log.
    for secret in &secrets {
        world.set("RUSTY_PINCH_DATA_DIR", &format!("/dev/null/{secret}"));
        let finished = world.run(&["run", "--message", "hello"]);
        assert!(finished.code != Some(0) && !finished.stderr.is_empty(), "{finished:?}");
        assert!(!finished.stderr.join("").contains("Canary-"), "{finished:?}");
    }
}

/// A report that a program reads is there, whatever is wrong.
#[test]
fn doctor_reports_an_env_file_that_cannot_be_used() {
    let mut world = world();
    for (text, part) in [(None, "cannot be read"), (Some("A=1\nnonsense\n"), "line 2 has no '='")] {
        let path = world.path("settings.env");
        if let Some(text) = text {
            private(&path, text);
        }
        world.set("RUSTY_PINCH_ENV_FILE", &path.to_string_lossy());
        world.set("RUSTY_PINCH_WORKRES", "8");
        let told = told(&world, "config.value");
        assert!(told.len() == 1 && told[0].contains("settings.env") && told[0].contains(part), "{told:?}");
        let finished = world.run(&["doctor", "--quiet"]);
        assert_eq!((finished.code, finished.stdout.lines().count()), (Some(78), 2), "{finished:?}");
        assert!(finished.stdout.contains(part) && finished.stdout.contains("RUSTY_PINCH_WORKERS?"), "{finished:?}");
    }
}

#[test]
fn everything_that_does_not_fit_is_in_one_report() {
    let mut world = world();
    for (name, value) in [
        ("RUSTY_PINCH_WORKERS", "many"),
        ("RUSTY_PINCH_API_BASE", "ftp://host"),
        ("RUSTY_PINCH_GROQ_API_BASE", "nonsense"),
        ("RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", "http://8.8.8.8"),
        ("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "no token"),
        ("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "MINE"),
        ("MINE", "two words"),
        ("OPENAI_API_KEY", "two words"),
        ("RUSTY_PINCH_HEALTH_TOKEN_FILE", "/no/such/file"),
    ] {
        world.set(name, value);
    }
    private(&world.path("home/.env"), "RUSTY_PINCH_DRAIN_SECS=0\nRUSTY_PINCH_API_KEY=abc$def\n");
    let values = told(&world, "config.value");
    for name in [
        "RUSTY_PINCH_WORKERS (environment)",
        "RUSTY_PINCH_API_BASE (environment)",
        "RUSTY_PINCH_GROQ_API_BASE (environment)",
        "RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE (environment)",
        "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN (environment)",
        "MINE (environment)",
        "RUSTY_PINCH_HEALTH_TOKEN_FILE (environment)",
        "RUSTY_PINCH_DRAIN_SECS (env file, line 1)",
        "RUSTY_PINCH_API_KEY (env file, line 2)",
    ] {
        assert_eq!(values.iter().filter(|line| line.starts_with(name)).count(), 1, "{name} in {values:#?}");
    }
    // RUSTY_PINCH_API_KEY counts before it, so it is not used.
    assert_eq!(values.len(), 9, "{values:#?}");
    world.set("RUSTY_PINCH_WORKRES", "8");
    assert_eq!(told(&world, "config.unknown"), ["RUSTY_PINCH_WORKRES is not a variable of ours"]);
}

#[test]
fn what_has_no_effect_inside_the_env_file_is_told() {
    let mut world = world();
    let other = private(&world.path("other.env"), "RUSTY_PINCH_MODEL=other\n");
    private(&world.path("home/.env"), &format!("\nRUSTY_PINCH_ENV_FILE={}\n", other.display()));
    let line = "RUSTY_PINCH_ENV_FILE has no effect in the env file, where line 2 sets it";
    assert_eq!(told(&world, "config.no_effect"), [line]);
    let path = world.path("home/.env");
    world.set("RUSTY_PINCH_ENV_FILE", &path.to_string_lossy());
    assert_eq!(told(&world, "config.no_effect"), [line]);
}

/// A value that is cut short without a word is worse than one that is refused.
#[test]
fn a_dollar_that_takes_part_of_a_value_away_is_told() {
    let mut world = world();
    let set = |text: &str| private(&world.path("home/.env"), text);
    for line in ["a$gone", "\"a${gone}\"", "a${gone}/b", "\"x\ny$gone\""] {
        set(&format!("# mine\nHERE=x\nRUSTY_PINCH_CODEX_MODEL={line}\nRUSTY_PINCH_CODEX_ACCOUNT_MODEL=$HERE-$HOME\n"));
        let told = told(&world, "config.surprise");
        let parts = ["RUSTY_PINCH_CODEX_MODEL", "line 3", "$gone"];
        let is_told = told.len() == 1 && parts.iter().all(|part| told[0].contains(part));
        assert!(is_told || line.contains('\n'), "{line}: {told:?}");
    }
    for line in ["'a$gone'", "\"a\\$gone\"", "a$", "a$ b", "$$"] {
        set(&format!("RUSTY_PINCH_CODEX_MODEL={line}\n"));
        assert_eq!(told(&world, "config.surprise"), Vec::<String>::new(), "{line}");
    }
    // The name of the variable is a part of the secret.
    for name in [KEY, "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "OPENAI_API_KEY", "CODEX_API_KEY"] {
        set(&format!("\n\n{name}=123:abc$canary\n"));
        let sentence = refused(&world);
        assert!(
            sentence.starts_with(&format!("{name} (env file, line 3) ")) && sentence.contains("single quotes"),
            "{sentence}"
        );
        assert!(!sentence.contains("canary"), "{sentence}");
    }
    set("RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV=MINE\nMINE=abc$canary\n");
    let finished = world.run(&["doctor"]);
    assert!(finished.stdout.contains("MINE") && !finished.stdout.contains("canary"), "{finished:?}");
    // A line that the process overrules, and still never meant so.
    set(&format!("{KEY}=abc$canary\n"));
    world.set(KEY, "sk-x");
    assert!(refused(&world).starts_with(&format!("{KEY} (env file, line 1) ")));
    private(&world.path("home/.env"), "A=1\nRUSTY_PINCH_MODEL=${A:-canary}\n");
    let sentence = refused(&world);
    assert!(sentence.contains("line 2") && sentence.contains("${…}") && !sentence.contains("canary"), "{sentence}");
}

/// A file of settings that the program looks for at its own place. In a namespace of its own, the machine's is not touched.
#[test]
fn the_systems_file_is_read_after_the_one_here_and_both_after_the_one_that_is_named() {
    let probe = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/etc"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        return say(&format!("skip: no mount namespace of our own ({probe:?})"));
    }
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    let system = private(&world.path("system.env"), "RUSTY_PINCH_MODEL=of-the-system\n");
    let script = "mount -t tmpfs tmpfs /etc && mkdir /etc/rusty-pinch && cp \"$0\" /etc/rusty-pinch/rusty-pinch.env && exec \"$@\"";
    let model = |world: &World| {
        let product = world.command(&["doctor"]);
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(&system).arg(product.get_program()).arg("doctor");
        command.env_clear().current_dir(world.path("home"));
        command.envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let said = output.unwrap_or_default();
        said.lines().find_map(|line| line.strip_prefix("model: ")).map(str::to_owned)
    };
    assert_eq!(model(&world).as_deref(), Some("of-the-system"));
    private(&world.path("home/.env"), "RUSTY_PINCH_CODEX_MODEL=x\n");
    assert_eq!(model(&world).as_deref(), Some("openrouter/qwen/qwen3-coder"), "one file only");
    private(&world.path("home/.env"), "RUSTY_PINCH_MODEL=of-here\n");
    assert_eq!(model(&world).as_deref(), Some("of-here"));
    let named = private(&world.path("named.env"), "RUSTY_PINCH_MODEL=of-the-named\n");
    world.set("RUSTY_PINCH_ENV_FILE", &named.to_string_lossy());
    assert_eq!(model(&world).as_deref(), Some("of-the-named"));
}

/// The settings may be all that makes the worker safe, so it does not go without them.
#[test]
fn an_env_file_that_may_not_be_read_is_an_error_that_says_whose_command_it_is() {
    if !another_user::can_be() {
        return;
    }
    let mut world = world();
    let (here, named) = (world.path("home/.env"), world.path("named.env"));
    private(&here, "RUSTY_PINCH_PROVIDER=local\n");
    for path in [&here, &named] {
        let mut command = world.command(&["run", "--message", "x"]);
        another_user::become_for(&mut command, &world.path(""), &[path]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(said.contains(&format!("{name} cannot be read")) && said.contains("sudo -u rusty-pinch"), "{said}");
        fs::remove_file(&here).ok();
        private(&named, "RUSTY_PINCH_PROVIDER=local\n");
        world.set("RUSTY_PINCH_ENV_FILE", &named.to_string_lossy());
    }
}
