//! Progress: a spinner with the tool's last line on a terminal, plain lines elsewhere.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, a sign of life is printed this often.
const HEARTBEAT: Duration = Duration::from_secs(30);

static ON_STDERR: AtomicBool = AtomicBool::new(false);

/// From now on progress goes to standard error: standard output is for a result.
pub(crate) fn progress_on_stderr() {
    ON_STDERR.store(true, Ordering::Relaxed);
}

fn tell(line: &str) {
    if ON_STDERR.load(Ordering::Relaxed) {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// One piece of work in progress. Ends as done, or as failed when it is dropped before.
pub(crate) struct Phase {
    title: String,
    started: Instant,
    spinner: Option<ProgressBar>,
    last_line: Cell<Instant>,
    detail: RefCell<String>,
    done: Cell<bool>,
}

impl Phase {
    /// Begins the work called `title`.
    pub(crate) fn start(title: &str) -> Self {
        let spinner = console::user_attended_stderr().then(|| {
            let spinner = ProgressBar::new_spinner().with_message(title.to_owned());
            if let Ok(template) = ProgressStyle::with_template("  {spinner:.cyan} {wide_msg}") {
                spinner.set_style(template);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        if spinner.is_none() {
            tell(&format!("  … {title}"));
        }
        Phase {
            title: title.to_owned(),
            started: Instant::now(),
            spinner,
            last_line: Cell::new(Instant::now()),
            detail: RefCell::default(),
            done: Cell::new(false),
        }
    }

    /// Shows what the work is at.
    pub(crate) fn detail(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(spinner) = &self.spinner {
            let elapsed = seconds(self.started.elapsed());
            let text = style(console::strip_ansi_codes(text)).dim();
            spinner.set_message(format!("{} {elapsed}  {text}", self.title));
        } else {
            text.clone_into(&mut self.detail.borrow_mut());
        }
        self.tick();
    }

    /// Shows that the work goes on.
    pub(crate) fn tick(&self) {
        if self.spinner.is_none() && self.last_line.get().elapsed() >= HEARTBEAT {
            self.last_line.set(Instant::now());
            let elapsed = seconds(self.started.elapsed());
            tell(&format!("  … {}, {elapsed} so far: {}", self.title, self.detail.borrow()));
        }
    }

    /// Ends the work well; `note` says what came of it and may be empty.
    pub(crate) fn done(self, note: &str) {
        self.finish();
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        tell(&format!(
            "  {} {} {}{note}",
            style("✓").green(),
            self.title,
            style(seconds(self.started.elapsed())).dim()
        ));
    }

    /// Ends the work without a verdict: part of it was not done, for the reason in `note`.
    pub(crate) fn skipped(self, note: &str) {
        self.finish();
        tell(&format!("  {} {}: {note}", style("!").yellow(), self.title));
    }

    fn finish(&self) {
        self.done.set(true);
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if !self.done.get() {
            self.finish();
            tell(&format!(
                "  {} {} {}",
                style("✗").red(),
                self.title,
                style(seconds(self.started.elapsed())).dim()
            ));
        }
    }
}

/// A duration for people: `3.2 s`, `4 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(seconds(Duration::from_millis(3240)), "3.2 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }
}
