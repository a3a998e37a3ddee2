//! `setup`, from nothing to the first answered message, between the fake ends. Seen to fail: a wrong answer
//! that is taken, a copy that is not kept, folders that the group of the service cannot enter, a secret whose typing is shown.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::cases::say;
use crate::support::fake_provider::{API_KEY, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::repository::root;
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;
use crate::support::waiting::{CEILING, came_true, until};
use crate::support::world::{Finished, Process, World, contains};

const WRONG_KEY: &str = "sk-WrongCanaryKey0123456789abcdefghijk";
const WRONG_TOKEN: &str = "4242:WrongCanaryToken0123456789abcdefgh";
const QUESTION: &str = "Say in one short sentence that you are ready.";

/// Nothing is set but where Telegram is, and how long to wait.
fn fresh(test: &str) -> Scene {
    let mut scene = Scene::new(test);
    let names = ["PROVIDER", "MODEL", "COMPATIBLE_API_BASE", "COMPATIBLE_API_KEY"];
    let channel = ["ENABLED", "TOKEN", "ALLOW_FROM"].map(|name| format!("CHANNELS_TELEGRAM_{name}"));
    for name in names.into_iter().chain(channel.iter().map(String::as_str)) {
        scene.world.unset(&format!("RUSTY_PINCH_{name}"));
    }
    scene.provider.accept(&[API_KEY]);
    scene
}

fn here(scene: &Scene) -> PathBuf {
    scene.world.path("home")
}

/// Writes all answers at once.
fn begin(scene: &Scene, options: &[&str], answers: &[&str]) -> Process {
    let (process, mut input) = scene.world.start_reading(&[&["setup"], options].concat());
    for answer in answers {
        // One that has ended takes no more.
        let _ = writeln!(input, "{answer}");
    }
    process
}

#[track_caller]
fn end(mut process: Process, code: i32) -> Finished {
    let status = process.wait_within(CEILING);
    let finished = Finished { code: status.code(), stdout: process.stdout(), stderr: process.lines() };
    assert_eq!(finished.code, Some(code), "{finished:#?}");
    finished
}

/// The person sends the code that is shown.
#[track_caller]
fn pair(scene: &Scene, process: &Process, chat: i64) {
    let is_waiting = came_true(CEILING, || process.stdout().contains("Waiting for it"));
    let text = process.stdout();
    assert!(is_waiting, "{text} {:#?}", process.lines());
    let is_code = |line: &&str| line.len() == 11 && line.as_bytes()[5] == b'-';
    let code = text.lines().find(is_code).expect("a code").to_owned();
    scene.telegram.until_polling();
    scene.telegram.say(chat, &code);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// No secret, right or wrong, was shown, logged or put where everybody can read it.
#[track_caller]
fn nothing_secret(scene: &Scene, finished: &Finished) {
    for secret in [API_KEY, TOKEN, WRONG_KEY, WRONG_TOKEN] {
        let said = format!("{}{:?}", finished.stdout, finished.stderr);
        assert!(!said.contains(secret), "{said}");
        assert!(scene.world.all_lines().iter().all(|line| !line.contains(secret)));
        let holders = scene.world.files().into_iter().filter(|(_, bytes)| contains(bytes, secret));
        let holders: Vec<PathBuf> = holders.map(|(path, _)| path).collect();
        assert!(holders.iter().all(|path| mode(path) & 0o137 == 0), "{holders:?}");
    }
}

#[test]
fn a_fresh_set_up_leads_to_the_first_answered_message_past_wrong_answers() {
    let scene = fresh("setup-fresh");
    let base = scene.provider.url();
    let answers = ["kodex", "compatible", &base, "m", WRONG_KEY, API_KEY, WRONG_TOKEN, "nonsense", TOKEN, "@me", ""];
    let process = begin(&scene, &[], &answers);
    pair(&scene, &process, 7);
    let finished = end(process, 0);
    let said = &finished.stdout;
    for (part, tries) in [
        ("must be one of: codex, openrouter", 1),
        ("compatible rejects the key (status 401) (try 1 of 3)", 1),
        ("compatible accepts the key", 1),
        ("Telegram rejects the token", 1),
        ("BotFather gave it", 1),
        ("(try 1 of 3)", 4),
        ("(try 2 of 3)", 1),
        ("an id is a number", 1),
        (&format!("The provider answers: reply #0 to {QUESTION}"), 1),
        ("Sent to chat 7", 1),
    ] {
        assert_eq!(said.matches(part).count(), tries, "{part}: {said}");
    }
    nothing_secret(&scene, &finished);
    let texts: Vec<String> = scene.telegram.sent_to(7).into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].contains("/stop - ") && texts[1].contains("reply #0"), "{texts:?}");
    let secrets = here(&scene).join("secrets.d");
    assert_eq!((mode(&here(&scene).join(".env")), mode(&secrets)), (0o600, 0o700));
    for (name, value) in [("COMPATIBLE_API_KEY", API_KEY), ("CHANNELS_TELEGRAM_TOKEN", TOKEN)] {
        let path = secrets.join(name);
        assert_eq!((mode(&path), fs::read_to_string(&path).expect("a secret")), (0o600, format!("{value}\n")));
    }
    assert_eq!(fs::read_dir(&secrets).expect("a folder").count(), 2);
    let doctor = scene.world.run(&["doctor", "--quiet", "--probe"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.lines().all(|line| line.contains(" journal.worker: ")), "{doctor:?}");
    let worker = scene.start_polling();
    scene.telegram.say(7, "hello");
    scene.telegram.until_sent_to(7, 3);
    scene.stop(worker);
    assert_eq!(scene.telegram.sent_to(7)[2].text, "reply #1 to hello");
}

/// Options in place of questions, and files in place of secrets: nothing is asked, and no secret is on a command line.
#[test]
fn with_an_option_for_every_question_nothing_is_asked() {
    let scene = fresh("setup-options");
    let file = |name: &str, text: &str| {
        let path = scene.world.path(name);
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let (key, token, base) = (file("key", API_KEY), file("token", &format!("{TOKEN}\n")), scene.provider.url());
    let words = ["setup", "--provider", "compatible", "--model", "m", "--base", &base, "--key-file", &key];
    let words = [&words[..], &["--bot-token-file", &token, "--allow-from", "7,-100"]].concat();
    let into = [&words[..], &["--into", "elsewhere"]].concat();
    for words in [&words, &into] {
        let finished = scene.world.run(words);
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        assert!(!finished.stdout.contains("Who answers"), "{finished:#?}");
    }
    assert_eq!(scene.telegram.sent_to(7).len(), 2);
    assert_eq!(scene.telegram.count_of("getUpdates"), 0, "who may write was said, so nobody is waited for");
    let text = fs::read_to_string(here(&scene).join("elsewhere/rusty-pinch.env")).expect("an env file");
    let secrets = here(&scene).join("elsewhere/secrets.d");
    let secrets = secrets.display();
    let want = format!(
        "RUSTY_PINCH_PROVIDER=compatible\nRUSTY_PINCH_COMPATIBLE_API_BASE={base}\nRUSTY_PINCH_MODEL=m\n\
         RUSTY_PINCH_COMPATIBLE_API_KEY_FILE={secrets}/COMPATIBLE_API_KEY\n\
         RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN_FILE={secrets}/CHANNELS_TELEGRAM_TOKEN\n\
         RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM=7,-100\nRUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true\n"
    );
    assert_eq!(text, want);
    let missing = scene.world.run(&[&words[..4], &words[6..]].concat());
    assert_eq!(missing.code, Some(0), "what is there is kept: {missing:#?}");
    let missing = scene.world.run(&["setup", "--provider", "compatible", "--into", "third"]);
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    assert!(missing.stderr[0].contains("--base") && !here(&scene).join("third").exists(), "{missing:#?}");
}

#[test]
fn what_the_operator_has_is_kept_and_what_is_replaced_leaves_a_copy() {
    let scene = fresh("setup-kept");
    let (env_file, base) = (here(&scene).join(".env"), scene.provider.url());
    let rest = format!(
        "# mine\nRUSTY_PINCH_WORKERS=2\n\nRUSTY_PINCH_PROVIDER=compatible\nRUSTY_PINCH_COMPATIBLE_API_BASE='{base}' # here\n\
         RUSTY_PINCH_MODEL=m\nRUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true\nRUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM=7\n\
         RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN={TOKEN}\n"
    );
    let before = format!("{rest}RUSTY_PINCH_COMPATIBLE_API_KEY={WRONG_KEY}\n");
    fs::write(&env_file, &before).expect("written");
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o640)).expect("a mode");
    // The token is good and kept. The key is not, and the next one is.
    let finished = end(begin(&scene, &[], &["", "", "", "", API_KEY, "", ""]), 0);
    assert!(finished.stdout.contains("[that of RUSTY_PINCH_COMPATIBLE_API_KEY, env file, line 10]"), "{finished:#?}");
    let secret = here(&scene).join("secrets.d/COMPATIBLE_API_KEY");
    let gone = "# RUSTY_PINCH_COMPATIBLE_API_KEY has a file of its own now.\nRUSTY_PINCH_COMPATIBLE_API_KEY_FILE=";
    let after = format!("{rest}{gone}{}\n", secret.display());
    assert_eq!(fs::read_to_string(&env_file).expect("an env file"), after);
    assert_eq!(mode(&env_file), 0o640);
    let entries = fs::read_dir(here(&scene)).expect("a folder").flatten().map(|entry| entry.path());
    let copies: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains(".env.before-")).collect();
    assert_eq!((copies.len(), mode(&copies[0])), (1, 0o640), "{copies:?}");
    assert_eq!(fs::read_to_string(&copies[0]).expect("a copy"), before);
    nothing_secret(&scene, &finished);
    // Once more, and nothing is to be done.
    let known = fs::metadata(&env_file).expect("known").ino();
    let finished = end(begin(&scene, &[], &[]), 0);
    assert!(!finished.stdout.contains("Written"), "{finished:#?}");
    assert_eq!(fs::metadata(&env_file).expect("known").ino(), known);
    assert_eq!(scene.world.run(&["doctor"]).code, Some(0));
}

/// Three wrong answers, the end of input, a server that does not answer the turn: each is told in a sentence.
#[test]
fn what_cannot_be_set_up_is_said_and_leaves_no_files() {
    let scene = fresh("setup-refused");
    let base = scene.provider.url();
    let is_empty = || fs::read_dir(here(&scene)).expect("a folder").count() == 0;
    let finished = end(begin(&scene, &[], &["compatible", &base, "m", WRONG_KEY, WRONG_KEY, WRONG_KEY]), 1);
    assert!(finished.stderr[0].contains("nothing was changed: 3 answers were wrong"), "{finished:#?}");
    let finished = end(begin(&scene, &[], &["compatible", &base, "m", WRONG_KEY]), 1);
    assert!(finished.stderr[0].contains("--key-file") && is_empty(), "{finished:#?}");
    nothing_secret(&scene, &finished);
    scene.provider.rule(Rule::when(QUESTION).status(400));
    let finished = end(begin(&scene, &[], &["compatible", &base, "m", API_KEY, TOKEN, "7"]), 1);
    assert!(finished.stderr[0].contains("the provider did not answer"), "{finished:#?}");
    scene.provider.clear_rules();
    scene.telegram.set_webhook(Some("https://elsewhere.example/"));
    let finished = end(begin(&scene, &[], &[]), 1);
    assert!(finished.stderr[0].contains("--delete-webhook"), "{finished:#?}");
    end(begin(&scene, &["--delete-webhook"], &[]), 0);
    assert_eq!(scene.telegram.count_of("deleteWebhook"), 1);
}

#[test]
fn offline_nobody_is_asked_and_the_files_are_written() {
    let scene = fresh("setup-offline");
    let process = begin(&scene, &["--no-probe"], &["openrouter", "", "sk-or-x", TOKEN, "7"]);
    end(process, 0);
    assert_eq!((scene.provider.probed().len(), scene.telegram.call_count()), (0, 0));
    let text = fs::read_to_string(here(&scene).join(".env")).expect("an env file");
    assert!(text.contains("RUSTY_PINCH_OPENROUTER_API_KEY_FILE=") && text.contains("_MODEL=openrouter/"), "{text}");
}

/// Two that ask for updates would take them from each other.
#[test]
fn a_worker_that_runs_is_left_alone() {
    let mut scene = fresh("setup-beside");
    let base = scene.provider.url();
    let answers = ["compatible", &base, "m", API_KEY, TOKEN, ""];
    end(begin(&scene, &["--no-pair"], &answers), 0);
    let worker = scene.start_polling();
    let finished = end(begin(&scene, &[], &[]), 0);
    assert!(finished.stdout.contains("that runs waits for it: restart it"), "{finished:#?}");
    let conflicts = scene.telegram.calls("getUpdates").iter().filter(|call| call.status == 409).count();
    assert_eq!(conflicts, 0);
    scene.stop(worker);
    scene.world.set("RUSTY_PINCH_PROVIDER", "local");
}

/// Codex has no key of ours but a login of its own, which its program knows of.
#[test]
fn without_a_login_of_codex_the_command_for_it_is_named() {
    let mut scene = fresh("setup-codex");
    let program = scene.world.path("codex");
    let script = "#!/bin/sh\n[ \"$1\" = login ] && { [ -e \"$HOME/in\" ]; exit; }\n\
                  [ \"$1\" = --version ] && echo codex-cli 1.0.0\nexit 0\n";
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    scene.world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    let finished = end(begin(&scene, &[], &["codex"]), 1);
    assert!(finished.stdout.contains("is not logged in: run '"), "{finished:#?}");
    fs::write(here(&scene).join("in"), "").expect("written");
    let finished = end(begin(&scene, &["--no-pair"], &["codex", TOKEN, ""]), 1);
    assert!(
        finished.stderr[0].contains("the provider did not answer"),
        "logged in, and only an imitation: {finished:#?}"
    );
}

/// A terminal: what is secret is not shown, and Ctrl-C leaves files and terminal as they were.
#[test]
fn on_a_terminal_secrets_are_not_shown_and_an_interrupt_changes_nothing() {
    let scene = fresh("setup-terminal");
    let terminal = Terminal::open(80, 24);
    let mut program = terminal.start(&scene.world, &["setup"]);
    for (question, answer) in
        [("Who answers", "compatible"), ("Base URL", &scene.provider.url()), ("Model", "m"), ("Key of the", API_KEY)]
    {
        terminal.until_seen(question);
        terminal.press(&format!("{answer}\r"));
    }
    terminal.until_seen("Token of the bot");
    assert!(terminal.has_seen("compatible\r\n") && !terminal.has_seen(API_KEY));
    terminal.press(TOKEN);
    terminal.press("\x03");
    assert!(!program.wait().success());
    terminal.assert_as_before();
    assert!(!terminal.has_seen(TOKEN) && !terminal.has_seen(API_KEY));
    assert_eq!(fs::read_dir(here(&scene)).expect("a folder").count(), 0);
}

#[test]
fn an_interrupt_while_it_waits_for_the_code_ends_the_worker_too() {
    let scene = fresh("setup-waiting");
    let terminal = Terminal::open(80, 24);
    let mut program = terminal.start(&scene.world, &["setup"]);
    let base = scene.provider.url();
    for (question, answer) in [
        ("Who answers", "compatible"),
        ("Base URL", base.as_str()),
        ("Model", "m"),
        ("Key of the", API_KEY),
        ("Token of the", TOKEN),
        ("separated by commas", ""),
    ] {
        terminal.until_seen(question);
        terminal.press(&format!("{answer}\r"));
    }
    terminal.until_seen("Waiting for it");
    scene.telegram.until_polling();
    assert!(!terminal.has_seen(TOKEN) && !terminal.has_seen(API_KEY));
    program.signal(Signal::INT);
    assert!(!program.wait().success());
    until("the worker ends, too", || scene.world.survivors().is_empty());
    terminal.assert_as_before();
}

/// Root prepares it for the user of the service: the files are root's, and what a turn leaves behind is the user's.
#[test]
fn root_writes_for_the_group_of_the_service_and_tries_it_as_its_user() {
    const SERVICE: u32 = 54_321;
    let scene = fresh("setup-root");
    if !rustix::process::geteuid().is_root() {
        return say("skip: only root can be somebody else");
    }
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    open(&scene.world.path("."));
    open(&here(&scene));
    for folder in [scene.world.data(), scene.world.path("workspace")] {
        chown(folder, Some(SERVICE), Some(SERVICE)).expect("root may");
    }
    if !can_start(SERVICE) {
        return say("skip: the program is where only root can start it");
    }
    let base = scene.provider.url();
    let answers = ["compatible", &base, "m", API_KEY, TOKEN, ""];
    let process = begin(&scene, &["--into", "etc"], &answers);
    pair(&scene, &process, 7);
    let finished = end(process, 0);
    assert!(finished.stdout.contains("Sent to chat 7"), "{finished:#?}");
    let of = |path: &str| {
        let path = here(&scene).join("etc").join(path);
        let known = fs::metadata(&path).expect("written");
        (known.uid(), known.gid(), known.mode() & 0o777)
    };
    assert_eq!(of("rusty-pinch.env"), (0, SERVICE, 0o640));
    assert_eq!(of("secrets.d"), (0, SERVICE, 0o750));
    assert_eq!(of("secrets.d/COMPATIBLE_API_KEY"), (0, SERVICE, 0o640));
    for (path, _) in scene.world.files().into_iter().filter(|(path, _)| path.starts_with(scene.world.data())) {
        assert_eq!(fs::metadata(&path).expect("known").uid(), SERVICE, "{}", path.display());
    }
}

/// In a view of its own of /etc and /var/lib, as the package leaves them. What systemd would hand over is handed over here.
#[test]
fn the_folders_of_the_package_are_filled_as_its_units_expect() {
    const SERVICE: u32 = 54_321;
    let mut scene = fresh("setup-package");
    let (etc, lib) = (scene.world.path("etc"), scene.world.path("lib"));
    let mounts = format!("mount --bind {} /etc && mount --bind {} /var/lib && ", etc.display(), lib.display());
    let through = |become_user: &str| -> Vec<OsString> {
        let script = format!("{mounts}cd / && exec {become_user} \"$@\"");
        ["unshare", "--mount", "sh", "-c", &script, "sh"].map(OsString::from).to_vec()
    };
    let put = |folder: &Path, mode: u32, owner: (u32, u32)| {
        fs::create_dir_all(folder).expect("a folder");
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("a mode");
        chown(folder, Some(owner.0), Some(owner.1))
    };
    let is_root = rustix::process::geteuid().is_root();
    if !is_root
        || !can_start(SERVICE)
        || !scene.world.command_of(Path::new("unshare"), &["--mount", "true"]).status().is_ok_and(|end| end.success())
    {
        return say("skip: only root can be somebody else, and see other folders");
    }
    fs::set_permissions(scene.world.path("."), fs::Permissions::from_mode(0o755)).expect("a mode");
    put(&etc.join("rusty-pinch"), 0o750, (0, SERVICE)).expect("root may");
    put(&etc.join("rusty-pinch/secrets.d"), 0o750, (0, SERVICE)).expect("root may");
    put(&lib.join("rusty-pinch"), 0o700, (SERVICE, SERVICE)).expect("root may");
    put(&etc, 0o755, (0, 0)).expect("root may");
    put(&lib, 0o755, (0, 0)).expect("root may");
    let passwd =
        format!("root:x:0:0::/root:/bin/sh\nrusty-pinch:x:{SERVICE}:{SERVICE}::/var/lib/rusty-pinch:/bin/false\n");
    fs::write(etc.join("passwd"), passwd).expect("written");
    let env_file = etc.join("rusty-pinch/rusty-pinch.env");
    let template = fs::read_to_string(root().join("packaging/debian/rusty-pinch.env")).expect("a template");
    fs::write(&env_file, &template).expect("written");
    fs::set_permissions(&env_file, fs::Permissions::from_mode(0o640)).expect("a mode");
    chown(&env_file, Some(0), Some(SERVICE)).expect("root may");
    let (key, token) = (scene.world.path("key"), scene.world.path("token"));
    fs::write(&key, API_KEY).expect("written");
    fs::write(&token, TOKEN).expect("written");
    scene.world.unset("RUSTY_PINCH_DATA_DIR");
    scene.world.unset("RUSTY_PINCH_WORKSPACE");
    scene.world.unset("RUSTY_PINCH_RUN_DIR");
    let (key, token, base) = (key.to_string_lossy(), token.to_string_lossy(), scene.provider.url());
    let words = ["setup", "--provider", "compatible", "--base", &base, "--model", "m", "--key-file", &key];
    let words = [&words[..], &["--bot-token-file", &token, "--allow-from", "7"]].concat();
    let finished = end(scene.world.start_through(&through(""), &words), 0);
    assert!(finished.stdout.contains("systemctl enable --now rusty-pinch-telegram"), "{finished:#?}");
    assert_eq!(scene.telegram.sent_to(7).len(), 1);
    let text = fs::read_to_string(&env_file).expect("an env file");
    assert!(text.starts_with(&template), "{text}");
    for name in ["COMPATIBLE_API_KEY", "CHANNELS_TELEGRAM_TOKEN"] {
        let line = format!("\nRUSTY_PINCH_{name}_FILE=/etc/rusty-pinch/secrets.d/{name}\n");
        assert!(text.contains(&line), "{text}");
    }
    let known =
        |path: &Path| fs::metadata(path).map(|known| (known.uid(), known.gid(), known.mode() & 0o777)).expect("there");
    assert_eq!(known(&env_file), (0, SERVICE, 0o640));
    let handed_over = lib.join("credentials");
    put(&handed_over, 0o700, (SERVICE, SERVICE)).expect("root may");
    for name in ["COMPATIBLE_API_KEY", "CHANNELS_TELEGRAM_TOKEN"] {
        let from = etc.join("rusty-pinch/secrets.d").join(name);
        assert_eq!(known(&from), (0, SERVICE, 0o640));
        let to = handed_over.join(format!("RUSTY_PINCH_{name}"));
        fs::write(&to, fs::read(from).expect("a secret")).expect("written");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o400)).expect("a mode");
        chown(&to, Some(SERVICE), Some(SERVICE)).expect("root may");
    }
    for (path, _) in scene.world.files().into_iter().filter(|(path, _)| path.starts_with(lib.join("rusty-pinch"))) {
        assert_eq!(known(&path).0, SERVICE, "{}", path.display());
    }
    let as_user = through(&format!("setpriv --reuid {SERVICE} --regid {SERVICE} --clear-groups"));
    // By hand, as the runbook begins, then as a unit.
    for handed_over in [None, Some("/var/lib/credentials")] {
        if let Some(folder) = handed_over {
            scene.world.set("CREDENTIALS_DIRECTORY", folder);
        }
        let doctor = end(scene.world.start_through(&as_user, &["doctor", "--quiet", "--probe"]), 0);
        assert!(!doctor.stdout.contains("- error"), "{handed_over:?}: {doctor:#?}");
    }
    // Once more, as an operator does: what is there is found where the units find it.
    scene.world.unset("CREDENTIALS_DIRECTORY");
    let finished = end(scene.world.start_through(&through(""), &["setup"]), 0);
    assert!(!finished.stdout.contains("Written"), "{finished:#?}");
}

fn can_start(user: u32) -> bool {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(World::product_path());
    command
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .uid(user)
        .gid(user)
        .status()
        .is_ok_and(|end| end.success())
}
