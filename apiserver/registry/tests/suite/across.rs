//! Reads over all control planes.

use kplane_registry::{AcrossEvent, AcrossRequest, VcpState};
use kplane_storage::SharedStore;

use super::*;

pub async fn all_control_planes_are_listed_and_watched(store: SharedStore) {
    let registry = open(&store).await;
    let base = layer(&["x"], "base");
    let mut expected = Vec::new();
    let mut all = Vec::new();
    for number in 1..=70 {
        let vcp = vcp(&registry, number, &[&base]).await;
        if number % 7 == 0 {
            for name in ["a", "b", "c"] {
                put(&registry, &vcp, &key("l", name), "own").await;
                expected.push(format!("{}:{name}", vcp.name));
            }
            let secret = ObjectKey::new(ResourceKey::new("", "secrets"), Some("l"), "s");
            registry.create(&vcp, &secret, encoded(&secret, "own"), None, Default::default()).await.unwrap();
        }
        all.push(vcp);
    }
    // A tombstone is nothing.
    remove(&registry, &all[0], &key("l", "x")).await;
    let start = registry.current_revision().await.unwrap();
    for limit in [1, 4, 1000] {
        let mut request = AcrossRequest { limit: Some(limit), ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let page = registry.list_all(Some(&config_maps()), request.clone()).await.unwrap();
            seen.extend(page.items.iter().map(|item| format!("{}:{}", item.vcp.name, item.object.name())));
            request.revision = Some(page.revision);
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    let everything =
        registry.list_all(None, AcrossRequest { limit: Some(1000), ..Default::default() }).await.unwrap();
    assert_eq!(everything.items.len(), expected.len() + 10);
    assert_eq!(registry.stats().hot_sets, 0);

    put(&registry, &all[1], &key("l", "x"), "before").await;
    let mut watching = Box::pin(registry.watch_all(Some(&config_maps()), Some(start)).await.unwrap());
    let mut everything = Box::pin(registry.watch_all(None, Some(start)).await.unwrap());
    put(&registry, &all[2], &key("l", "x"), "after").await;
    remove(&registry, &all[2], &key("l", "x")).await;
    registry.close_vcp(all[2].id, VcpState::Detached).await.unwrap();
    for watching in [&mut watching as &mut (dyn Stream<Item = _> + Unpin), &mut everything] {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let next = tokio::time::timeout(Duration::from_secs(20), watching.next()).await.unwrap();
            if let AcrossEvent::Event { kind, vcp, resource, object, .. } = next.unwrap().unwrap() {
                assert_eq!(resource, config_maps());
                seen.push(format!("{kind:?} {} {}", vcp.name, data(&object)));
            }
        }
        assert_eq!(seen, ["Added vcp-2 before", "Added vcp-3 after", "Deleted vcp-3 after"]);
    }
}
