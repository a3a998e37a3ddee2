//! Contract §2 and §3: streams, commands, options, exit codes, the lines of `doctor`, the keys of `stats`.

use std::io::Write;
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::Value;

use rusty_pinch::cli::flags::COMMANDS;

use crate::contract::Decision::{Changed, Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row};
use crate::support::command::{local, run};
use crate::support::scene::Scene;
use crate::support::world::World;

const ZERO: &str = "§15.16 kept, and 0 where nothing is counted any more";

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("2", "standard output carries only the result", "", Changed("§15.7 no text log among results"), Check(streams)),
    row("2", "standard error carries one JSON object a line", "", Stays, Check(streams)),
    row("2", "pretty JSON has two spaces of indentation", "", Stays, Check(indentation)),
    row("2", "timestamps are RFC 3339 in UTC with +00:00", "", Stays, Check(timestamps)),
    row("2", "request_id starts with rp-", "", Changed("weakness: ids were not unique across processes"), Tests(&["many_commands_at_once_lose_no_line_and_no_count"])),
    row("2.1", "observability_init, observability_shutdown", "", Gone("§15.17 no OTLP"), Check(no_old_events)),
    row("2.1", "skills_assets_synced, skills_assets_sync_error, skill_log, skill_print", "", Gone("§15.17 no skills"), Check(no_old_events)),
    row("2.1", "pulse_action, evolution_lock_recovered, evolution_audit_error, evolution_failure_circuit_error", "", Gone("§15.17 no pulse, no evolution"), Check(no_old_events)),
    row("2.1", "telemetry_error", "message", Stays, Check(event)),
    row("2.1", "turn", "attempts error latency_ms model path provider request_id response_chars session_id status timestamp tool_name user_chars", Stays, Check(event)),
    row("2.1", "channel_start", "allow_from_count channel max_messages", Stays, Check(event)),
    row("2.1", "channel_start: poll_interval_ms", "", Gone("§16 polls follow one another at once"), Tests(&["a_server_that_does_not_hold_the_poll_is_not_asked_in_a_loop"])),
    row("2.1", "channel_connected", "channel", Stays, Check(event)),
    row("2.1", "channel_signal", "signal action", Stays, Check(event)),
    row("2.1", "channel_stop", "channel reason", Stays, Check(event)),
    row("2.1", "channel_poll_error", "channel error", Stays, Check(event)),
    row("2.1", "channel_send_error", "channel error chat_id", Stays, Check(event)),
    row("2.1", "channel_start (whatsapp): bridge_url", "", Changed("weakness: scheme, host and port only, because a URL may hold a secret"), Check(bridge_url)),
    row("2.1", "channel_connect_error, channel_read_error, channel_parse_error", "", Stays, Tests(&["every_entrance_that_does_not_lead_in_is_told_and_tried_again", "no_text_ends_the_worker_or_the_link"])),
    row("3", "--option VALUE and --option=VALUE", "", Stays, Check(both_spellings)),
    row("3", "--help everywhere", "", Stays, Check(help)),
    row("3", "--version, -V, -h", "", Changed("§15.8 exist now"), Check(version)),
    row("3", "exit 0, 1 and 2", "", Stays, Check(exit_codes)),
    row("3", "exit 78 for a value that does not fit", "", Changed("§15.9 was a silent default"), Check(exit_codes)),
    row("3", "exit 101 when a reader leaves", "", Changed("weakness: a closed pipe was a panic"), Tests(&["a_reader_that_leaves_early_is_no_error"])),
    row("3", "(no command)", "doctor", Stays, Check(no_command)),
    row("3", "doctor", "", Changed("§15.4 exit 1 when a check fails"), Check(doctor_exits)),
    row("3", "run", "", Stays, Check(run_replies)),
    row("3", "run --session", "default", Stays, Check(option)),
    row("3", "run --message", "required", Stays, Check(option)),
    row("3", "run --message may be blank", "", Stays, Check(blank_message)),
    row("3", "tools list", "", Stays, Check(tools_list)),
    row("3", "tools run", "", Stays, Check(tools_run)),
    row("3", "tools run --session", "default", Stays, Check(option)),
    row("3", "tools run --name", "required", Stays, Check(option)),
    row("3", "tools run --args", "", Stays, Check(option)),
    row("3", "skills list", "tools list", Gone("§15.17 no skills"), Check(refused)),
    row("3", "skills dry-run --name x", "tools list", Gone("§15.17 no skills"), Check(refused)),
    row("3", "skills run --session x --name x --args x", "tools list", Gone("§15.17 no skills"), Check(refused)),
    row("3", "channels telegram", "", Stays, Tests(&["a_worker_introduces_itself_and_asks_for_messages_only"])),
    row("3", "channels telegram --max-messages", "", Stays, Check(option)),
    row("3", "channels telegram while it is disabled", "", Changed("§15.9 exit 78, was 1"), Check(disabled_channel)),
    row("3", "channels whatsapp", "", Stays, Tests(&["a_bridge_of_dialect_p_is_found_out_by_its_first_message"])),
    row("3", "channels whatsapp --max-messages", "", Stays, Check(option)),
    row("3", "repl", "", Changed("§15.8 ends at end of input; weakness: a failed turn ended it"), Check(repl)),
    row("3", "repl --session", "default", Stays, Check(option)),
    row("3", "session", "", Stays, Check(session)),
    row("3", "session --session", "default", Stays, Check(option)),
    row("3", "stats", "", Changed("§15.7 stats | jq works"), Check(stats_is_json)),
    row("3", "monitor --pid", "", Stays, Check(option)),
    row("3", "monitor --process-match", "rusty-pinch", Stays, Check(option)),
    row("3", "monitor --interval-ms", "1000", Stays, Check(option)),
    row("3", "monitor --storage-refresh-ticks", "10", Stays, Check(option)),
    row("3", "monitor --once", "", Stays, Check(option)),
    row("3", "codex status", "accounts enabled queue_capacity queue_depth queue_mode_reason rate_limit_threshold_percent", Stays, Check(codex_command)),
    row("3", "codex status: accounts", "", Stays, Tests(&["the_commands_of_codex_print_what_scripts_read"])),
    row("3", "codex healthcheck", "checks", Stays, Check(codex_command)),
    row("3", "codex generate --prompt x --purpose general", "account_id latency_ms output status task_id", Stays, Check(codex_command)),
    row("3", "codex drain-one", "there is no queue", Gone("§15.3 nothing is queued, so nothing can be drained"), Check(refused)),
    row("3", "pulse status", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse job list", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse job add-http-healthcheck --id x --interval-secs 1 --url x --expected-status 200 --timeout-secs 20 --enabled", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse job remove --id x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse job enable --id x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse job disable --id x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse tick", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse ooda --action x --observations [] --goal x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse goal add --id x --description x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse goal list", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse approve --token x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "pulse reject --token x --reason x", "cron", Gone("§15.17 no pulse"), Check(refused)),
    row("3", "evolution generate-skill --name x --goal x", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution stage-update --artifact x --current-binary x --current-version x --artifact-version x --artifact-sha256 x --artifact-sha256-sums-file x --artifact-sha256-sums-signature-file x --artifact-sha256-entry x", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution apply-staged-update --healthcheck-args doctor --healthcheck-timeout-secs 30 --confirm", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution audit-verify", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution lock-status", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution recovery-status", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution active-slot-status", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution failure-circuit-status", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution failure-circuit-reset --confirm", "restart", Gone("§15.17 no evolution"), Check(refused)),
    row("3", "evolution force-unlock --confirm", "restart", Gone("§15.17 no evolution"), Check(refused)),

    row("3.1", "Rusty Pinch Doctor", "", Stays, Check(title)),
    row("3.1", "provider", "local", Stays, Check(doctor_line)),
    row("3.1", "model", "m", Stays, Check(doctor_line)),
    row("3.1", "api_base", "<unset>", Stays, Check(doctor_line)),
    row("3.1", "data_dir", "*", Stays, Check(doctor_line)),
    row("3.1", "workspace", "*", Stays, Check(doctor_line)),
    row("3.1", "telemetry_file", "*", Stays, Check(doctor_line)),
    row("3.1", "request_timeout_secs", "60", Stays, Check(doctor_line)),
    row("3.1", "request_retries", "2", Stays, Check(doctor_line)),
    row("3.1", "retry_backoff_ms", "600", Stays, Check(doctor_line)),
    row("3.1", "retry_max_backoff_ms", "4000", Stays, Check(doctor_line)),
    row("3.1", "api_key_loaded", "false", Stays, Check(doctor_line)),
    row("3.1", "telegram_enabled", "false", Stays, Check(doctor_line)),
    row("3.1", "telegram_allow_from_count", "0", Stays, Check(doctor_line)),
    row("3.1", "whatsapp_enabled", "false", Stays, Check(doctor_line)),
    row("3.1", "whatsapp_allow_from_count", "0", Stays, Check(doctor_line)),
    row("3.1", "codex_enabled", "true", Stays, Check(doctor_line)),
    row("3.1", "codex_accounts_count", "1", Stays, Check(doctor_line)),
    row("3.1", "codex_queue_capacity", "", Gone("§15.16 no queue"), Check(no_doctor_line)),
    row("3.1", "codex_rate_limit_threshold_percent", "25", Stays, Check(doctor_line)),
    row("3.1", "pulse_auto_allow_actions_count", "", Gone("§15.16 no pulse"), Check(no_doctor_line)),
    row("3.1", "evolution_", "", Gone("§15.16 19 lines without evolution"), Check(no_doctor_line)),
    row("3.1", "status", "ok or warning", Changed("§15.16 ok can be reached"), Check(status_line)),
    row("3.1", "status: warning, then lines of '- '", "", Changed("§15.4 a check that fails says error and exits 1"), Check(dashes)),
    row("3.1", "the order of the lines", "", Stays, Check(doctor_order)),
    row("3.1", "warning: the model is blank", "RUSTY_PINCH_MODEL=", Changed("§15.9 blank means unset"), Check(blank_model)),
    row("3.1", "warning: no key", "RUSTY_PINCH_PROVIDER=openai OPENAI_API_KEY", Changed("§15.4 fails"), Check(doctor_names)),
    row("3.1", "warning: no base", "RUSTY_PINCH_PROVIDER=vllm API base", Changed("§15.4 fails"), Check(doctor_names)),
    row("3.1", "warning: the request timeout is 0", "RUSTY_PINCH_REQUEST_TIMEOUT_SECS=0 request_timeout_secs: 0", Stays, Check(doctor_names)),
    row("3.1", "warning: the largest back-off is smaller than the first", "", Stays, Tests(&["what_does_not_do_what_it_seems_to_say_is_named"])),
    row("3.1", "warning: telegram is enabled without a token", "RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", Changed("§15.4 fails"), Check(doctor_names)),
    row("3.1", "warning: whatsapp is enabled without a URL", "RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED=true WHATSAPP", Stays, Check(doctor_names)),
    row("3.1", "warning: codex is enabled without accounts", "", Changed("§16 there is always the program's own account"), Check(doctor_order)),
    row("3.1", "warning: the codex program is blank", "", Changed("§15.9 blank means unset"), Check(blank_codex)),
    row("3.1", "warning: the provider is codex and codex is disabled", "RUSTY_PINCH_PROVIDER=codex RUSTY_PINCH_CODEX_ENABLED=false RUSTY_PINCH_CODEX_ENABLED", Changed("§15.4 fails"), Check(doctor_names)),
    row("3.1", "never prints secrets", "", Stays, Check(no_secrets)),

    row("3.2", "bus.consumed", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "bus.depth", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "bus.dropped", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "bus.published", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "last_turn", "", Stays, Check(last_turn)),
    row("3.2", "prompt_cache.hits", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "prompt_cache.misses", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "telemetry.codex", "null", Changed(ZERO), Check(stats_key)),
    row("3.2", "telemetry.error_turns", "0", Stays, Check(stats_key)),
    row("3.2", "telemetry.evolution", "null", Changed(ZERO), Check(stats_key)),
    row("3.2", "telemetry.file", "*", Stays, Check(stats_key)),
    row("3.2", "telemetry.ok_turns", "2", Stays, Check(stats_key)),
    row("3.2", "telemetry.provider_turns", "1", Stays, Check(stats_key)),
    row("3.2", "telemetry.pulse", "null", Changed(ZERO), Check(stats_key)),
    row("3.2", "telemetry.schema_version", "1", Stays, Check(stats_key)),
    row("3.2", "telemetry.skill_turns", "0", Changed(ZERO), Check(stats_key)),
    row("3.2", "telemetry.tool_turns", "1", Stays, Check(stats_key)),
    row("3.2", "telemetry.total_provider_attempts", "0", Stays, Check(stats_key)),
    row("3.2", "telemetry.total_turns", "2", Stays, Check(stats_key)),
    row("3.2", "telemetry.updated_at", "*", Stays, Check(stats_key)),
    row("3.2", "keys are in alphabetical order", "", Stays, Check(stats_order)),

    row("10", "WhatsApp: a text frame in, a text frame out, extra fields ignored", "", Stays, Tests(&["a_message_of_dialect_p_may_leave_out_almost_everything", "what_we_say_is_exactly_this"])),
    row("10", "WhatsApp: binary frames and other types are ignored, what is no frame is told", "", Stays, Tests(&["binary_frames_are_counted_and_large_messages_of_many_frames_are_read", "what_is_no_frame_says_so_and_nothing_panics"])),
    row("10", "WhatsApp: ws only, no limits of time, a fixed delay", "", Changed("weakness: wss, limits, full jitter from RECONNECT_MS to a minute"), Tests(&["tls_is_spoken_and_a_certificate_that_is_not_trusted_is_refused", "delays_have_full_jitter_below_a_ceiling_and_no_end"])),
    row("10", "WhatsApp: a reply is one frame, never split", "", Changed("weakness: split as on every channel"), Tests(&["long_replies_are_split_and_markup_is_whatsapps"])),
    row("10", "WhatsApp: no dedupe, no check for own messages", "", Changed("weakness: echoing bridges loop"), Tests(&["our_own_messages_and_echoes_are_not_answered", "copies_of_a_message_are_answered_once_and_what_has_no_id_every_time"])),
    row("10", "WhatsApp: allow list by sender or chat", "", Changed("§15.1 empty is nobody"), Tests(&["entries_match_every_candidate_alike", "an_empty_list_answers_nobody_and_says_so"])),
    row("10", "WhatsApp: --max-messages", "", Stays, Tests(&["a_bounded_run_ends_after_its_messages"])),
    row("11", "monitor: header, APP, PROCESS, HOST and STORAGE blocks", "", Stays, Tests(&["a_frame_is_as_it_always_was", "once_prints_one_frame_with_a_real_figure_of_processor_time"])),
    row("11", "monitor clears the screen each tick, has no keys", "", Changed("weakness: a terminal gets a screen with keys, of which only changes are painted; elsewhere as before"), Tests(&["keys_change_what_is_shown_and_quit_gives_the_terminal_back", "without_a_terminal_each_tick_is_a_frame"])),
    row("11", "monitor: pulse, evolution and their alerts", "", Gone("§15.17"), Tests(&["a_frame_is_as_it_always_was"])),
    row("11", "monitor: the lowest process that matches, itself excluded; exit 0 without one", "", Changed("weakness: a worker that reports is preferred"), Tests(&["a_worker_that_reports_is_preferred_to_a_search"])),
];

/// What doctor says of a complete set-up.
fn doctor() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(|| run(&local(), &["doctor"], 0).stdout)
}

/// Counters after one message and one tool.
fn stats() -> &'static str {
    static SAID: OnceLock<String> = OnceLock::new();
    SAID.get_or_init(|| {
        let world = local();
        run(&world, &["run", "--message", "hello"], 0);
        run(&world, &["tools", "run", "--name", "time_now"], 0);
        run(&world, &["stats"], 0).stdout
    })
}

fn streams(_: &Row) {
    let world = local();
    let finished = run(&world, &["run", "--message", "hello"], 0);
    assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
    let objects =
        finished.stderr.iter().filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|v| v.is_object()));
    assert!(objects.count() == finished.stderr.len() && !finished.stderr.is_empty(), "{finished:?}");
}

fn indentation(_: &Row) {
    assert!(stats().starts_with("{\n  \"bus\": {\n    \"consumed\": 0,"), "{}", stats());
}

fn timestamps(_: &Row) {
    let value: Value = serde_json::from_str(stats()).expect("JSON");
    let timestamp = value["last_turn"]["timestamp"].as_str().expect("a text");
    assert!(timestamp.ends_with("+00:00") && timestamp.as_bytes()[10] == b'T', "{timestamp}");
}

fn no_old_events(row: &Row) {
    let world = local();
    run(&world, &["run", "--message", "hello"], 0);
    for name in row.name.split(", ") {
        assert!(world.all_events(name).is_empty(), "{name}");
    }
}

/// The events that a worker of Telegram tells in a life of a message, a failed send and a signal.
fn events() -> &'static [Value] {
    static SAID: OnceLock<Vec<Value>> = OnceLock::new();
    SAID.get_or_init(|| {
        use crate::support::telegram_script::Fault;
        let scene = Scene::new("events");
        // Counters that cannot be written.
        std::fs::create_dir_all(scene.world.data().join("telemetry/latest.json")).expect("a folder in the way");
        let process = scene.start_polling();
        scene.telegram.fault(Fault::status(500, "Internal Server Error").on("getUpdates").times(1));
        scene.telegram.fault(Fault::too_many_requests(1).on("sendMessage").times(1));
        scene.telegram.say(7, "hello");
        scene.until_answered();
        process.until_event("channel_poll_error");
        scene.stop(process);
        let lines = scene.world.all_lines();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    })
}

fn event(row: &Row) {
    let found = events().iter().find(|event| event["event"] == row.name);
    let event = found.unwrap_or_else(|| panic!("no such event among {}", events().len()));
    let missing: Vec<&str> = row.want.split(' ').filter(|field| event.get(*field).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} of {event}");
}

fn both_spellings(_: &Row) {
    let world = local();
    let spaced = run(&world, &["run", "--session", "a", "--message", "x"], 0).stdout;
    assert_eq!(run(&world, &["run", "--session=b", "--message=x"], 0).stdout, spaced);
}

fn help(_: &Row) {
    let world = World::new();
    for command in COMMANDS {
        let arguments = [command.words, &["--help"]].concat();
        assert!(run(&world, &arguments, 0).stdout.contains("rusty-pinch"), "{arguments:?}");
    }
}

fn version(_: &Row) {
    let world = World::new();
    let version = concat!("rusty-pinch ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!([run(&world, &["--version"], 0).stdout, run(&world, &["-V"], 0).stdout], [version, version]);
    assert!(run(&world, &["-h"], 0).stdout.contains("Usage"));
}

fn exit_codes(_: &Row) {
    let mut world = local();
    run(&world, &["run", "--message", "x"], 0);
    run(&world, &["run", "--message", "/tool none"], 1);
    run(&world, &["run"], 2);
    world.set("RUSTY_PINCH_WORKERS", "many");
    run(&world, &["run", "--message", "x"], 78);
}

fn no_command(_: &Row) {
    let world = local();
    let (named, plain) = (run(&world, &["doctor"], 0).stdout, run(&world, &[], 0).stdout);
    // Measured figures may differ between two looks.
    assert_eq!(named.lines().take(15).collect::<Vec<_>>(), plain.lines().take(15).collect::<Vec<_>>());
}

fn doctor_exits(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_BUS_CAPACITY", "100");
    assert!(run(&world, &["doctor"], 0).stdout.contains("status: warning"), "a warning is no failure");
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    run(&world, &["doctor"], 1);
}

fn run_replies(_: &Row) {
    assert_eq!(
        run(&local(), &["run", "--message", "hello"], 0).stdout,
        "[Rusty Pinch:local:m] Received 'hello'. history=0 messages.\n"
    );
}

fn blank_message(_: &Row) {
    assert!(run(&local(), &["run", "--message", ""], 0).stdout.contains("Received ''"));
}

/// `want` is the default, or says that there is none.
fn option(row: &Row) {
    let (words, name) = row.name.split_once(" --").expect("a command and an option");
    let words: Vec<&str> = words.split(' ').collect();
    let command = COMMANDS.iter().find(|command| command.words == words).expect("a command");
    let option = command.options.iter().find(|option| option.name == name).expect("an option");
    assert_eq!(option.default.unwrap_or("required"), row.want);
    let world = local();
    let help = run(&world, &[&words[..], &["--help"]].concat(), 0).stdout;
    assert!(help.contains(&format!("--{name} ")), "{help}");
    if row.want == "required" {
        let refused = run(&world, &words, 2);
        assert!(refused.stderr[0].contains("--"), "{refused:?}");
    }
}

fn tools_list(_: &Row) {
    let list = run(&local(), &["tools", "list"], 0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    let mut names: Vec<&str> = Vec::new();
    for pair in lines.chunks(2) {
        names.extend(pair[0].split_once(" - ").map(|(name, _)| name));
        assert!(pair[1].starts_with("  usage: /tool "), "{pair:?}");
    }
    assert!(names.is_sorted() && names.len() * 2 == lines.len(), "{list}");
}

fn tools_run(_: &Row) {
    let world = local();
    let typed = run(&world, &["run", "--message", "/tool session_tail 1", "--session", "a"], 0).stdout;
    let named = run(&world, &["tools", "run", "--name", "session_tail", "--args", "1", "--session", "b"], 0).stdout;
    assert_eq!(typed.replace("\"a\"", "\"b\""), named);
    let kept = run(&world, &["session", "--session", "b"], 0).stdout;
    assert!(kept.contains("\"/tool session_tail 1\""), "{kept}");
}

/// The name is no command any more; one sentence says what to use instead.
fn refused(row: &Row) {
    let arguments: Vec<&str> = row.name.split(' ').collect();
    let finished = run(&local(), &arguments, 2);
    assert!(finished.stdout.is_empty() && finished.stderr[0].contains(row.want), "{finished:?}");
}

fn disabled_channel(_: &Row) {
    let finished = run(&local(), &["channels", "telegram"], 78);
    assert!(finished.stderr[0].contains("disabled"), "{finished:?}");
}

fn bridge_url(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "true");
    world.set("RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", "ws://127.0.0.1:9/ws?session=canary");
    let mut process = world.start(&["channels", "whatsapp"]);
    let started = process.until_event("channel_start");
    assert_eq!(started["bridge_url"], "ws://127.0.0.1:9");
    process.terminate();
    process.wait_within(std::time::Duration::from_secs(10));
    assert!(!world.all_lines().iter().any(|line| line.contains("canary")));
}

fn repl(_: &Row) {
    let mut world = local();
    for (input, told) in [("/tool none\nhello\n", "Received 'hello'"), ("\nExIt\nno\n", "Bye.")] {
        let mut child = world.command(&["repl"]).stdin(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let banner = shown.lines().next().unwrap_or_default().to_owned();
        assert!(output.status.success() && shown.contains(told) && shown.contains("\n> "), "{shown}");
        assert!(banner.contains("Rusty Pinch") && !shown.contains("'no'"), "{shown}");
    }
    world.unset("RUSTY_PINCH_MODEL");
}

fn session(_: &Row) {
    let world = local();
    assert_eq!(run(&world, &["session"], 0).stdout, "[]\n");
    run(&world, &["run", "--message", "hé"], 0);
    let shown = run(&world, &["session"], 0).stdout;
    let lines: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(lines[0].as_object().map(|line| line.len()), Some(3), "{shown}");
    assert!(shown.contains("{\"role\":\"user\",\"content\":\"hé\",\"timestamp\":\""), "{shown}");
}

fn stats_is_json(_: &Row) {
    assert!(serde_json::from_str::<Value>(stats()).is_ok());
}

fn title(row: &Row) {
    assert_eq!(doctor().lines().next(), Some(row.name));
}

fn doctor_line(row: &Row) {
    let line = doctor().lines().find_map(|line| line.strip_prefix(row.name)?.strip_prefix(": "));
    let value = line.unwrap_or_else(|| panic!("no such line in {}", doctor()));
    assert!(value == row.want || row.want == "*" && !value.is_empty(), "{value}");
}

/// What the machine is like decides between the two; the complete table of checks has tests of its own.
fn status_line(row: &Row) {
    let line = doctor().lines().find_map(|line| line.strip_prefix("status: ")).expect("a status");
    assert!(row.want.split(" or ").any(|want| want == line), "{line}");
}

fn no_doctor_line(row: &Row) {
    assert!(!doctor().contains(row.name), "{}", doctor());
}

/// Whatever the provider is. The program is one that answers in plain text, and that has no login to be asked about.
fn codex_command(row: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_CODEX_CLI_BIN", "cat");
    world.set("RUSTY_PINCH_CODEX_CLI_ARGS", "");
    let arguments: Vec<&str> = row.name.split(' ').collect();
    let told: Value = serde_json::from_str(&run(&world, &arguments, 0).stdout).expect("JSON");
    let keys: Vec<&str> = told.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys.join(" "), row.want, "{told:#}");
    world.set("RUSTY_PINCH_CODEX_ENABLED", "false");
    assert!(run(&world, &arguments, 1).stderr.iter().any(|line| line.contains("CODEX_ENABLED")));
}

fn dashes(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_BUS_CAPACITY", "100");
    let told = run(&world, &["doctor"], 0).stdout;
    let (_, problems) = told.split_once("status: warning\n").expect("a warning");
    assert!(!problems.is_empty() && problems.lines().all(|line| line.starts_with("- ")), "{told}");
}

/// Lines of ours may stand between those of the contract.
fn doctor_order(_: &Row) {
    let wanted = ROWS
        .iter()
        .filter(|row| matches!(row.proof, Check(check) if std::ptr::fn_addr_eq(check, doctor_line as fn(&Row))));
    let places: Vec<Option<usize>> =
        wanted.map(|row| doctor().lines().position(|line| line.starts_with(&format!("{}: ", row.name)))).collect();
    assert!(places.len() == 18 && places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

fn blank_model(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_MODEL", " ");
    assert!(run(&world, &["doctor"], 0).stdout.contains("\nmodel: openrouter/qwen/qwen3-coder\n"));
}

fn blank_codex(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_PROVIDER", "codex");
    world.set("RUSTY_PINCH_CODEX_CLI_BIN", " ");
    world.set("PATH", "");
    let told = run(&world, &["doctor"], 1).stdout;
    assert!(told.lines().any(|line| line.starts_with("- ") && line.contains("'codex'")), "{told}");
}

/// `want` has settings, and then what a line of doctor holds.
fn doctor_names(row: &Row) {
    let mut world = local();
    let mut told = row.want;
    while let Some((setting, rest)) = told.split_once(' ').filter(|(first, _)| first.contains('=')) {
        let (name, value) = setting.split_once('=').expect("a setting");
        world.set(name, value);
        told = rest;
    }
    let said = world.run(&["doctor"]).stdout;
    // Names of variables and words of sentences.
    let plain = |text: &str| text.to_lowercase().replace('_', " ");
    assert!(said.lines().any(|line| plain(line).contains(&plain(told))), "no {told} in {said}");
    assert!(said.contains("status: error") || !matches!(row.decision, Changed(_)), "{said}");
}

fn no_secrets(_: &Row) {
    let mut world = local();
    for name in ["RUSTY_PINCH_API_KEY", "OPENAI_API_KEY", "RUSTY_PINCH_OPENAI_API_KEY"] {
        world.set(name, "sk-canary-5521");
    }
    world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "77:canary-5521");
    for arguments in [&["doctor"][..], &["doctor", "--json"], &["doctor", "--quiet"], &["stats"]] {
        let said = world.run(arguments);
        assert!(!format!("{said:?}").contains("canary-5521"), "{said:?}");
    }
}

fn stats_key(row: &Row) {
    let value: Value = serde_json::from_str(stats()).expect("JSON");
    let found = value.pointer(&format!("/{}", row.name.replace('.', "/"))).expect("the key is there").to_string();
    assert!(found == row.want || row.want == "*" && found != "null", "{found}");
}

fn last_turn(_: &Row) {
    let value: Value = serde_json::from_str(stats()).expect("JSON");
    assert_eq!(value["last_turn"]["tool_name"], "time_now");
    assert!(value["last_turn"].get("event").is_none());
    let fresh: Value = serde_json::from_str(&run(&local(), &["stats"], 0).stdout).expect("JSON");
    assert_eq!(fresh["last_turn"], Value::Null);
}

fn stats_order(_: &Row) {
    let mut levels: Vec<Vec<&str>> = vec![Vec::new(); 4];
    for line in stats().lines() {
        let depth = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix('"').and_then(|rest| rest.split_once("\":")) {
            Some((name, _)) => levels[depth / 2].push(name),
            None => levels.iter_mut().skip(depth / 2 + 1).for_each(|names| {
                assert!(names.is_sorted(), "{names:?}");
                names.clear();
            }),
        }
    }
}
