//! What holds of a registry over any store. Each test gets an empty store.

pub mod across;
pub mod doubt;
pub mod life;
pub mod model;
pub mod objects;
pub mod watches;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kplane_registry::{
    Encoded, Error, Layer, ListPage, ListRequest, NewVcp, ObjectKey, Registry, RegistryOptions, ResourceKey,
    Stored, Vcp, WatchFrom, WatchItem, WatchRequest,
};
use kplane_storage::SharedStore;
use serde_json::{Value, json};

/// Instantiates the suite for a way to make a store and what must live as long.
#[macro_export]
macro_rules! registry_suite {
    ($make:expr => $($module:ident :: $test:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (store, _guard) = $make.await;
            suite::$module::$test(std::sync::Arc::new(store)).await;
        })+
    };
    ($make:expr) => {
        $crate::registry_suite!($make =>
            objects::an_object_is_created_read_changed_and_deleted,
            objects::inherited_objects_are_read_materialised_and_hidden,
            objects::pages_show_one_revision,
            objects::pages_know_how_many_are_behind,
            objects::what_is_read_often_is_held_in_memory,
            objects::a_second_registry_sees_what_was_acknowledged,
            doubt::a_write_without_an_answer_is_done_once,
            doubt::what_a_layer_has_is_hidden_and_replaced_without_an_answer,
            doubt::anothers_write_of_the_same_is_not_taken_for_the_own,
            doubt::a_write_is_told_not_done_or_not_known,
            doubt::data_of_the_first_format_stays_without_marks,
            model::random_writes_read_back_as_the_model,
            life::a_closed_control_plane_refuses_writers_who_have_not_noticed,
            life::destroying_takes_everything_and_nothing_else,
            life::moved_layers_expire_watches_and_show_in_lists,
            life::foreign_and_newer_data_are_refused,
            life::idle_resources_leave_memory,
            life::what_is_kept_is_counted,
            watches::a_watch_has_no_gap_and_no_repeat,
            watches::initial_events_end_with_a_bookmark,
            watches::compacted_history_expires_a_watch,
            watches::a_slow_reader_is_cut_off,
            watches::what_runs_out_is_deleted,
            across::all_control_planes_are_listed_and_watched,
        );
    };
}

pub fn options() -> RegistryOptions {
    let doubt = Duration::from_secs(1);
    RegistryOptions { history: Duration::ZERO, doubt, ..RegistryOptions::default() }
}

pub async fn open(store: &SharedStore) -> Registry {
    Registry::open(store.clone(), options()).await.unwrap()
}

pub fn config_maps() -> ResourceKey {
    ResourceKey::new("", "configmaps")
}

pub fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(config_maps(), Some(namespace), name)
}

pub fn object(namespace: &str, name: &str, data: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "stale"},
        "data": {"text": data},
    })
}

pub fn encoded(key: &ObjectKey, data: &str) -> Encoded {
    Encoded::new(&object(key.namespace.as_deref().unwrap(), &key.name, data), 7).unwrap()
}

pub fn data(stored: &Stored) -> String {
    stored.to_value().unwrap()["data"]["text"].as_str().unwrap().to_owned()
}

/// The layer whose objects have these names in namespace `l`, and `text` as data.
pub fn layer(names: &[&str], text: &str) -> Layer {
    let objects = names.iter().map(|name| (key("l", name), object("l", name, text))).collect();
    Layer::build(7, objects).unwrap()
}

pub fn uid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

pub async fn vcp(registry: &Registry, number: u32, layers: &[&Layer]) -> Arc<Vcp> {
    let mut hashes = Vec::new();
    for layer in layers {
        hashes.push(registry.ensure_layer(layer).await.unwrap());
    }
    let new = NewVcp {
        uid: uid(number),
        name: format!("vcp-{number}"),
        created: 1_000_000_000,
        layers: hashes,
        parameters: None,
        credentials: Default::default(),
    };
    registry.create_vcp(&new).await.unwrap()
}

pub async fn put(registry: &Registry, vcp: &Vcp, key: &ObjectKey, text: &str) -> Stored {
    let effects = Default::default;
    match registry.get(vcp, key).await.unwrap() {
        None => registry.create(vcp, key, encoded(key, text), None, effects()).await.unwrap(),
        Some(old) => registry.update(vcp, key, &old, encoded(key, text), None, effects()).await.unwrap(),
    }
}

pub async fn remove(registry: &Registry, vcp: &Vcp, key: &ObjectKey) -> u64 {
    let old = registry.get(vcp, key).await.unwrap().unwrap();
    registry.delete(vcp, key, &old, Default::default()).await.unwrap()
}

pub fn names(page: &ListPage) -> Vec<String> {
    page.items.iter().map(|o| format!("{}/{}", o.namespace().unwrap(), o.name())).collect()
}

pub async fn list(registry: &Registry, vcp: &Vcp) -> ListPage {
    registry.list(vcp, &config_maps(), ListRequest::default()).await.unwrap()
}

pub type Watching = Pin<Box<dyn Stream<Item = Result<WatchItem, Error>> + Send>>;

pub async fn watch(registry: &Registry, vcp: &Vcp, from: WatchFrom) -> Result<Watching, Error> {
    let request = WatchRequest { namespace: None, name: None, from, bookmarks: false };
    Ok(Box::pin(registry.watch(vcp, &config_maps(), request).await?))
}

pub async fn next(watch: &mut Watching) -> Result<WatchItem, Error> {
    tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("an event").expect("no end")
}

/// The next event in short: its kind, name, data and revision.
pub async fn event(watch: &mut Watching) -> (String, String, String, u64) {
    match next(watch).await.unwrap() {
        WatchItem::Event { kind, object, .. } => {
            (format!("{kind:?}"), object.name().to_owned(), data(&object), object.revision())
        }
        WatchItem::Bookmark { revision, .. } => ("Bookmark".into(), String::new(), String::new(), revision),
    }
}
