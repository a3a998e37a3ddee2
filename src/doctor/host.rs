//! Checks of the machine: memory, power, heat, a medium that failed. Pure: facts in, verdicts out. What a host does not
//! tell is not judged.

use crate::config::settings::Config;
use crate::doctor::facts::Facts;
use crate::doctor::report::Check;
use crate::sys::machine::{Memory, Throttled};

const MIB: u64 = 1 << 20;

/// A turn of ours needs little; a Codex process takes about 150 MiB.
const AVAILABLE_LOW: u64 = 64 * MIB;
const AVAILABLE_LOW_WITH_CODEX: u64 = 200 * MIB;
const AVAILABLE_NONE: u64 = 16 * MIB;

/// A smaller machine needs swap to live through a moment of want.
const SWAP_NOT_NEEDED_FROM: u64 = 1000 * MIB;

/// Below this share of swap the next want ends a program.
const SWAP_PERCENT_LOW: u64 = 10;

/// Thousandths of a degree Celsius from which on the firmware of a Raspberry Pi slows it down.
const HOT_MILLI: i64 = 80_000;

/// All of them.
pub fn checks(config: &Config, facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(memory) = facts.machine.memory {
        checks.push(available(memory, config.uses_codex()));
        checks.push(swap(memory));
    }
    if let Some(throttled) = facts.machine.throttled {
        checks.push(power(throttled));
        checks.push(speed(throttled));
    }
    // Other machines are made for more heat.
    let temperature = facts.machine.temperature_milli.filter(|_| facts.machine.model.is_some());
    checks.extend(temperature.map(heat));
    checks.extend(facts.read_only.map(|failed| medium(failed, config)));
    checks
}

fn available(memory: Memory, codex: bool) -> Check {
    const ID: &str = "memory.available";
    let sentence = format!("{} of {} MiB of memory are available", memory.available / MIB, memory.total / MIB);
    let remedy = "see what takes it ('ps aux --sort=-rss | head'), or add swap";
    let low = if codex { AVAILABLE_LOW_WITH_CODEX } else { AVAILABLE_LOW };
    match memory.available {
        ..AVAILABLE_NONE => Check::error(ID, sentence, remedy),
        available if available < low => Check::warning(ID, sentence, remedy),
        _ => Check::ok(ID, sentence),
    }
}

fn swap(memory: Memory) -> Check {
    const ID: &str = "memory.swap";
    let Memory { total, swap_total, swap_free, .. } = memory;
    if swap_total == 0 {
        let remedy = "add some, for example with 'sudo dphys-swapfile setup && sudo dphys-swapfile swapon'";
        return match total < SWAP_NOT_NEEDED_FROM {
            true => Check::warning(ID, "there is no swap, and little memory", remedy),
            false => Check::ok(ID, "there is no swap"),
        };
    }
    let sentence = format!("{} of {} MiB of swap are free", swap_free / MIB, swap_total / MIB);
    match swap_free.saturating_mul(100) / swap_total < SWAP_PERCENT_LOW {
        true => Check::warning(ID, sentence, "see what takes the memory ('ps aux --sort=-rss | head')"),
        false => Check::ok(ID, sentence),
    }
}

fn power(throttled: Throttled) -> Check {
    const ID: &str = "hardware.power";
    let remedy = "use the power supply made for this board and a short cable: want of power damages SD cards";
    match (throttled.under_voltage(), throttled.under_voltage_before()) {
        (true, _) => Check::warning(ID, "the board has too little voltage now", remedy),
        (false, true) => Check::warning(ID, "the board had too little voltage since it was switched on", remedy),
        (false, false) => Check::ok(ID, "the board has had enough voltage"),
    }
}

fn speed(throttled: Throttled) -> Check {
    const ID: &str = "hardware.throttled";
    let others = |names: &mut dyn Iterator<Item = &'static str>| {
        names.filter(|name| *name != "under-voltage").collect::<Vec<_>>().join(", ")
    };
    let (now, before) = (others(&mut throttled.now()), others(&mut throttled.before()));
    let remedy = "cool the board, and see hardware.power";
    match (now.as_str(), before.as_str()) {
        ("", "") => Check::ok(ID, "the board runs at full speed"),
        ("", before) => {
            Check::warning(ID, format!("the board was slowed down since it was switched on: {before}"), remedy)
        }
        (now, _) => Check::warning(ID, format!("the board is slowed down: {now}"), remedy),
    }
}

fn heat(milli: i64) -> Check {
    const ID: &str = "hardware.temperature";
    let sentence = format!("the board has {} °C", milli / 1000);
    match milli < HOT_MILLI {
        true => Check::ok(ID, sentence),
        false => Check::warning(ID, sentence, "cool it: it slows down from 80 °C on"),
    }
}

fn medium(failed: bool, config: &Config) -> Check {
    const ID: &str = "disk.read_only";
    let path = config.data.display();
    if !failed {
        return Check::ok(ID, format!("the file system of {path} can be written"));
    }
    let remedy =
        "see 'dmesg': the kernel does that to a medium that fails; back up what can be read and replace the SD card";
    Check::error(ID, format!("the file system of {path} is read-only"), remedy)
}
