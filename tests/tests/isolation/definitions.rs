//! Custom resources: definitions that collide, mislead or cost too much.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{CRDS, GROUP, HOME, answered, definition, holds, refused};
use crate::{Attack, Outcome};

/// A request of one tenant may not keep the server busy for longer.
const LONG: Duration = Duration::from_secs(15);

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "definitions of built-in kinds",
        why: "a CRD that stands before a built-in kind",
        run: |w| {
            for (group, plural, kind) in [
                ("apps", "deployments", "Deployment"),
                ("", "pods", "Pod"),
                ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
                ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
                ("authentication.k8s.io", "tokenreviews", "TokenReview"),
            ] {
                let made = w.post(&format!("{HOME}{CRDS}"), &definition(group, plural, kind));
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))?;
            }
            // Whatever was stored, the built-in kinds are what answers.
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"any": "thing"}});
            refused(&w.post(&format!("{HOME}/api/v1/namespaces/default/pods"), &pod))?;
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "BAD/NAME"},
            });
            refused(&w.post(&format!("{HOME}/apis/rbac.authorization.k8s.io/v1/clusterroles"), &role))
        },
    },
    Attack {
        name: "a definition in our own groups",
        why: "records that the server would take for its own",
        run: |w| {
            for (group, plural, kind) in [
                ("tenancy.kplane.dev", "virtualclusters", "VirtualCluster"),
                ("controlplane.kplane.dev", "controlplanes", "ControlPlane"),
            ] {
                let made = w.post(&format!("{HOME}{CRDS}"), &definition(group, plural, kind));
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))?;
                let object = json!({
                    "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "conjured", "namespace": "default"},
                });
                let made = w.post(&format!("{HOME}/apis/{group}/v1/namespaces/default/{plural}"), &object);
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))?;
            }
            let record = w.admin.get("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/conjured");
            holds(record.code == 404, || "a control plane was conjured up".into())?;
            refused(&w.get("/clusters/conjured/control-plane/api"))
        },
    },
    Attack {
        name: "the victim's own definition",
        why: "two definitions of one name, cached as one",
        run: |w| {
            let mut crd = definition(GROUP, "treasures", "Treasure");
            crd["spec"]["versions"][0]["name"] = json!("v9");
            answered(&w.post(&format!("{HOME}{CRDS}"), &crd), 201)?;
            let path = format!("{HOME}/apis/{GROUP}/v9/treasures");
            kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
            let own = w.get(&path).json();
            holds(own["items"].as_array().is_some_and(Vec::is_empty), || own.to_string())?;
            let victim = w.admin.vcp("victim");
            let theirs = victim.get(&format!("/apis/{GROUP}")).ok();
            holds(!theirs.to_string().contains("v9"), || theirs.to_string())?;
            let gone = w.send("DELETE", &format!("{HOME}{CRDS}/treasures.{GROUP}"), &[], "");
            holds(gone.code == 200, || format!("{gone:?}"))?;
            kplane_tests::eventually("the kind is gone", Duration::from_secs(10), || {
                w.get(&path).code == 404
            });
            let still = victim.get(&format!("/apis/{GROUP}/v1/namespaces/default/treasures/t"));
            holds(still.code == 200, || still.text)
        },
    },
    Attack {
        name: "names of definitions",
        why: "names that differ from what they define",
        run: |w| {
            for name in
                ["other.example.com", "../treasures.vault.example", "widgets.example.com/x", "clusters"]
            {
                let mut crd = definition("names.example", "widgets", "Widget");
                crd["metadata"]["name"] = json!(name);
                refused(&w.post(&format!("{HOME}{CRDS}"), &crd)).map_err(|how| format!("{name}: {how}"))?;
            }
            for (group, plural) in [
                ("a/b", "widgets"),
                ("..", "widgets"),
                ("UPPER.example", "widgets"),
                ("x.example", "wid/gets"),
                ("x.example", ".."),
            ] {
                refused(&w.post(&format!("{HOME}{CRDS}"), &definition(group, plural, "Widget")))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "expensive rules",
        why: "CEL over lists of lists without a bound",
        run: |w| {
            let loops =
                "self.all(a, self.all(b, self.all(c, self.all(d, self.all(e, a == b || c == d || e == a)))))";
            let crd = with_rule("costly", loops);
            quick(|| {
                let made = w.post(&format!("{HOME}{CRDS}"), &crd);
                if made.code != 201 {
                    return refused(&made);
                }
                let path = format!("{HOME}/apis/costly.example/v1/namespaces/default/costlies");
                kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
                let items: Vec<String> = (0..2000).map(|i| format!("item-{i}")).collect();
                let object = json!({
                    "apiVersion": "costly.example/v1", "kind": "Costly", "metadata": {"name": "c"}, "items": items,
                });
                refused(&w.post(&path, &object))
            })
        },
    },
    Attack {
        name: "rules that build huge strings",
        why: "CEL that doubles a text again and again",
        run: |w| {
            let mut rule = "'aaaaaaaaaaaaaaaa'".to_owned();
            for _ in 0..20 {
                rule = format!("[{rule}].map(x, x + x)[0]");
            }
            quick(|| {
                let made = w.post(&format!("{HOME}{CRDS}"), &with_rule("doubling", &format!("{rule} != ''")));
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))
            })
        },
    },
    Attack {
        name: "patterns that backtrack",
        why: "a regular expression in a schema that takes for ever",
        run: |w| {
            let mut crd = definition("regex.example", "regexes", "Regex");
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
                "type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}},
            });
            answered(&w.post(&format!("{HOME}{CRDS}"), &crd), 201)?;
            let path = format!("{HOME}/apis/regex.example/v1/namespaces/default/regexes");
            kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
            quick(|| {
                let text = format!("{}!", "a".repeat(100_000));
                let object = json!({
                    "apiVersion": "regex.example/v1", "kind": "Regex", "metadata": {"name": "r"}, "text": text,
                });
                refused(&w.post(&path, &object))
            })
        },
    },
    Attack {
        name: "patterns that are huge",
        why: "a regular expression that compiles to gigabytes",
        run: |w| {
            let mut crd = definition("bigregex.example", "bigs", "Big");
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
                "type": "object", "properties": {"text": {"type": "string", "pattern": "((((a{1000}){1000}){1000}){1000})"}},
            });
            quick(|| {
                let made = w.post(&format!("{HOME}{CRDS}"), &crd);
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))
            })
        },
    },
    Attack {
        name: "a schema without end",
        why: "a schema nested so deep that walking it ends the stack",
        run: |w| {
            let open = r#"{"type":"object","properties":{"a":"#.repeat(3000);
            let schema = format!("{open}{{\"type\":\"object\"}}{}", "}}".repeat(3000));
            let mut crd = definition("deep.example", "deeps", "Deep");
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!("HERE");
            // As text: a value so deep cannot be held here either.
            let body = crd.to_string().replace("\"HERE\"", &schema);
            quick(|| refused(&w.send("POST", &format!("{HOME}{CRDS}"), &[], &body)))
        },
    },
    Attack {
        name: "a schema that refers elsewhere",
        why: "a `$ref` that is fetched or that turns in a circle",
        run: |w| {
            for reference in ["#", "#/definitions/x", "https://127.0.0.1:1/schema", "file:///etc/passwd"] {
                let mut crd = definition("refs.example", "refs", "Ref");
                crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                    json!({"type": "object", "properties": {"a": {"$ref": reference}}});
                refused(&w.post(&format!("{HOME}{CRDS}"), &crd))
                    .map_err(|how| format!("{reference}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "warnings that break headers",
        why: "a deprecation warning with line ends, sent as a header",
        run: |w| {
            let mut crd = definition("warn.example", "warns", "Warn");
            crd["spec"]["versions"][0]["deprecated"] = json!(true);
            crd["spec"]["versions"][0]["deprecationWarning"] = json!("x\r\nSet-Cookie: a=b\r\n\r\nbody");
            let made = w.post(&format!("{HOME}{CRDS}"), &crd);
            if made.code == 201 {
                let path = format!("{HOME}/apis/warn.example/v1/warns");
                kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
                let answer = w.get(&path);
                return holds(!answer.head.to_lowercase().contains("set-cookie"), || answer.head.clone());
            }
            refused(&made)
        },
    },
    Attack {
        name: "an APIService for what is built in",
        why: "a group version that is diverted to a server of the tenant's",
        run: |w| {
            for (group, version) in [
                ("", "v1"),
                ("apps", "v1"),
                ("rbac.authorization.k8s.io", "v1"),
                ("tenancy.kplane.dev", "v1alpha1"),
            ] {
                let service = json!({
                    "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                    "metadata": {"name": format!("{version}.{group}")},
                    "spec": {
                        "group": group, "version": version, "groupPriorityMinimum": 20000, "versionPriority": 1000,
                        "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "kubernetes", "port": 443},
                    },
                });
                let made = w.post(&format!("{HOME}/apis/apiregistration.k8s.io/v1/apiservices"), &service);
                holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))?;
            }
            answered(&w.get(&format!("{HOME}/apis/apps/v1/deployments")), 200)?;
            answered(&w.get(&format!("{HOME}/api/v1/configmaps")), 200)?;
            let victim = w.admin.vcp("victim").get("/apis/apps/v1/deployments");
            holds(victim.code == 200, || victim.text)
        },
    },
];

fn with_rule(name: &str, rule: &str) -> Value {
    let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let plural = if name == "costly" { "costlies".to_owned() } else { format!("{name}s") };
    let mut crd = definition(&format!("{name}.example"), &plural, &kind);
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
        "type": "object",
        "properties": {"items": {
            "type": "array", "maxItems": 5000, "items": {"type": "string", "maxLength": 20},
            "x-kubernetes-validations": [{"rule": rule}],
        }},
    });
    crd
}

/// Whatever the answer, it comes soon.
fn quick(run: impl FnOnce() -> Outcome) -> Outcome {
    let begun = Instant::now();
    run()?;
    holds(begun.elapsed() < LONG, || format!("it took {:?}", begun.elapsed()))
}
