//! docs/doctor.md, from the table of checks.

use crate::doctor::report::CHECKS;

/// The document.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Doctor

For operators: what `rusty-pinch doctor` looks at, made from the table in `src/doctor/report.rs`.

It prints the settings, then `status: ok`, `warning` or `error`, then a line for each check that is not as it should be. It exits 1 if
one is an error; `--strict` counts warnings, too. `--quiet` prints these lines only, so that cron mails nothing while all is
well: `*/15 * * * * rusty-pinch doctor --quiet`. `--json` prints `{\"schema\": 1, \"status\", \"version\", \"settings\": {…}, \"checks\": [{\"id\",
\"level\", \"sentence\", \"remedy\"}]}`, with the checks that are as they should be: settings and checks are texts, `level` and `status` are `ok`,
`warning` or `error`, and `schema` goes up if a field ever goes away. It asks the Codex program whether it has an account and systemd how the units are, for 0.9 s
together at most, and waits for nothing else. `--probe` asks the servers, too: for free, all at once, and for 15 s at most; without it no
server is asked anything. `--secrets` prints where each secret comes from instead, with its fingerprint and what to do after a change; see
[key-rotation.md](key-rotation.md). What to do when the bot is silent is in [runbook.md](runbook.md). A configuration that does not fit exits 78, with every value that has to be changed.

| check | about |
|---|---|
",
    );
    for (id, about) in CHECKS {
        text.push_str(&format!("| `{id}` | {about} |\n"));
    }
    text
}
