//! The audit log: a file of lines, turned over when it is large.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kplane_machinery::time::Time;

/// When the file is turned over, and what is kept of those before it.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Beyond this size; zero: never.
    pub bytes: u64,
    /// So many are kept; zero: all.
    pub backups: usize,
    /// They are kept for so long; zero: for ever.
    pub age: Duration,
}

/// The file.
pub struct LogFile {
    path: PathBuf,
    out: Out,
    written: u64,
    rotation: Rotation,
}

enum Out {
    Standard,
    File(File),
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl LogFile {
    /// Appends to a file; `-` is standard output.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { path: path.into(), out: Out::Standard, written: 0, rotation });
        }
        let file = open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.into(), out: Out::File(file), written, rotation })
    }

    /// Writes a line.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        let full = self.rotation.bytes > 0 && self.written > 0 && self.written + length > self.rotation.bytes;
        if full && matches!(self.out, Out::File(_)) {
            self.turn_over()?;
        }
        match &mut self.out {
            Out::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(line.as_bytes())?;
                out.flush()?;
            }
            Out::File(file) => file.write_all(line.as_bytes())?,
        }
        self.written += length;
        Ok(())
    }

    /// The stem and the extension of the files before this one: `audit-<time>.log`.
    fn names(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
        let stem = text(self.path.file_stem()).unwrap_or_default();
        let extension = text(self.path.extension()).map_or_else(String::new, |e| format!(".{e}"));
        (stem, extension)
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let (stem, extension) = self.names();
        let now = Time::now().to_string().replace(':', "-");
        let mut old = self.path.with_file_name(format!("{stem}-{now}{extension}"));
        let mut count = 1;
        while old.exists() {
            old = self.path.with_file_name(format!("{stem}-{now}.{count}{extension}"));
            count += 1;
        }
        std::fs::rename(&self.path, &old)?;
        self.out = Out::File(open(&self.path)?);
        self.written = 0;
        self.remove_old(&stem, &extension)
    }

    fn remove_old(&self, stem: &str, extension: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let middle = name.strip_prefix(stem).and_then(|n| n.strip_prefix('-'));
            let ours = middle.and_then(|n| n.strip_suffix(extension)).is_some_and(|n| n.starts_with("20"));
            if ours {
                old.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        old.sort();
        let surplus =
            if self.rotation.backups > 0 { old.len().saturating_sub(self.rotation.backups) } else { 0 };
        let now = SystemTime::now();
        for (index, (modified, path)) in old.into_iter().enumerate() {
            let age = now.duration_since(modified).unwrap_or_default();
            if index < surplus || (!self.rotation.age.is_zero() && age > self.rotation.age) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_turned_over_and_old_ones_go() {
        let folder = std::env::temp_dir().join(format!("kplane-audit-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("audit.log");
        std::fs::write(folder.join("audit-other.txt"), "not ours").expect("a file");
        let rotation = Rotation { bytes: 100, backups: 2, age: Duration::ZERO };
        let mut log = LogFile::open(&path, rotation).expect("a log");
        for i in 0..50 {
            log.write(&format!("{{\"line\":{i:>20}}}\n")).expect("a line");
        }
        let mut sizes: Vec<u64> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(&folder).expect("the folder") {
            let entry = entry.expect("an entry");
            names.push(entry.file_name().to_string_lossy().into_owned());
            sizes.push(entry.metadata().expect("its size").len());
        }
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
        let last = std::fs::read_to_string(&path).expect("the log");
        assert!(last.contains("49"), "{last}");
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
