//! A child process in its own group, driven from one thread by `poll`: input in, bounded output out, a real deadline.
//!
//! The group dies with the deadline, with a cancel, and with us: SIGTERM, a grace time, SIGKILL. The kernel sends
//! the child SIGTERM when the *thread* that started it ends (`PR_SET_PDEATHSIG`); callers therefore start children from
//! threads that outlive them. Not SIGKILL, so that a wrapper script can pass it on to the program it runs. What remains
//! all the same is found by `children.rs`.
//!
//! This is the one file with `unsafe`: a closure between fork and exec, argued for at [`die_with_parent`].

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Mono};
use crate::sys::children::{self, Registered, TOKEN_PLACE, TOKEN_VARIABLE};

/// Between SIGTERM and SIGKILL for a program that may have something to put away.
pub const TERM_GRACE: Duration = Duration::from_secs(3);

/// The same for one that a person wants to end now.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// How long output is still read after the child has exited, in case a grandchild holds the pipe.
const LINGER: Duration = Duration::from_secs(1);

/// Longest wait without looking at the deadline, the cancel flag and the child's exit.
const SLICE: Duration = Duration::from_millis(50);

/// How much of standard error is kept: its end.
const STDERR_BYTES_KEPT: usize = 64 * 1024;

/// Read of a program at once.
const READ_BYTES: usize = 16 * 1024;

/// What to run. The environment is exactly `environment`.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Looked up in PATH unless it contains a slash.
    pub binary: String,
    /// Arguments after the program's name; [`TOKEN_PLACE`] in them stands for what identifies the child.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it runs.
    pub directory: Option<PathBuf>,
    /// Where it is noted that it runs, for the next process to find should we be killed.
    pub registry: Option<PathBuf>,
    /// Between SIGTERM and SIGKILL, when it has to be ended.
    pub grace: Duration,
    /// Who it runs as, in place of us: user and group. Only root can do that.
    pub user: Option<(u32, u32)>,
}

/// Why the child is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// Somebody else's signal ended it.
    Signalled(i32),
    /// Its time was up.
    Deadline,
    /// We were told to stop it.
    Cancelled,
    /// The reader of its output had enough.
    Refused,
}

/// What is left of a child.
#[derive(Debug)]
pub struct Finished {
    /// Why it ended.
    pub end: End,
    /// The last part of its standard error.
    pub stderr: Vec<u8>,
}

/// Runs `program` with `input` on standard input, handing standard output to `sink` as it comes.
///
/// # Errors
/// Only when it could not be started; everything later is an [`End`].
pub fn run(
    program: &Program,
    input: &[u8],
    deadline: Mono,
    clock: &dyn Clock,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<Finished> {
    let registered = program.registry.as_deref().and_then(Registered::new);
    let mut child = start(program, registered.as_ref())?;
    let mut pipes = match Pipes::take(&mut child) {
        Ok(pipes) => pipes,
        Err(error) => {
            kill_group(&child, Signal::KILL);
            let _ = child.wait();
            children::forget_own(&child);
            return Err(error);
        }
    };
    let asked_to_end = converse(&mut child, &mut pipes, input, deadline, clock, cancel, sink);
    if let Some(end) = asked_to_end {
        let grace = if end == End::Cancelled { program.grace.min(CANCEL_GRACE) } else { program.grace };
        terminate(&mut child, grace, clock);
    }
    // What the child left running in its group ends with it. Before the wait, so that the group id is still ours.
    kill_group(&child, Signal::KILL);
    let status = child.wait();
    children::forget_own(&child);
    drop(pipes.stdout.take());
    registered.iter().for_each(Registered::end_rest);
    let status = status?;
    Ok(Finished { end: asked_to_end.unwrap_or_else(|| end_of(status)), stderr: pipes.stderr_tail })
}

fn start(program: &Program, registered: Option<&Registered>) -> io::Result<Child> {
    start_with(program, registered, [Stdio::piped(), Stdio::piped(), Stdio::piped()])
}

/// The child's input, output and standard error are what is given.
pub(super) fn start_with(
    program: &Program,
    registered: Option<&Registered>,
    [input, output, errors]: [Stdio; 3],
) -> io::Result<Child> {
    let mut command = Command::new(&program.binary);
    let token = registered.map_or("", Registered::token);
    command
        .args(program.arguments.iter().map(|argument| argument.replace(TOKEN_PLACE, token)))
        .env_clear()
        .envs(program.environment.iter().cloned());
    command.envs(registered.map(|registered| (TOKEN_VARIABLE, registered.token())));
    command.stdin(input).stdout(output).stderr(errors).process_group(0);
    if let Some(directory) = &program.directory {
        command.current_dir(directory);
    }
    if let Some((user, group)) = program.user {
        // Gives up the other groups, too.
        command.uid(user).gid(group);
    }
    die_with_parent(&mut command);
    children::start_own(|| command.spawn())
}

#[expect(unsafe_code, reason = "std has no safe way to run code between fork and exec")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // A parent that died in between sends no signal any more.
        let lives =
            rustix::process::getppid().is_some_and(|known| known.as_raw_nonzero().get().cast_unsigned() == parent);
        if lives { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: the closure runs in the forked child and makes two system calls (prctl, getppid). It allocates nothing, takes no
    // lock and touches no memory of the parent, so it is async-signal-safe, which is all `pre_exec` demands.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// The three pipes, not blocking. A pipe that has ended is `None`.
struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    stderr_tail: Vec<u8>,
    /// Becomes readable when the child exits; `None` where the kernel is older than 5.3, or the exit was noticed.
    exit: Option<OwnedFd>,
}

impl Pipes {
    fn take(child: &mut Child) -> io::Result<Pipes> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let all = [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        for fd in all.into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let exit = pid_of(child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Pipes { stdin, stdout, stderr, stderr_tail: Vec::new(), exit })
    }

    /// Waits until a pipe has something to do or the child exits, at most one slice.
    fn wait(&self) {
        let pipes = [
            (self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.exit.as_ref().map(AsFd::as_fd), PollFlags::IN),
        ];
        let open = pipes.into_iter().filter_map(|(fd, flags)| Some(PollFd::from_borrowed_fd(fd?, flags)));
        let mut waiting: Vec<PollFd<'_>> = open.collect();
        let slice = Timespec { tv_sec: 0, tv_nsec: i64::from(SLICE.subsec_nanos()) };
        // An interrupted or failed wait only means that we look once more.
        let _ = poll(&mut waiting, Some(&slice));
    }

    fn output_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Hands over what fits of the input, and closes it after the last byte: an open input would hang the child.
    fn write_input<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let Some(stdin) = self.stdin.as_mut() else { return &[] };
        let rest = match if input.is_empty() { Ok(0) } else { stdin.write(input) } {
            Ok(written) => &input[written..],
            Err(error) if would_block(&error) => input,
            // The child does not want the rest; what it says about that is in its output and exit code.
            Err(_) => &[],
        };
        if rest.is_empty() {
            self.stdin = None;
        }
        rest
    }

    fn read_stdout(&mut self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut buffer = [0; READ_BYTES];
        while let Some(stdout) = self.stdout.as_mut() {
            match stdout.read(&mut buffer) {
                Ok(0) => self.stdout = None,
                Ok(count) => sink(&buffer[..count])?,
                Err(error) if would_block(&error) => break,
                Err(_) => self.stdout = None,
            }
        }
        ControlFlow::Continue(())
    }

    fn read_stderr(&mut self) {
        let mut buffer = [0; READ_BYTES];
        while let Some(stderr) = self.stderr.as_mut() {
            match stderr.read(&mut buffer) {
                Ok(0) => self.stderr = None,
                Ok(count) => {
                    self.stderr_tail.extend_from_slice(&buffer[..count]);
                    let excess = self.stderr_tail.len().saturating_sub(STDERR_BYTES_KEPT);
                    self.stderr_tail.drain(..excess);
                }
                Err(error) if would_block(&error) => break,
                Err(_) => self.stderr = None,
            }
            // A child that floods standard error must not keep us from looking at the deadline.
            if self.stderr_tail.len() >= STDERR_BYTES_KEPT {
                break;
            }
        }
    }
}

/// Talks to the child until it is done (`None`) or has to be ended.
fn converse(
    child: &mut Child,
    pipes: &mut Pipes,
    mut input: &[u8],
    deadline: Mono,
    clock: &dyn Clock,
    cancel: &Cancel,
    sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Option<End> {
    let mut exited_at: Option<Mono> = None;
    loop {
        if exited_at.is_none() && has_exited(child) {
            exited_at = Some(clock.mono());
            pipes.exit = None;
        }
        input = pipes.write_input(input);
        if pipes.read_stdout(sink).is_break() {
            return Some(End::Refused);
        }
        pipes.read_stderr();
        let now = clock.mono();
        match exited_at {
            Some(at) if !pipes.output_open() || now > at.after(LINGER).min(deadline) => return None,
            Some(_) => {}
            None if cancel.requested() => return Some(End::Cancelled),
            None if now >= deadline => return Some(End::Deadline),
            None => {}
        }
        pipes.wait();
    }
}

/// SIGTERM to the group, then patience. The caller sends SIGKILL.
fn terminate(child: &mut Child, grace: Duration, clock: &dyn Clock) {
    kill_group(child, Signal::TERM);
    let patience = clock.mono().after(grace);
    let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    while !has_exited(child) && clock.mono() < patience {
        let _ = poll(&mut [], Some(&pause));
    }
}

/// Whether the child has exited. Leaves it unreaped, so that its process id stays taken.
fn has_exited(child: &Child) -> bool {
    let Some(pid) = pid_of(child) else { return true };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), look), Ok(None))
}

pub(super) fn kill_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // "No such process" is what we want to hear.
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

pub(super) fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signalled(signal),
        (None, None) => End::Exited(-1),
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::system_clock::SystemClock;

    #[track_caller]
    fn shell(script: &str, input: &[u8], limit: Duration, cancel: &Cancel) -> (Finished, Vec<u8>) {
        let clock = SystemClock::new();
        let program = Program {
            binary: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            directory: None,
            registry: None,
            grace: TERM_GRACE,
            user: None,
        };
        let mut output = Vec::new();
        let finished = run(&program, input, clock.mono().after(limit), &clock, cancel, &mut |bytes| {
            output.extend_from_slice(bytes);
            if output.len() > 1 << 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("the shell starts");
        (finished, output)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn input_arrives_whole_and_output_comes_back() {
        let input = vec![b'x'; 300_000];
        let (finished, output) = shell("cat; echo problem >&2; exit 3", &input, LONG, &Cancel::new());
        assert_eq!(finished.end, End::Exited(3));
        assert_eq!(output.len(), input.len());
        assert_eq!(finished.stderr, b"problem\n");
    }

    #[test]
    fn a_child_that_ignores_its_input_is_not_waited_for() {
        let (finished, output) = shell("echo done", &vec![b'x'; 1 << 20], LONG, &Cancel::new());
        assert_eq!((finished.end, output.as_slice()), (End::Exited(0), b"done\n".as_slice()));
    }

    #[test]
    fn the_deadline_ends_the_whole_group() {
        let script = "sleep 600 & echo $!; exec sleep 600";
        // Long enough for a shell of a busy machine to say the number.
        let (finished, output) = shell(script, b"", Duration::from_secs(2), &Cancel::new());
        assert_eq!(finished.end, End::Deadline);
        let grandchild: u32 = String::from_utf8(output).expect("a text").trim().parse().expect("a number");
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "the grandchild lives: {stat}");
    }

    #[test]
    fn a_cancelled_child_ends_although_it_ignores_sigterm() {
        let cancel = Cancel::new();
        cancel.cancel();
        let (finished, _) = shell("trap '' TERM; sleep 600", b"", LONG, &cancel);
        assert_eq!(finished.end, End::Cancelled);
    }

    #[test]
    fn a_flood_is_refused_and_a_held_pipe_is_left() {
        let (finished, output) = shell("yes", b"", LONG, &Cancel::new());
        assert_eq!(finished.end, End::Refused);
        assert!(output.len() < (1 << 20) + READ_BYTES + 1);
        let (finished, output) = shell("setsid sleep 5 & echo answer", b"", LONG, &Cancel::new());
        assert_eq!((finished.end, output.as_slice()), (End::Exited(0), b"answer\n".as_slice()));
    }

    #[test]
    fn a_missing_program_is_an_error_not_an_end() {
        let clock = SystemClock::new();
        let program = Program { binary: "/no/such/program".to_owned(), ..Program::default() };
        let outcome = run(&program, b"", Mono(1), &clock, &Cancel::new(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(outcome.map(|_| ()).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    }
}
