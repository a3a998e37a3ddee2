//! FC-15: a canary in every source of secrets, debug lines on, and everything fails in every way while servers repeat what they
//! were sent. Then every place where something is written is searched. Seen to fail: the bytes on the wire in trace lines of
//! ureq, a redactor that knows only the secrets of the start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::secrets::{KEY, TOKEN_NAME, in_file, put, reload};
use crate::support::fake_http::Shape;
use crate::support::fake_provider::{Reply, Rule};
use crate::support::fake_telegram::TOKEN;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::until;
use crate::support::world::{Process, World, contains};

/// Each is found by its last word alone, so that a part of a secret is found, too.
const PROVIDER_FILE: &str = "sk-FileCanary-4f1a0123456789abcdefghij-tail4f1a";
const PROVIDER_NEW: &str = "sk-NewCanary-5a2b0123456789abcdefghij-tail5a2b";
const PROVIDER_REFUSED: &str = "sk-RefusedCanary-6b3c0123456789abcdef-tail6b3c";
const PROVIDER_PROCESS: &str = "ProcessCanary-7c4d0123456789abcdefghij-tail7c4d";
const PROVIDER_LINE: &str = "LineCanary-8d5e0123456789abcdefghijklm-tail8d5e";
const HEALTH: &str = "HealthCanary-9e6f0123456789abcdefghijk-tail9e6f";
const BRIDGE: &str = "BridgeCanary-a070123456789abcdefghijklm-taila070";
const CODEX: &str = "CodexCanary-b1810123456789abcdefghijklm-tailb181";
const GROQ: &str = "GroqCanary-c2920123456789abcdefghijklmn-tailc292";
const TOKEN_NEXT: &str = "7000000001:NextCanary-d3a30123456789_abcdefgh-taild3a3";

fn tails() -> Vec<&'static str> {
    let all = [
        PROVIDER_FILE,
        PROVIDER_NEW,
        PROVIDER_REFUSED,
        PROVIDER_PROCESS,
        PROVIDER_LINE,
        HEALTH,
        BRIDGE,
        CODEX,
        GROQ,
        TOKEN_NEXT,
    ];
    let tail = |secret: &'static str| secret.rsplit('-').next().expect("a last word");
    // That of the fake server is a canary as well.
    all.map(tail).into_iter().chain([TOKEN.rsplit('-').next().expect("a last word")]).collect()
}

/// Secrets in every source, most of them in several. The file of the provider's key.
fn sources(world: &mut World) -> std::path::PathBuf {
    let file = in_file(world, KEY, PROVIDER_FILE);
    world.set(KEY, PROVIDER_PROCESS);
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", BRIDGE);
    world.set("CODEX_API_KEY", CODEX);
    let lines = format!("{KEY}={PROVIDER_LINE}\nRUSTY_PINCH_HEALTH_TOKEN={HEALTH}\nGROQ_API_KEY='{GROQ}'\n");
    put(&world.path("home/.env"), &lines);
    world.unset(TOKEN_NAME);
    fs::create_dir(world.path("credentials")).expect("a folder");
    put(&world.path("credentials").join(TOKEN_NAME), TOKEN);
    world.set("CREDENTIALS_DIRECTORY", &world.path("credentials").to_string_lossy());
    world.set("RUST_LOG", "trace");
    file
}

fn is_a_source(path: &Path) -> bool {
    ["secrets.d", "credentials"].iter().any(|folder| path.components().any(|part| part.as_os_str() == *folder))
        || path.ends_with("home/.env")
}

/// Everything that any process of the world wrote, and everything that was said to people.
#[track_caller]
fn nowhere(world: &World, chats: &[String]) {
    let lines = world.all_lines();
    assert!(lines.iter().any(|line| line.contains("\"event\":\"log\"")), "the lines of libraries are on");
    for tail in tails() {
        for line in &lines {
            assert!(!line.contains(tail), "standard error: {tail}: {line}");
        }
        assert!(!contains(&world.all_stdout(), tail), "standard output: {tail}");
        for (path, bytes) in world.files() {
            assert!(is_a_source(&path) || !contains(&bytes, tail), "{}: {tail}", path.display());
        }
        assert!(chats.iter().all(|text| !text.contains(tail)), "in a chat: {tail}");
    }
}

/// What everybody on the machine can read of a process and of what it started.
#[track_caller]
fn nothing_in_the_process_list(process: &Process) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("there is such a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "no image of our memory");
    let arguments = process.command_line();
    assert!(contains(&arguments, "telegram") && tails().iter().all(|tail| !contains(&arguments, tail)));
}

#[test]
fn canaries_of_every_source_are_nowhere_after_failures_of_every_kind() {
    let mut scene = Scene::new("FC-15");
    let file = sources(&mut scene.world);
    for status in [400, 401, 403, 404, 408, 413, 429, 500, 502, 503] {
        scene.provider.rule(Rule::when(&format!("status {status}")).status(status));
    }
    for (text, shape) in [
        ("cut", Shape::ResetBefore),
        ("halved", Shape::ResetHalfway),
        ("closed", Shape::Closed),
        ("chunks", Shape::Chunked(7)),
    ] {
        scene.provider.rule(Rule::when(text).reply(Reply::Spoil(shape)).times(2));
    }
    let echo =
        format!("{PROVIDER_FILE} {TOKEN} Bearer {PROVIDER_PROCESS} {PROVIDER_LINE} {HEALTH} {BRIDGE} {CODEX} {GROQ}");
    scene.provider.rule(Rule::when("broken").reply(Reply::Malformed(format!("{{\"error\":\"{echo}\"}}"))));
    scene.provider.rule(Rule::when("page").reply(Reply::Malformed(format!("<html>{echo}"))));
    scene.provider.rule(Rule::when("echo").reply(Reply::Text(echo.clone())));
    scene.provider.rule(Rule::when("tool").reply(Reply::Text(format!("/tool {PROVIDER_FILE} {TOKEN}"))));
    scene.telegram.fault(Fault::status(500, &format!("cannot serve /bot{TOKEN}/getUpdates")).on("getUpdates").times(1));
    scene.telegram.fault(Fault::status(403, &format!("Forbidden: {echo}")).on("sendMessage").for_chat(7).times(1));
    scene.world.set("RUSTY_PINCH_REQUEST_RETRIES", "1");
    let process = scene.start();
    let texts = ["status 400", "status 401", "status 403", "status 404", "status 408", "status 413", "status 429"];
    let texts = texts.iter().chain(&["status 500", "status 502", "status 503", "cut", "halved", "closed", "chunks"]);
    let texts = texts.chain(&["broken", "page", "echo", "tool", "/tool session_tail 5", "/tool none x"]);
    let mut count = 0;
    for (chat, text) in texts.enumerate() {
        scene.telegram.say(100 + chat as i64, text);
        count += 1;
    }
    scene.telegram.say(7, "a dead letter");
    until("the turns end", || scene.world.all_events("turn").len() == count + 1);
    nothing_in_the_process_list(&process);
    // Another key, one that is refused, one that is none, and another token.
    put(&file, PROVIDER_NEW);
    assert_eq!(reload(&process, KEY)["status"], "ok");
    scene.provider.rule(Rule::when("both").reply(Reply::Text(format!("{PROVIDER_FILE} and {PROVIDER_NEW}"))));
    scene.provider.accept(&[PROVIDER_NEW]);
    for text in [PROVIDER_REFUSED, &format!("{PROVIDER_REFUSED} twice")] {
        put(&file, text);
        assert_eq!(reload(&process, KEY)["status"], "rejected");
    }
    put(&scene.world.path("credentials").join(TOKEN_NAME), TOKEN_NEXT);
    put(&file, PROVIDER_NEW);
    assert_eq!(reload(&process, TOKEN_NAME)["status"], "rejected");
    scene.telegram.say(8, "both");
    scene.telegram.until_sent_to(8, 1);
    assert_eq!(scene.telegram.sent_to(8)[0].text, "[redacted] and [redacted]");
    // The key is withdrawn: every turn fails, and the server repeats it.
    scene.provider.accept(&[]);
    scene.telegram.say(9, "refused");
    scene.telegram.until_sent_to(9, 1);
    scene.stop(process);
    let archive = scene.world.path("archive.tar").to_string_lossy().into_owned();
    for arguments in [
        &["stats"][..],
        &["doctor"],
        &["doctor", "--secrets"],
        &["doctor", "--secrets", "--json"],
        &["doctor", "--probe"],
        &["outbox", "list"],
        &["journal", "verify"],
        &["session", "--session", "telegram:116"],
        &["session", "export", "--session", "telegram:116"],
        &["backup", &archive],
        &["run", "--message", "refused"],
        &["run", "--message", PROVIDER_REFUSED, "--no-such-option"],
    ] {
        let finished = scene.world.run(arguments);
        assert!(finished.code.is_some(), "{arguments:?}: {finished:?}");
    }
    assert!(scene.world.path("archive.tar").exists());
    let dead = fs::read_dir(scene.world.data().join("dead")).expect("a folder").count();
    assert_eq!(dead, 1, "a dead letter was written");
    let chats: Vec<String> = scene.telegram.sent().into_iter().map(|sent| sent.text).collect();
    assert!(chats.iter().any(|text| text.contains("[redacted]")), "the echo was answered");
    nowhere(&scene.world, &chats);
}

/// The program of Codex gets its own key and no other, and prints all that it got.
#[test]
fn a_program_gets_its_own_key_and_no_other() {
    let mut scene = Scene::new("FC-15 codex");
    sources(&mut scene.world);
    let program = scene.world.path("home/codex");
    let script = "#!/bin/sh\ncat > /dev/null\ncat /proc/$$/environ > \"$HOME/seen\"\ncat /proc/$$/cmdline > \"$HOME/arguments\"\n\
                  echo \"$CODEX_API_KEY\" >&2\n\
                  printf '{\"type\":\"turn.failed\",\"error\":{\"message\":\"401 %s\"}}\\n' \"$CODEX_API_KEY\"\nexit 1\n";
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
    scene.world.set("RUSTY_PINCH_PROVIDER", "codex");
    scene.world.set("RUSTY_PINCH_CODEX_CLI_BIN", &program.to_string_lossy());
    let process = scene.start_polling();
    scene.telegram.say(5, "hello");
    scene.telegram.until_sent_to(5, 1);
    nothing_in_the_process_list(&process);
    scene.stop(process);
    let [seen, arguments] = ["home/seen", "home/arguments"].map(|place| {
        let bytes = fs::read(scene.world.path(place)).expect("the program ran");
        fs::remove_file(scene.world.path(place)).expect("removed");
        bytes
    });
    let codex = CODEX.rsplit('-').next().expect("a last word");
    assert!(contains(&seen, &format!("CODEX_API_KEY={CODEX}")), "{}", String::from_utf8_lossy(&seen));
    for tail in tails() {
        assert!(tail == codex || !contains(&seen, tail), "{tail} in the environment of the program");
        assert!(!contains(&arguments, tail), "{tail} in the arguments of the program");
    }
    let chats: Vec<String> = scene.telegram.sent().into_iter().map(|sent| sent.text).collect();
    scene.world.run(&["doctor"]);
    nowhere(&scene.world, &chats);
}
