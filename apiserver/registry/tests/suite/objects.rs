//! Objects one by one and in lists.

use kplane_registry::{Error, ListRequest, ObjectKey, ResourceVersion, WriteError};
use kplane_storage::SharedStore;
use serde_json::Value;

use super::*;

pub async fn an_object_is_created_read_changed_and_deleted(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = vcp(&registry, 1, &[]).await;
    let key = key("a", "x");
    assert!(registry.get(&vcp, &key).await.unwrap().is_none());
    let created = registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await.unwrap();
    let again = registry.create(&vcp, &key, encoded(&key, "1"), None, Default::default()).await;
    assert!(matches!(again, Err(WriteError::AlreadyExists)));

    let read = registry.get(&vcp, &key).await.unwrap().unwrap();
    assert_eq!(read, created);
    assert_eq!((read.namespace(), read.name(), read.epoch(), read.api_version()), (Some("a"), "x", 7, "v1"));
    let mut json = Vec::new();
    read.write_json(&mut json);
    assert!(json.len() <= read.len());
    let mut expected = object("a", "x", "1");
    expected["metadata"]["resourceVersion"] = read.revision().to_string().into();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), expected);
    assert_eq!(read.to_value().unwrap(), expected);
    json.clear();
    read.write_json_untyped(&mut json);
    expected.as_object_mut().unwrap().retain(|field, _| field != "kind" && field != "apiVersion");
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), expected);

    let updated =
        registry.update(&vcp, &key, &created, encoded(&key, "2"), None, Default::default()).await.unwrap();
    assert!(updated.revision() > created.revision());
    match registry.update(&vcp, &key, &created, encoded(&key, "3"), None, Default::default()).await {
        Err(WriteError::Conflict(Some(now))) => assert_eq!(now, updated),
        other => panic!("{other:?}"),
    }
    let conflict = registry.delete(&vcp, &key, &created, Default::default()).await;
    assert!(matches!(conflict, Err(WriteError::Conflict(Some(_)))));
    // Also while it is hot.
    assert_eq!(list(&registry, &vcp).await.items, std::slice::from_ref(&updated));
    assert_eq!(registry.get(&vcp, &key).await.unwrap(), Some(updated.clone()));
    registry.delete(&vcp, &key, &updated, Default::default()).await.unwrap();
    assert!(registry.get(&vcp, &key).await.unwrap().is_none());
    assert!(list(&registry, &vcp).await.items.is_empty());
    let gone = registry.update(&vcp, &key, &updated, encoded(&key, "3"), None, Default::default()).await;
    assert!(matches!(gone, Err(WriteError::Conflict(None))));
}

pub async fn inherited_objects_are_read_materialised_and_hidden(store: SharedStore) {
    let registry = open(&store).await;
    let first = vcp(&registry, 1, &[&layer(&["x", "y", "z"], "base")]).await;
    let other =
        vcp(&registry, 2, &[&layer(&["x", "y", "z"], "base"), &layer(&["y"], "over {{kplane.name}}")]).await;
    let key = key("l", "y");
    for hot in [false, true] {
        let read = registry.get(&first, &key).await.unwrap().unwrap();
        assert!(read.is_inherited());
        assert_eq!(read.revision(), first.fence);
        let value = read.to_value().unwrap();
        assert_eq!(value["metadata"]["creationTimestamp"], "2001-09-09T01:46:40Z");
        assert_eq!(value["metadata"]["uid"].as_str().unwrap().len(), 36);
        let second = registry.get(&other, &key).await.unwrap().unwrap();
        assert_ne!(second.to_value().unwrap()["metadata"]["uid"], value["metadata"]["uid"]);
        assert_eq!(data(&second), "over vcp-2");
        let mut json = Vec::new();
        second.write_json_untyped(&mut json);
        assert_eq!(
            serde_json::from_slice::<Value>(&json).unwrap()["metadata"]["resourceVersion"],
            other.fence.to_string()
        );
        if !hot {
            assert_eq!(names(&list(&registry, &first).await), ["l/x", "l/y", "l/z"]);
            list(&registry, &other).await;
        }
    }
    let exists = registry.create(&first, &key, encoded(&key, "new"), None, Default::default()).await;
    assert!(matches!(exists, Err(WriteError::AlreadyExists)));
    let inherited = registry.get(&first, &key).await.unwrap().unwrap();
    let own = put(&registry, &first, &key, "own").await;
    assert_eq!(registry.get(&first, &key).await.unwrap(), Some(own.clone()));
    let late =
        registry.update(&first, &key, &inherited, encoded(&key, "late"), None, Default::default()).await;
    assert!(matches!(late, Err(WriteError::Conflict(Some(now))) if now == own));
    assert_eq!(data(&registry.get(&other, &key).await.unwrap().unwrap()), "over vcp-2");
    remove(&registry, &first, &key).await;
    let x = super::key("l", "x");
    remove(&registry, &first, &x).await;
    assert_eq!(names(&list(&registry, &first).await), ["l/z"]);
    let page = registry
        .list(&other, &config_maps(), ListRequest { limit: Some(1), ..Default::default() })
        .await
        .unwrap();
    assert_eq!((names(&page), page.remaining), (vec!["l/x".to_owned()], Some(2)));
    assert!(registry.get(&first, &key).await.unwrap().is_none());
    // Over the tombstone.
    put(&registry, &first, &key, "again").await;
    assert_eq!(names(&list(&registry, &first).await), ["l/y", "l/z"]);
    let cold = open(&store).await;
    assert_eq!(names(&list(&cold, &first).await), ["l/y", "l/z"]);
    let limited = ListRequest { limit: Some(1), ..Default::default() };
    let cold = open(&store).await;
    let page = cold.list(&first, &config_maps(), limited).await.unwrap();
    assert_eq!((names(&page), page.remaining), (vec!["l/y".to_owned()], Some(1)));
    assert_eq!(cold.stats().hot_sets, 0);
}

pub async fn what_is_read_often_is_held_in_memory(store: SharedStore) {
    let (one, two) = (open(&store).await, open(&store).await);
    let vcp = one.root();
    let key = key("a", "x");
    put(&one, &vcp, &key, "1").await;
    let mut reads = 0;
    while one.stats().hot_sets == 0 {
        assert_eq!(data(&one.get(&vcp, &key).await.unwrap().unwrap()), "1");
        reads += 1;
    }
    assert!(reads > 100);
    assert_eq!(two.stats().hot_sets, 0);
    // What another server was told is written is what is read.
    for n in 0..50 {
        remove(&two, &vcp, &key).await;
        assert!(one.get(&vcp, &key).await.unwrap().is_none());
        put(&two, &vcp, &key, &n.to_string()).await;
        assert_eq!(data(&one.get(&vcp, &key).await.unwrap().unwrap()), n.to_string());
    }
    assert_eq!(one.stats().hot_sets, 1);
}

pub async fn pages_know_how_many_are_behind(store: SharedStore) {
    let registry = open(&store).await;
    let vcp = registry.root();
    for name in ["a", "b", "c", "d", "e"] {
        put(&registry, &vcp, &key("n", name), "1").await;
    }
    let mut request = ListRequest { limit: Some(2), ..Default::default() };
    let mut told = Vec::new();
    loop {
        let page = registry.list(&vcp, &config_maps(), request.clone()).await.unwrap();
        told.push((names(&page).len(), page.remaining));
        let Some(next) = page.next else { break };
        // What is written meanwhile is of no page.
        put(&registry, &vcp, &key("n", "f"), "1").await;
        remove(&registry, &vcp, &key("n", "f")).await;
        request.after = Some(next);
        request.version = ResourceVersion::Exact(page.revision);
        request.behind = page.remaining;
    }
    assert_eq!(told, [(2, Some(3)), (2, Some(1)), (1, None)]);
}

pub async fn pages_show_one_revision(store: SharedStore) {
    let (one, two) = (open(&store).await, open(&store).await);
    let base = layer(&["k", "m"], "base");
    let vcp = vcp(&one, 1, &[&base]).await;
    let mut expected = vec!["l/k".to_owned(), "l/m".to_owned()];
    for name in ["a", "b", "c", "d", "e"] {
        put(&one, &vcp, &key("l", name), "1").await;
        put(&one, &vcp, &key("l-2", name), "1").await;
        expected.extend([format!("l/{name}"), format!("l-2/{name}")]);
    }
    // Upstream's order: that of whole keys, in which '-' is before '/'.
    expected.sort();
    for hot in [false, true] {
        if hot {
            list(&one, &vcp).await;
        }
        let mut request = ListRequest { limit: Some(3), ..Default::default() };
        let mut seen = Vec::new();
        let mut first = 0;
        loop {
            let page = one.list(&vcp, &config_maps(), request.clone()).await.unwrap();
            first = if first == 0 { page.revision } else { first };
            assert_eq!(page.revision, first);
            seen.extend(names(&page));
            // What happens meanwhile shows in no page, here or at the other registry.
            put(&two, &vcp, &key("l", "a"), "2").await;
            put(&two, &vcp, &key("l", "zz"), "2").await;
            remove(&two, &vcp, &key("l", "zz")).await;
            two.set_layers(vcp.id, &[], None).await.unwrap();
            assert_eq!(page.remaining.unwrap_or(0) as usize, expected.len() - seen.len());
            let Some(next) = page.next else { break };
            request.after = Some(next);
            request.version = ResourceVersion::Exact(first);
        }
        assert_eq!(seen, expected, "hot: {hot}");
        two.set_layers(vcp.id, &[base.hash()], None).await.unwrap();
    }
    let exact = ListRequest { version: ResourceVersion::Exact(u64::MAX / 2), ..Default::default() };
    assert!(matches!(one.list(&vcp, &config_maps(), exact).await, Err(Error::TooLarge { .. })));
    let wanted = |object: &Stored| object.name() == "c";
    let request = ListRequest { limit: Some(1), ..Default::default() };
    let page = two.list_where(&vcp, &config_maps(), request.clone(), &wanted).await.unwrap();
    assert_eq!((names(&page), page.next.is_some()), (vec!["l-2/c".to_owned()], true));
    let request = ListRequest { after: page.next, ..request };
    let page = two.list_where(&vcp, &config_maps(), request, &wanted).await.unwrap();
    assert_eq!((names(&page), page.next.is_some()), (vec!["l/c".to_owned()], false));
}

pub async fn a_second_registry_sees_what_was_acknowledged(store: SharedStore) {
    let (one, two) = (open(&store).await, open(&store).await);
    assert!(two.vcp("vcp-1").await.unwrap().is_none());
    let mine = vcp(&one, 1, &[]).await;
    let theirs = two.vcp("vcp-1").await.unwrap().unwrap();
    assert_eq!((theirs.id, theirs.fence, theirs.uid()), (mine.id, mine.fence, uid(1)));
    list(&two, &theirs).await;
    for i in 0..100 {
        let key: ObjectKey = key("a", "x");
        put(&one, &mine, &key, &i.to_string()).await;
        assert_eq!(data(&two.get(&theirs, &key).await.unwrap().unwrap()), i.to_string());
        assert_eq!(data(&list(&two, &theirs).await.items[0]), i.to_string());
    }
}
