//! Changing kubeconfig files.

use serde_json::Value;

use super::document::{Document, Section};
use super::entry::Entry;
use super::files::{FileLock, Paths, replace};
use crate::error::Result;

/// The files as they are, to be changed.
#[derive(Debug)]
pub struct Edit {
    documents: Vec<Document>,
    /// The one for what is new.
    default: usize,
}

/// Changes the files under their locks, and replaces those that have changed. Nothing is written when the change, or
/// the reading of any file, fails.
pub fn edit<T>(paths: &Paths, change: impl FnOnce(&mut Edit) -> Result<T>) -> Result<T> {
    let mut files = paths.precedence();
    let default_file = paths.default_file();
    files.retain(|file| *file == default_file || file.exists());

    // Locks are taken in one order by all, as kubectl does, so that two that edit never wait for each other. A file
    // that cannot be locked, say one of the system's, may be read but not changed.
    let mut sorted = files.clone();
    sorted.sort();
    let mut locks = Vec::new();
    let mut unlocked = Vec::new();
    for file in sorted {
        match FileLock::acquire(&file) {
            Ok(lock) => locks.push(lock),
            Err(error) if file != default_file => unlocked.push((file, error)),
            Err(error) => return Err(error),
        }
    }

    let before: Vec<Document> = files.iter().cloned().map(Document::load).collect::<Result<_>>()?;
    let default = files.iter().position(|file| *file == default_file).unwrap_or_default();
    let mut edit = Edit { documents: before.clone(), default };
    let result = change(&mut edit)?;

    for (old, new) in before.iter().zip(&edit.documents).filter(|(old, new)| old != new) {
        if let Some(position) = unlocked.iter().position(|(file, _)| file == new.path()) {
            return Err(unlocked.swap_remove(position).1);
        }
        replace(old.path(), &new.render()?)?;
    }
    drop(locks);
    Ok(result)
}

impl Edit {
    /// Sets an entry where it is, or adds it to the file for what is new.
    pub fn set(&mut self, section: Section, name: &str, body: &Value) {
        let origin = self.documents.iter().position(|document| document.body(section, name).is_some());
        self.documents[origin.unwrap_or(self.default)].set(section, name, body);
    }

    /// Sets a context with its cluster and user, all of one name.
    pub fn set_entry(&mut self, name: &str, entry: &Entry) {
        self.set(Section::Clusters, name, &entry.cluster);
        self.set(Section::Users, name, &entry.user);
        self.set(Section::Contexts, name, &entry.context(name));
    }

    /// Removes a context with the cluster and user of its name; whether any was there. If it was the current one,
    /// there is none afterwards.
    pub fn remove_entry(&mut self, name: &str) -> Removed {
        let mut removed = Removed::default();
        for document in &mut self.documents {
            for section in Section::ALL {
                removed.any |= document.remove(section, name);
            }
            if document.current_context() == Some(name) {
                document.set_current_context(None);
                removed.was_current = true;
            }
        }
        removed
    }

    /// The current context, if one is set.
    pub fn current_context(&self) -> Option<&str> {
        self.documents.iter().find_map(Document::current_context)
    }

    /// Makes a context the current one.
    pub fn set_current_context(&mut self, name: &str) {
        if self.current_context() == Some(name) {
            return;
        }
        // The first file to name one wins, so a name in an earlier one than the file for what is new must go.
        for document in &mut self.documents[..self.default] {
            if document.current_context().is_some() {
                document.set_current_context(None);
            }
        }
        self.documents[self.default].set_current_context(Some(name));
    }

    /// The names of all contexts, with the address of the server of each.
    pub fn contexts(&self) -> Vec<(String, Option<String>)> {
        let cluster = |name: &str| self.documents.iter().find_map(|d| d.body(Section::Clusters, name));
        let mut all = Vec::new();
        for document in &self.documents {
            for name in document.names(Section::Contexts) {
                let server = document
                    .body(Section::Contexts, name)
                    .and_then(|context| cluster(context["cluster"].as_str()?))
                    .and_then(|cluster| cluster["server"].as_str().map(str::to_owned));
                all.push((name.to_owned(), server));
            }
        }
        all
    }
}

/// What removing a context did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Something was there to remove.
    pub any: bool,
    /// It was the current context.
    pub was_current: bool,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn entry() -> Entry {
        Entry { cluster: json!({"server": "https://x"}), user: json!({"token": "t"}) }
    }

    fn paths(folder: &Path, names: &[&str]) -> Paths {
        let joined = std::env::join_paths(names.iter().map(|name| folder.join(name))).unwrap();
        // Through the environment's notation, without changing the environment of other tests.
        Paths::for_tests(joined)
    }

    #[test]
    fn entries_change_where_they_are_and_new_ones_go_to_the_first_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "current-context: other\n").unwrap();
        std::fs::write(folder.path().join("b"), "users: [{name: kplane-demo, user: {}}]\n").unwrap();
        let paths = paths(folder.path(), &["a", "b"]);
        edit(&paths, |edit| {
            edit.set_entry("kplane-demo", &entry());
            edit.set_current_context("kplane-demo");
            Ok(())
        })
        .unwrap();
        let a = Document::load(folder.path().join("a")).unwrap();
        let b = Document::load(folder.path().join("b")).unwrap();
        assert!(a.body(Section::Clusters, "kplane-demo").is_some());
        assert!(a.body(Section::Users, "kplane-demo").is_none());
        assert_eq!(b.body(Section::Users, "kplane-demo").unwrap()["token"], "t");
        assert_eq!(a.current_context(), Some("kplane-demo"));

        let removed = edit(&paths, |edit| Ok(edit.remove_entry("kplane-demo"))).unwrap();
        assert_eq!(removed, Removed { any: true, was_current: true });
        let b = Document::load(folder.path().join("b")).unwrap();
        assert_eq!(b.names(Section::Users).count(), 0);
    }

    #[test]
    fn nothing_is_written_when_nothing_changes_or_a_file_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "# mine\ncurrent-context: x\n").unwrap();
        let paths = paths(folder.path(), &["a"]);
        edit(&paths, |edit| Ok(edit.remove_entry("none"))).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\ncurrent-context: x\n");

        std::fs::write(&file, "clusters: {").unwrap();
        let failed = edit(&paths, |edit| {
            edit.set_entry("kplane-demo", &entry());
            Ok(())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "clusters: {");
        assert!(!folder.path().join("a.lock").exists());
    }
}
