//! What answers tell between the lines, and what the audit log can be made to say.

use serde_json::Value;

use crate::world::{HOME, MAPS, TARGET, VICTIM, World, answered, holds, refused};
use crate::{Attack, Outcome, raw};

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "whether a control plane exists, asked by nobody",
        why: "a different answer for a name that is taken",
        run: |w| {
            for path in [
                "/api",
                "/apis",
                TARGET,
                "/version",
                "/readyz",
                "/metrics",
                "/openapi/v3",
                "/",
                "/nothing",
                "/api/v1/namespaces",
            ] {
                same(path, |name| {
                    w.stranger("GET", &format!("/clusters/{name}/control-plane{path}"), &[], "")
                })?;
            }
            same("POST", |name| {
                w.stranger("POST", &format!("/clusters/{name}/control-plane{MAPS}"), &[], "{}")
            })
        },
    },
    Attack {
        name: "whether a control plane exists, asked by another's administrator",
        why: "a different refusal for a name that is taken",
        run: |w| {
            for path in ["/api", TARGET, "/version", "/readyz", "/nothing"] {
                same(path, |name| w.get(&format!("/clusters/{name}/control-plane{path}")))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "whether a control plane exists, asked with a token",
        why: "tokens that are looked up before the control plane is",
        run: |w| {
            for token in [w.token.as_str(), "nonsense", "abcdef.0123456789abcdef", "a.b.c"] {
                same(token, |name| w.bearer(token, &format!("/clusters/{name}/control-plane/api")))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "impersonation where there is nothing",
        why: "a check that is made before the control plane is looked for",
        run: |w| {
            let headers = [("Impersonate-User", "a"), ("Impersonate-Group", "system:masters")];
            same("impersonation", |name| {
                w.stranger("GET", &format!("/clusters/{name}/control-plane/api"), &headers, "")
            })?;
            same("impersonation", |name| {
                w.send("GET", &format!("/clusters/{name}/control-plane/api"), &headers, "")
            })
        },
    },
    Attack {
        name: "the server's metrics",
        why: "figures of all control planes",
        run: |w| {
            refused(&w.get("/metrics"))?;
            refused(&w.get(&format!("{VICTIM}/metrics")))?;
            let own = w.get(&format!("{HOME}/metrics"));
            holds(!own.body.contains("victim"), || own.body.clone())?;
            holds(!own.body.contains("kplane_registry_control_planes"), || "the server's own figures".into())
        },
    },
    Attack {
        name: "debug endpoints",
        why: "profiles and flags that nobody thought of",
        run: |w| {
            for path in [
                "/debug/pprof",
                "/debug/pprof/heap",
                "/debug/flags/v",
                "/configz",
                "/logs",
                "/logs/",
                "/statusz",
                "/flagz",
                "/snapshot",
                "/proxy",
                "/ui",
                "/swagger.json",
                "/objects",
            ] {
                refused(&w.get(&format!("{HOME}{path}"))).map_err(|how| format!("{path}: {how}"))?;
                refused(&w.get(path)).map_err(|how| format!("{path} of root: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "health checks in full",
        why: "errors of the store, told to tenants",
        run: |w| {
            for path in [
                "/readyz?verbose",
                "/livez?verbose",
                "/healthz?verbose",
                "/readyz/etcd",
                "/readyz?exclude=etcd&verbose",
            ] {
                let answer = w.get(&format!("{HOME}{path}"));
                answered(&answer, 200)?;
                let telling = ["127.0.0.1:", "/tmp/", "kplane-test", "victim"];
                holds(!telling.iter().any(|word| answer.body.contains(word)), || answer.body.clone())?;
            }
            Ok(())
        },
    },
    Attack {
        name: "errors that say too much",
        why: "messages with keys, files or other control planes in them",
        run: |w| {
            let id = w.victim_uid.replace('-', "");
            for (method, path, body) in [
                ("GET", "/api/v1/namespaces/default/configmaps/nope", ""),
                ("GET", "/apis/none.example/v1/things", ""),
                ("POST", MAPS, "{"),
                ("POST", MAPS, "{\"kind\":\"Pod\"}"),
                ("PATCH", "/api/v1/namespaces/default/configmaps/nope", "{}"),
                ("PUT", "/api/v1/namespaces/default/configmaps/nope", "{}"),
                (
                    "GET",
                    "/api/v1/configmaps?resourceVersion=99999999999&resourceVersionMatch=NotOlderThan",
                    "",
                ),
                ("GET", "/api/v1/configmaps?resourceVersion=1&resourceVersionMatch=Exact", ""),
                ("GET", "/api/v1/configmaps?limit=x", ""),
                ("GET", "/api/v1/configmaps?labelSelector=%28", ""),
            ] {
                let answer = w.send(method, &format!("{HOME}{path}"), &[], body);
                let telling = ["/kplane/", "victim", &id, "/tmp/", "src/", ".rs:"];
                holds(!telling.iter().any(|word| answer.body.contains(word)), || answer.body.clone())?;
            }
            Ok(())
        },
    },
    Attack {
        name: "lines in the audit log",
        why: "a header or a path that ends the line and begins another",
        run: |w| {
            let forged = r#"x"},{"kind":"Event","user":{"username":"forged"}}"#;
            for (name, value) in [
                ("User-Agent", forged),
                ("Audit-ID", forged),
                ("User-Agent", "a\\u000ab\tc"),
                ("Impersonate-User", forged),
            ] {
                let answer = w.send("GET", &format!("{HOME}{MAPS}"), &[(name, value)], "");
                holds(answer.code == 200 || (400..500).contains(&answer.code), || format!("{answer:?}"))?;
            }
            w.get(&format!("{HOME}{MAPS}/%0a%7b%22kind%22%3a%22Event%22%7d"));
            w.get(&format!("{HOME}{MAPS}?a=%0d%0a"));
            for event in audit_log(w)? {
                holds(event["user"]["username"] != "forged", || format!("a forged event: {event}"))?;
                holds(event["auditID"].as_str().is_some_and(|id| id.len() <= 64), || {
                    format!("an id of the client's: {}", event["auditID"])
                })?;
            }
            Ok(())
        },
    },
    Attack {
        name: "requests that are not written down",
        why: "refused requests and custom resources that leave no trace",
        run: |w| {
            let mark = "kplane-isolation-mark";
            let agent = [("User-Agent", mark)];
            w.send("GET", &format!("{VICTIM}{TARGET}"), &agent, "");
            w.send("GET", &format!("{HOME}/apis/cluster.x-k8s.io/v1/clusters"), &agent, "");
            w.send("POST", &format!("{HOME}{MAPS}"), &agent, "{");
            w.stranger("GET", &format!("{VICTIM}/api"), &agent, "");
            let events = audit_log(w)?;
            let marked: Vec<&Value> = events
                .iter()
                .filter(|event| event["userAgent"] == mark && event["stage"] == "ResponseComplete")
                .collect();
            holds(marked.len() == 4, || format!("{} of 4 were written down", marked.len()))?;
            let named = |event: &&&Value| {
                matches!(event["annotations"]["kplane.dev/cluster"].as_str(), Some("victim" | "attacker"))
            };
            holds(marked.iter().filter(named).count() == 4, || "an event without its control plane".into())
        },
    },
    Attack {
        name: "headers of answers",
        why: "headers that repeat what the client sent",
        run: |w: &World| -> Outcome {
            let long = "a".repeat(4000);
            let answer = w.send("GET", &format!("{HOME}{MAPS}"), &[("Audit-ID", &long)], "");
            holds(!answer.head.contains(&long), || "the audit id has no bound".into())?;
            let answer: raw::Raw =
                w.send("GET", &format!("{HOME}{MAPS}"), &[("Origin", "https://evil.example")], "");
            holds(!answer.head.to_lowercase().contains("access-control-allow"), || answer.head.clone())
        },
    },
];

/// The same answer for a control plane that is there and one that is not, but for its name.
fn same(what: &str, ask: impl Fn(&str) -> raw::Raw) -> Outcome {
    let (there, absent) = (ask("victim"), ask("absent"));
    // Headers with an id or a date differ by nature.
    let head = |answer: &raw::Raw| {
        let mut lines: Vec<String> = answer
            .head
            .lines()
            .filter(|line| {
                !["date:", "audit-id:", "content-length:"].iter().any(|h| line.to_lowercase().starts_with(h))
            })
            .map(str::to_lowercase)
            .collect();
        lines.sort();
        lines
    };
    let alike = there.code == absent.code
        && there.body.replace("victim", "NAME") == absent.body.replace("absent", "NAME")
        && head(&there) == head(&absent);
    holds(alike, || format!("{what}: {there:?}\nbut {absent:?}"))
}

/// The events of the audit log, every line of which must be one.
fn audit_log(w: &World) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(w.audit.path().join("audit.log")).map_err(|e| e.to_string())?;
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).map_err(|e| format!("{e} in the line {line}"))?;
            if event["kind"] == "Event" { Ok(event) } else { Err(format!("no event: {line}")) }
        })
        .collect()
}
