//! Which files there are, their locks, and how they are replaced.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long another program may hold a kubeconfig's lock before we give up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kubeconfig files, in kubectl's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    files: Vec<PathBuf>,
}

impl Paths {
    /// The files: the explicit one alone; or those of `$KUBECONFIG`; or the configured one; or `~/.kube/config`.
    pub fn new(explicit: Option<&Path>, configured: Option<&Path>) -> Result<Self> {
        let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from);
        Self::resolve(explicit, std::env::var_os("KUBECONFIG"), configured, home)
    }

    fn resolve(
        explicit: Option<&Path>,
        variable: Option<OsString>,
        configured: Option<&Path>,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        if let Some(file) = explicit {
            return Ok(Self { files: vec![expand(file, home.as_deref())] });
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for file in std::env::split_paths(&variable.unwrap_or_default()) {
            if !file.as_os_str().is_empty() && !files.contains(&file) {
                files.push(file);
            }
        }
        if files.is_empty() {
            let file = match (configured, home) {
                (Some(file), home) => expand(file, home.as_deref()),
                (None, Some(home)) => home.join(".kube").join("config"),
                (None, None) => {
                    return Err(Error::new("there is no home directory to find the kubeconfig in")
                        .hint("set KUBECONFIG, or use --kubeconfig"));
                }
            };
            files.push(file);
        }
        Ok(Self { files })
    }

    /// The files of a value of `$KUBECONFIG`.
    #[cfg(test)]
    pub(super) fn for_tests(variable: OsString) -> Self {
        Self { files: std::env::split_paths(&variable).collect() }
    }

    /// The files, the first to say something winning.
    pub fn precedence(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// The file for what is new: the first that exists, and if none does, the last.
    pub fn default_file(&self) -> PathBuf {
        let existing = self.files.iter().find(|file| file.exists());
        existing.or(self.files.last()).cloned().unwrap_or_default()
    }
}

/// `~/` is the home directory, as in a shell.
fn expand(file: &Path, home: Option<&Path>) -> PathBuf {
    match (file.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => file.to_owned(),
    }
}

/// kubectl's lock of a kubeconfig: a file beside it that only one can make.
#[derive(Debug)]
pub(super) struct FileLock {
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock, waiting a while for another to let go.
    pub(super) fn acquire(file: &Path) -> Result<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = || Error::new(format!("cannot lock the kubeconfig {}", file.display()));
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| failed().caused_by(&error))?;
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match std::fs::File::options().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(Self { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    if Instant::now() >= end {
                        return Err(failed().caused_by(&error).hint(format!(
                            "another program is changing it; if none is, remove {}",
                            path.display()
                        )));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(failed().caused_by(&error)),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Replaces a file in one step, for its owner alone. A symbolic link stays one.
pub fn replace(file: &Path, text: &str) -> Result<()> {
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(&temporary)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&temporary, &target)
    })();
    written.map_err(|error: std::io::Error| {
        let _ = std::fs::remove_file(&temporary);
        Error::new(format!("cannot write {}", file.display())).caused_by(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(explicit: Option<&str>, variable: Option<&str>, configured: Option<&str>) -> Vec<PathBuf> {
        let paths = Paths::resolve(
            explicit.map(Path::new),
            variable.map(OsString::from),
            configured.map(Path::new),
            Some("/home/a".into()),
        );
        paths.unwrap().precedence()
    }

    #[cfg(unix)]
    #[test]
    fn files_follow_kubectls_order() {
        assert_eq!(resolve(Some("/x"), Some("/a:/b"), Some("/c")), [Path::new("/x")]);
        assert_eq!(resolve(None, Some("/a::/b:/a"), Some("/c")), [Path::new("/a"), Path::new("/b")]);
        assert_eq!(resolve(None, Some(""), Some("~/k")), [Path::new("/home/a/k")]);
        assert_eq!(resolve(None, None, None), [Path::new("/home/a/.kube/config")]);
        assert!(Paths::resolve(None, None, None, None).is_err());
    }

    #[test]
    fn what_is_new_goes_to_the_first_that_exists_else_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let paths = Paths { files: vec![a.clone(), b.clone()] };
        assert_eq!(paths.default_file(), b);
        std::fs::write(&b, "").unwrap();
        assert_eq!(paths.default_file(), b);
        std::fs::write(&a, "").unwrap();
        assert_eq!(paths.default_file(), a);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let lock = FileLock::acquire(&file).unwrap();
        let (file2, (send, receive)) = (file.clone(), std::sync::mpsc::channel());
        let other = std::thread::spawn(move || {
            let lock = FileLock::acquire(&file2).unwrap();
            send.send(()).unwrap();
            drop(lock);
        });
        assert!(receive.recv_timeout(Duration::from_millis(60)).is_err());
        drop(lock);
        receive.recv_timeout(PATIENCE).unwrap();
        other.join().unwrap();
        assert!(!folder.path().join("config.lock").exists());
    }
}
