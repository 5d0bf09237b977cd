//! `kind` and `k3d`, as programs. What they say on stderr is shown when they fail.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::NODE_PORT;
use crate::error::{Error, Result};
use crate::providers::ProviderName;

/// A program that makes clusters.
#[derive(Clone, Debug)]
pub struct Tool {
    /// `kind` or `k3d`.
    name: &'static str,
    /// The cluster.
    cluster: String,
    /// The kubeconfig that the cluster's context goes to.
    kubeconfig: PathBuf,
}

impl Tool {
    /// The program of a provider; `None` for clusters that are there already.
    pub fn of(provider: ProviderName, cluster: &str, kubeconfig: &Path) -> Option<Self> {
        let name = match provider {
            ProviderName::Kind => "kind",
            ProviderName::K3s => "k3d",
            ProviderName::Local | ProviderName::Existing => return None,
        };
        Some(Self { name, cluster: cluster.to_owned(), kubeconfig: kubeconfig.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its version, as it tells it.
    pub fn version(&self) -> Result<String> {
        let said = self.run(&["version"], None)?;
        Ok(said.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Its version, if it is not too old for what it is asked.
    pub fn fit_version(&self) -> Result<String> {
        let said = self.version()?;
        // `image import` of archives, and nodes of a Kubernetes that is not too old.
        let oldest = if self.name == "kind" { (0, 20) } else { (5, 0) };
        match parse_version(&said) {
            Some(version) if version < oldest => Err(Error::new(format!("{} is too old: {said}", self.name))
                .hint(format!("install {}.{} or later, from {}", oldest.0, oldest.1, self.home()))),
            _ => Ok(said),
        }
    }

    /// Whether the cluster is there.
    pub fn exists(&self) -> Result<bool> {
        if self.name == "kind" {
            // Without any cluster it says so on stderr, and nothing on stdout.
            return Ok(self.run(&["get", "clusters"], None)?.lines().any(|line| line.trim() == self.cluster));
        }
        let listed = self.run(&["cluster", "list", "--no-headers"], None)?;
        Ok(listed.lines().any(|line| line.split_whitespace().next() == Some(self.cluster.as_str())))
    }

    /// Makes the cluster; the API server will be reached at this port of the machine.
    pub fn create(&self, port: u16) -> Result<()> {
        let kubeconfig = self.kubeconfig.display().to_string();
        if self.name == "kind" {
            let config = kind_config(port);
            let arguments =
                ["create", "cluster", "--name", &self.cluster, "--kubeconfig", &kubeconfig, "--config", "-"];
            return self.run(&arguments, Some(&config)).map(|_| ());
        }
        let mapping = format!("127.0.0.1:{port}:{NODE_PORT}@server:0");
        self.run(
            &[
                "cluster",
                "create",
                &self.cluster,
                "--port",
                &mapping,
                // Nothing of it is used, and both are pulled from a registry.
                "--k3s-arg",
                "--disable=traefik@server:0",
                "--k3s-arg",
                "--disable=metrics-server@server:0",
                "--kubeconfig-update-default=false",
                "--wait",
            ],
            None,
        )?;
        self.export()
    }

    /// Writes the cluster's context into the kubeconfig; for k3d starts the cluster if it is stopped.
    pub fn export(&self) -> Result<()> {
        let kubeconfig = self.kubeconfig.display().to_string();
        if self.name == "kind" {
            let arguments = ["export", "kubeconfig", "--name", &self.cluster, "--kubeconfig", &kubeconfig];
            return self.run(&arguments, None).map(|_| ());
        }
        self.run(&["cluster", "start", &self.cluster], None)?;
        self.run(
            &[
                "kubeconfig",
                "merge",
                &self.cluster,
                "--output",
                &kubeconfig,
                "--kubeconfig-merge-default=false",
                "--kubeconfig-switch-context=false",
            ],
            None,
        )
        .map(|_| ())
    }

    /// Loads an archive of images into the cluster's nodes.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        let arguments: [&str; 5] = if self.name == "kind" {
            ["load", "image-archive", &archive, "--name", &self.cluster]
        } else {
            ["image", "import", &archive, "--cluster", &self.cluster]
        };
        self.run(&arguments, None).map(|_| ())
    }

    /// Stops the cluster, keeping what is in it. `false` when the program cannot.
    pub fn stop(&self) -> Result<bool> {
        if self.name == "kind" {
            return Ok(false);
        }
        self.run(&["cluster", "stop", &self.cluster], None).map(|_| true)
    }

    /// Deletes the cluster and all that is in it.
    pub fn delete(&self) -> Result<()> {
        if self.name == "kind" {
            let kubeconfig = self.kubeconfig.display().to_string();
            let arguments = ["delete", "cluster", "--name", &self.cluster, "--kubeconfig", &kubeconfig];
            return self.run(&arguments, None).map(|_| ());
        }
        self.run(&["cluster", "delete", &self.cluster], None).map(|_| ())
    }

    /// Runs it; what it wrote to stdout.
    fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let command = format!("{} {}", self.name, arguments.join(" "));
        let failed = |error: std::io::Error| Error::new(format!("{command} failed")).caused_by(&error);
        let mut child = Command::new(self.name)
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::new(format!("{} is not on the PATH", self.name))
                    .hint(format!("install it, from {}", self.home()))
                    .hint("or run without it: `kubectl kplane up --provider local`"),
                _ => failed(error),
            })?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let error = Error::new(format!("{command} failed ({})", output.status))
            .caused_by(&std::io::Error::other(said));
        Err(error.hint("see what is missing with `kubectl kplane doctor`"))
    }

    fn home(&self) -> &'static str {
        if self.name == "kind" { "https://kind.sigs.k8s.io" } else { "https://k3d.io" }
    }
}

/// The major and minor number in what a program says of its version: `kind v0.30.0 go1.24.6 linux/amd64`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    said.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v')?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

/// One node, whose port of the API server is a port of this machine alone.
fn kind_config(port: u16) -> String {
    format!(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n  extraPortMappings:\n  - \
         containerPort: {NODE_PORT}\n    hostPort: {port}\n    listenAddress: 127.0.0.1\n    protocol: TCP\n"
    )
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_as_the_programs_tell_them() {
        assert_eq!(parse_version("kind v0.30.0 go1.24.6 linux/amd64"), Some((0, 30)));
        assert_eq!(parse_version("k3d version v5.8.3"), Some((5, 8)));
        assert_eq!(parse_version("kind of its own"), None);
    }
}
