//! What is newer than the rest, and read by code of its own: managed fields, columns, policies, trailers, descriptions.

use serde_json::{Value, json};

use crate::Attack;
use crate::exhaustion::bounded;
use crate::world::{CRDS, HOME, MAPS, VICTIM, World, answered, config_map, definition, holds, refused};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const APPLY: [(&str, &str); 1] = [("Content-Type", "application/apply-patch+yaml")];

/// Who a request is taken to be of.
fn user(text: &str) -> String {
    let review: Value = serde_json::from_str(text).unwrap_or_default();
    review["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned()
}

/// A policy with this expression.
fn policy(name: &str, spec: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]},
    }});
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key.as_str()] = value.clone();
    }
    object
}

fn binding(name: &str, spec: &Value) -> Value {
    let mut object =
        json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key.as_str()] = value.clone();
    }
    object
}

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "impersonation that is said twice",
        why: "one header is authorized and the other is believed",
        run: |w| {
            let review =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
            for (first, second) in [("somebody", "mallory"), ("mallory", "system:apiserver")] {
                let headers = [("Impersonate-User", first), ("impersonate-user", second)];
                let answer = w.send("POST", &format!("{HOME}{WHO}"), &headers, &review);
                holds(answer.code >= 400 || user(&answer.body) == first, || answer.body.clone())?;
                refused(&w.send("GET", &format!("{VICTIM}{MAPS}"), &headers, ""))?;
            }
            let headers = [
                ("Impersonate-User", "a"),
                ("Impersonate-Group", "b"),
                ("Impersonate-Group", "system:masters"),
            ];
            refused(&w.send("GET", &format!("{VICTIM}{MAPS}"), &headers, ""))
        },
    },
    Attack {
        name: "trailers that name somebody else",
        why: "trailers are read into the headers after these were judged",
        run: |w| {
            let review =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
            let request = format!(
                "POST {HOME}{WHO} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: Impersonate-User, X-Remote-User, Authorization\r\nConnection: close\r\n\r\n{:x}\r\n{review}\r\n0\r\n\
                 Impersonate-User: system:apiserver\r\nX-Remote-User: system:admin\r\nAuthorization: Bearer {}\r\n\r\n",
                review.len(),
                w.victim_token,
            );
            let answer = w.bytes(request.as_bytes());
            holds(answer.code >= 400 || user(&answer.body) == "mallory", || answer.body.clone())
        },
    },
    Attack {
        name: "managed fields without end",
        why: "sets of fields are read, merged and kept for each manager",
        run: |w| {
            let entry = |i: usize| {
                json!({"manager": format!("m{i}"), "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {format!("f:k{i}"): {}}}})
            };
            let mut map = config_map("managed");
            map["metadata"]["managedFields"] = (0..15_000).map(entry).collect();
            bounded(w, |w| {
                let answer = w.post(&format!("{HOME}{MAPS}"), &map);
                holds(answer.code < 500, || format!("answered with {}", answer.code))
            })?;
            // And then a change of what has them, by one who applies all of it.
            let mut all = config_map("managed");
            all["data"] = (0..15_000).map(|i| (format!("k{i}"), json!("x"))).collect();
            bounded(w, |w| {
                let path = format!("{HOME}{MAPS}/managed?fieldManager=all&force=true");
                let answer = w.send("PATCH", &path, &APPLY, &all.to_string());
                w.send("DELETE", &format!("{HOME}{MAPS}/managed"), &[], "");
                holds(answer.code < 500, || format!("answered with {}", answer.code))
            })
        },
    },
    Attack {
        name: "sets of fields nested without end",
        why: "they are walked by recursion",
        run: |w| {
            let deep = format!("{}{{}}{}", "{\"f:a\":".repeat(5_000), "}".repeat(5_000));
            let body = format!(
                "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"deep\",\"managedFields\":[{{\"manager\":\"m\",\
                 \"operation\":\"Apply\",\"apiVersion\":\"v1\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{deep}}}]}}}}"
            );
            bounded(w, |w| refused(&w.send("POST", &format!("{HOME}{MAPS}"), &[], &body)))
        },
    },
    Attack {
        name: "selectors without end",
        why: "each object is held against each requirement",
        run: |w| {
            let labels: Vec<String> = (0..4_000).map(|i| format!("a{i}+notin+(b,c,d)")).collect();
            let set: Vec<String> = (0..8_000).map(|i| format!("v{i}")).collect();
            let fields = vec!["metadata.name!=a"; 3_000].join(",");
            for query in [
                format!("labelSelector={}", labels.join(",")),
                format!("labelSelector=a+in+({})", set.join(",")),
                format!("fieldSelector={fields}"),
                format!(
                    "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector={fields}"
                ),
                format!("labelSelector={}", "(".repeat(50_000)),
            ] {
                bounded(w, |w| {
                    let answer = w.get(&format!("{HOME}{MAPS}?{query}"));
                    holds(answer.code < 500, || format!("answered with {}", answer.code))
                })?;
            }
            Ok(())
        },
    },
    Attack {
        name: "columns that walk everything",
        why: "each row of a table evaluates the paths of its definition",
        run: |w| {
            let mut kind = definition("columns.example", "walks", "Walk");
            let columns: Vec<Value> = (0..200)
                .map(|i| json!({"name": format!("C{i}"), "type": "string", "jsonPath": "..[*]..[*]..[*]"}))
                .collect();
            kind["spec"]["versions"][0]["additionalPrinterColumns"] = json!(columns);
            let made = w.post(&format!("{HOME}{CRDS}"), &kind);
            if made.code != 201 {
                return refused(&made);
            }
            let path = format!("{HOME}/apis/columns.example/v1/namespaces/default/walks");
            kplane_tests::eventually("the kind", std::time::Duration::from_secs(10), || {
                w.get(&path).code == 200
            });
            let mut leaf = json!(1);
            for _ in 0..30 {
                leaf = json!({"a": leaf, "b": [1, 2, 3]});
            }
            let object = json!({"apiVersion": "columns.example/v1", "kind": "Walk", "metadata": {"name": "w"}, "spec": leaf});
            answered(&w.post(&path, &object), 201)?;
            let table = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
            let outcome = bounded(w, |w| {
                let answer = w.send("GET", &path, &table, "");
                holds(answer.code < 500, || format!("answered with {}", answer.code))
            });
            w.send("DELETE", &format!("{HOME}{CRDS}/walks.columns.example"), &[], "");
            outcome
        },
    },
    Attack {
        name: "policies that run long",
        why: "an expression of a policy runs within the write",
        run: |w| {
            let digits = "[0,1,2,3,4,5,6,7,8,9]";
            let mut long = "true".to_owned();
            for depth in 0..9 {
                long = format!("{digits}.all(x{depth}, {long})");
            }
            let text = format!("'{}'", "a".repeat(1000));
            let strings = format!("{text}.matches('{}b')", "a*".repeat(300));
            let spec = json!({"variables": [{"name": "long", "expression": long}],
                "validations": [{"expression": "variables.long"}, {"expression": strings}]});
            bounded(w, |w| {
                let made = w.post(&format!("{HOME}{POLICIES}"), &policy("long", &spec));
                if made.code != 201 {
                    return refused(&made);
                }
                answered(
                    &w.post(
                        &format!("{HOME}{POLICIES}").replace("policies", "policybindings"),
                        &binding("long", &json!({})),
                    ),
                    201,
                )?;
                let secret = json!({"metadata": {"name": "judged"}});
                let outcome = refused(&w.post(&format!("{HOME}/api/v1/namespaces/default/secrets"), &secret));
                w.send("DELETE", &format!("{HOME}{POLICIES}/long"), &[], "");
                outcome
            })
        },
    },
    Attack {
        name: "parameters elsewhere",
        why: "a policy reads for whoever wrote it, by names that these choose",
        run: |w| {
            let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "validations": [{"expression": "false", "messageExpression": "'told ' + string(params.data.flag)"}]});
            answered(&w.post(&format!("{HOME}{POLICIES}"), &policy("params", &spec)), 201)?;
            let bindings = format!("{HOME}{POLICIES}").replace("policies", "policybindings");
            let secrets = format!("{HOME}/api/v1/namespaces/default/secrets");
            for (namespace, name) in [
                ("default", "flag"),
                ("../../../victim/default", "flag"),
                ("default", "../../victim/flag"),
                (w.victim_uid.as_str(), "flag"),
            ] {
                let reference = json!({"paramRef": {"namespace": namespace, "name": name, "parameterNotFoundAction": "Deny"}});
                let made = w.post(&bindings, &binding("params", &reference));
                if made.code == 201 {
                    refused(&w.post(&secrets, &json!({"metadata": {"name": "judged"}})))?;
                    w.send("DELETE", &format!("{bindings}/params"), &[], "");
                }
            }
            answered(&w.send("DELETE", &format!("{HOME}{POLICIES}/params"), &[], ""), 200)
        },
    },
    Attack {
        name: "a definition that describes built-in kinds",
        why: "descriptions of kinds are shared between control planes",
        run: |w| {
            let described = |w: &World| w.admin.vcp("victim").get("/openapi/v3/api/v1").text;
            let before = described(w);
            let mut kind = definition("describes.example", "configmaps", "ConfigMap");
            kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
                "type": "object", "description": "described by the attacker",
                "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "ConfigMap"}],
                "properties": {"data": {"type": "integer"}},
            });
            let made = w.post(&format!("{HOME}{CRDS}"), &kind);
            holds(made.code < 500, || made.body.clone())?;
            let home = w.get(&format!("{HOME}/openapi/v3/api/v1"));
            holds(!home.body.contains("described by the attacker"), || {
                "built-in kinds are described anew".into()
            })?;
            holds(described(w) == before, || "the victim's kinds are described anew".into())?;
            w.send("DELETE", &format!("{HOME}{CRDS}/configmaps.describes.example"), &[], "");
            Ok(())
        },
    },
    Attack {
        name: "a token bound to what the victim has",
        why: "an object is named by its uid",
        run: |w| {
            let secret = w.admin.vcp("victim").get("/api/v1/namespaces/default/secrets/flag").ok();
            let uid = secret["metadata"]["uid"].as_str().unwrap_or_default();
            let path = format!("{HOME}/api/v1/namespaces/default/serviceaccounts/default/token");
            let request = |kind: &str, name: &str| {
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
                    "boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}})
            };
            refused(&w.post(&path, &request("Secret", "flag")))?;
            let own = json!({"metadata": {"name": "flag"}});
            answered(&w.post(&format!("{HOME}/api/v1/namespaces/default/secrets"), &own), 201)?;
            let outcome = refused(&w.post(&path, &request("Secret", "flag")));
            w.send("DELETE", &format!("{HOME}/api/v1/namespaces/default/secrets/flag"), &[], "");
            outcome
        },
    },
    Attack {
        name: "watches of years and of the future",
        why: "numbers of a query become timers and places in history",
        run: |w| {
            bounded(w, |w| {
                for query in [
                    "watch=1&timeoutSeconds=9223372036854775807&resourceVersion=9223372036854775807",
                    "watch=1&timeoutSeconds=-1&resourceVersion=-1",
                    "limit=9223372036854775807&timeoutSeconds=18446744073709551616",
                    "resourceVersion=18446744073709551615&resourceVersionMatch=Exact",
                    "limit=-9223372036854775808",
                ] {
                    // A watch that stays open is ended by its client, which is not what is looked at here.
                    let query = query
                        .replace("watch=1&timeoutSeconds=9223372036854775807", "watch=1&timeoutSeconds=1");
                    let answer = w.get(&format!("{HOME}{MAPS}?{query}"));
                    holds(answer.code < 500 || answer.code == 504, || format!("{query}: {}", answer.code))?;
                }
                Ok(())
            })
        },
    },
];
