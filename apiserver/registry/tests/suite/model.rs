//! Random writes against a model of what must be there.

use std::collections::BTreeMap;

use kplane_registry::{EventKind, ListRequest, WatchFrom, WatchItem};
use kplane_storage::SharedStore;

use super::*;

/// A linear congruential generator: the same writes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

type State = BTreeMap<String, String>;

fn state(items: &[Stored]) -> State {
    items.iter().map(|o| (format!("{}/{}", o.namespace().unwrap(), o.name()), data(o))).collect()
}

async fn paged(registry: &Registry, vcp: &Vcp, limit: usize) -> State {
    let mut request = ListRequest { limit: Some(limit), ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = registry.list(vcp, &config_maps(), request.clone()).await.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        match page.next {
            None => return state(&all),
            Some(next) => {
                request.after = Some(next);
                request.version = kplane_registry::ResourceVersion::Exact(page.revision);
            }
        }
    }
}

pub async fn random_writes_read_back_as_the_model(store: SharedStore) {
    let (writer, reader) = (open(&store).await, open(&store).await);
    let base = ["a", "c", "e", "g"];
    let vcp = vcp(&writer, 1, &[&layer(&base, "base")]).await;
    let mut model: State = base.iter().map(|name| (format!("l/{name}"), "base".to_owned())).collect();
    let start = model.clone();
    let mut live = watch(&reader, &vcp, WatchFrom::Revision(vcp.fence)).await.unwrap();
    let mut random = Random(42);
    let mut last = 0;
    for step in 0..300 {
        let namespace = ["k", "l", "l-x", "m"][random.below(4)];
        let key = key(namespace, ["a", "b", "c", "d", "e", "f", "g"][random.below(7)]);
        let text = format!("step {step}");
        let path = format!("{namespace}/{}", key.name);
        if model.contains_key(&path) && random.below(3) == 0 {
            last = remove(&writer, &vcp, &key).await;
            model.remove(&path);
        } else {
            last = put(&writer, &vcp, &key, &text).await.revision();
            model.insert(path.clone(), text);
        }
        let read = reader.get(&vcp, &key).await.unwrap();
        assert_eq!(read.as_ref().map(data), model.get(&path).cloned());
        if step % 20 == 0 {
            let limit = 1 + random.below(5);
            let fresh = open(&store).await;
            for registry in [&writer, &reader, &fresh] {
                assert_eq!(paged(registry, &vcp, limit).await, model);
                assert_eq!(state(&list(registry, &vcp).await.items), model);
            }
            assert_eq!(paged(&fresh, &vcp, limit).await, model);
        }
    }
    // A watch from the beginning, live or told by the store, ends in the same state.
    let late = open(&store).await;
    let mut replayed = watch(&late, &vcp, WatchFrom::Revision(vcp.fence)).await.unwrap();
    for watching in [&mut live, &mut replayed] {
        let mut seen = start.clone();
        let mut revision = vcp.fence;
        while revision < last {
            let WatchItem::Event { kind, object, previous } = next(watching).await.unwrap() else {
                panic!("no bookmark was asked for");
            };
            let path = format!("{}/{}", object.namespace().unwrap(), object.name());
            assert!(object.revision() > revision);
            revision = object.revision();
            assert_eq!(previous.as_ref().map(data), seen.get(&path).cloned(), "{kind:?} {path}");
            match kind {
                EventKind::Added => assert!(seen.insert(path, data(&object)).is_none()),
                EventKind::Modified => assert!(seen.insert(path, data(&object)).is_some()),
                EventKind::Deleted => assert_eq!(seen.remove(&path), Some(data(&object))),
            }
        }
        assert_eq!(seen, model);
    }
}
