//! Real terminals: what is painted when, and that the terminal is given back whatever ends the program.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use rusty_pinch::sys::panic;
use rusty_pinch::sys::terminal::Raw;

use crate::support::command::local;
use crate::support::terminal::Terminal;
use crate::support::waiting::{came_true, now, since, until};
use crate::support::world::World;

const OTHER_SCREEN: &str = "\u{1b}[?1049h";
const FAREWELL: &str = "\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l";
/// Between two looks of these tests, in milliseconds.
const INTERVAL: &str = "100";

fn ordinary() -> World {
    let mut world = local();
    world.set("TERM", "xterm");
    world.set("LANG", "C.UTF-8");
    world
}

#[track_caller]
fn assert_given_back(terminal: &Terminal, words: &str) {
    let seen = String::from_utf8_lossy(&terminal.seen()).into_owned();
    assert!(seen.ends_with(&format!("{FAREWELL}{words}")), "{seen:?}");
    assert_eq!((seen.matches(OTHER_SCREEN).count(), seen.matches(FAREWELL).count()), (1, 1));
    terminal.assert_as_before();
}

#[test]
fn keys_change_what_is_shown_and_quit_gives_the_terminal_back() {
    let (world, terminal) = (ordinary(), Terminal::open(80, 24));
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", INTERVAL]);
    terminal.until_seen("q quit");
    assert!(terminal.is_raw());
    for (keys, words) in
        [("?", "paint everything anew"), ("5", "swap"), ("\t", "data_dir"), (" ", "PAUSED"), ("p", "[STORAGE]")]
    {
        terminal.forget();
        // What is not painted anew because it did not change comes with a new screen.
        terminal.press(keys);
        terminal.press("r");
        terminal.until_seen(words);
    }
    terminal.press("q");
    assert_eq!(process.wait().code(), Some(0));
    until("the last words", || terminal.has_seen("monitor stopped"));
    let seen = String::from_utf8_lossy(&terminal.seen()).into_owned();
    assert!(seen.ends_with(&format!("{FAREWELL}monitor stopped\r\n")), "{seen:?}");
    terminal.assert_as_before();
}

#[test]
fn signals_and_control_c_give_the_terminal_back() {
    let world = ordinary();
    for signal in
        [Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP), Some(Signal::QUIT), Some(Signal::ABORT), None]
    {
        let terminal = Terminal::open(80, 24);
        let mut process = terminal.start(&world, &["monitor"]);
        terminal.until_seen("q quit");
        assert!(terminal.is_raw());
        // It cannot be put aside, with the terminal as it is.
        process.signal(Signal::TSTP);
        match signal {
            Some(signal) => process.signal(signal),
            None => terminal.press("\u{3}"),
        }
        assert_eq!(process.wait().code(), Some(0), "{signal:?}");
        until("the last words", || terminal.has_seen("monitor stopped"));
        assert_given_back(&terminal, "monitor stopped\r\n");
    }
}

/// A connection that has gone dead in the middle of a frame.
#[test]
fn a_terminal_that_takes_nothing_does_not_keep_the_program() {
    let (world, terminal) = (ordinary(), Terminal::stuck(400, 150));
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", INTERVAL]);
    until("keys arrive one at a time", || terminal.is_raw());
    // Every new screen is more than its buffer takes at once, sooner or later.
    (0..40).for_each(|_| terminal.press("r"));
    process.signal(Signal::TERM);
    process.wait();
    terminal.assert_as_before();
}

#[test]
fn another_size_is_another_screen() {
    let (world, terminal) = (ordinary(), Terminal::open(40, 10));
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", "3600000"]);
    terminal.until_seen("q p ? Tab");
    assert!(!terminal.has_seen("5 host"));
    terminal.resize(100, 30);
    terminal.until_seen("5 host");
    terminal.until_seen("\u{1b}[30;1H");
    terminal.forget();
    terminal.resize(3, 2);
    terminal.until_seen("\u{1b}[2J");
    terminal.press("q");
    assert_eq!(process.wait().code(), Some(0));
    terminal.assert_as_before();
}

#[test]
fn no_colour_no_utf8_and_no_screen_where_they_are_not_wanted() {
    let mut world = ordinary();
    world.set("NO_COLOR", "1");
    world.set("LANG", "C");
    let terminal = Terminal::open(80, 24);
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", INTERVAL]);
    terminal.until_seen("q quit");
    terminal.press("q");
    process.wait();
    let seen = terminal.seen();
    assert!(seen.is_ascii() && !terminal.has_seen("[0;3"), "{:?}", String::from_utf8_lossy(&seen));
    world.set("TERM", "dumb");
    let terminal = Terminal::open(80, 24);
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", INTERVAL]);
    until("two frames", || String::from_utf8_lossy(&terminal.seen()).matches("[STORAGE]").count() >= 2);
    assert!(!terminal.is_raw());
    terminal.press("\u{3}");
    assert_eq!(process.wait().code(), Some(0));
    assert!(!terminal.has_seen("\u{1b}"));
}

/// Ten looks a second here; a second of a person's monitor has one.
#[test]
fn only_changes_are_painted() {
    let (world, terminal) = (ordinary(), Terminal::open(200, 60));
    let mut process = terminal.start(&world, &["monitor", "--interval-ms", INTERVAL]);
    terminal.until_seen("q quit");
    let start = now();
    terminal.forget();
    came_true(Duration::from_secs(2), || false);
    let (bytes, looks) = (terminal.seen().len(), since(start).as_millis() / 100 + 1);
    terminal.press("q");
    assert_eq!(process.wait().code(), Some(0));
    crate::support::cases::say(&format!("{bytes} bytes in {looks} looks at 200x60"));
    assert!(bytes > 0 && bytes as u128 <= looks * 4096, "{bytes} bytes in {looks} looks");
}

#[test]
fn a_signal_at_the_prompt_of_repl_gives_the_terminal_back() {
    let world = ordinary();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let terminal = Terminal::open(80, 24);
        let mut process = terminal.start(&world, &["repl"]);
        until("a prompt", || terminal.is_raw());
        process.signal(signal);
        assert_eq!(process.wait().signal(), Some(signal.as_raw()));
        terminal.assert_as_before();
    }
}

/// Says that this process may end.
const MAY_END: &str = "RP_TEST_PANICS_RAW";

/// Does its work only in the process that the test below starts.
#[test]
fn a_thread_panics_while_keys_are_read() {
    #[expect(clippy::disallowed_methods, reason = "how a process of this test knows itself")]
    if std::env::var_os(MAY_END).is_none() {
        return;
    }
    panic::end_process(|_| {});
    let _raw = Raw::enter(FAREWELL.as_bytes()).expect("a terminal");
    let thread = crate::support::waiting::spawn("worker", || panic!("a bug"));
    let _ = thread.join();
    // The hook ends the process; if it did not, this would be the end of the test, as a success.
}

#[test]
fn a_bug_gives_the_terminal_back() {
    let (world, terminal) = (ordinary(), Terminal::open(80, 24));
    let mut command = world.command_of(Path::new("setsid"), &["--ctty"]);
    let name = "monitor::terminals::a_thread_panics_while_keys_are_read";
    command.arg(std::env::current_exe().expect("a path")).args(["--exact", name, "--nocapture"]).env(MAY_END, "1");
    let mut process = terminal.start_command(command);
    assert_eq!(process.wait().code(), Some(70));
    until("the farewell", || terminal.has_seen(FAREWELL));
    terminal.assert_as_before();
}
