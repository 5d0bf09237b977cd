//! The archive of the server's image, which the release carries.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The name of the archive beside the programs.
#[cfg(target_arch = "aarch64")]
pub const IMAGE_ARCHIVE: &str = "kplane-image-linux-arm64.tar";
/// The name of the archive beside the programs.
#[cfg(not(target_arch = "aarch64"))]
pub const IMAGE_ARCHIVE: &str = "kplane-image-linux-amd64.tar";

/// The archive that was asked for, or the one beside this program, also where links to it lead, as krew installs.
/// Without one the cluster must be able to pull the image.
pub(super) fn archive(asked: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(asked) = asked {
        if !asked.is_file() {
            return Err(Error::new(format!("there is no image archive {}", asked.display()))
                .hint("make one with hack/image, or take it from a release"));
        }
        return Ok(Some(asked.to_owned()));
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    let beside = beside.as_deref().and_then(Path::parent).map(|folder| folder.join(IMAGE_ARCHIVE));
    Ok(beside.filter(|file| file.is_file()))
}
