//! The real kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// kubectl with a kubeconfig and, if given, another server.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    prefix: Vec<String>,
}

/// What it printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    /// With a kubeconfig.
    pub fn new(kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), prefix: Vec::new() }
    }

    /// Another server with the same credentials.
    pub fn server(mut self, server: String) -> Self {
        self.prefix = vec![format!("--server={server}")];
        self
    }

    /// Another context of the kubeconfig.
    pub fn context(mut self, context: &str) -> Self {
        self.prefix = vec![format!("--context={context}")];
        self
    }

    /// The command, for those who run it themselves (`--watch`).
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        // A cache of its own beside the kubeconfig: tests must not share discovery.
        let cache = self.kubeconfig.with_extension("cache");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap_or(Path::new("/")))
            .args(&self.prefix)
            .arg(format!("--cache-dir={}", cache.display()))
            .args(arguments);
        command
    }

    /// Runs it with something on standard input.
    ///
    /// # Panics
    /// If kubectl cannot be run.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is on PATH");
        let mut stdin = child.stdin.take().expect("its input");
        // It may have ended without reading: then what it printed tells.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    /// Runs it and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.success, "kubectl {}: {}{}", arguments.join(" "), output.stdout, output.stderr);
        output.stdout
    }

    /// Runs it and returns the error it printed.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.success, "kubectl {} succeeded: {}", arguments.join(" "), output.stdout);
        output.stderr
    }

    /// Applies a manifest and returns what kubectl said.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let output = self.run_with(&["apply", "-f", "-"], manifest);
        assert!(output.success, "kubectl apply: {}{}\n{manifest}", output.stdout, output.stderr);
        output.stdout
    }

    /// An object as JSON.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.ok(&all)).expect("kubectl prints JSON")
    }
}
