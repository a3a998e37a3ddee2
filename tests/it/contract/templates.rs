//! Contract §12: the env files of earlier deployments load as they are. Three of ours in their shape, each with every name
//! that such a deployment sets, go through the program; what has no effect any more is told, and nothing is unknown.

use std::collections::BTreeMap;

use rusty_pinch::config::keys::{Fate, KEYS, PREFIXES_WITHOUT_EFFECT};

use crate::contract::{Row, settings};
use crate::support::repository::{read, root};
use crate::support::world::World;

const FILES: [&str; 3] = ["bare-metal.env", "container.env", "compose-rpi.env"];

/// A world with a stand-in for Codex, so that a complete set-up has no error.
fn world() -> World {
    let mut world = World::new();
    for name in ["RUSTY_PINCH_DATA_DIR", "RUSTY_PINCH_WORKSPACE", "RUSTY_PINCH_RUN_DIR"] {
        world.unset(name);
    }
    let folder = world.path("bin");
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("codex");
    std::fs::write(&program, "#!/bin/sh\ncat > /dev/null\n").expect("a file");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
    world.set("PATH", &format!("{}:/usr/bin:/bin", folder.display()));
    world
}

/// What Docker makes of an env file: no quotes, no variables, comments only on lines of their own.
fn as_docker_reads(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

pub fn loads(row: &Row) {
    let path = root().join("tests/it/contract").join(row.want);
    let text = read(&path);
    let mut by_name = world();
    by_name.set("RUSTY_PINCH_ENV_FILE", &path.to_string_lossy());
    judge(&by_name, &text);
    if row.want != "bare-metal.env" {
        let mut by_docker = world();
        as_docker_reads(&text).into_iter().for_each(|(name, value)| by_docker.set(name, value));
        judge(&by_docker, &text);
    }
}

#[track_caller]
fn judge(world: &World, text: &str) {
    let finished = world.run(&["doctor"]);
    let told = &finished.stdout;
    assert!(told.starts_with("Rusty Pinch Doctor\nprovider: "), "{finished:?}");
    assert!(!told.contains("not a variable of ours"), "{told}");
    for (name, value) in as_docker_reads(text) {
        let name = name.trim().trim_start_matches("export ");
        let prefixed = PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| name.starts_with(prefix));
        let fate = KEYS.iter().find(|key| key.name == name).map(|key| key.fate);
        let without_effect = fate == Some(Fate::NoEffect) || fate.is_none() && prefixed;
        let is_told = told.lines().any(|line| line.contains("no effect") && line.split(' ').any(|word| word == name));
        assert!(is_told == without_effect || value.is_empty() && without_effect, "{name} in {told}");
    }
}

/// Every variable of the contract is set in one of the files, so that none is forgotten.
pub fn complete(_: &Row) {
    let text: String = FILES.iter().map(|file| read(&root().join("tests/it/contract").join(file))).collect();
    let wanted = settings::ROWS.iter().filter(|row| row.section == "4.3").flat_map(|row| row.name.split(", "));
    let is_name = |name: &&str| name.contains('_') && !name.contains(' ') && !name.ends_with("_ENV_FILE");
    let missing: Vec<&str> = wanted.filter(is_name).filter(|name| !text.contains(&format!("{name}="))).collect();
    let bare = !text.lines().any(|line| line == "RUSTY_PINCH_CODEX_CLI_ARGS=exec --skip-git-repo-check");
    assert!(missing.is_empty() && !bare, "{missing:?}");
}

/// Compose restarts what its healthcheck calls unhealthy: warnings must not.
pub fn healthy(_: &Row) {
    for file in ["bare-metal.env", "compose-rpi.env"] {
        let mut world = world();
        world.set("RUSTY_PINCH_ENV_FILE", &root().join("tests/it/contract").join(file).to_string_lossy());
        let finished = world.run(&["doctor"]);
        assert!(finished.code == Some(0) && finished.stdout.contains("status: warning"), "{finished:?}");
    }
}
