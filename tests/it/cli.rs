//! Commands as an operator types them: what they print where, and how they exit.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::cases::say;
use crate::support::command::{local, run};
use crate::support::scene::Scene;
use crate::support::waiting::until;
use crate::support::world::World;

/// Runs a command with this on standard input.
fn with_input(world: &World, arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut child = world.command(arguments).stdin(Stdio::piped()).spawn().expect("the product starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_message_is_answered_offline_and_kept() {
    let world = local();
    let first = run(&world, &["run", "--message", "hello"], 0);
    assert_eq!(first.stdout, "[Rusty Pinch:local:m] Received 'hello'. history=0 messages.\n");
    let second = run(&world, &["run", "--message", "again", "--session", "default"], 0);
    assert!(second.stdout.ends_with("history=2 messages.\n"), "{}", second.stdout);
    let printed = run(&world, &["session"], 0).stdout;
    let lines: Vec<Value> = serde_json::from_str(&printed).expect("a JSON array");
    let roles: Vec<&str> = lines.iter().filter_map(|line| line["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert!(printed.contains("{\"role\":\"user\",\"content\":\"hello\",\"timestamp\":\""), "{printed}");
    assert_eq!(run(&world, &["session", "--session", "nobody"], 0).stdout, "[]\n");
}

#[test]
fn standard_output_holds_results_and_standard_error_holds_json() {
    let world = local();
    run(&world, &["run", "--message", "hello"], 0);
    run(&world, &["tools", "run", "--name", "time_now"], 0);
    run(&world, &["tools", "run", "--name", "weather", "--args", "here"], 1);
    let stats: Value = serde_json::from_str(&run(&world, &["stats"], 0).stdout).expect("JSON");
    let telemetry = &stats["telemetry"];
    assert_eq!(
        (&telemetry["total_turns"], &telemetry["ok_turns"], &telemetry["error_turns"]),
        (&3.into(), &2.into(), &1.into())
    );
    assert_eq!(stats["last_turn"]["tool_name"], "weather");
    let turns = world.all_events("turn");
    assert_eq!(turns.len(), 3);
    assert_eq!(turns[0]["attempts"], 0, "an echo is no attempt");
    for line in world.all_lines() {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "not JSON: {line}");
    }
}

#[test]
fn a_failed_turn_is_told_kept_and_exits_1() {
    let mut world = local();
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    let failed = run(&world, &["run", "--message", "hello"], 1);
    assert!(failed.stdout.starts_with("Sorry, ") && failed.stdout.contains("(ref rp-"), "{}", failed.stdout);
    let lines: Value = serde_json::from_str(&run(&world, &["session"], 0).stdout).expect("JSON");
    assert_eq!(lines[0]["content"], "hello");
    let doctor = run(&world, &["doctor"], 1).stdout;
    assert!(doctor.contains("status: error") && doctor.contains("no API key is set"), "{doctor}");
}

#[test]
fn doctor_is_content_with_a_complete_set_up_and_also_the_default_command() {
    let world = local();
    for arguments in [&["doctor"][..], &[]] {
        let report = run(&world, arguments, 0).stdout;
        assert!(report.starts_with("Rusty Pinch Doctor\nprovider: local\nmodel: m\napi_base: <unset>\n"), "{report}");
        assert!(report.ends_with("status: ok\n"), "{report}");
    }
}

#[test]
fn mistakes_exit_2_and_a_bad_setting_exits_78_with_its_name() {
    let mut world = local();
    for arguments in
        [&["dance"][..], &["run"], &["run", "--massage", "x"], &["channels", "telegram", "--max-messages", "0"]]
    {
        let finished = run(&world, arguments, 2);
        assert!(finished.stdout.is_empty() && finished.stderr[0].starts_with("rusty-pinch: "), "{finished:?}");
    }
    run(&world, &["run", "--message", "x", "--session", ""], 2);
    run(&world, &["run", "--message", &"x".repeat(40_000)], 2);
    run(&world, &["channels", "telegram"], 78);
    world.set("RUSTY_PINCH_REQUEST_RETRIES", "4294967295");
    let finished = run(&world, &["run", "--message", "x"], 78);
    assert!(
        finished.stderr[0].contains("RUSTY_PINCH_REQUEST_RETRIES (environment) must be a whole number from 0 to 5"),
        "{finished:?}"
    );
}

#[test]
fn help_and_version_need_no_configuration() {
    let mut world = local();
    world.set("RUSTY_PINCH_PROVIDER", "nonsense");
    assert_eq!(run(&world, &["--version"], 0).stdout, concat!("rusty-pinch ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(run(&world, &["-V"], 0).stdout, run(&world, &["--version"], 0).stdout);
    assert!(run(&world, &["--help"], 0).stdout.contains("channels telegram"));
    assert!(run(&world, &["run", "-h"], 0).stdout.contains("--message TEXT"));
    let tools = run(&world, &["tools", "list"], 0).stdout;
    let names: Vec<&str> = tools.lines().filter_map(|line| line.split_once(" - ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["model_info", "session_tail", "time_now"]);
}

#[test]
fn a_conversation_on_a_terminal_survives_failed_turns_and_ends_with_its_input() {
    let world = local();
    let (code, stdout) = with_input(&world, &["repl"], b"hello\n\n/tool none\n");
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("> [Rusty Pinch:local:m] Received 'hello'.") && stdout.contains("Tool error: there is no tool"),
        "{stdout}"
    );
    let (code, stdout) = with_input(&world, &["repl"], b"QUIT\nnever read\n");
    assert_eq!((code, stdout.lines().last()), (Some(0), Some("> Bye.")));
    assert_eq!(with_input(&world, &["repl"], b"").0, Some(0));
    let long = [vec![b'x'; 100_000], b"\nexit\n".to_vec()].concat();
    let (code, stdout) = with_input(&world, &["repl"], &long);
    assert!(code == Some(0) && stdout.contains("longer than 32768 bytes") && stdout.ends_with("Bye.\n"), "{stdout}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let world = local();
    for arguments in [&["tools", "list"][..], &["stats"], &["session"], &["--help"]] {
        let mut child = world.command(arguments).spawn().expect("the product starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn settings_come_from_the_file_that_is_named_and_secrets_from_files_of_their_own() {
    let mut world = World::new();
    let file = world.path("settings.env");
    std::fs::write(
        &file,
        "# mine\nRUSTY_PINCH_CODEX_CLI_ARGS=exec --skip-git-repo-check\nRUSTY_PINCH_PROVIDER = local # echo\n",
    )
    .expect("written");
    world.set("RUSTY_PINCH_ENV_FILE", &file.to_string_lossy());
    assert!(run(&world, &["doctor"], 0).stdout.contains("provider: local\n"));
    std::fs::write(&file, "RUSTY_PINCH_PROVIDER=local\nnonsense\n").expect("written");
    assert!(run(&world, &["doctor"], 78).stderr[0].contains("line 2 has no '='"));
    world.set("RUSTY_PINCH_ENV_FILE", "/no/such/file");
    assert!(run(&world, &["doctor"], 78).stderr[0].contains("/no/such/file cannot be read"));
    world.unset("RUSTY_PINCH_ENV_FILE");
    let key = world.path("key");
    std::fs::write(&key, "sk-from-a-file\n").expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    world.set("RUSTY_PINCH_OPENAI_API_KEY_FILE", &key.to_string_lossy());
    assert!(run(&world, &["doctor"], 0).stdout.contains("api_key_loaded: true"));
}

/// Whoever reads the counters gets numbers.
fn damaged_counters(world: &World, content: &[u8]) {
    std::fs::write(world.data().join("telemetry/latest.json"), content).expect("written");
    let stats = run(world, &["stats"], 0);
    assert!(stats.stdout.contains("\"total_turns\": 0") && stats.stderr[0].contains("telemetry_error"), "{stats:?}");
}

#[test]
fn damaged_files_never_stop_a_session_or_the_counters() {
    let world = local();
    run(&world, &["run", "--message", "one"], 0);
    let session = world.data().join("sessions/default.jsonl");
    let mut bytes = std::fs::read(&session).expect("written");
    bytes.extend(b"\xff\xfe\n{\"role\":\"user\"}\n{\"role\":\"user\",\"content\":\"to");
    std::fs::write(&session, bytes).expect("written");
    damaged_counters(&world, b"");
    assert!(run(&world, &["run", "--message", "two"], 0).stdout.ends_with("history=2 messages.\n"));
    assert_eq!(world.all_events("session_repaired").len(), 1);
    let lines: Vec<Value> = serde_json::from_str(&run(&world, &["session"], 0).stdout).expect("JSON");
    assert_eq!(lines.len(), 4);
    let stats: Value = serde_json::from_str(&run(&world, &["stats"], 0).stdout).expect("JSON");
    assert_eq!(stats["telemetry"]["total_turns"], 1);
    // Far larger than we write it.
    damaged_counters(&world, &vec![b' '; 2 << 20]);
    run(&world, &["run", "--message", "three"], 0);
    let stats: Value = serde_json::from_str(&run(&world, &["stats"], 0).stdout).expect("JSON");
    assert_eq!(stats["telemetry"]["total_turns"], 1);
}

#[test]
fn many_commands_at_once_lose_no_line_and_no_count() {
    let world = local();
    let mut running: Vec<_> = (0..40).map(|number| world.start(&["run", "--message", &format!("m{number}")])).collect();
    for process in &mut running {
        assert_eq!(process.wait_within(Duration::from_secs(20)).code(), Some(0));
    }
    // As they are kept: all of them good, each pair together, ordinals without a gap.
    let kept = std::fs::read_to_string(world.data().join("sessions/default.jsonl")).expect("text");
    let lines: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).expect("a good line")).collect();
    let ordinals: Vec<Option<u64>> = lines.iter().map(|line| line["n"].as_u64()).collect();
    assert_eq!(ordinals, (1..=80).map(Some).collect::<Vec<_>>());
    for pair in lines.chunks(2) {
        assert_eq!((&pair[0]["role"], &pair[1]["role"]), (&"user".into(), &"assistant".into()));
        assert_eq!(pair[0]["rid"], pair[1]["rid"]);
    }
    let printed: Vec<Value> = serde_json::from_str(&run(&world, &["session"], 0).stdout).expect("JSON");
    assert_eq!(printed.len(), 80);
    let stats: Value = serde_json::from_str(&run(&world, &["stats"], 0).stdout).expect("JSON");
    assert_eq!(stats["telemetry"]["total_turns"], 40);
    let ids: std::collections::BTreeSet<String> =
        world.all_events("turn").iter().map(|turn| turn["request_id"].to_string()).collect();
    assert_eq!(ids.len(), 40, "names are unique across processes");
}

#[test]
fn a_second_worker_of_a_channel_is_refused_and_told_who_holds_the_lock() {
    let mut scene = Scene::new("second worker");
    // It waits three times this long.
    scene.world.set("RUSTY_PINCH_DRAIN_SECS", "1");
    let process = scene.start_polling();
    let second = scene.world.run(&["channels", "telegram"]);
    assert!(second.stderr.iter().any(|line| line.contains("channel_wait")), "{second:?}");
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.stderr.iter().any(|line| line.contains(&format!("\\\"pid\\\":{}", process.id()))), "{second:?}");
    scene.stop(process);
}

#[test]
fn a_configuration_fault_parks_where_an_exit_would_be_a_restart_loop() {
    let mut world = World::new();
    world.set("RUSTY_PINCH_ON_FATAL", "park");
    let mut process = world.start(&["channels", "telegram"]);
    until("it says why", || process.lines().iter().any(|line| line.contains("parked: telegram is disabled")));
    assert!(process.is_running());
    process.terminate();
    assert_eq!(process.wait_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn conversations_are_listed_exported_and_deleted_across_their_files() {
    let world = local();
    assert_eq!(run(&world, &["session", "list"], 0).stdout, "[]\n");
    run(&world, &["run", "--message", "one", "--session", "work"], 0);
    run(&world, &["run", "--message", "two"], 0);
    let sessions = world.data().join("sessions");
    let file = |name: &str, content: &str| {
        let line = format!(r#"{{"role":"user","content":"{content}","timestamp":"2026-01-01T00:00:00+00:00"}}"#);
        std::fs::write(sessions.join(name), line + "\n").expect("written");
    };
    // Two older files, in an order that letters would turn round, and one of another session.
    file("work.10.jsonl", "tenth");
    file("work.9.jsonl", "ninth");
    file("workshop.jsonl", "other");
    std::fs::write(sessions.join("work.jsonl.torn-5"), "to").expect("written");
    let list: Value = serde_json::from_str(&run(&world, &["session", "list"], 0).stdout).expect("JSON");
    let names: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|row| row["session"].as_str()).collect();
    assert_eq!(names, ["default", "work", "workshop"]);
    assert_eq!((&list[0]["lines"], &list[2]["lines"]), (&2.into(), &1.into()), "{list}");
    assert!(list[1]["bytes"].as_u64() > list[2]["bytes"].as_u64() && list[0]["modified"].is_string(), "{list}");

    let work = ["session", "export", "--session", "work"];
    let lines = run(&world, &work, 0).stdout;
    let contents = |line: &Value| line["content"].as_str().unwrap_or_default().chars().take(5).collect::<String>();
    let told: Vec<String> = lines.lines().map(|line| contents(&serde_json::from_str(line).expect("JSON"))).collect();
    assert_eq!(told, ["ninth", "tenth", "one", "[Rust"]);
    assert!(lines.contains("\"rid\":\"rp-") && lines.contains("\"c\":\""), "lines as they are kept: {lines}");
    let json: Value =
        serde_json::from_str(&run(&world, &[&work[..], &["--format", "json"]].concat(), 0).stdout).expect("JSON");
    assert_eq!((json.as_array().map(Vec::len), &json[2]["n"]), (Some(4), &1.into()));
    let markdown = run(&world, &[&work[..], &["--format", "markdown"]].concat(), 0).stdout;
    assert!(markdown.starts_with("## user, 2026-01-01T00:00:00+00:00\n\nninth\n\n## user, "), "{markdown}");
    assert!(run(&world, &["session", "--session", "work"], 0).stdout.contains("tenth"));

    assert!(run(&world, &["session", "delete", "--session", "work"], 2).stderr[0].contains("--confirm"));
    run(&world, &["session", "delete", "--session", "work", "--confirm"], 0);
    let left: Vec<_> =
        std::fs::read_dir(&sessions).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("work.")), "{left:?}");
    run(&world, &["session", "delete", "--session", "work", "--confirm"], 1);
    assert!(run(&world, &work, 1).stderr[0].contains("there is no session work"));
    assert_eq!(run(&world, &["session", "--session", "work"], 0).stdout, "[]\n");
    assert!(run(&world, &["session", "--session", "workshop"], 0).stdout.contains("other"));
}

/// A running worker could write the lines back; after a polite stop nothing does.
#[test]
fn a_conversation_is_not_deleted_under_its_worker_and_stays_deleted() {
    let scene = Scene::new("delete");
    let process = scene.start_polling();
    scene.telegram.say(5, "hello");
    until("it is answered and kept", || !scene.telegram.sent_to(5).is_empty() && !scene.world.session(5).is_empty());
    let delete = ["session", "delete", "--session", "telegram:5", "--confirm"];
    let refused = run(&scene.world, &delete, 1);
    assert!(refused.stderr[0].contains("telegram worker is running"), "{refused:?}");
    scene.stop(process);
    run(&scene.world, &delete, 0);
    assert!(!scene.world.session_path(5).exists());
    let process = scene.start_polling();
    scene.stop(process);
    assert!(!scene.world.session_path(5).exists(), "recovery wrote the lines back");
    let stats: Value = serde_json::from_str(&run(&scene.world, &["stats"], 0).stdout).expect("JSON");
    assert_eq!(stats["telemetry"]["total_turns"], 1, "counted, once");
    assert_eq!(scene.telegram.sent_to(5).len(), 1, "answered, once");

    // The same after kill -9, when the journal holds what nobody has tidied up.
    let process = scene.start_polling();
    scene.telegram.say(6, "hello again");
    until("it is answered and kept", || !scene.telegram.sent_to(6).is_empty() && !scene.world.session(6).is_empty());
    scene.kill(process);
    run(&scene.world, &["session", "delete", "--session", "telegram_6", "--confirm"], 0);
    let process = scene.start_polling();
    scene.stop(process);
    assert!(!scene.world.session_path(6).exists(), "recovery wrote the lines back");
    let stats: Value = serde_json::from_str(&run(&scene.world, &["stats"], 0).stdout).expect("JSON");
    assert_eq!(stats["telemetry"]["total_turns"], 2, "counted, once");
}

#[test]
fn channels_that_are_off_and_commands_that_are_gone_say_so() {
    let mut world = local();
    assert!(run(&world, &["channels", "whatsapp"], 78).stderr[0].contains("whatsapp is disabled"));
    assert!(run(&world, &["channels", "all"], 78).stderr[0].contains("no channel is enabled"));
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true");
    assert!(run(&world, &["channels", "all"], 78).stderr[0].contains("WHATSAPP_BRIDGE_URL"));
    for (arguments, part) in [
        (&["skills", "run", "--name", "weather"][..], "tools list"),
        (&["pulse", "job", "add-http-healthcheck", "--enabled"], "cron"),
        (&["evolution", "audit-verify"], "restart"),
        (&["codex", "drain-one"], "there is no queue of Codex any more"),
        (&["stast"], "did you mean 'stats'?"),
    ] {
        let finished = run(&world, arguments, 2);
        assert!(finished.stdout.is_empty() && finished.stderr[0].contains(part), "{finished:?}");
    }
}

/// A program on a pseudo-terminal, which `script` of util-linux makes; `None`, with a word, where there is none.
struct OnTerminal {
    child: std::process::Child,
    shown: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl OnTerminal {
    /// `shell` finds the product in `$PRODUCT`.
    fn start(world: &World, shell: &str, variables: &[(&str, &str)]) -> Option<OnTerminal> {
        let product = world.command(&[]);
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", shell, "/dev/null"]).env_clear();
        command.envs(product.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PRODUCT", product.get_program()).env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.envs(variables.iter().copied()).current_dir(world.path("home"));
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = started else {
            crate::support::cases::say("skip: no 'script' to make a pseudo-terminal with");
            return None;
        };
        let shown = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (mut pipe, target) = (child.stdout.take().expect("a pipe"), std::sync::Arc::clone(&shown));
        crate::support::waiting::spawn("terminal", move || {
            let mut window = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut pipe, &mut window) {
                crate::support::waiting::lock(&target).extend_from_slice(&window[..count]);
            }
        });
        Some(OnTerminal { child, shown })
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&crate::support::waiting::lock(&self.shown)).into_owned()
    }

    /// Waits for a text that appears behind another one.
    #[track_caller]
    fn until_shown(&self, first: &str, then: &str) {
        until(&format!("{then:?} behind {first:?} in {:?}", self.shown()), || {
            let shown = self.shown();
            shown.find(first).is_some_and(|at| shown[at + first.len()..].contains(then))
        });
    }

    fn press(&mut self, keys: &str) {
        let pipe = self.child.stdin.as_mut().expect("a pipe");
        pipe.write_all(keys.as_bytes()).and_then(|()| pipe.flush()).expect("it reads");
    }

    fn code(mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().expect("our own child can be asked");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a prompt is painted with while keys are read one by one.
const PROMPT: &str = "\r> \u{1b}7";

#[test]
fn lines_are_edited_on_a_terminal_that_is_given_back_as_it_was() {
    let (world, shell) = (local(), "\"$PRODUCT\" repl; code=$?; stty -a; exit $code");
    let Some(mut terminal) = OnTerminal::start(&world, shell, &[]) else { return };
    terminal.until_shown("session default", PROMPT);
    terminal.press("helo\u{1b}[Dl\u{1b}[H'\u{1b}[F!!\u{7f}\r");
    terminal.until_shown("Received ''hello!'. history=0", PROMPT);
    terminal.press("other\u{3}\u{1b}[A\u{17}\u{1b}[A?\r");
    terminal.until_shown("Received ''hello!?'. history=2", PROMPT);
    terminal.press("abc\u{15}\u{4}");
    until("the settings are printed", || terminal.shown().contains("-noflsh"));
    let shown = terminal.shown();
    let settings: Vec<&str> = shown.split_whitespace().collect();
    assert!(["icanon", "echo", "isig", "opost", "icrnl"].iter().all(|name| settings.contains(name)), "{shown}");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn what_a_model_says_cannot_drive_the_terminal_and_pipes_get_it_raw() {
    let world = local();
    let text = "\u{1b}]0;title\u{7}\u{202e}";
    let raw = run(&world, &["run", "--message", text], 0).stdout;
    assert!(raw.contains(text), "{raw:?}");
    for command in
        ["run --message \"$TEXT\"", "session", "session export --session default", "tools run --name session_tail"]
    {
        let shell = format!("\"$PRODUCT\" {command}; echo that is all");
        let Some(terminal) = OnTerminal::start(&world, &shell, &[("TEXT", text)]) else { return };
        until("it is printed", || terminal.shown().contains("that is all"));
        let shown = terminal.shown();
        assert!(shown.contains("title") && !shown.contains("\u{1b}]") && !shown.contains('\u{202e}'), "{shown:?}");
    }
}

#[test]
fn a_spinner_turns_while_somebody_waits_and_a_dumb_terminal_is_only_read() {
    let mut world = local();
    // It takes connections and never answers, until it is dropped.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}/v1", silent.local_addr().expect("bound"));
    world.set_all(&[("PROVIDER", "compatible"), ("COMPATIBLE_API_BASE", &base), ("REQUEST_RETRIES", "0")]);
    let Some(mut terminal) = OnTerminal::start(&world, "\"$PRODUCT\" repl", &[]) else { return };
    terminal.until_shown("session default", PROMPT);
    terminal.press("hello\r");
    terminal.until_shown("hello", "-\r\\\r|\r/\r-\r");
    drop(silent);
    terminal.until_shown("/\r", "Sorry");
    terminal.until_shown("Sorry", PROMPT);
    terminal.press("\u{4}");
    assert_eq!(terminal.code(), Some(0));

    let world = local();
    let Some(mut terminal) = OnTerminal::start(&world, "\"$PRODUCT\" repl", &[("TERM", "dumb")]) else { return };
    terminal.until_shown("session default", "> ");
    terminal.press("exit\n");
    terminal.until_shown("session default", "Bye.");
    assert!(!terminal.shown().contains('\u{1b}'), "{:?}", terminal.shown());
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn an_answer_that_cannot_be_kept_is_shown_and_said_not_to_be_kept() {
    let world = local();
    let sessions = world.data().join("sessions");
    std::fs::create_dir_all(sessions.join(".lock")).expect("a folder where the lock should be");
    let finished = run(&world, &["run", "--message", "hello"], 74);
    assert!(finished.stdout.starts_with("[Rusty Pinch:local:m] Received 'hello'"), "{finished:?}");
    let said = finished.stderr.join("\n");
    assert!(said.contains("the turn is not kept"), "{said}");
}

#[test]
fn a_command_of_another_user_leaves_nothing_behind() {
    let world = local();
    assert!(run(&world, &["run", "--message", "mine"], 0).stdout.contains("mine"));
    let sessions = world.data().join("sessions");
    if std::os::unix::fs::chown(&sessions, Some(1), None).is_err() {
        say("skip: only root can give files away");
        return;
    }
    let refused = run(&world, &["run", "--message", "theirs"], 78);
    assert!(refused.stderr.join("").contains("sudo -u daemon rusty-pinch"), "{refused:?}");
    let text = std::fs::read_to_string(sessions.join("default.jsonl")).expect("a session");
    assert!(!text.contains("theirs"), "{text}");
    assert!(run(&world, &["doctor"], 0).stdout.contains("warning path.owner: "));
}
