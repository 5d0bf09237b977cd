//! The only way to write: data and results to stdout, progress to stderr and only to a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The frames of a spinner.
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
/// How long a frame stays.
const FRAME_TIME: Duration = Duration::from_millis(120);
/// Back to the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[2K";

/// Where a program writes.
#[derive(Clone, Debug)]
pub struct Printer {
    quiet: bool,
    /// Results are left out because stdout carries an object in a format for programs.
    structured: bool,
    progress: bool,
    color: bool,
    lines: Arc<Mutex<()>>,
}

impl Printer {
    /// A printer for this process: `quiet` leaves out progress and results, but neither data nor errors.
    pub fn new(quiet: bool) -> Self {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { quiet, structured: false, progress: terminal && !quiet, color, lines: Arc::default() }
    }

    /// The same, for a command whose stdout carries an object in a format for programs.
    pub fn structured(mut self, structured: bool) -> Self {
        self.structured = structured;
        self
    }

    /// Without colours and progress, whatever the terminal.
    pub fn plain(mut self) -> Self {
        self.color = false;
        self.progress = false;
        self
    }

    /// Writes data to stdout, as it is. A reader that went away is no error.
    pub fn data(&self, text: &str) {
        let _lines = self.lines();
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// Says what was done, on stdout, as kubectl says `namespace/demo created`.
    pub fn result(&self, text: &str) {
        if !self.quiet && !self.structured {
            self.data(&format!("{text}\n"));
        }
    }

    /// Says what to do next, after a result.
    pub fn next(&self, what: &str, command: &str) {
        self.result(&format!("{what}\n  {command}"));
    }

    /// Warns on stderr, as kubectl does.
    pub fn warning(&self, text: &str) {
        if !self.quiet {
            self.error_lines(&format!("{} {text}\n", self.paint("33", "Warning:")));
        }
    }

    /// Writes to stderr, whatever `quiet` says. For errors.
    pub fn error_lines(&self, text: &str) {
        let _lines = self.lines();
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
    }

    /// A text in a colour of the terminal, if it shows colours.
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Shows that something is going on until the step is dropped or finished. Shown to a terminal only.
    pub fn step(&self, message: impl Into<String>) -> Step {
        let message = message.into();
        let state = Arc::new(StepState { message: Mutex::new(message), done: AtomicBool::new(false) });
        let spinner = self.progress.then(|| {
            let state = Arc::clone(&state);
            let printer = self.clone();
            std::thread::spawn(move || printer.spin(&state))
        });
        Step { printer: self.clone(), state, spinner }
    }

    fn spin(&self, state: &StepState) {
        for frame in FRAMES.iter().cycle() {
            if state.done.load(Ordering::Acquire) {
                return;
            }
            let text = state.message().clone();
            self.error_lines(&format!("{CLEAR}{} {text}", self.paint("33", &frame.to_string())));
            std::thread::park_timeout(FRAME_TIME);
        }
    }

    fn lines(&self) -> MutexGuard<'_, ()> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct StepState {
    message: Mutex<String>,
    done: AtomicBool,
}

impl StepState {
    fn message(&self) -> MutexGuard<'_, String> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is going on.
#[derive(Debug)]
pub struct Step {
    printer: Printer,
    state: Arc<StepState>,
    spinner: Option<JoinHandle<()>>,
}

impl Step {
    /// Says more about what is going on.
    pub fn update(&self, message: impl Into<String>) {
        *self.state.message() = message.into();
    }

    /// It is done.
    pub fn done(mut self) {
        let line = format!("{} {}", self.printer.paint("32", "[ok]"), self.state.message());
        self.stop(Some(&line));
    }

    /// It failed. The error itself is told by whoever gets it.
    fn stop(&mut self, line: Option<&str>) {
        let Some(spinner) = self.spinner.take() else { return };
        self.state.done.store(true, Ordering::Release);
        spinner.thread().unpark();
        let _ = spinner.join();
        let line = line.map(|line| format!("{line}\n")).unwrap_or_default();
        self.printer.error_lines(&format!("{CLEAR}{line}"));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let line = format!("{} {}", self.printer.paint("31", "[failed]"), self.state.message());
        self.stop(Some(&line));
    }
}
