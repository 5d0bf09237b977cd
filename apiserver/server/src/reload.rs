//! The files of `--authentication-config` and `--authorization-config`, read again when they change. What cannot be used
//! is told in the log and in the metrics, and what was read before stays in force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kplane_machinery::time::Time;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::metrics::{head, line};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a file says.
#[derive(Clone, Copy, Debug)]
enum What {
    Authentication,
    Authorization,
}

impl What {
    /// How its metrics are named.
    const fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
        }
    }
}

/// A file, and what of it is in force.
struct Watched {
    what: What,
    file: PathBuf,
    /// The hash of what is in force.
    taken: [u8; 32],
    /// What was told of content that could not be taken.
    told: Option<String>,
}

/// The hash of a file; none while it cannot be read.
fn hash(file: &Path) -> Option<[u8; 32]> {
    std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into())
}

/// The files that a server was started with.
#[derive(Default)]
pub struct Files(Vec<Watched>);

impl Files {
    /// Remembers what is in the files now, before they are read for the first time: a change meanwhile is seen later.
    pub fn new(authentication: Option<&Path>, authorization: Option<&Path>) -> Self {
        let watched = |what, file: &Path| Watched {
            what,
            file: file.to_owned(),
            taken: hash(file).unwrap_or_default(),
            told: None,
        };
        let files = [
            authentication.map(|file| watched(What::Authentication, file)),
            authorization.map(|file| watched(What::Authorization, file)),
        ];
        Self(files.into_iter().flatten().collect())
    }
}

/// Runs until the server ends; at once when there is no such file.
pub async fn run(app: Arc<App>, mut files: Files) {
    while !files.0.is_empty() {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        for watched in &mut files.0 {
            look(&app, watched);
        }
    }
}

/// Takes up a file, if it is another than the one in force.
fn look(app: &App, watched: &mut Watched) {
    let name = watched.what.name();
    let now = hash(&watched.file);
    if now == Some(watched.taken) {
        watched.told = None;
        return;
    }
    let taken = match watched.what {
        What::Authentication => app.identities.take_authentication_config(&watched.file),
        What::Authorization => app.identities.take_authorization_config(&watched.file),
    };
    match taken {
        Ok(()) => {
            // Written once more while it was read, it is read once more.
            watched.taken = now.unwrap_or_default();
            watched.told = None;
            app.metrics.reloads.count(name, true);
            tracing::info!(file = %watched.file.display(), "the {name} configuration was reloaded");
        }
        Err(error) => {
            let why = format!("{error:#}");
            if watched.told.as_ref() != Some(&why) {
                app.metrics.reloads.count(name, false);
                tracing::error!(
                    file = %watched.file.display(), why,
                    "the {name} configuration cannot be used; the one before stays in force"
                );
                watched.told = Some(why);
            }
        }
    }
}

/// What a file configures, and whether it could be used.
type Outcome = (&'static str, bool);

/// Files that were read again: how often, and when last.
#[derive(Default)]
pub struct Reloads(Mutex<BTreeMap<Outcome, (u64, i64)>>);

impl Reloads {
    fn count(&self, what: &'static str, taken: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = all.entry((what, taken)).or_default();
        *count += 1;
        *last = Time::now().unix();
    }

    /// Writes them as upstream names them.
    pub fn render(&self, out: &mut String, server: &str) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let labels = |taken: bool| {
            let status = if taken { "success" } else { "failure" };
            format!("apiserver_id_hash=\"sha256:{server}\",status=\"{status}\"")
        };
        for what in [What::Authentication, What::Authorization].map(What::name) {
            let of = || all.iter().filter(|((name, _), _)| *name == what);
            let name = format!("apiserver_{what}_config_controller_automatic_reloads_total");
            let help = format!(
                "Total number of automatic reloads of {what} configuration split by status and apiserver identity."
            );
            head(out, &name, "counter", &help);
            for ((_, taken), (count, _)) in of() {
                line(out, &name, &labels(*taken), *count as f64);
            }
            let name = format!("apiserver_{what}_config_controller_automatic_reload_last_timestamp_seconds");
            let help = format!(
                "Timestamp of the last automatic reload of {what} configuration split by status and apiserver identity."
            );
            head(out, &name, "gauge", &help);
            for ((_, taken), (_, last)) in of() {
                line(out, &name, &labels(*taken), *last as f64);
            }
        }
    }
}
