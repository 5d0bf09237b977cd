//! Names of objects and namespaces that might reach another's keys.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{FLAG, HOME, MAPS, TARGET, VICTIM, World, answered, config_map, holds, refused};
use crate::{Attack, Outcome};

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "a namespace called clusters",
        why: "upstream keeps such a namespace once for all tenants",
        run: |w| {
            let names = "/api/v1/namespaces";
            answered(&w.post(&format!("{HOME}{names}"), &namespace("clusters")), 201)?;
            let maps = "/api/v1/namespaces/clusters/configmaps";
            answered(&w.post(&format!("{HOME}{maps}"), &config_map("shared")), 201)?;
            let victim = w.admin.vcp("victim");
            let seen = victim.get(&format!("{maps}/shared"));
            holds(seen.code == 404, || format!("the victim sees it: {}", seen.text))?;
            let root = w.admin.get(&format!("{maps}/shared"));
            holds(root.code == 404, || format!("root sees it: {}", root.text))
        },
    },
    Attack {
        name: "objects called clusters",
        why: "the first `/clusters/` in a key, taken for the control plane",
        run: |w| {
            for name in ["clusters", "clusters.victim.control-plane", "root", "control-plane"] {
                answered(&w.post(&format!("{HOME}{MAPS}"), &config_map(name)), 201)?;
                let seen = w.admin.vcp("victim").get(&format!("{MAPS}/{name}"));
                holds(seen.code == 404, || format!("the victim sees {name}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a resource called clusters",
        why: "Cluster API has one, and its keys look like upstream's own",
        run: |w| {
            let crd = crate::world::definition("cluster.x-k8s.io", "clusters", "Cluster");
            answered(&w.post(&format!("{HOME}{}", crate::world::CRDS), &crd), 201)?;
            let path = format!("{HOME}/apis/cluster.x-k8s.io/v1/namespaces/default/clusters");
            let cluster = json!({"apiVersion": "cluster.x-k8s.io/v1", "kind": "Cluster", "metadata": {"name": "victim"}});
            kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
            answered(&w.post(&path, &cluster), 201)?;
            let list = w.get(&path).json();
            holds(list["items"].as_array().is_some_and(|items| items.len() == 1), || list.to_string())
        },
    },
    Attack {
        name: "slashes in names",
        why: "a name that is a path of keys",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for name in [
                "../../victim/x".to_owned(),
                format!("../../../{id}/core/configmaps/default/flag"),
                "a/b".to_owned(),
                "a%2fb".to_owned(),
                "..".to_owned(),
                ".".to_owned(),
                "a\0b".to_owned(),
            ] {
                let answer = w.post(&format!("{HOME}{MAPS}"), &config_map(&name));
                refused(&answer).map_err(|how| format!("{name:?}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "encoded slashes in a path's name",
        why: "a name that is decoded into a path of keys",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for name in [
                "..%2f..%2fvictim".to_owned(),
                format!("..%2f..%2f..%2f{id}%2f%2fconfigmaps%2fdefault%2fflag"),
                "%2e%2e".to_owned(),
                "flag%00".to_owned(),
                "%2f".to_owned(),
                format!("%2Fkplane%2F{id}%2F"),
            ] {
                for method in ["GET", "DELETE"] {
                    refused(&w.send(method, &format!("{HOME}{MAPS}/{name}"), &[], ""))
                        .map_err(|how| format!("{method} {name}: {how}"))?;
                }
                let put = config_map(&name).to_string();
                refused(&w.send("PUT", &format!("{HOME}{MAPS}/{name}"), &[], &put))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "namespaces that are paths",
        why: "the namespace stands right behind the resource in a key",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for ns in [
                "..%2f..%2f..".to_owned(),
                format!("..%2f..%2f{id}%2f%2fconfigmaps%2fdefault"),
                "%2e%2e".to_owned(),
                "default%2fx".to_owned(),
                "%00".to_owned(),
            ] {
                let list = w.get(&format!("{HOME}/api/v1/namespaces/{ns}/configmaps"));
                let empty = list.json()["items"].as_array().is_some_and(Vec::is_empty);
                holds(empty || (400..500).contains(&list.code), || format!("{ns}: {list:?}"))?;
                let made = w.post(&format!("{HOME}/api/v1/namespaces/{ns}/configmaps"), &config_map("x"));
                refused(&made).map_err(|how| format!("{ns}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "resources and groups that are paths",
        why: "group and resource are segments of a key too",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for path in [
                "/api/v1/namespaces/default/configmaps%2fflag".to_owned(),
                "/api/v1/..%2f..%2fsecrets".to_owned(),
                format!("/apis/..%2f{id}/v1/configmaps"),
                format!("/apis/{id}%2f/v1/configmaps"),
                "/apis/%2e%2e/v1/configmaps".to_owned(),
                "/apis/.meta/v1/pins".to_owned(),
                "/api/v1/.meta".to_owned(),
                "/apis//v1/configmaps".to_owned(),
            ] {
                refused(&w.get(&format!("{HOME}{path}"))).map_err(|how| format!("{path}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "generated names",
        why: "a prefix that is not looked at",
        run: |w| {
            for prefix in ["../", "a/", "%2f", "A_"] {
                let mut map = config_map("x");
                map["metadata"] = json!({"generateName": prefix});
                refused(&w.post(&format!("{HOME}{MAPS}"), &map)).map_err(|how| format!("{prefix}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "another namespace in the body",
        why: "an object that goes where it says, and not where it was authorized",
        run: |w| {
            let mut map = config_map("elsewhere");
            map["metadata"]["namespace"] = json!("kube-system");
            refused(&w.post(&format!("{HOME}{MAPS}"), &map))
        },
    },
    Attack {
        name: "identity chosen by the client",
        why: "uids, revisions and links that are believed",
        run: |w| {
            let mut map = config_map("chosen");
            map["metadata"]["uid"] = json!(w.victim_uid);
            map["metadata"]["selfLink"] = json!(format!("{VICTIM}{TARGET}"));
            map["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
            map["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
            let made = w.post(&format!("{HOME}{MAPS}"), &map).json();
            holds(made["metadata"]["uid"] != json!(w.victim_uid), || "the uid was believed".into())?;
            holds(made["metadata"].get("deletionTimestamp").is_none(), || "so was the deletion".into())
        },
    },
    Attack {
        name: "a forged mark of the control plane",
        why: "the annotation by which root's readers tell control planes apart",
        run: |w| {
            let mut map = config_map("forged");
            map["metadata"]["annotations"] = json!({"kplane.dev/cluster": "victim"});
            map["metadata"]["labels"] =
                json!({"kplane.dev/cluster": "victim", "multicluster.k8s.io/cluster": "victim"});
            answered(&w.post(&format!("{HOME}{MAPS}"), &map), 201)?;
            let all = w.admin.get("/clusters/*/control-plane/api/v1/configmaps").ok();
            let forged =
                all["items"].as_array().into_iter().flatten().find(|i| i["metadata"]["name"] == "forged");
            let mark = forged.map(|item| item["metadata"]["annotations"]["kplane.dev/cluster"].clone());
            holds(mark == Some(json!("attacker")), || format!("root was told {mark:?}"))
        },
    },
    Attack {
        name: "an owner in another control plane",
        why: "a garbage collector that looks for owners by uid alone",
        run: |w| {
            let owner = w.admin.vcp("victim").get(TARGET).ok();
            let uid = owner["metadata"]["uid"].clone();
            let mut map = config_map("owned");
            map["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "flag", "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }]);
            answered(&w.post(&format!("{HOME}{MAPS}"), &map), 201)?;
            let gone = w.send("DELETE", &format!("{HOME}{MAPS}/owned?propagationPolicy=Foreground"), &[], "");
            holds(gone.code == 200, || format!("{gone:?}"))?;
            let still = w.admin.vcp("victim").get(TARGET).ok();
            holds(still["data"]["flag"] == FLAG && still == owner, || still.to_string())
        },
    },
    Attack {
        name: "finalizers that never go",
        why: "a control plane whose objects refuse to be deleted, so that it cannot be destroyed",
        run: |w| {
            let records = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
            let name = "stubborn";
            let record = json!({"apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": name}});
            w.admin.post(records, &record).ok();
            let mut map = config_map("held");
            map["metadata"]["finalizers"] = json!(["attacker.example/never"]);
            w.admin.vcp(name).post(MAPS, &map).ok();
            w.admin.delete(&format!("{records}/{name}")).ok();
            kplane_tests::eventually("the control plane is destroyed", Duration::from_secs(20), || {
                w.admin.get(&format!("{records}/{name}")).code == 404
            });
            Ok(())
        },
    },
    Attack {
        name: "a new control plane of an old name",
        why: "data that waits for whoever comes next",
        run: |w| {
            let records = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
            let record = json!({"apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": "phoenix"}});
            w.admin.post(records, &record).ok();
            w.admin.vcp("phoenix").post(MAPS, &config_map("ashes")).ok();
            w.admin.delete(&format!("{records}/phoenix")).ok();
            kplane_tests::eventually("it is gone", Duration::from_secs(20), || {
                w.admin.get(&format!("{records}/phoenix")).code == 404
            });
            w.admin.post(records, &record).ok();
            let found = w.admin.vcp("phoenix").get(&format!("{MAPS}/ashes"));
            w.admin.delete(&format!("{records}/phoenix")).ok();
            holds(found.code == 404, || "the old data is there".into())
        },
    },
    Attack {
        name: "names in events and references",
        why: "objects that point at another control plane by name",
        run: |w: &World| -> Outcome {
            let event = json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "flag"},
                "reason": "X", "message": "m", "type": "Normal",
            });
            let made = w.post(&format!("{HOME}/api/v1/namespaces/default/events"), &event);
            answered(&made, 201)?;
            let seen: Value = w.admin.vcp("victim").get("/api/v1/namespaces/default/events").ok();
            holds(seen["items"].as_array().is_some_and(Vec::is_empty), || seen.to_string())
        },
    },
];

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
