//! The embedded store keeps the contract, in a file and in memory.

use kplane_storage::{EmbeddedOptions, EmbeddedStore};

async fn in_file() -> (EmbeddedStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path, EmbeddedOptions::default()).unwrap();
    (store, directory)
}

kplane_storage::contract_suite!(in_file());
