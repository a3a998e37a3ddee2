//! Prometheus' own program reads what we write: the rules, their tests, and the exposition of a real worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::counterpart;
use crate::support::repository::root;
use crate::support::scene::Scene;

fn promtool() -> Option<PathBuf> {
    let installed = Path::new("/usr/bin/promtool");
    installed
        .is_file()
        .then(|| installed.to_owned())
        .or_else(|| counterpart("promtool.stamp", "promtool/usr/bin/promtool"))
}

#[track_caller]
fn content(mut command: Command) {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn prometheus_understands_the_rules_and_each_alert_fires_when_it_should() {
    let Some(promtool) = promtool() else { return };
    let folder = root().join("packaging/monitoring");
    for arguments in [["check", "rules", "rusty-pinch.rules.yml"], ["test", "rules", "rusty-pinch.rules.test.yml"]] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(&folder);
        content(command);
    }
    // The tests of the rules are seen to fail, each of them: with all rules put out of action, and with all always firing.
    let rules = fs::read_to_string(folder.join("rusty-pinch.rules.yml")).expect("the rules");
    let copy = tempfile::tempdir().expect("a folder");
    let tests = "rusty-pinch.rules.test.yml";
    fs::copy(folder.join(tests), copy.path().join(tests)).expect("copied");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for other in ["vector(0) > 1", "vector(1)"] {
        fs::write(copy.path().join("rusty-pinch.rules.yml"), with_every_rule(&rules, other)).expect("written");
        let mut command = Command::new(&promtool);
        let output = command.args(["test", "rules", tests]).current_dir(copy.path()).output().expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let unnoticed: Vec<_> = alerts.iter().filter(|alert| !said.contains(&format!("alertname: {alert},"))).collect();
        assert!(!output.status.success() && unnoticed.is_empty(), "{other}: {unnoticed:?} {said}");
    }
}

/// The same alerts, with another expression.
fn with_every_rule(rules: &str, expression: &str) -> String {
    let mut parts = rules.split("        expr: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end =
            part.find("\n        for:").or(part.find("\n        labels:")).expect("what comes after an expression");
        text + "        expr: " + expression + &part[end..]
    })
}

#[test]
fn prometheus_understands_the_metrics_of_a_worker() {
    let Some(promtool) = promtool() else { return };
    let mut scene = Scene::new("promtool");
    scene.world.set("RUSTY_PINCH_METRICS_FILE", "m.prom");
    let process = scene.start_polling();
    scene.telegram.say(42, "hello");
    scene.telegram.until_sent_to(42, 1);
    scene.stop(process);
    let text = fs::File::open(scene.world.path("home").join("m.prom")).expect("the metrics");
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(text);
    content(command);
}
