//! Files that hold secrets: private to the owner, written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file of mode 0600 in one step, over what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = temporary(path, bytes)?;
    file.persist(path).map_err(|e| e.error)?;
    sync_parent(path)
}

/// Writes a file of mode 0600 in one step; says `false` when there is one already.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = temporary(path, bytes)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_parent(path).map(|()| true),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e.error),
    }
}

/// Reads a file, `None` when there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    // Temporary files are made with mode 0600, which persisting keeps.
    let mut file = tempfile::Builder::new().prefix(".kplane-").tempfile_in(parent(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    fs::File::open(parent(path))?.sync_all()
}
