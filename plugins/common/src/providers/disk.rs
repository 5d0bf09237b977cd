//! How much room a disk has.

use std::path::Path;

use crate::error::{Error, Result};

const MIB: u64 = 1 << 20;

/// Whether there is as much room as this where a folder is or will be.
pub(super) fn room(folder: &Path, needed_mib: u64) -> Result<String> {
    let at = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let failed = |error: std::io::Error| {
        Error::new(format!("cannot look at the disk of {}", at.display())).caused_by(&error)
    };
    let disk = rustix::fs::statvfs(at).map_err(|error| failed(error.into()))?;
    judge(folder, disk.f_bavail.saturating_mul(disk.f_frsize) / MIB, needed_mib)
}

fn judge(folder: &Path, free_mib: u64, needed_mib: u64) -> Result<String> {
    if free_mib < needed_mib {
        return Err(Error::new(format!("{free_mib} MiB are free for {}", folder.display()))
            .hint(format!("free at least {needed_mib} MiB, or use a folder on another disk")));
    }
    Ok(format!("{free_mib} MiB are free for {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_so_is_what_to_do() {
        let told = judge(Path::new("/data"), 5, 256).unwrap_err();
        assert!(told.to_string().contains("5 MiB"), "{told}");
        assert!(told.details().concat().contains("256 MiB"), "{:?}", told.details());
        assert!(judge(Path::new("/data"), 256, 256).is_ok());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_the_disk_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(room(&folder.path().join("not/yet"), 1).is_ok());
    }
}
