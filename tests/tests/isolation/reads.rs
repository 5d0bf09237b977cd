//! Lists, watches, tokens and revisions that might show what another control plane has.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kplane_tests::version;
use serde_json::{Value, json};

use crate::world::{GROUP, HOME, MAPS, TARGET, VAULT, VICTIM, World, answered, config_map, holds, refused};
use crate::{Attack, Outcome};

const LISTED: [&str; 5] = [
    "/api/v1/namespaces",
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
];

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "lists of everything",
        why: "one cache for all control planes",
        run: |w| {
            for path in LISTED {
                answered(&w.get(&format!("{HOME}{path}")), 200)?;
                answered(&w.get(&format!("{HOME}{path}?resourceVersion=0")), 200)?;
                answered(&w.get(&format!("{HOME}{path}?limit=500")), 200)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "lists in other forms",
        why: "tables, metadata and protobuf are written by other code",
        run: |w| {
            for accept in [
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                "application/vnd.kubernetes.protobuf",
                "application/yaml",
            ] {
                for path in LISTED {
                    let answer = w.send("GET", &format!("{HOME}{path}"), &[("Accept", accept)], "");
                    holds(matches!(answer.code, 200 | 406), || format!("{accept} {path}: {answer:?}"))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "selectors",
        why: "selectors that are evaluated before the control plane is",
        run: |w| {
            for selector in [
                "fieldSelector=metadata.name%3Dflag",
                "fieldSelector=metadata.namespace%3Dvault-namespace",
                "fieldSelector=metadata.name!%3Dnothing",
                "labelSelector=!nothing",
                "labelSelector=kplane.dev%2Fcluster%3Dvictim",
                "labelSelector=a%20notin%20(b)",
                "fieldSelector=metadata.uid%3Dx",
                "labelSelector=%2F..%2F",
                "labelSelector=a%3D%00",
            ] {
                for path in LISTED {
                    let answer = w.get(&format!("{HOME}{path}?{selector}"));
                    holds(matches!(answer.code, 200 | 400), || format!("{path}?{selector}: {answer:?}"))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "a continue token of the victim",
        why: "a token that holds a key of the store",
        run: |w| {
            let page = w.admin.vcp("victim").get("/api/v1/configmaps?limit=1").ok();
            let token = page["metadata"]["continue"].as_str().expect("more than one ConfigMap").to_owned();
            let answer = w.get(&format!("{HOME}/api/v1/configmaps?limit=500&continue={token}"));
            holds(matches!(answer.code, 200 | 400 | 410), || format!("{answer:?}"))
        },
    },
    Attack {
        name: "forged continue tokens",
        why: "a start that lies in another's keys",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for start in [
                format!("../../../{id}/core/configmaps/\0"),
                format!("/../{id}/\0"),
                "default/../../x\0".to_owned(),
                format!("{id}/flag\0"),
                "\0".to_owned(),
                "default/\0".to_owned(),
                "%2F%2F/flag\0".to_owned(),
            ] {
                for rv in [-1, 1, 3, i64::MAX] {
                    let token = json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string();
                    let token = URL_SAFE_NO_PAD.encode(token);
                    for path in ["/api/v1/configmaps", MAPS, "/api/v1/namespaces"] {
                        // An answer may repeat what is in the token: the attacker put it there.
                        let target = format!("{HOME}{path}?limit=500&continue={token}");
                        let answer = w.send("GET", &target, &[("X-Known", &id)], "");
                        holds(matches!(answer.code, 200 | 400 | 410 | 504), || {
                            format!("{start:?}: {answer:?}")
                        })?;
                    }
                }
            }
            for token in ["", "%00", "e30", "bm9uc2Vuc2U", &"A".repeat(100_000)] {
                let answer = w.get(&format!("{HOME}{MAPS}?limit=1&continue={token}"));
                holds((200..=431).contains(&answer.code), || format!("{answer:?}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a revision of the victim",
        why: "revisions are those of the whole store",
        run: |w| {
            let theirs = version(&w.admin.vcp("victim").get(TARGET).ok());
            for query in [
                "resourceVersionMatch=Exact",
                "resourceVersionMatch=NotOlderThan",
                "limit=1",
                "resourceVersionMatch=Exact&limit=500",
            ] {
                for path in LISTED {
                    let answer = w.get(&format!("{HOME}{path}?resourceVersion={theirs}&{query}"));
                    holds(matches!(answer.code, 200 | 410), || format!("{path}: {answer:?}"))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "a watch from the victim's revision",
        why: "history that is replayed from the store",
        run: |w| {
            let theirs = version(&w.admin.vcp("victim").get(TARGET).ok()).saturating_sub(1);
            for path in LISTED {
                let watch = format!(
                    "{HOME}{path}?watch=true&timeoutSeconds=1&resourceVersion={theirs}&allowWatchBookmarks=true"
                );
                answered(&w.get(&watch), 200)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "watches while the victim works",
        why: "one feed for all control planes",
        run: |w| {
            let attacker = w.admin.vcp("attacker");
            let victim = w.admin.vcp("victim");
            let watch = attacker.watch(&format!("{MAPS}?resourceVersion=0"));
            let secrets = attacker.watch("/api/v1/secrets?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
            victim.post(MAPS, &config_map("busy")).ok();
            victim.delete(&format!("{MAPS}/busy")).ok();
            w.post(&format!("{HOME}{MAPS}"), &config_map("last-of-all"));
            loop {
                let (_, object) = watch.next();
                let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
                holds(!matches!(name.as_str(), "busy" | "flag"), || format!("the watch told of {name}"))?;
                if name == "last-of-all" {
                    break;
                }
            }
            let seen = std::iter::from_fn(|| match secrets.within(std::time::Duration::from_millis(200)) {
                kplane_tests::Next::Event(event) => Some(event.to_string()),
                _ => None,
            });
            let all: String = seen.collect();
            holds(!all.contains("flag"), || all)
        },
    },
    Attack {
        name: "deprecated watch paths",
        why: "another way to the same objects",
        run: |w| {
            for path in [
                "/api/v1/watch/configmaps",
                "/api/v1/watch/namespaces/default/configmaps/flag",
                "/api/v1/watch/secrets",
            ] {
                refused(&w.get(&format!("{VICTIM}{path}?timeoutSeconds=1")))?;
                answered(&w.get(&format!("{HOME}{path}?timeoutSeconds=1")), 200)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "counts of what remains",
        why: "a count that does not stop at the control plane's own keys",
        run: |w| {
            let page = w.get(&format!("{HOME}/api/v1/namespaces?limit=1")).json();
            let remaining = page["metadata"]["remainingItemCount"].as_u64();
            let all = w.get(&format!("{HOME}/api/v1/namespaces")).json();
            let own = all["items"].as_array().map_or(0, Vec::len) as u64;
            holds(remaining == Some(own - 1), || format!("{remaining:?} of {own}"))
        },
    },
    Attack {
        name: "the victim's custom resources",
        why: "instances whose definition is only there",
        run: |w| {
            for path in [
                format!("/apis/{GROUP}"),
                format!("/apis/{GROUP}/v1"),
                format!("/apis/{GROUP}/v1/treasures"),
                format!("/apis/{GROUP}/v1/namespaces/default/treasures/t"),
                format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/treasures.{GROUP}"),
                format!("/openapi/v3/apis/{GROUP}/v1"),
                format!("/openapi/v3/apis/{GROUP}/v1?hash=0"),
            ] {
                answered(&w.get(&format!("{HOME}{path}")), 404).map_err(|how| format!("{path}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "discovery and OpenAPI of the victim",
        why: "documents that are cached by their content",
        run: |w| {
            for path in ["/api", "/apis", "/openapi/v2", "/openapi/v3"] {
                // Its second version takes an unoptimised server many seconds to write: once is enough.
                if path != "/openapi/v2" {
                    let theirs = w.admin.vcp("victim").get(path);
                    holds(theirs.code == 200, || format!("{path} says nothing"))?;
                }
                let own = w.get(&format!("{HOME}{path}"));
                holds(!own.body.contains(GROUP), || format!("{path} shows the victim's group"))?;
                let tags = if path == "/openapi/v2" { &[][..] } else { &["*", "\"0\"", "W/\"0\""][..] };
                for tag in tags {
                    let answer = w.send("GET", &format!("{HOME}{path}"), &[("If-None-Match", tag)], "");
                    holds(!answer.body.contains(GROUP), || format!("{path} shows the victim's group"))?;
                }
            }
            let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            let answer = w.send("GET", &format!("{HOME}/apis"), &[("Accept", aggregated)], "");
            holds(!answer.body.contains(GROUP), || "the aggregated form shows it".into())
        },
    },
    Attack {
        name: "the victim's namespaces",
        why: "a namespace that exists next door",
        run: |w| {
            answered(&w.get(&format!("{HOME}/api/v1/namespaces/{VAULT}")), 404)?;
            refused(&w.post(&format!("{HOME}/api/v1/namespaces/{VAULT}/configmaps"), &config_map("x")))
        },
    },
    Attack {
        name: "collections of others",
        why: "a deletion of everything",
        run: |w| {
            for path in ["/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/events"] {
                answered(&w.send("DELETE", &format!("{HOME}{path}"), &[], ""), 200)?;
            }
            refused(&w.send("DELETE", &format!("{VICTIM}{MAPS}"), &[], ""))?;
            refused(&w.send("DELETE", &format!("/clusters/*/control-plane{MAPS}"), &[], ""))
        },
    },
    Attack {
        name: "preconditions on what is not one's own",
        why: "conflicts that tell what another has",
        run: |w: &World| -> Outcome {
            let theirs: Value = w.admin.vcp("victim").get(TARGET).ok();
            answered(&w.post(&format!("{HOME}{MAPS}"), &config_map("conditional")), 201)?;
            let options = json!({"preconditions": {"uid": theirs["metadata"]["uid"]}}).to_string();
            answered(&w.send("DELETE", &format!("{HOME}{MAPS}/conditional"), &[], &options), 409)
        },
    },
];
