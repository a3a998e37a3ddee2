//! The image and the files of Compose, read as text; `packaging/verify-container.sh` uses them through a real Compose. The entry
//! point is run, with programs in the place of Codex and of ours.
//!
//! Seen to fail: a socket of docker in a worker, a service without `read_only`, a shorter time to stop, a mode of login that is not
//! known taken as the usual one, an `auth.json` that others can read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rusty_pinch::cli::flags;
use rusty_pinch::config::keys::KEYS;

use crate::support::cases::say;
use crate::support::repository::{read, root};
use crate::support::world::World;

const FILES: [&str; 2] = ["docker-compose.rpi.yml", "docker-compose.example.yml"];
/// The user of the image, whom docs/upgrade.md gives the folders to.
const USER: &str = "10001:10001";

fn text(name: &str) -> String {
    read(&root().join("packaging/container").join(name))
}

/// The lines of a part that begins at this line, without comments, up to the next one that is not further in.
fn part<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| *line != head);
    let first = lines.next().unwrap_or_else(|| panic!("no {head}"));
    let body = lines.take_while(|line| line.trim().is_empty() || depth(line) > depth(first));
    body.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn holds(part: &[&str], line: &str) -> bool {
    part.iter().any(|known| known.trim_start_matches("- ") == line)
}

#[test]
fn a_container_has_no_root_no_capabilities_and_nothing_to_write_to_but_its_folders() {
    for file in FILES {
        let text = text(file);
        let worker = part(&text, "x-worker: &worker");
        for wanted in [&format!("user: \"{USER}\""), "read_only: true", "ALL", "no-new-privileges:true"] {
            assert!(holds(&worker, wanted), "{file}: {wanted}");
        }
        assert!(!worker.concat().contains("docker.sock") && !text.contains("privileged: true"), "{file}");
        for (service, channel) in [("rusty-pinch-telegram", "telegram"), ("rusty-pinch-whatsapp", "whatsapp")] {
            let service = part(&text, &format!("  {service}:"));
            assert!(holds(&service, "<<: *worker"), "{file}");
            assert!(holds(&service, &format!("command: [\"channels\", \"{channel}\"]")), "{file}");
            let test = service.iter().find_map(|line| line.strip_prefix("test: ")).expect("a check of health");
            let words: Vec<String> = serde_json::from_str(test).expect("a list");
            assert_eq!(words[..2], ["CMD", "rusty-pinch"]);
            let arguments: Vec<_> = words[2..].iter().map(std::ffi::OsString::from).collect();
            assert!(flags::parse(arguments).is_ok() && words[2] == "health", "{file}: {test}");
        }
    }
    let image = text("Dockerfile");
    assert_eq!(image.lines().filter(|line| line.starts_with("USER ")).collect::<Vec<_>>(), [format!("USER {USER}")]);
}

/// Who holds the socket of docker is root, so nobody gets it without having asked.
#[test]
fn the_service_that_updates_images_is_asked_for_by_name() {
    let text = text(FILES[0]);
    let watchtower = part(&text, "  watchtower:");
    assert!(holds(&watchtower, "profiles: [\"updates\"]") && watchtower.concat().contains("docker.sock"));
    assert_eq!(text.matches("docker.sock:").count(), 1);
}

#[test]
fn both_compose_files_mount_what_the_contract_says_and_name_our_image() {
    for (file, places) in FILES.iter().zip(["./", ""]) {
        let text = text(file);
        let worker = part(&text, "x-worker: &worker");
        for folder in ["data", "workspace", "codex-home"] {
            assert!(holds(&worker, &format!("{places}{folder}:/var/lib/rusty-pinch/{folder}")), "{file}: {folder}");
        }
        let image = worker.iter().find_map(|line| line.strip_prefix("image: ")).expect("an image");
        assert!(image.starts_with("${RUSTY_PINCH_IMAGE:-localhost/rusty-pinch:"), "{file}: {image}");
    }
}

/// Forced by the program itself before it is by docker, and systemd gives as much.
#[test]
fn a_container_is_given_the_time_that_a_stop_takes() {
    let drain = KEYS.iter().find(|key| key.name == "RUSTY_PINCH_DRAIN_SECS").and_then(|key| key.default);
    let drain: u64 = drain.expect("a default").parse().expect("a number");
    let unit = super::unit("rusty-pinch-telegram");
    let of_systemd = super::value(&unit, "TimeoutStopSec");
    for file in FILES {
        let text = text(file);
        let worker = part(&text, "x-worker: &worker");
        let grace = worker.iter().find_map(|line| line.strip_prefix("stop_grace_period: ")).expect("a time");
        assert_eq!(grace, format!("{of_systemd}s"), "{file}");
        assert!(grace.trim_end_matches('s').parse::<u64>().expect("seconds") >= 2 * drain, "{file}");
    }
}

#[test]
fn docker_compose_reads_both_files_without_a_warning() {
    if Command::new("docker-compose").arg("--version").output().is_err() {
        return say("skip: docker-compose is not installed");
    }
    let world = World::new();
    let folder = world.path("packaging/container");
    fs::create_dir_all(&folder).expect("made");
    fs::create_dir_all(world.path("target/container")).expect("made");
    for name in ["rusty-pinch.rpi.env", "rusty-pinch.env"] {
        fs::write(folder.join(name), text("rusty-pinch.rpi.env.example")).expect("written");
    }
    for file in FILES {
        fs::write(folder.join(file), text(file)).expect("written");
        let output = Command::new("docker-compose")
            .env_remove("COMPOSE_FILE")
            .arg("-f")
            .arg(folder.join(file))
            .args(["--profile", "updates", "config"])
            .output()
            .expect("it has just started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{file}: {said}");
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(told.matches("stop_grace_period: 20s").count(), 2, "{told}");
    }
}

/// A Codex that is logged in once it has an `auth.json`, and keeps what it was called with; and a program of ours that says what it
/// finds.
const CODEX: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/calls"
case "$*" in
    'login status') [ -e "$CODEX_HOME/auth.json" ] ;;
    'login --device-auth') echo 'open "https://…" and enter AB-12'; [ -z "$TAKES_LONG" ] || sleep 30; echo device > "$CODEX_HOME/auth.json" ;;
    'login --with-api-key') cat > "$CODEX_HOME/auth.json" ;;
esac
"#;
const OURS: &str = "#!/bin/sh\necho \"$*|$CODEX_HOME|$RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64\"\n";

struct Entrance {
    world: World,
    variables: BTreeMap<&'static str, String>,
}

impl Entrance {
    fn new(variables: &[(&'static str, &str)]) -> Entrance {
        let world = World::new();
        for (name, script) in [("codex", CODEX), ("rusty-pinch", OURS)] {
            let path = world.path("bin").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, script).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let enabled = [("RUSTY_PINCH_CODEX_ENABLED", "true")];
        let variables = enabled.iter().chain(variables).map(|(name, value)| (*name, (*value).to_owned())).collect();
        Entrance { world, variables }
    }

    fn home(&self) -> std::path::PathBuf {
        self.world.path("codex-home")
    }

    /// Standard output is ours alone, and what the entry point says is JSON without a secret.
    #[track_caller]
    fn enter(&self) -> Output {
        let output = Command::new(root().join("packaging/container/entrypoint.sh"))
            .args(["channels", "telegram"])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.world.path("bin").display()))
            .env("HOME", self.world.path(""))
            .env("RUSTY_PINCH_CODEX_HOME", self.home())
            .envs(&self.variables)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("channels telegram|{}|\n", self.home().display()));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok() && !line.contains("sk-"), "{line}");
        }
        output
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.world.path("calls")).unwrap_or_default().replace('\n', "; ")
    }

    fn login(&self) -> String {
        fs::read_to_string(self.home().join("auth.json")).unwrap_or_default().trim().to_owned()
    }
}

#[track_caller]
fn enters(variables: &[(&'static str, &str)], calls: &str, login: &str) {
    let entrance = Entrance::new(variables);
    entrance.enter();
    assert_eq!((entrance.calls().as_str(), entrance.login().as_str()), (calls, login), "{variables:?}");
    if !login.is_empty() {
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&entrance.home()), mode(&entrance.home().join("auth.json"))), (0o700, 0o600));
    }
}

#[test]
fn the_entry_point_logs_codex_in_where_that_is_wanted_and_becomes_the_program() {
    let status = "login status; ";
    enters(&[], &format!("{status}{status}login --device-auth; {status}"), "device");
    enters(&[("RUSTY_PINCH_CODEX_ENABLED", " No ")], "", "");
    enters(&[("RUSTY_PINCH_CODEX_CLI_BIN", "codex-that-is-not-there")], "", "");
    enters(&[("RUSTY_PINCH_CODEX_AUTO_LOGIN", "false")], status, "");
    enters(&[("RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH", "off")], &status.repeat(3), "");
    enters(&[("RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE", "magic")], &status.repeat(2), "");
    enters(&[("RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64", "e30K")], &status.repeat(3), "{}");
    enters(
        &[("RUSTY_PINCH_CODEX_CHATGPT_AUTH_JSON_B64", "%%%"), ("RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH", "0")],
        &status.repeat(3),
        "",
    );
    let by_key = ("RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE", "api_key");
    let keyed = format!("{status}login --with-api-key; {status}");
    enters(&[by_key, ("RUSTY_PINCH_OPENAI_API_KEY", "sk-one")], &keyed, "sk-one");
    enters(
        &[by_key, ("RUSTY_PINCH_CODEX_AUTO_LOGIN_API_KEY_ENV", "OPENAI_API_KEY"), ("OPENAI_API_KEY", "sk-two")],
        &keyed,
        "sk-two",
    );
    enters(&[by_key], &status.repeat(2), "");
}

#[test]
fn the_entry_point_takes_a_login_from_a_file_and_leaves_one_that_is_there() {
    let mut entrance = Entrance::new(&[("RUSTY_PINCH_CODEX_CHATGPT_DEVICE_AUTH", "false")]);
    let file = entrance.world.path("saved.json");
    fs::write(&file, "saved").expect("written");
    entrance.variables.insert("RUSTY_PINCH_CODEX_CHATGPT_AUTH_FILE", file.to_string_lossy().into_owned());
    entrance.enter();
    assert_eq!(entrance.login(), "saved");
    fs::write(&file, "another").expect("written");
    entrance.enter();
    assert_eq!(entrance.login(), "saved");
}

/// Nobody opens the page: the worker starts all the same, and the log has the address and the code.
#[test]
fn the_entry_point_does_not_wait_for_ever_and_shows_the_code() {
    let entrance = Entrance::new(&[("TAKES_LONG", "1"), ("RUSTY_PINCH_CODEX_LOGIN_TIMEOUT_SECS", "1")]);
    let output = entrance.enter();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("enter AB-12") && told.contains("Codex is not logged in"), "{told}");
    assert_eq!(entrance.login(), "");
}
