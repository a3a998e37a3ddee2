//! Prometheus' own program reads what we write: the rules, their tests, and the exposition of a real worker.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::counterpart;
use crate::support::repository::root;
use crate::support::scene::Scene;

fn promtool() -> Option<PathBuf> {
    counterpart("promtool.stamp", "promtool/usr/bin/promtool")
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
    // The tests of the rules are seen to fail: with every rule put out of action in turn, both ways.
    let rules = fs::read_to_string(folder.join("rusty-pinch.rules.yml")).expect("the rules");
    let copy = tempfile::tempdir().expect("a folder");
    let tests = "rusty-pinch.rules.test.yml";
    fs::copy(folder.join(tests), copy.path().join(tests)).expect("copied");
    let parts: Vec<&str> = rules.split("        expr: ").collect();
    assert_eq!(parts.len(), 13);
    for (at, other) in (1..parts.len()).flat_map(|at| [(at, "vector(0) > 1"), (at, "vector(1)")]) {
        let mut broken = parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let behind =
            parts[at].find("\n        for:").or(parts[at].find("\n        labels:")).expect("what comes after");
        broken[at] = format!("{other}{}", &parts[at][behind..]);
        fs::write(copy.path().join("rusty-pinch.rules.yml"), broken.join("        expr: ")).expect("written");
        let mut command = Command::new(&promtool);
        command.args(["test", "rules", tests]).current_dir(copy.path());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert!(!status.success(), "nobody misses rule {at} when it is {other}");
    }
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
