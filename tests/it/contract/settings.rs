//! Contract §4, §12 and §16: where settings come from, how values are read, and every variable.

use std::fs;

use rusty_pinch::config::keys::{Fate, KEYS};
use rusty_pinch::config::values::Kind;

use crate::contract::Decision::{Changed, Gone, Stays};
use crate::contract::Proof::{Check, Tests};
use crate::contract::{Row, row, templates};
use crate::support::cases::Random;
use crate::support::fake_provider::FakeProvider;
use crate::support::world::World;

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("4.1", "RUSTY_PINCH_ENV_FILE, trimmed", "", Stays, Check(named_file)),
    row("4.1", "a named file that is missing or malformed", "", Changed("§15.9 exit 78, was 1"), Check(missing_file)),
    row("4.1", "./.env if present", "", Stays, Check(file_here)),
    row("4.1", "parent folders are not searched", "", Stays, Check(no_parents)),
    row("4.1", "RUSTY_PINCH_ENV_FILE inside a file has no effect", "", Changed("weakness: nothing was said; doctor tells it"), Check(no_chains)),
    row("4.1", "/etc/rusty-pinch/rusty-pinch.env", "", Changed("§15.15 after ./.env"), Tests(&["the_systems_file_is_read_after_the_one_here_and_both_after_the_one_that_is_named"])),
    row("4.1", "a file without permission says sudo -u", "", Changed("§15.15 an error"), Tests(&["an_env_file_that_may_not_be_read_is_an_error_that_says_whose_command_it_is"])),
    row("4.1", "the environment wins, also when blank", "", Stays, Check(environment_wins)),
    row("4.1", "the first of two lines wins", "MODEL=a\nRUSTY_PINCH_MODEL=b => a", Stays, Check(grammar)),
    row("4.1", "export", "", Stays, Check(exported)),
    row("4.1", "spaces around =", "MODEL = a => a", Stays, Check(grammar)),
    row("4.1", "comments and blank lines", "MODEL=a\n# RUSTY_PINCH_MODEL=b\n\n   \n => a", Stays, Check(grammar)),
    row("4.1", "a comment behind a value", "MODEL=a # b => a", Stays, Check(grammar)),
    row("4.1", "# inside a value", "MODEL=a#b => a#b", Stays, Check(grammar)),
    row("4.1", "single quotes are literal", "MODEL='a $HOME # b' => a $HOME # b", Stays, Check(grammar)),
    row("4.1", "double quotes with escapes", "MODEL=\"a \\\"b\\\" \\$HOME\" => a \"b\" $HOME", Stays, Check(grammar)),
    row("4.1", "quotes may span lines", "", Stays, Check(spanning)),
    row("4.1", "${VAR} and $VAR", "MODEL=${RUSTY_PINCH_PROVIDER}-$RUSTY_PINCH_PROVIDER/x => local-local/x", Stays, Check(grammar)),
    row("4.1", "an unquoted value with spaces", "MODEL=exec --skip-git-repo-check => exec --skip-git-repo-check", Changed("§15.5 was an error"), Check(grammar)),
    row("4.1", "a line that is no setting", "", Stays, Tests(&["every_bad_setting_is_told_in_one_sentence"])),
    row("4.1", "docker's env_file hands quotes on", "", Stays, Check(literal_quotes)),
    row("4.1", "a byte order mark and Windows line ends", "", Stays, Tests(&["the_first_of_two_wins_and_windows_files_load"])),
    row("4.2", "bool: 1, true, yes, on, 0, false, no, off in any case, trimmed", "", Stays, Check(flags)),
    row("4.2", "bool: anything else is the default", "", Changed("§15.9 an error; blank means unset"), Check(bad_flag)),
    row("4.2", "numbers are trimmed", "", Changed("§15.9 also those of REQUEST_ and RETRY_"), Check(numbers)),
    row("4.2", "a number that does not fit is the default", "", Changed("§15.9 an error"), Tests(&["every_bad_setting_is_told_in_one_sentence"])),
    row("4.2", "lists: split at commas, trimmed, blank ones dropped", "", Stays, Check(list)),
    row("4.2", "arguments: split at white space, no quoting", "", Stays, Check(words)),
    row("4.2", "texts are trimmed, and blank falls through to the next name", "", Stays, Check(falls_through)),
    row("4.2", "PROVIDER is trimmed and in any case", "", Stays, Check(provider_case)),
    row("4.2", "PROVIDER set and blank is no provider", "", Changed("§15.9 blank means unset"), Check(blank_provider)),
    row("4.2", "MODEL set and blank is no model", "", Changed("§15.9 blank means unset"), Check(blank_model)),
    row("4.2", "CODEX_CLI_ARGS and CODEX_MODEL_FLAG set and blank mean none", "", Stays, Check(blank_arguments)),
    row("4.3", "RUSTY_PINCH_ENV_FILE", "", Stays, Check(named_file)),
    row("4.3", "PROVIDER: codex", "gpt-5-codex", Stays, Check(default_model)),
    row("4.3", "PROVIDER: openrouter", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: openai", "gpt-4o-mini", Stays, Check(default_model)),
    row("4.3", "PROVIDER: groq", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: vllm", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: compatible", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: local", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: offline", "openrouter/qwen/qwen3-coder", Stays, Check(default_model)),
    row("4.3", "PROVIDER: anthropic", "", Gone("§15.9 an unknown provider is an error"), Check(unknown_provider)),
    row("4.3", "RUSTY_PINCH_PROVIDER", "codex", Changed("§15.9 an unknown name is an error"), Check(key)),
    row("4.3", "RUSTY_PINCH_MODEL", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_REQUEST_TIMEOUT_SECS", "60", Changed("§16 limit of silence, not of the whole attempt"), Check(key)),
    row("4.3", "RUSTY_PINCH_REQUEST_RETRIES", "2", Changed("§15.9 at most 5"), Check(key)),
    row("4.3", "RUSTY_PINCH_RETRY_BACKOFF_MS", "600", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_RETRY_MAX_BACKOFF_MS", "4000", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_DATA_DIR", "./data", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_WORKSPACE", "./workspace", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_TELEMETRY_FILE", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_BUS_CAPACITY", "", Gone("§15.17 no bus"), Check(key)),
    row("4.3", "RUSTY_PINCH_BUS_OVERFLOW", "", Gone("§15.17 no bus"), Check(key)),
    row("4.3", "RUSTY_PINCH_SKILL_HTTP_TIMEOUT_SECS", "", Gone("§15.17 no skills"), Check(key)),
    row("4.3", "RUSTY_PINCH_API_KEY", "", Changed("§15.6 after the provider's own name"), Check(key)),
    row("4.3", "RUSTY_PINCH_OPENAI_API_KEY", "", Changed("§15.6 before RUSTY_PINCH_API_KEY"), Check(key)),
    row("4.3", "RUSTY_PINCH_OPENROUTER_API_KEY", "", Changed("§15.6 before RUSTY_PINCH_API_KEY"), Check(key)),
    row("4.3", "RUSTY_PINCH_GROQ_API_KEY", "", Changed("§15.6 before RUSTY_PINCH_API_KEY"), Check(key)),
    row("4.3", "RUSTY_PINCH_ANTHROPIC_API_KEY", "", Gone("§15.9 there is no provider anthropic"), Check(key)),
    row("4.3", "RUSTY_PINCH_API_BASE", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_OPENAI_API_BASE", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_OPENROUTER_API_BASE", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_GROQ_API_BASE", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED", "false", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", "", Changed("§15.1 empty is nobody"), Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_TIMEOUT_SECS", "30", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_POLL_INTERVAL_MS", "", Gone("§16 accepted without effect"), Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_TELEGRAM_REQUEST_TIMEOUT_SECS", "60", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_WHATSAPP_ENABLED", "false", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_WHATSAPP_BRIDGE_URL", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_WHATSAPP_ALLOW_FROM", "", Changed("§15.1 empty is nobody"), Check(key)),
    row("4.3", "RUSTY_PINCH_CHANNELS_WHATSAPP_RECONNECT_MS", "2000", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_ENABLED", "true", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_CLI_BIN", "codex", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_CLI_ARGS", "exec --skip-git-repo-check", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_PROMPT_FLAG", "", Gone("§16 the prompt goes through standard input"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_MODEL_FLAG", "--model", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_MODEL", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_TIMEOUT_SECS", "120", Changed("§16 it is the deadline of a run"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_QUEUE_CAPACITY", "", Gone("§15.3 no queue"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_RATE_LIMIT_THRESHOLD_PERCENT", "25", Changed("§15.3 nothing is queued; an account with little left is used last"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_RATE_WINDOW_SECS", "3600", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_HEALTHCHECK_INTERVAL_SECS", "300", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_HEALTHCHECK_ARGS", "--version", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_ACCOUNTS", "", Changed("§16 a fifth field, the account's CODEX_HOME"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_ACCOUNT_MAX_REQUESTS", "200", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_ACCOUNT_API_KEY_ENV", "", Changed("weakness: Codex did not see the key; now it is CODEX_API_KEY"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_ACCOUNT_MODEL", "", Stays, Check(key)),
    row("4.3", "RUSTY_PINCH_PULSE_AUTO_ALLOW_ACTIONS", "", Gone("§15.17 no pulse"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_REQUIRE_APPLY_CONFIRM", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_AUTO_RECOVER_STALE_LOCK", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_MAX_STAGED_MANIFEST_AGE_SECS", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_MAX_CONSECUTIVE_APPLY_FAILURES", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_LOCK_STALE_AFTER_SECS", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_TRUSTED_SHA256SUMS_SHA256", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_TRUSTED_SHA256SUMS_ED25519_PUBLIC_KEY", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_MANIFEST_SIGNING_KEY", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_MANIFEST_SIGNING_KEY_ID", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_MANIFEST_SIGNING_KEYS", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_ACTIVE_SLOT_SIGNING_KEY", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_ACTIVE_SLOT_SIGNING_KEY_ID", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_EVOLUTION_REQUIRE_ANYTHING_ELSE", "", Gone("§15.17 no evolution"), Check(key)),
    row("4.3", "RUSTY_PINCH_OTEL_EXPORTER_OTLP_ENDPOINT", "", Gone("§15.17 no OTLP over gRPC"), Check(key)),
    row("4.3", "RUSTY_PINCH_CODEX_HOME", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_AUTO_LOGIN", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_LOGIN_TIMEOUT_SECS", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_CHATGPT_AUTH_FILE", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_CODEX_AUTO_LOGIN_API_KEY_ENV", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_IMAGE", "", Stays, Check(foreign)),
    row("4.3", "RUSTY_PINCH_INSTALL_CODEX_CLI", "", Stays, Check(foreign)),
    row("4.3", "keys of openai, in order", "RUSTY_PINCH_OPENAI_API_KEY RUSTY_PINCH_API_KEY OPENAI_API_KEY PICOCLAW_PROVIDERS_OPENAI_API_KEY", Changed("§15.6 the own name first"), Check(key_order)),
    row("4.3", "keys of openrouter, in order", "RUSTY_PINCH_OPENROUTER_API_KEY RUSTY_PINCH_API_KEY OPENROUTER_API_KEY PICOCLAW_PROVIDERS_OPENROUTER_API_KEY", Changed("§15.6 the own name first"), Check(key_order)),
    row("4.3", "keys of groq, in order", "RUSTY_PINCH_GROQ_API_KEY RUSTY_PINCH_API_KEY GROQ_API_KEY PICOCLAW_PROVIDERS_GROQ_API_KEY", Changed("§15.6 the own name first"), Check(key_order)),
    row("4.3", "keys of compatible, in order", "RUSTY_PINCH_COMPATIBLE_API_KEY RUSTY_PINCH_API_KEY", Changed("§15.6 a key of another vendor goes nowhere else"), Check(key_order)),
    row("4.3", "keys of vllm, in order", "RUSTY_PINCH_COMPATIBLE_API_KEY RUSTY_PINCH_API_KEY", Changed("§15.6 a key of another vendor goes nowhere else"), Check(key_order)),
    row("4.3", "keys of others for compatible", "", Gone("§15.6 never sent to a host of the operator's choice"), Tests(&["another_vendors_key_is_not_sent_to_a_compatible_host"])),
    row("4.3", "ANTHROPIC_API_KEY, PICOCLAW_PROVIDERS_ANTHROPIC_API_KEY", "", Gone("§15.6 there is no provider anthropic"), Check(silent)),
    row("4.3", "bases of openai, in order", "RUSTY_PINCH_API_BASE RUSTY_PINCH_OPENAI_API_BASE OPENAI_API_BASE PICOCLAW_PROVIDERS_OPENAI_API_BASE https://api.openai.com/v1", Stays, Check(base_order)),
    row("4.3", "bases of openrouter, in order", "RUSTY_PINCH_API_BASE RUSTY_PINCH_OPENROUTER_API_BASE OPENROUTER_API_BASE PICOCLAW_PROVIDERS_OPENROUTER_API_BASE https://openrouter.ai/api/v1", Stays, Check(base_order)),
    row("4.3", "bases of groq, in order", "RUSTY_PINCH_API_BASE RUSTY_PINCH_GROQ_API_BASE GROQ_API_BASE PICOCLAW_PROVIDERS_GROQ_API_BASE https://api.groq.com/openai/v1", Stays, Check(base_order)),
    row("4.3", "bases of compatible, in order", "RUSTY_PINCH_API_BASE RUSTY_PINCH_COMPATIBLE_API_BASE RUSTY_PINCH_OPENAI_API_BASE RUSTY_PINCH_OPENROUTER_API_BASE OPENAI_API_BASE OPENROUTER_API_BASE PICOCLAW_PROVIDERS_OPENAI_API_BASE PICOCLAW_PROVIDERS_OPENROUTER_API_BASE <unset>", Changed("§16 with a name of its own"), Check(base_order)),
    row("4.3", "bases of vllm, in order", "RUSTY_PINCH_API_BASE RUSTY_PINCH_COMPATIBLE_API_BASE RUSTY_PINCH_OPENAI_API_BASE RUSTY_PINCH_OPENROUTER_API_BASE OPENAI_API_BASE OPENROUTER_API_BASE PICOCLAW_PROVIDERS_OPENAI_API_BASE PICOCLAW_PROVIDERS_OPENROUTER_API_BASE <unset>", Changed("§16 with a name of its own"), Check(base_order)),
    row("4.3", "a base loses its trailing slash", "", Stays, Tests(&["good_bases_lose_their_trailing_slash"])),
    row("4.3", "OTEL_EXPORTER_OTLP_ENDPOINT", "", Gone("§15.17 no OTLP over gRPC"), Check(key)),
    row("4.3", "OTEL_SERVICE_NAME", "", Gone("§15.17 no OTLP over gRPC"), Check(key)),
    row("4.3", "OTEL_METRIC_EXPORT_INTERVAL_SECS", "", Gone("§15.17 no OTLP over gRPC"), Check(key)),
    row("4.3", "RUST_LOG", "", Changed("§15.7 filters lines of libraries on standard error"), Check(silent)),
    row("4.3", "CODEX_HOME", "", Stays, Tests(&["codex_answers_and_is_told_the_history_of_its_session_only"])),
    row("4.3", "WATCHTOWER_POLL_INTERVAL_SECS, GRAFANA_CLOUD_OTLP_ENDPOINT, GRAFANA_CLOUD_ACCOUNT_ID, GRAFANA_CLOUD_API_TOKEN", "", Stays, Check(silent)),
    row("12", "the .env of a machine", "bare-metal.env", Stays, Check(templates::loads)),
    row("12", "the env_file of a container", "container.env", Stays, Check(templates::loads)),
    row("12", "the env_file of Compose on a Raspberry Pi", "compose-rpi.env", Stays, Check(templates::loads)),
    row("12", "every name of the contract is in one of these files", "", Stays, Check(templates::complete)),
    row("12", "doctor exits 0 with warnings, as Compose's healthcheck needs", "", Stays, Check(templates::healthy)),
    row("16", "RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE", "https://api.telegram.org", Stays, Check(key)),
    row("16", "RUSTY_PINCH_CHANNELS_WHATSAPP_TOKEN", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_CHANNELS_WHATSAPP_DIALECT", "auto", Stays, Check(key)),
    row("16", "RUSTY_PINCH_CHANNELS_WHATSAPP_MEDIA_DIR", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_COMPATIBLE_API_KEY", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_COMPATIBLE_API_BASE", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_WORKERS", "4", Stays, Check(key)),
    row("16", "RUSTY_PINCH_DRAIN_SECS", "10", Stays, Check(key)),
    row("16", "RUSTY_PINCH_ON_FATAL", "exit", Stays, Check(key)),
    row("16", "RUSTY_PINCH_DELIVERY", "at_least_once", Stays, Check(key)),
    row("16", "RUSTY_PINCH_TURN_DEADLINE_SECS", "180", Stays, Check(key)),
    row("16", "RUSTY_PINCH_HISTORY_LINES", "20", Stays, Check(key)),
    row("16", "RUSTY_PINCH_HISTORY_BYTES", "65536", Stays, Check(key)),
    row("16", "RUSTY_PINCH_TEMPERATURE", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_STREAM", "true", Stays, Check(key)),
    row("16", "RUSTY_PINCH_PROVIDER_CHAIN", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_TURNS_PER_MINUTE", "20", Stays, Check(key)),
    row("16", "RUSTY_PINCH_TURNS_PER_DAY", "300", Stays, Check(key)),
    row("16", "RUSTY_PINCH_TOKENS_PER_DAY", "2000000", Stays, Check(key)),
    row("16", "RUSTY_PINCH_HEALTH_ADDR", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_HEALTH_TOKEN", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_METRICS_FILE", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_RUN_DIR", "", Stays, Check(key)),
    row("16", "RUSTY_PINCH_ALLOW_INSECURE_HTTP", "false", Stays, Check(key)),
    row("16", "RUSTY_PINCH_RETENTION_DAYS", "0", Stays, Check(key)),
    row("16", "RUSTY_PINCH_SEED", "", Stays, Check(key)),
];

fn local() -> World {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "local");
    world
}

fn write(world: &World, place: &str, text: &str) -> String {
    let path = world.path(place);
    fs::write(&path, text).expect("written");
    path.to_string_lossy().into_owned()
}

fn doctor(world: &World) -> String {
    world.run(&["doctor"]).stdout
}

/// The value of a line of doctor.
#[track_caller]
fn shown(world: &World, name: &str) -> String {
    let finished = world.run(&["doctor"]);
    let found = finished.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {finished:?}")).to_owned()
}

/// Exit 78 and one sentence with all of these parts.
#[track_caller]
fn refused(world: &World, parts: &[&str]) {
    let finished = world.run(&["run", "--message", "x"]);
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.len()), (Some(78), "", 1), "{finished:?}");
    assert!(parts.iter().all(|part| finished.stderr[0].contains(part)), "{parts:?} in {finished:?}");
}

fn named_file(_: &Row) {
    let mut world = World::new();
    let path = write(&world, "named.env", "RUSTY_PINCH_PROVIDER=local\n");
    write(&world, "home/.env", "RUSTY_PINCH_PROVIDER=offline\n");
    world.set("RUSTY_PINCH_ENV_FILE", &format!("  {path} "));
    assert_eq!(shown(&world, "provider"), "local");
}

fn missing_file(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_ENV_FILE", "no-such-file.env");
    refused(&world, &["no-such-file.env"]);
    let path = write(&world, "bad.env", "A=1\nnonsense\n");
    world.set("RUSTY_PINCH_ENV_FILE", &path);
    refused(&world, &["bad.env", "line 2"]);
}

fn file_here(_: &Row) {
    let world = World::new();
    write(&world, "home/.env", "RUSTY_PINCH_PROVIDER=local\nRUSTY_PINCH_MODEL=here\n");
    assert_eq!(shown(&world, "model"), "here");
}

fn no_parents(_: &Row) {
    let world = local();
    write(&world, ".env", "RUSTY_PINCH_MODEL=above\n");
    assert_ne!(shown(&world, "model"), "above");
}

fn no_chains(_: &Row) {
    let world = local();
    let other = write(&world, "other.env", "RUSTY_PINCH_MODEL=other\n");
    write(&world, "home/.env", &format!("RUSTY_PINCH_ENV_FILE={other}\n"));
    assert_ne!(shown(&world, "model"), "other");
    assert!(doctor(&world).contains("RUSTY_PINCH_ENV_FILE has no effect in the env file, where line 1 sets it"));
}

fn environment_wins(_: &Row) {
    let mut world = local();
    write(&world, "home/.env", "RUSTY_PINCH_MODEL=file\n");
    assert_eq!(shown(&world, "model"), "file");
    world.set("RUSTY_PINCH_MODEL", "environment");
    assert_eq!(shown(&world, "model"), "environment");
    world.set("RUSTY_PINCH_MODEL", "");
    assert_eq!(shown(&world, "model"), "openrouter/qwen/qwen3-coder");
}

/// `want`: what stands behind `RUSTY_PINCH_` in the file, and the model that follows from it.
fn grammar(row: &Row) {
    let world = local();
    let (text, model) = row.want.split_once(" => ").expect("a text and a model");
    write(&world, "home/.env", &format!("RUSTY_PINCH_{text}\n"));
    assert_eq!(shown(&world, "model"), model);
}

fn exported(_: &Row) {
    let world = local();
    write(&world, "home/.env", "export RUSTY_PINCH_MODEL=a\n");
    assert_eq!(shown(&world, "model"), "a");
}

/// Understood as one value, which then does not fit: a path may not hold a line break.
fn spanning(_: &Row) {
    let world = local();
    write(&world, "home/.env", "RUSTY_PINCH_MODEL=\"a\nb\"\n");
    refused(&world, &["RUSTY_PINCH_MODEL", "line 1", "control character"]);
}

fn literal_quotes(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "\"local\"");
    refused(&world, &["RUSTY_PINCH_PROVIDER (environment)", "one of"]);
}

fn flags(_: &Row) {
    let mut world = local();
    for (value, want) in [
        (" YES ", "true"),
        ("1", "true"),
        ("On", "true"),
        ("true", "true"),
        ("0", "false"),
        ("no", "false"),
        ("OFF", "false"),
        ("False", "false"),
    ] {
        world.set("RUSTY_PINCH_CODEX_ENABLED", value);
        assert_eq!(shown(&world, "codex_enabled"), want, "{value}");
    }
}

fn bad_flag(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_CODEX_ENABLED", "y");
    refused(&world, &["RUSTY_PINCH_CODEX_ENABLED"]);
    world.set("RUSTY_PINCH_CODEX_ENABLED", "");
    assert_eq!(shown(&world, "codex_enabled"), "true");
}

fn numbers(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_REQUEST_TIMEOUT_SECS", " 5 ");
    assert_eq!(shown(&world, "request_timeout_secs"), "5");
}

fn list(_: &Row) {
    let mut world = local();
    world.set("RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM", " 1,,-2 , ,3,");
    assert_eq!(shown(&world, "telegram_allow_from_count"), "3");
}

fn words(_: &Row) {
    let arguments = super::provider::codex_arguments(&[("RUSTY_PINCH_CODEX_CLI_ARGS", "ask  'two words'")]);
    assert_eq!(arguments[..3], ["ask", "'two", "words'"]);
}

fn blank_arguments(_: &Row) {
    let blank = [("RUSTY_PINCH_CODEX_CLI_ARGS", ""), ("RUSTY_PINCH_CODEX_MODEL_FLAG", "")];
    assert_eq!(super::provider::codex_arguments(&blank), ["gpt-5-codex"]);
}

fn falls_through(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "openai");
    world.set("RUSTY_PINCH_API_BASE", "  ");
    world.set("OPENAI_API_BASE", " http://127.0.0.1:9/v1 ");
    assert_eq!(shown(&world, "api_base"), "http://127.0.0.1:9/v1");
}

fn provider_case(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", " LoCaL ");
    assert_eq!(shown(&world, "provider"), "local");
}

fn blank_provider(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "");
    assert_eq!(shown(&world, "provider"), "codex");
}

fn blank_model(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_MODEL", "");
    assert_eq!(shown(&world, "model"), "gpt-5-codex");
}

fn default_model(row: &Row) {
    let mut world = World::new();
    let name = row.name.strip_prefix("PROVIDER: ").expect("a provider");
    world.set("RUSTY_PINCH_PROVIDER", name);
    assert_eq!((shown(&world, "provider"), shown(&world, "model")), (name.to_owned(), row.want.to_owned()));
}

fn unknown_provider(_: &Row) {
    let mut world = World::new();
    world.set("RUSTY_PINCH_PROVIDER", "anthropic");
    refused(&world, &["RUSTY_PINCH_PROVIDER"]);
}

/// A value that fits.
pub fn sample(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Secret | Kind::Words | Kind::Accounts => "sample".to_owned(),
        Kind::Url => "https://example.org/v1".to_owned(),
        Kind::Bridge => "ws://bridge:8080/ws".to_owned(),
        Kind::Address => "127.0.0.1:8080".to_owned(),
        Kind::Variable => "SAMPLE".to_owned(),
        Kind::Token => "77:sample".to_owned(),
        Kind::Flag => "true".to_owned(),
        Kind::Count { min, .. } => min.max(1).to_string(),
        Kind::Decimal { max, .. } => max.to_string(),
        Kind::List => "7".to_owned(),
        Kind::Choice(words) | Kind::Chain(words) => words[words.len() - 1].to_owned(),
    }
}

/// What the table says, and what doctor says when the variable is set.
fn key(row: &Row) {
    let declared = KEYS.iter().find(|key| key.name == row.name);
    let fate = declared.map_or(Fate::NoEffect, |key| key.fate);
    let want = match row.decision {
        Stays | Changed(_) => Fate::Heeded,
        Gone(_) => Fate::NoEffect,
    };
    assert_eq!(fate, want);
    assert_eq!(declared.and_then(|key| key.default).unwrap_or_default(), row.want);
    let mut world = local();
    let value = match row.name {
        "RUSTY_PINCH_PROVIDER" => "local".to_owned(),
        // What holds anyway is not told.
        "RUSTY_PINCH_STREAM" => "false".to_owned(),
        name if name.ends_with("_DIR") || name.ends_with("_FILE") || name == "RUSTY_PINCH_WORKSPACE" => {
            world.path("elsewhere").to_string_lossy().into_owned()
        }
        _ => declared.map_or("sample".to_owned(), |key| sample(key.kind)),
    };
    world.set(row.name, &value);
    let told = doctor(&world);
    assert!(told.contains("status: "), "{told}");
    let says = |words: &str| told.lines().any(|line| line.contains(&format!("{} ", row.name)) && line.contains(words));
    assert!(!says("not a variable"), "{told}");
    assert_eq!(says("no effect"), want == Fate::NoEffect, "{told}");
}

/// For the entrypoint or for Compose: nothing is said.
fn foreign(row: &Row) {
    assert!(KEYS.iter().any(|key| key.name == row.name && key.fate == Fate::Foreign));
    silent(row);
}

fn silent(row: &Row) {
    let mut world = local();
    let plain = doctor(&world);
    for name in row.name.split(", ") {
        world.set(name, "300");
    }
    let (told, names) = (doctor(&world), row.name.split(", "));
    assert_eq!(told.lines().count(), plain.lines().count(), "{told}");
    names.for_each(|name| assert!(!told.contains(name), "{told}"));
}

/// With every key set, the first one is sent; without it the next, and so on.
fn key_order(row: &Row) {
    let provider = FakeProvider::start(&mut Random::from_seed(1));
    let mut world = World::new();
    world.set(
        "RUSTY_PINCH_PROVIDER",
        row.name.split(' ').nth(2).and_then(|name| name.strip_suffix(',')).expect("a name"),
    );
    world.set("RUSTY_PINCH_API_BASE", &provider.url());
    let names: Vec<&str> = row.want.split(' ').collect();
    names.iter().for_each(|name| world.set(name, &format!("sk-{name}")));
    for (at, name) in names.iter().enumerate() {
        assert_eq!(world.run(&["run", "--message", "x"]).code, Some(0));
        let bearer = format!("Bearer sk-{name}");
        assert_eq!(provider.asked()[at].header("authorization"), Some(bearer.as_str()));
        world.unset(name);
    }
}

/// The same with bases; the last word is the default.
fn base_order(row: &Row) {
    let mut world = World::new();
    world.set(
        "RUSTY_PINCH_PROVIDER",
        row.name.split(' ').nth(2).and_then(|name| name.strip_suffix(',')).expect("a name"),
    );
    let (names, default) = row.want.rsplit_once(' ').expect("names and a default");
    let base = |name: &str| format!("https://{}.example", name.to_ascii_lowercase().replace('_', "-"));
    names.split(' ').for_each(|name| world.set(name, &format!("{}/", base(name))));
    for name in names.split(' ') {
        assert_eq!(shown(&world, "api_base"), base(name));
        world.unset(name);
    }
    assert_eq!(shown(&world, "api_base"), default);
}
