//! The suite over the embedded store.

mod suite;

use kplane_storage::{EmbeddedOptions, EmbeddedStore};

async fn embedded() -> (EmbeddedStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("store"), EmbeddedOptions::default()).unwrap();
    (store, directory)
}

registry_suite!(embedded());
