//! A user at a machine of their own: a home, a kubeconfig, the plugins.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Kubectl, Output, free_port, program, signal};

/// A user; what they started is stopped when dropped.
pub struct User {
    home: TempDir,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Default for User {
    fn default() -> Self {
        Self::new()
    }
}

impl User {
    /// One who has not run anything yet.
    ///
    /// # Panics
    /// If there is no folder for them.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("kplane-home-").tempdir().expect("a home");
        Self { home, port: free_port(), environment: Vec::new() }
    }

    /// One with a management plane.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn up() -> Self {
        let user = Self::new();
        user.kplane(&["up", "--port", &user.port.to_string()]);
        user
    }

    /// The port of their management plane.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets a variable of the environment of what they run from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Their home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Their kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join(".kube/config")
    }

    /// Where the management plane keeps its state.
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state/kplane")
    }

    /// The process of the management plane.
    pub fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.state().join("kplaned.pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        // The file stays when the process has been killed.
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("kplaned").then_some(pid)
    }

    /// Runs a program of ours with these arguments.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let output = Command::new(program(name))
            .args(arguments)
            .env("HOME", self.home.path())
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("KUBECONFIG", self.kubeconfig())
            .env_remove("KPLANE_CONTEXT")
            .env_remove("KPLANE_PROVIDER")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `kubectl-kplane` and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn kplane(&self, arguments: &[&str]) -> String {
        self.must("kubectl-kplane", arguments)
    }

    /// Runs `kubectl-vcp` and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn vcp(&self, arguments: &[&str]) -> String {
        self.must("kubectl-vcp", arguments)
    }

    #[track_caller]
    fn must(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.run(name, arguments);
        let log = std::fs::read_to_string(self.state().join("kplaned.log")).unwrap_or_default();
        assert!(
            output.success,
            "{name} {}: {}{}\n--- log\n{log}",
            arguments.join(" "),
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Runs a program that must fail, with nothing on its standard output, and returns its error.
    ///
    /// # Panics
    /// If it does not fail so.
    #[track_caller]
    pub fn fails(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.run(name, arguments);
        assert!(!output.success, "{name} {} succeeded: {}", arguments.join(" "), output.stdout);
        assert_eq!(output.stdout, "", "{name} {}: errors belong on stderr", arguments.join(" "));
        output.stderr
    }

    /// kubectl in a context of their kubeconfig.
    pub fn kubectl(&self, context: &str) -> Kubectl {
        Kubectl::new(&self.kubeconfig()).context(context)
    }

    /// kubectl in the management plane.
    pub fn management(&self) -> Kubectl {
        self.kubectl("kplane-management")
    }

    /// Ends the management plane at once, as a crash would.
    ///
    /// # Panics
    /// If it does not run.
    pub fn crash(&self) {
        signal(self.pid().expect("a running kplaned"), "KILL");
        crate::eventually("kplaned is gone", std::time::Duration::from_secs(10), || self.pid().is_none());
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.state().join("kplaned.log")).unwrap_or_default();
            eprintln!("--- log of kplaned\n{log}");
        }
        if let Some(pid) = self.pid() {
            // It may end by itself at this very moment.
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}
