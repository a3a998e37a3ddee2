//! Checks of the systemd units: what `systemctl show` says, read and judged. Pure; `gather.rs` asks.

use crate::base::text::terminal_safe;
use crate::doctor::report::Check;

/// The unit of one worker for all channels.
pub const OF_ALL: &str = "rusty-pinch.service";

/// The units of a worker.
pub const UNITS: [&str; 3] = ["rusty-pinch-telegram.service", "rusty-pinch-whatsapp.service", OF_ALL];

/// What is asked about each.
pub const PROPERTIES: &str =
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,WatchdogUSec,UnitFileState,FragmentPath,NeedDaemonReload";

/// Restarts by systemd from which on a person should look. They count since the unit was last started by hand.
const RESTARTS_HIGH: u64 = 3;

/// Where a person, or the earlier runtime's instructions, put units: they come before those of a package.
const OWN_UNITS: &str = "/etc/systemd/system/";

/// One unit that systemd knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `rusty-pinch-telegram.service`.
    pub name: String,
    /// `loaded`, `masked`, `bad-setting`, …
    pub load: String,
    /// `active`, `activating`, `inactive`, `failed`, …
    pub active: String,
    /// `running`, `auto-restart`, `dead`, …
    pub sub: String,
    /// `success`, or what ended it: `exit-code`, `watchdog`, `start-limit-hit`, …
    pub result: String,
    /// Restarts by systemd.
    pub restarts: u64,
    /// Whether systemd watches for signs of life.
    pub watchdog: bool,
    /// Whether it is started with the machine.
    pub enabled: bool,
    /// The file it was read from.
    pub file: String,
    /// The file was changed since.
    pub is_outdated: bool,
    /// The package has a unit of the same name.
    pub in_package: bool,
}

/// The units in what `systemctl show` printed: `NAME=value` lines, a blank line between units. Those that systemd does not
/// know are left out; `in_package` is for the caller to fill.
pub fn units(text: &str) -> Vec<Unit> {
    text.split("\n\n").map(unit).filter(|unit| !unit.name.is_empty() && unit.load != "not-found").collect()
}

fn unit(block: &str) -> Unit {
    let value = |name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        terminal_safe(value.unwrap_or_default())
    };
    Unit {
        name: value("Id"),
        load: value("LoadState"),
        active: value("ActiveState"),
        sub: value("SubState"),
        result: value("Result"),
        restarts: value("NRestarts").parse().unwrap_or(0),
        watchdog: !matches!(value("WatchdogUSec").as_str(), "" | "0" | "infinity"),
        enabled: value("UnitFileState").starts_with("enabled"),
        file: value("FragmentPath"),
        is_outdated: value("NeedDaemonReload") == "yes",
        in_package: false,
    }
}

/// What there is to say of all of them.
pub fn checks(units: &[Unit]) -> Vec<Check> {
    units.iter().flat_map(|unit| [active(unit), watchdog(unit), restarts(unit), file(unit)]).flatten().collect()
}

fn active(unit: &Unit) -> Option<Check> {
    const ID: &str = "service.active";
    let Unit { name, load, active, sub, result, .. } = unit;
    let see = format!("see 'journalctl -u {name} -n 50', mend it, then 'sudo systemctl restart {name}'");
    if load != "loaded" {
        let remedy = format!("see 'systemctl status {name}'");
        return Some(Check::error(ID, format!("{name} cannot be used ({load})"), remedy));
    }
    if result == "start-limit-hit" {
        let remedy = format!(
            "see 'journalctl -u {name} -n 50', mend it, then 'sudo systemctl reset-failed {name}' and start it"
        );
        return Some(Check::error(ID, format!("{name} was started too often and is not started any more"), remedy));
    }
    match active.as_str() {
        "active" | "reloading" => Some(Check::ok(ID, format!("{name} is {active} ({sub})"))),
        "failed" => Some(Check::error(ID, format!("{name} has failed ({result})"), see)),
        "activating" | "deactivating" => Some(Check::warning(ID, format!("{name} is {active} ({sub}, {result})"), see)),
        _ if unit.enabled => Some(Check::warning(
            ID,
            format!("{name} is enabled and does not run"),
            format!("sudo systemctl start {name}"),
        )),
        // Somebody decided for another one.
        _ => None,
    }
}

/// Of units that run only: what is off matters to nobody.
fn watchdog(unit: &Unit) -> Option<Check> {
    const ID: &str = "service.watchdog";
    let name = unit.name.as_str();
    let runs = unit.active == "active";
    runs.then(|| match unit.watchdog {
        true => Check::ok(ID, format!("{name} is restarted when it hangs")),
        false => Check::warning(
            ID,
            format!("{name} is not restarted when it hangs"),
            "set WatchdogSec=60 and Type=notify in it",
        ),
    })
}

fn restarts(unit: &Unit) -> Option<Check> {
    const ID: &str = "service.restarts";
    let Unit { name, restarts, .. } = unit;
    if unit.active == "inactive" {
        return None;
    }
    let sentence = format!("{name} was restarted {restarts} times since a person started it");
    Some(match *restarts < RESTARTS_HIGH {
        true => Check::ok(ID, sentence),
        false => {
            let remedy =
                format!("see 'journalctl -u {name} | grep fatal'; 'sudo systemctl restart {name}' counts anew");
            Check::warning(ID, sentence, remedy)
        }
    })
}

fn file(unit: &Unit) -> Option<Check> {
    const ID: &str = "service.file";
    let Unit { name, file, .. } = unit;
    if unit.in_package && file.starts_with(OWN_UNITS) {
        let sentence = format!("{file} takes the place of the unit of the package");
        let remedy = format!(
            "unless it is meant so: 'sudo rm {file} && sudo systemctl daemon-reload', changes go to 'systemctl edit {name}'"
        );
        return Some(Check::warning(ID, sentence, remedy));
    }
    if unit.is_outdated {
        let sentence = format!("the file of {name} was changed, and systemd has not read it");
        return Some(Check::warning(
            ID,
            sentence,
            format!("sudo systemctl daemon-reload && sudo systemctl restart {name}"),
        ));
    }
    Some(Check::ok(ID, format!("{name} comes from {file}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Level;

    /// As systemd 252 prints it.
    const SHOWN: &str = "Type=notify\nId=rusty-pinch-telegram.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\
        Result=success\nNRestarts=0\nWatchdogUSec=1min\nUnitFileState=enabled\nNeedDaemonReload=no\n\
        FragmentPath=/lib/systemd/system/rusty-pinch-telegram.service\n\n\
        Id=rusty-pinch-whatsapp.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\nNRestarts=0\n\
        WatchdogUSec=infinity\nUnitFileState=\nFragmentPath=\nNeedDaemonReload=no\n\n\
        Id=rusty-pinch.service\nLoadState=masked\nActiveState=inactive\nSubState=dead\n";

    #[test]
    fn units_are_read_and_those_that_are_not_there_are_left_out() {
        let units = units(SHOWN);
        let names: Vec<(&str, &str)> = units.iter().map(|unit| (unit.name.as_str(), unit.load.as_str())).collect();
        assert_eq!(names, [("rusty-pinch-telegram.service", "loaded"), ("rusty-pinch.service", "masked")]);
        assert!(units[0].watchdog && units[0].enabled && !units[1].watchdog);
        assert!(checks(&units[..1]).iter().all(|check| check.level == Level::Ok));
        assert_eq!(super::units("nonsense\u{1b}[2J\n\n\n\n=\n"), []);
    }

    #[test]
    fn the_worst_that_is_said_of_a_unit_follows_from_its_state() {
        let running = || units(SHOWN).remove(0);
        let worst = |unit: Unit| checks(&[unit]).into_iter().map(|check| check.level).max();
        let state = |active: &str, result: &str| Unit { active: active.into(), result: result.into(), ..running() };
        assert_eq!(worst(running()), Some(Level::Ok));
        assert_eq!(worst(state("failed", "watchdog")), Some(Level::Error));
        assert_eq!(worst(state("failed", "start-limit-hit")), Some(Level::Error));
        assert_eq!(worst(state("activating", "exit-code")), Some(Level::Warning));
        assert_eq!(worst(state("inactive", "success")), Some(Level::Warning));
        assert_eq!(worst(Unit { enabled: false, ..state("inactive", "success") }), Some(Level::Ok));
    }
}
