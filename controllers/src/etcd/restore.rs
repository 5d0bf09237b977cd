//! Putting a snapshot in the place of a member's data. `etcdutl` makes data of the snapshot, between [`prepare`] and
//! [`finish`]; whatever is cut off may be run again.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use http_body_util::BodyExt as _;

use super::s3::Bucket;
use super::snapshot::{Check, Destination, PATIENCE, UNFINISHED, file_error, keep, sync_folder, verify};
use crate::Error;

/// The data of a member, in its volume.
pub const DATA: &str = "data";
/// Where `etcdutl` puts what it makes.
pub const RESTORING: &str = "restoring";
/// The data as it was before the restore.
const BEFORE: &str = "data.before-restore";
/// The file with the name of the snapshot that the data is of.
const MARK: &str = "restored";

/// How often the reading of an object is begun, when it is cut off.
const TRIES: u32 = 3;

/// Clears the way for `etcdutl`, and looks whether the snapshot is there and whole. One that is in a bucket comes into
/// the folder first.
pub async fn prepare(
    volume: &Path,
    snapshots: &Path,
    bucket: Option<Box<Bucket>>,
    from: &str,
) -> Result<(), Error> {
    remove(&volume.join(RESTORING))?;
    let path = snapshots.join(from);
    let (there, source) = match bucket {
        None => (path.is_file(), Destination::Folder(snapshots.to_owned())),
        // A container that starts anew finds what the one before has read.
        Some(bucket) => {
            (verify(&path).is_ok() || fetch(&bucket, from, &path).await?, Destination::Bucket(bucket))
        }
    };
    if !there {
        let others = match source.list().await?.join(", ") {
            none if none.is_empty() => "there are none".to_owned(),
            some => format!("there are: {some}"),
        };
        return Err(Error::Snapshot(format!("there is no snapshot {from:?}; {others}")));
    }
    verify(&path)
}

/// Reads an object into a file, which has its name only once it is whole. Says whether there is such an object.
async fn fetch(bucket: &Bucket, from: &str, path: &Path) -> Result<bool, Error> {
    let part = path.with_file_name(format!("{from}{UNFINISHED}"));
    let mut tries = 1;
    loop {
        let Some(mut body) = bucket.read(from).await? else { return Ok(false) };
        let failed = |error| file_error(&part, error);
        let mut file = BufWriter::new(std::fs::File::create(&part).map_err(failed)?);
        let mut check = Check::default();
        let cut_off = loop {
            match tokio::time::timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    check.update(&bytes);
                    file.write_all(&bytes).map_err(failed)?;
                }
                Ok(None) => break None,
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Err(_) => break Some("it stopped coming".to_owned()),
            }
        };
        match cut_off {
            None => {
                check.finish()?;
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.sync_all().map_err(failed)?;
                keep(&part, path)?;
                return Ok(true);
            }
            Some(why) if tries == TRIES => {
                return Err(Error::Snapshot(format!(
                    "the snapshot {from:?} could not be read to its end: {why}"
                )));
            }
            Some(_) => tries += 1,
        }
    }
}

/// Puts what `etcdutl` made in the place of the data, unless this attempt did so already. The data from before the
/// first of the attempts that did not come to an end stays aside.
pub fn finish(volume: &Path, attempts: &[String]) -> Result<(), Error> {
    let [data, restoring, before] = [DATA, RESTORING, BEFORE].map(|name| volume.join(name));
    let attempt = attempts.last().map_or("", String::as_str);
    let mark_there = marked(volume)?;
    if mark_there.as_deref() == Some(attempt) && data.exists() {
        return remove(&restoring);
    }
    if mark_there.is_some_and(|mark| attempts.contains(&mark)) {
        remove(&data)?;
    } else if data.exists() {
        remove(&before)?;
        rename(&data, &before)?;
    }
    rename(&restoring, &data)?;
    mark(volume, attempt)
}

/// Puts the data back that was there before these attempts at a restore.
pub fn undo(volume: &Path, attempts: &[String]) -> Result<(), Error> {
    let [data, restoring, before] = [DATA, RESTORING, BEFORE].map(|name| volume.join(name));
    remove(&restoring)?;
    if !data.exists() && before.exists() {
        // Cut off between the two renames of an attempt.
        return rename(&before, &data);
    }
    if marked(volume)?.is_some_and(|mark| attempts.contains(&mark)) {
        remove(&data)?;
        if before.exists() {
            rename(&before, &data)?;
        }
        mark(volume, "")?;
    }
    Ok(())
}

/// Removes the data that a restore has replaced.
pub fn tidy(volume: &Path) -> Result<(), Error> {
    remove(&volume.join(BEFORE))
}

fn marked(volume: &Path) -> Result<Option<String>, Error> {
    let path = volume.join(MARK);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(&path, error)),
    }
}

fn mark(volume: &Path, from: &str) -> Result<(), Error> {
    let (path, new) = (volume.join(MARK), volume.join(format!("{MARK}.new")));
    let write = || {
        std::fs::write(&new, from)?;
        std::fs::File::open(&new)?.sync_all()
    };
    write().map_err(|error| file_error(&new, error))?;
    rename(&new, &path)
}

fn rename(from: &Path, to: &PathBuf) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|error| file_error(from, error))?;
    sync_folder(to)
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(volume: &Path, folder: &str, content: &str) {
        std::fs::create_dir_all(volume.join(folder)).unwrap();
        std::fs::write(volume.join(folder).join("db"), content).unwrap();
    }

    fn read(volume: &Path, folder: &str) -> Option<String> {
        std::fs::read_to_string(volume.join(folder).join("db")).ok()
    }

    fn attempts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn data_is_replaced_once_and_the_old_kept_until_it_is_tidied() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path();
        let (first, second) = (attempts(&["a#1"]), attempts(&["a#1", "b#2"]));
        put(volume, DATA, "old");
        put(volume, RESTORING, "snapshot");
        finish(volume, &first).unwrap();
        assert_eq!(read(volume, DATA).as_deref(), Some("snapshot"));
        assert_eq!(read(volume, BEFORE).as_deref(), Some("old"));
        // The pod starts again, after the member has written.
        put(volume, DATA, "newer");
        put(volume, RESTORING, "snapshot");
        finish(volume, &first).unwrap();
        assert_eq!(read(volume, DATA).as_deref(), Some("newer"));
        assert_eq!(read(volume, RESTORING), None);
        // Another attempt, before the first came to its end: what was before both stays.
        put(volume, RESTORING, "another");
        finish(volume, &second).unwrap();
        assert_eq!(read(volume, DATA).as_deref(), Some("another"));
        for _ in 0..2 {
            undo(volume, &second).unwrap();
            assert_eq!(read(volume, DATA).as_deref(), Some("old"));
        }
        // One that did come to its end is what the next goes back to.
        put(volume, RESTORING, "third");
        finish(volume, &first).unwrap();
        put(volume, RESTORING, "fourth");
        finish(volume, &attempts(&["c#1"])).unwrap();
        undo(volume, &attempts(&["c#1"])).unwrap();
        assert_eq!(read(volume, DATA).as_deref(), Some("third"));
        put(volume, RESTORING, "fifth");
        finish(volume, &attempts(&["d#1"])).unwrap();
        tidy(volume).unwrap();
        assert_eq!((read(volume, DATA).as_deref(), read(volume, BEFORE)), (Some("fifth"), None));
    }

    #[test]
    fn what_an_attempt_did_not_touch_stays_when_it_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), DATA, "old");
        undo(folder.path(), &attempts(&["a#1"])).unwrap();
        assert_eq!(read(folder.path(), DATA).as_deref(), Some("old"));
    }

    #[tokio::test]
    async fn a_snapshot_that_is_not_there_is_said_before_anything_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), DATA, "old");
        let error = prepare(folder.path(), folder.path(), None, "kplane-1.db").await.unwrap_err();
        assert!(error.to_string().contains("there is no snapshot"), "{error}");
        assert_eq!(read(folder.path(), DATA).as_deref(), Some("old"));
    }
}
