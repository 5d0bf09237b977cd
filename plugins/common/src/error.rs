//! Errors as a user reads them: what failed, what caused it, what to do next.

use std::error::Error as _;
use std::fmt;

use crate::printer::Printer;

/// What a command gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct Error {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Error {
    /// An error without a cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Names what was tried when this happened; what was said becomes a cause.
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, message.into()));
        self
    }

    /// Adds what caused it, and what caused that.
    pub fn caused_by(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.add_cause(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What failed, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines below the first: causes, then hints.
    pub fn details(&self) -> Vec<String> {
        let causes = self.causes.iter().map(|cause| format!("caused by: {}", cause.replace('\n', "\n    ")));
        causes.chain(self.hints.iter().map(|hint| format!("hint: {hint}"))).collect()
    }

    /// Leaves out a cause that the line above it already ends with, as many errors print their source too.
    fn add_cause(&mut self, cause: String) {
        let above = self.causes.last().unwrap_or(&self.message);
        if !above.contains(&cause) && !cause.is_empty() {
            self.causes.push(cause);
        }
    }

    /// Writes the error to stderr.
    pub fn print(&self, printer: &Printer) {
        let mut text = format!("{} {}\n", printer.paint("31", "error:"), self.message);
        for cause in &self.causes {
            text.push_str(&format!("  caused by: {}\n", cause.replace('\n', "\n    ")));
        }
        for hint in &self.hints {
            text.push_str(&format!("{} {hint}\n", printer.paint("36", "hint:")));
        }
        printer.error_lines(&text);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => api_error(&status),
            other => transport_error(&other),
        }
    }
}

impl From<kplaned_state::StateError> for Error {
    fn from(error: kplaned_state::StateError) -> Self {
        let hint = match &error {
            kplaned_state::StateError::NewerFormat { .. } => {
                Some("install the newer version of kplane that wrote it, or name another --data-dir")
            }
            _ => None,
        };
        let mut this = Error::new(error.to_string());
        if let Some(source) = error.source() {
            this = this.caused_by(source);
        }
        match hint {
            Some(hint) => this.hint(hint),
            None => this,
        }
    }
}

/// The words kubectl finds for an answer of the server.
fn api_error(status: &kube::core::Status) -> Error {
    let error = match status.reason.as_str() {
        "" => Error::new(status.message.clone()),
        "Invalid" => Error::new(status.message.clone()),
        reason => Error::new(format!("Error from server ({reason}): {}", status.message)),
    };
    match status.code {
        401 => error.hint("the credentials are not valid any more; get new ones with `kubectl kplane up`"),
        _ => error,
    }
}

/// The server was not reached.
fn transport_error(cause: &kube::Error) -> Error {
    Error::new("the management plane does not answer")
        .caused_by(cause)
        .hint("start it with `kubectl kplane up`, or see what is wrong with `kubectl kplane doctor`")
}

/// Whether the server says that there is no such object.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Whether the server does not know the kind at all, because kplane is not installed in the cluster.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404
        && status.details.as_ref().is_none_or(|details| details.name.is_empty()))
}

/// kplane is not installed in the cluster.
pub fn not_installed(cause: &kube::Error) -> Error {
    let said = match cause {
        // The answer to an unknown path is text and no Status; the client's words about that help nobody.
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    Error::new("kplane is not installed in the management cluster, or its controllers do not work")
        .caused_by(&std::io::Error::other(said))
        .hint("with the local provider, see kplaned.log in ~/.local/state/kplane")
        .hint("install it with `kubectl kplane up`, or name the right cluster with --context")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_not_printed_twice() {
        let inner = std::io::Error::other("disk full");
        let error = Error::new("cannot write: disk full").caused_by(&inner);
        assert!(error.causes.is_empty());
        let error = Error::new("cannot write").caused_by(&inner).context("cannot start");
        assert_eq!(error.message(), "cannot start");
        assert_eq!(error.causes, ["cannot write", "disk full"]);
    }
}
