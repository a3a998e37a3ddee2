//! Units and packages fit together, read as text; `tests/package/verify.sh` uses them under a real systemd. Seen to fail: another
//! `TasksMax` in one unit, a unit without `Conflicts`, a key that systemd does not know, an older entry in the changelog.

use std::fs;
use std::process::Command;

use rusty_pinch::base::clock::Wall;
use rusty_pinch::store::crash_loop;

use crate::support::cases::say;
use crate::support::repository::{read, root};
use crate::support::world::World;

mod containers;
pub mod supply;
mod workflows;

const WORKERS: [&str; 3] = ["rusty-pinch-telegram", "rusty-pinch-whatsapp", "rusty-pinch"];
const DOCTOR: &str = "rusty-pinch-doctor";
/// Tenths, as `systemd-analyze security` counts (design/security.md, S25).
const EXPOSURE_MAX: &str = "20";

/// Lines that count, without what tells one worker from another.
fn unit(name: &str) -> Vec<String> {
    let text = read(&root().join(format!("packaging/systemd/{name}.service")));
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn value<'a>(unit: &'a [String], key: &str) -> &'a str {
    let found = unit.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn workers_have_the_same_unit() {
    let common = |name| {
        let own = ["Description=", "After=", "Conflicts=", "ExecStart="];
        unit(name).into_iter().filter(|line| !own.iter().any(|key| line.starts_with(key))).collect::<Vec<_>>()
    };
    let [telegram, whatsapp, all] = WORKERS.map(common);
    assert_eq!(telegram, whatsapp);
    assert_eq!(telegram, all);
}

/// The check sees the files, the secrets and the limits that the workers see.
#[test]
fn the_check_runs_in_the_sandbox_of_the_workers() {
    let sandbox = |name| {
        let lines = unit(name);
        let begin = lines.iter().position(|line| line.starts_with("NoNewPrivileges=")).expect("a sandbox");
        let end = lines.iter().position(|line| line == "[Install]").unwrap_or(lines.len());
        lines[begin..end].to_vec()
    };
    assert_eq!(sandbox(DOCTOR), sandbox(WORKERS[0]));
    for key in
        ["User", "Group", "WorkingDirectory", "Environment", "LoadCredential", "StateDirectory", "ReadWritePaths"]
    {
        assert_eq!(value(&unit(DOCTOR), key), value(&unit(WORKERS[0]), key), "{key}");
    }
}

#[test]
fn one_process_serves_a_channel() {
    let conflicts = |name| value(&unit(name), "Conflicts").to_owned();
    assert_eq!(conflicts("rusty-pinch-telegram"), "rusty-pinch.service");
    assert_eq!(conflicts("rusty-pinch-whatsapp"), "rusty-pinch.service");
    assert_eq!(conflicts("rusty-pinch"), "rusty-pinch-telegram.service rusty-pinch-whatsapp.service");
}

/// What the recovery of a worker relies on.
#[test]
fn a_unit_restarts_what_a_restart_can_mend() {
    let unit = unit(WORKERS[0]);
    let wanted = [
        ("Type", "notify"),
        ("WatchdogSec", "60"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "2 75 78"),
        ("TimeoutStopSec", "20"),
        ("RuntimeDirectory", "%p"),
        ("RuntimeDirectoryPreserve", "restart"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("MemoryMax", "512M"),
        ("OOMPolicy", "continue"),
    ];
    for (key, want) in wanted {
        assert_eq!(value(&unit, key), want, "{key}");
    }
}

/// Seen to fail with a folder below that of the state, which nobody else may enter.
#[test]
fn another_user_can_read_the_file_of_metrics_where_it_is_said_to_be() {
    let readme = read(&root().join("packaging/monitoring/README.md"));
    let file = readme.lines().find_map(|line| line.strip_prefix("RUSTY_PINCH_METRICS_FILE=")).expect("an example");
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    for name in WORKERS {
        assert_eq!(value(&unit(name), "ReadWritePaths"), format!("-{folder}"), "{name} may write there");
    }
    let postinst = read(&root().join("packaging/debian/postinst"));
    let makes = |line: &str| postinst.lines().any(|other| other.trim() == line);
    assert!(makes(&format!("metrics={folder}")) && makes(r#"make_folder "$metrics" 0755 rusty-pinch"#), "{folder}");
    // Every folder above it lets everybody pass: none is one that the units or the package close.
    assert!(!folder.starts_with("/var/lib/rusty-pinch/"), "{folder}");
}

/// A worker that dies as soon as it works is slowed down by itself: systemd must not give it up before. Seen to fail with eight starts.
#[test]
fn a_worker_that_rests_is_not_given_up() {
    let unit = unit(WORKERS[0]);
    let number = |key| value(&unit, key).parse::<u64>().expect("a number");
    let (within, pause) = (number("StartLimitIntervalSec"), number("RestartSec"));
    let (mut starts, mut now) = (Vec::new(), 0);
    while now < within {
        starts.push(Wall(now * 1000));
        let rest = crash_loop::rest(starts.iter().copied(), Wall(now * 1000));
        now += rest.map_or(0, |rest| rest.as_secs()) + pause;
    }
    assert!(starts.len() == 9 && number("StartLimitBurst") > 9, "{starts:?}");
    let text = read(&root().join("packaging/systemd/rusty-pinch.service"));
    assert!(text.contains("so nine starts fit into ten minutes"), "what the unit says of it");
}

#[test]
fn systemd_knows_every_line_and_finds_little_exposed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return say("skip: systemd-analyze is not installed");
    }
    let world = World::new();
    for name in [&WORKERS[..], &[DOCTOR]].concat() {
        let text = unit(name).join("\n").replace("/usr/bin/rusty-pinch", env!("CARGO_BIN_EXE_rusty-pinch"));
        let file = world.path(&format!("{name}.service"));
        fs::write(&file, text).expect("our own folder");
        let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
        let verify = verify.expect("it has just started");
        let said = String::from_utf8_lossy(&verify.stderr).into_owned();
        assert!(verify.status.success() && !said.contains(name), "{said}");
        let security = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_MAX}")])
            .arg(&file)
            .output()
            .expect("it has just started");
        assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    }
}

#[test]
fn the_newest_entry_of_the_changelog_is_of_this_version() {
    let changelog = read(&root().join("packaging/debian/changelog"));
    let wanted = format!("rusty-pinch ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&wanted), "{wanted}");
}

/// What an operator wrote is never in a package, or an upgrade would ask about it.
#[test]
fn a_package_holds_no_file_of_the_operators() {
    let builder = read(&root().join("packaging/debian/build-deb.sh"));
    assert!(!builder.contains("$root/etc") && !builder.contains("conffiles"), "{builder}");
    let postinst = read(&root().join("packaging/debian/postinst"));
    assert!(postinst.contains(r#"if [ ! -e "$etc/rusty-pinch.env" ] && [ ! -L "$etc/rusty-pinch.env" ]; then"#));
}
