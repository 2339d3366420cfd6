//! Child processes that are always stopped: at the end, on an error, and on Ctrl-C.
//!
//! Each child leads a process group of its own. A Ctrl-C at the terminal therefore reaches only
//! this program, which then stops its children in an orderly way.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::ui::Phase;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// How often a waiting loop looks at its child and at the interrupt flag.
const POLL: Duration = Duration::from_millis(20);
/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long after a child's end its output is still awaited.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The user pressed Ctrl-C, or this program was told to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on SIGINT, SIGTERM and SIGHUP set a flag instead of ending this program.
pub(crate) fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))
        .context("cannot install the handler for Ctrl-C")
}

/// Whether this program was asked to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error when this program was asked to end.
pub(crate) fn check_interrupt() -> Result<()> {
    if interrupted() { Err(Interrupted.into()) } else { Ok(()) }
}

/// Whom SIGTERM goes to when a child is stopped.
#[derive(Clone, Copy)]
pub(crate) enum Terminate {
    /// The child and everything it started.
    Group,
    /// The child only, because it stops its own children (`webbft cluster`).
    Leader,
}

/// A running child process. Dropping it stops it.
pub(crate) struct Child {
    child: std::process::Child,
    terminate: Terminate,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` in a process group of its own, with no standard input.
    pub(crate) fn spawn(command: &mut Command, terminate: Terminate) -> Result<Self> {
        Self::start(command.stdin(Stdio::null()), terminate)
    }

    /// The same with a standard input that ends with this program, whatever ends it.
    pub(crate) fn spawn_attached(command: &mut Command) -> Result<Self> {
        Self::start(command.stdin(Stdio::piped()), Terminate::Group)
    }

    fn start(command: &mut Command, terminate: Terminate) -> Result<Self> {
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {}", line(command)))?;
        Ok(Child { child, terminate, ended: None })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status if the child has ended.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("cannot wait for a child process")?;
        }
        Ok(self.ended)
    }

    /// Waits for the end; an interrupt stops the child and is the error.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if interrupted() {
                self.stop();
                return Err(Interrupted.into());
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to the child, and not to what it started; nothing once it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let (Ok(None), Ok(pid)) = (self.try_wait(), i32::try_from(self.child.id())) {
            // It fails only when the process is already gone.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Asks the child to end; after a grace period kills it and all it started.
    pub(crate) fn stop(&mut self) {
        if matches!(self.try_wait(), Ok(Some(_))) {
            return;
        }
        let Ok(pid) = i32::try_from(self.child.id()).map(Pid::from_raw) else { return };
        // A signal fails only when the process is already gone.
        let _ = match self.terminate {
            Terminate::Group => killpg(pid, Signal::SIGTERM),
            Terminate::Leader => kill(pid, Signal::SIGTERM),
        };
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if matches!(self.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(POLL);
        }
        let _ = killpg(pid, Signal::SIGKILL);
        self.ended = self.child.wait().ok();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a command wrote, and how it ended.
pub(crate) struct Captured {
    /// Its exit status; `None` where it took too long and was stopped.
    pub(crate) status: Option<ExitStatus>,
    /// Both its streams.
    pub(crate) output: String,
}

/// Runs `command` without showing its output, except for its last line while it runs. On failure
/// the error carries the whole output and `hint`, which says what to do.
pub(crate) fn quiet(phase: &Phase, command: &mut Command, hint: &str) -> Result<String> {
    let Captured { status, output } = captured(phase, command, None)?;
    match status {
        Some(status) if status.success() => Ok(output),
        Some(status) => {
            bail!("{} failed ({status})\n\n{}\n{hint}", line(command), output.trim_end())
        }
        None => bail!("{} took too long", line(command)),
    }
}

/// Runs `command` without showing its output, except for its last line while it runs, and stops it
/// after `limit`.
pub(crate) fn captured(
    phase: &Phase,
    command: &mut Command,
    limit: Option<Duration>,
) -> Result<Captured> {
    check_interrupt()?;
    let (reader, writer) = std::io::pipe().context("cannot create a pipe")?;
    command.stdout(writer.try_clone().context("cannot duplicate a pipe")?).stderr(writer);
    let started = Instant::now();
    let mut child = Child::spawn(command, Terminate::Group)?;
    // `command` owns the writing ends; the reader sees the end of file only once they are closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let mut output = String::new();
    let mut ended = None;
    let status = loop {
        match lines.recv_timeout(POLL) {
            Ok(text) => {
                phase.detail(text.trim());
                output.push_str(&text);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Some(child.wait()?),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                phase.tick();
                // A grandchild that outlives the child may hold the pipe open for ever.
                if let Some(status) = child.try_wait()?
                    && ended.get_or_insert_with(Instant::now).elapsed() > LAST_OUTPUT
                {
                    break Some(status);
                }
            }
        }
        if interrupted() {
            child.stop();
            return Err(Interrupted.into());
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            child.stop();
            break None;
        }
    };
    drop(lines);
    if reading.is_finished() {
        let _ = reading.join();
    }
    Ok(Captured { status, output })
}

/// Runs `command` with its output going straight to ours.
pub(crate) fn visible(command: &mut Command, hint: &str) -> Result<()> {
    check_interrupt()?;
    let status = Child::spawn(command, Terminate::Group)?.wait()?;
    if !status.success() {
        bail!("{} failed ({status}). {hint}", line(command));
    }
    Ok(())
}

/// The command as one would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_returns_the_output_of_both_streams() {
        let phase = Phase::start("test");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        assert_eq!(quiet(&phase, &mut command, "").expect("succeeds"), "out\nerr\n");
    }

    #[test]
    fn a_failure_shows_command_output_and_hint() {
        let phase = Phase::start("test");
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken; exit 3"]);
        let error = quiet(&phase, &mut command, "Mend it.").expect_err("fails");
        assert_eq!(
            error.to_string(),
            "sh -c echo broken; exit 3 failed (exit status: 3)\n\nbroken\nMend it."
        );
    }

    #[test]
    fn stop_ends_the_child_and_what_it_started() {
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]).stdout(writer);
        let mut child = Child::spawn(&mut command, Terminate::Group).expect("starts");
        drop(command);
        child.stop();
        // The pipe ends only when nobody holds its writing end any more, `sleep` included.
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut reader, &mut rest).expect("end of file");
        assert_eq!(rest, "");
    }
}
