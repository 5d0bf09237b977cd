//! Taking snapshots of etcd into a folder or a bucket, and keeping as many as are wanted.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::client::{Access, describe, soon};
use super::s3::{Bucket, Upload};
use crate::Error;

/// How long the next piece of a snapshot may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// What the names of our snapshots begin with, and how they end.
const PREFIX: &str = "kplane-";
const SUFFIX: &str = ".db";
/// How the name of one that is not finished ends.
pub(super) const UNFINISHED: &str = ".part";
/// The length of the digest at the end of a snapshot.
const DIGEST: usize = 32;

/// A snapshot that was taken, as its pod tells of it when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// When it was finished.
    pub time: jiff::Timestamp,
    /// Its size in bytes.
    pub size: i64,
    /// etcd's revision when it began.
    pub revision: i64,
    /// Why older ones that were to go are still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_removed: Option<String>,
}

/// Why none was taken, as its pod tells of it where there is a reason for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Where snapshots are kept.
pub enum Destination {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Box<Bucket>),
}

impl Destination {
    /// The names of the snapshots, the oldest first.
    pub async fn list(&self) -> Result<Vec<String>, Error> {
        match self {
            Self::Folder(folder) => named(folder, SUFFIX),
            Self::Bucket(bucket) => {
                let found = bucket.list(PREFIX, SUFFIX).await?;
                Ok(found.into_iter().map(|object| object.name).collect())
            }
        }
    }

    async fn begin(&self, name: &str) -> Result<Sink<'_>, Error> {
        match self {
            Self::Folder(folder) => {
                let part = folder.join(format!("{name}{UNFINISHED}"));
                let file = std::fs::File::create(&part).map_err(|error| file_error(&part, error))?;
                Ok(Sink::File { file: BufWriter::new(file), part, path: folder.join(name) })
            }
            Self::Bucket(bucket) => Ok(Sink::Object(bucket.write(name).await?)),
        }
    }

    /// Removes the oldest beyond so many, and what runs that were cut off left.
    async fn prune(&self, retain: usize, now: jiff::Timestamp) -> Result<(), Error> {
        let mut gone = self.list().await?;
        gone.truncate(gone.len().saturating_sub(retain.max(1)));
        match self {
            Self::Folder(folder) => {
                gone.extend(named(folder, UNFINISHED)?);
                for name in gone {
                    let path = folder.join(name);
                    std::fs::remove_file(&path).map_err(|error| file_error(&path, error))?;
                }
                Ok(())
            }
            Self::Bucket(bucket) => {
                for name in gone {
                    bucket.delete(&name).await?;
                }
                bucket.clear(PREFIX, now).await
            }
        }
    }
}

/// What a snapshot is written to. It has its name only once it is whole.
enum Sink<'a> {
    File { file: BufWriter<std::fs::File>, part: PathBuf, path: PathBuf },
    Object(Upload<'a>),
}

impl Sink<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File { file, part, .. } => file.write_all(bytes).map_err(|error| file_error(part, error)),
            Self::Object(upload) => upload.write(bytes).await,
        }
    }

    async fn keep(&mut self) -> Result<(), Error> {
        match self {
            Self::File { file, part, path } => {
                file.flush().map_err(|error| file_error(part, error))?;
                file.get_ref().sync_all().map_err(|error| file_error(part, error))?;
                keep(part, path)
            }
            Self::Object(upload) => upload.finish().await,
        }
    }

    /// What cannot be taken back now is by a later run.
    async fn give_up(self) {
        match self {
            Self::File { part, .. } => drop(std::fs::remove_file(&part)),
            Self::Object(upload) => drop(upload.give_up().await),
        }
    }
}

/// Takes a snapshot of the first member that gives one, checks it, and removes the oldest beyond `retain`.
pub async fn take(
    access: &Access,
    endpoints: &[String],
    destination: &Destination,
    retain: usize,
    now: jiff::Timestamp,
    stop: &CancellationToken,
) -> Result<Taken, Error> {
    let name = format!("{PREFIX}{}{SUFFIX}", now.strftime("%Y%m%dT%H%M%SZ"));
    let mut failures = Vec::new();
    for endpoint in endpoints {
        let mut sink = destination.begin(&name).await?;
        let fetched = match fetch(access, endpoint, &mut sink, stop).await {
            Ok(found) => sink.keep().await.map(|()| found),
            Err(error) => Err(error),
        };
        match fetched {
            Ok((size, revision)) => {
                // It is there, whatever becomes of the others.
                let not_removed = destination.prune(retain, now).await.err().map(|error| error.to_string());
                return Ok(Taken { name, time: jiff::Timestamp::now(), size, revision, not_removed });
            }
            Err(error) => {
                sink.give_up().await;
                // What another member has no part in is not tried with it.
                if matches!(error, Error::File { .. } | Error::ObjectStore { .. }) || stop.is_cancelled() {
                    return Err(error);
                }
                failures.push(format!("{endpoint}: {error}"));
            }
        }
    }
    Err(Error::Etcd(format!("no member gave a snapshot: {}", failures.join("; "))))
}

/// Writes a member's snapshot, and checks that it is whole; its size, and the revision before it.
async fn fetch(
    access: &Access,
    endpoint: &str,
    sink: &mut Sink<'_>,
    stop: &CancellationToken,
) -> Result<(i64, i64), Error> {
    let mut client = access.connect(&[endpoint.to_owned()]).await?;
    // A linearizable read: a member that the others left behind must not be the one that is copied.
    let seen = soon(client.get("\0", None)).await?;
    let revision = seen.header().map_or(0, |h| h.revision());
    let mut stream = soon(client.snapshot()).await?;
    let (mut check, mut size) = (Check::default(), 0);
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(PATIENCE, stream.message()) => next,
            () = stop.cancelled() => return Err(Error::Snapshot("told to end before the snapshot was whole".into())),
        };
        let message = next
            .map_err(|_| Error::Etcd("the snapshot stopped coming".into()))?
            .map_err(|error| Error::Etcd(describe(&error)))?;
        let Some(message) = message else { break };
        check.update(message.blob());
        size += i64::try_from(message.blob().len()).unwrap_or(0);
        sink.write(message.blob()).await?;
    }
    check.finish()?;
    Ok((size, revision))
}

/// Compares the digest at the end of a snapshot with that of what is before it, piece by piece.
#[derive(Default)]
pub(super) struct Check {
    digest: Sha256,
    tail: Vec<u8>,
}

impl Check {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if let Some(sure) = self.tail.len().checked_sub(DIGEST) {
            self.digest.update(&self.tail[..sure]);
            self.tail.drain(..sure);
        }
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        match self.tail.len() == DIGEST && self.digest.finalize().as_slice() == self.tail {
            true => Ok(()),
            false => Err(Error::Snapshot("the snapshot is damaged: its digest is another".into())),
        }
    }
}

/// Checks that a file is a whole snapshot.
pub fn verify(path: &Path) -> Result<(), Error> {
    let failed = |error| file_error(path, error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut check = Check::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(failed)? {
            0 => return check.finish(),
            read => check.update(&buffer[..read]),
        }
    }
}

/// Gives a finished snapshot its name.
pub(super) fn keep(part: &Path, path: &Path) -> Result<(), Error> {
    std::fs::rename(part, path).map_err(|error| file_error(path, error))?;
    sync_folder(path)
}

/// Makes sure that a change of names in the folder of a path outlives a crash.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| file_error(folder, error))
}

fn named(folder: &Path, suffix: &str) -> Result<Vec<String>, Error> {
    let failed = |error| file_error(folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && name.ends_with(suffix) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn file_error(path: &Path, error: std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        bytes.extend_from_slice(&Sha256::digest(content));
        bytes
    }

    #[test]
    fn a_snapshot_is_checked_by_the_digest_at_its_end() {
        let bytes = whole(b"barn owls");
        for size in [1, 7, 64] {
            let mut check = Check::default();
            bytes.chunks(size).for_each(|piece| check.update(piece));
            check.finish().unwrap();
        }
        for damaged in [&bytes[..bytes.len() - 1], &bytes[1..], b"short", b""] {
            let mut check = Check::default();
            check.update(damaged);
            assert!(check.finish().is_err());
        }
    }

    #[tokio::test]
    async fn the_oldest_go_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kplane-1.db", "kplane-3.db", "kplane-2.db", "mine.db", "kplane-0.db.part"] {
            std::fs::write(folder.path().join(name), whole(b"x")).unwrap();
        }
        let destination = Destination::Folder(folder.path().to_owned());
        destination.prune(2, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(destination.list().await.unwrap(), ["kplane-2.db", "kplane-3.db"]);
        assert!(folder.path().join("mine.db").exists());
        assert!(!folder.path().join("kplane-0.db.part").exists());
        verify(&folder.path().join("kplane-3.db")).unwrap();
        assert!(verify(&folder.path().join("nothing")).is_err());
    }
}
