//! The weaknesses that were found in the system this one follows, each tried: [`WEAKNESSES`] says where. Those that concern the
//! management plane are tests of their own below.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use kplane_tests::User;
use serde_json::{Value, json};

use crate::Attack;
use crate::world::{CRDS, HOME, MAPS, TARGET, VICTIM, answered, definition, holds, refused};

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "paths that make control planes",
        why: "any path made one, before anybody was asked who they are",
        run: |w| {
            let keys = || -> Result<String, String> {
                let text = w.admin.get("/metrics?keys=true").text;
                let figures =
                    ["kplane_store_keys ", "kplane_registry_control_planes ", "kplane_registry_hot_sets "];
                let lines: Vec<&str> =
                    text.lines().filter(|line| figures.iter().any(|f| line.starts_with(f))).collect();
                if lines.len() == figures.len() {
                    Ok(lines.join(" "))
                } else {
                    Err(format!("no figures: {lines:?}"))
                }
            };
            let before = keys()?;
            for i in 0..100 {
                let path = format!("/clusters/conjured-{i}/control-plane");
                refused(&w.stranger("GET", &format!("{path}/api/v1/namespaces"), &[], ""))?;
                refused(&w.get(&format!("{path}/api")))?;
            }
            for i in 0..20 {
                let gone = w.admin.get(&format!("/clusters/conjured-{i}/control-plane/api"));
                holds(gone.code == 404, || format!("root was answered with {}", gone.code))?;
            }
            let after = keys()?;
            holds(before == after, || format!("{before} before, {after} after"))
        },
    },
    Attack {
        name: "one key for all issuers",
        why: "one signing key and one issuer for all tenants",
        run: |w| {
            let (a, b) = (w.admin.vcp("victim"), w.admin.vcp("attacker"));
            let keys =
                |client: &kplane_tests::Client| client.get_as("/openid/v1/jwks", "*/*").ok()["keys"].clone();
            holds(keys(&a) != keys(&b), || "the keys are the same".into())?;
            let issuer = |client: &kplane_tests::Client| {
                client.get("/.well-known/openid-configuration").ok()["issuer"].clone()
            };
            holds(issuer(&a) != issuer(&b), || "the issuers are the same".into())?;
            holds(keys(&a) != keys(&w.admin), || "root's keys are the same".into())
        },
    },
    Attack {
        name: "tokens that are remembered",
        why: "hints about tokens were kept in a map for all control planes",
        run: |w| {
            // Good in the victim a moment ago, which is when it would be remembered.
            answered(&w.bearer(&w.victim_token, &format!("{VICTIM}/api")), 200)?;
            answered(&w.bearer(&w.victim_token, &format!("{HOME}/api")), 401)?;
            answered(&w.bearer(&w.token, &format!("{HOME}/api")), 200)?;
            answered(&w.bearer(&w.token, &format!("{VICTIM}/api")), 401)
        },
    },
    Attack {
        name: "snapshots",
        why: "a path that gave out everything, Secrets too",
        run: |w| {
            for path in [
                "/snapshot",
                "/snapshot?includeEmpty=true&warm=true",
                "/openapi/kplane.json",
                "/apis/kplane.dev/v1/fleets",
            ] {
                refused(&w.get(&format!("{HOME}{path}")))?;
                refused(&w.get(&format!("{VICTIM}{path}")))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "impersonation that custom resources skip",
        why: "requests for custom resources went past the filters, so `--as` acted as the real user",
        run: |w| {
            answered(&w.post(&format!("{HOME}{CRDS}"), &definition("skip.example", "skips", "Skip")), 201)?;
            let path = format!("{HOME}/apis/skip.example/v1/namespaces/default/skips");
            kplane_tests::eventually("the kind", Duration::from_secs(10), || w.get(&path).code == 200);
            let object = json!({"apiVersion": "skip.example/v1", "kind": "Skip", "metadata": {"name": "s"}});
            let body = object.to_string();
            for user in ["nobody-in-particular", "system:anonymous"] {
                let headers = [("Impersonate-User", user)];
                answered(&w.send("GET", &path, &headers, ""), 403)?;
                answered(&w.send("POST", &path, &headers, &body), 403)?;
                answered(&w.send("GET", &format!("{HOME}{MAPS}"), &headers, ""), 403)?;
            }
            answered(&w.send("POST", &path, &[], &body), 201)
        },
    },
    Attack {
        name: "bootstrap tokens without an end",
        why: "every control plane got one",
        run: |w| {
            for name in ["victim", "attacker"] {
                let all: Value = w.admin.vcp(name).get("/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken").ok();
                let made = all["items"].as_array().into_iter().flatten();
                // The one of this suite is the attacker's own.
                let count =
                    made.filter(|secret| secret["metadata"]["name"] != "bootstrap-token-abcdef").count();
                holds(count == 0, || format!("{name} was given a bootstrap token"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "marks on objects",
        why: "a label on every object told which control plane it was of",
        run: |w| {
            answered(&w.post(&format!("{HOME}{MAPS}"), &crate::world::config_map("unmarked")), 201)?;
            let object = w.get(&format!("{HOME}{MAPS}/unmarked")).json();
            let metadata = &object["metadata"];
            holds(metadata.get("labels").is_none() && metadata.get("annotations").is_none(), || {
                object.to_string()
            })?;
            holds(!object.to_string().contains("attacker"), || object.to_string())
        },
    },
    Attack {
        name: "anonymous administrators",
        why: "the server was installed with AlwaysAllow and anonymous access",
        run: |w| {
            for path in [
                format!("{VICTIM}{TARGET}"),
                format!("{VICTIM}/api"),
                TARGET.to_owned(),
                format!("{HOME}{MAPS}"),
            ] {
                answered(&w.stranger("GET", &path, &[], ""), 403)?;
            }
            Ok(())
        },
    },
];

/// Where a weakness is tried.
enum Tried {
    /// By an attack of that name.
    Attack(&'static str),
    /// By a test: its file below `tests/tests`, and its name.
    Test(&'static str, &'static str),
}

use Tried::{Attack as By, Test};

const HERE: &str = "isolation/weaknesses.rs";

/// Each weakness, in a word, and all that tries it.
const WEAKNESSES: &[(&str, &[Tried])] = &[
    ("credentials of root for any endpoint", &[Test(HERE, "the_management_plane_trusts_no_tenant")]),
    ("paths that are claimed twice", &[Test(HERE, "the_management_plane_trusts_no_tenant")]),
    (
        "paths that make control planes",
        &[By("paths that make control planes"), By("anonymous administrators")],
    ),
    ("a namespace called clusters", &[By("a namespace called clusters"), By("objects called clusters")]),
    ("a resource called clusters", &[By("a resource called clusters")]),
    (
        "users who may read across control planes",
        &[
            By("impersonated identities of the server"),
            By("impersonated masters"),
            By("all control planes at once"),
        ],
    ),
    ("one key for all tokens", &[By("one key for all issuers"), By("the attacker's token elsewhere")]),
    (
        "reviews that remember tokens",
        &[By("tokens that are remembered"), By("a review of the victim's token")],
    ),
    ("snapshots for everybody", &[By("snapshots")]),
    (
        "custom resources that go past the filters",
        &[
            By("impersonation that custom resources skip"),
            By("requests that are not written down"),
            Test("isolation/settings.rs", "requests_for_custom_resources_are_limited_like_others"),
        ],
    ),
    (
        "webhooks that fail open",
        &[
            Test("webhooks/more.rs", "the_first_writes_after_a_start_are_shown_to_webhooks"),
            Test("webhooks/admission.rs", "should_unconditionally_reject_operations_on_fail_closed_webhook"),
            Test(
                "webhooks/admission.rs",
                "should_be_able_to_deny_custom_resource_creation_update_and_deletion",
            ),
        ],
    ),
    ("kubeconfigs with root's token", &[Test(HERE, "the_management_plane_trusts_no_tenant")]),
    (
        "bootstrap tokens without an end",
        &[By("bootstrap tokens without an end"), By("bootstrap tokens elsewhere")],
    ),
    ("marks on objects", &[By("marks on objects")]),
    (
        "one history, and no limits",
        &[
            Test(HERE, "what_is_shared_is_said_and_what_is_granted_is_little"),
            Test("isolation/settings.rs", "requests_for_custom_resources_are_limited_like_others"),
        ],
    ),
    (
        "controllers that read all Secrets",
        &[
            Test("isolation/controllers.rs", "the_controllers_read_no_secret_but_their_own"),
            Test(HERE, "what_is_shared_is_said_and_what_is_granted_is_little"),
        ],
    ),
];

#[test]
fn every_weakness_is_tried() {
    let attacks = crate::attacks();
    assert_eq!(WEAKNESSES.len(), 16);
    for (number, (what, tried)) in WEAKNESSES.iter().enumerate() {
        assert!(!tried.is_empty(), "weakness {}, {what}, is not tried", number + 1);
        for way in *tried {
            let there = match way {
                By(name) => attacks.iter().any(|attack| attack.name == *name),
                Test(file, name) => {
                    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
                    let text = std::fs::read_to_string(path).expect(file);
                    text.contains(&format!("#[test]\nfn {name}()"))
                }
            };
            let (By(name) | Test(_, name)) = way;
            assert!(there, "weakness {}, {what}: {name} is gone", number + 1);
        }
    }
}

/// Weakness 1: credentials went wherever an endpoint pointed. Weakness 2: a path could be claimed twice.
/// Weakness 12: kubeconfigs held root's token, or did not verify the server.
#[test]
fn the_management_plane_trusts_no_tenant() {
    let user = User::up();
    let management = user.management();
    // A server that would take down whatever is said to it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener that does not wait");
    let port = listener.local_addr().expect("its address").port();
    management.apply(&format!(
        "apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlaneEndpoint\nmetadata: {{name: bait}}\nspec: {{endpoint: 'https://127.0.0.1:{port}/clusters/bait/control-plane'}}\n"
    ));
    management.apply(
        "apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlane\nmetadata: {name: bait}\nspec: {endpointRef: {name: bait}}\n",
    );
    // Two that claim one path.
    for name in ["first", "second"] {
        management.apply(&format!(
            "apiVersion: controlplane.kplane.dev/v1alpha1\nkind: ControlPlane\nmetadata: {{name: {name}}}\nspec: {{virtual: {{clusterPath: contested}}}}\n"
        ));
        if name == "first" {
            management.ok(&["wait", "--for=condition=Ready", "controlplane/first", "--timeout=30s"]);
        }
    }
    management.ok(&["wait", "--for=condition=Accepted=False", "controlplane/second", "--timeout=30s"]);
    let second = management.json(&["get", "controlplane", "second"]);
    assert!(second.to_string().contains("PathTaken"), "{second}");
    assert!(
        !management
            .run(&["-n", "kplane-cp-second", "get", "secret", "controlplane-second-kubeconfig"])
            .success,
        "a kubeconfig for a path that is another's"
    );
    // By now the bait has been looked at as well: its conditions say how it went.
    kplane_tests::eventually("the bait is looked at", Duration::from_secs(30), || {
        let conditions = management.json(&["get", "controlplane", "bait"])["status"]["conditions"].clone();
        conditions.as_array().is_some_and(|all| !all.is_empty())
    });
    if let Ok((mut stream, _)) = listener.accept() {
        let mut sent = [0; 4096];
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let count = stream.read(&mut sent).unwrap_or(0);
        panic!("the endpoint was called: {}", String::from_utf8_lossy(&sent[..count]));
    }
    let secret =
        management.json(&["-n", "kplane-cp-first", "get", "secret", "controlplane-first-kubeconfig"]);
    for key in ["kubeconfig", "kubeconfig-external"] {
        use base64::Engine;
        let text = secret["data"][key].as_str().expect(key);
        let text = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        let text = String::from_utf8(text).expect("text");
        assert!(!text.contains("insecure-skip-tls-verify"), "{text}");
        assert!(text.contains("certificate-authority-data"), "{text}");
        let root = std::fs::read_to_string(user.kubeconfig()).expect("the user's kubeconfig");
        for line in root.lines().filter(|line| line.contains("client-key-data")) {
            let value = line.split(':').nth(1).unwrap_or("").trim().trim_matches('"').to_owned();
            assert!(
                value.len() > 20 && !text.contains(&value),
                "root's key is in the kubeconfig of a tenant"
            );
        }
    }
    user.kplane(&["down", "--delete-data", "--yes"]);
}

/// Weakness 15 cannot be removed without giving up one history for all, which is said. Weakness 16: no role of the controllers
/// reads Secrets beyond the namespace of the management plane, or gives roles.
#[test]
fn what_is_shared_is_said_and_what_is_granted_is_little() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let limits = std::fs::read_to_string(root.join("docs/limits.md")).expect("docs/limits.md");
    assert!(limits.contains("resourceVersions"), "the shared revision is not documented");
    let text = std::fs::read_to_string(root.join("config/rbac/role.yaml")).expect("the role");
    let roles: Vec<Value> = serde_saphyr::from_multiple(&text).expect("roles");
    let list = |rule: &Value, key: &str| -> Vec<String> {
        let values = rule[key].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let mut everywhere = 0;
    for role in &roles {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let (groups, resources, verbs) =
                (list(rule, "apiGroups"), list(rule, "resources"), list(rule, "verbs"));
            // Every resource of our own group; nothing else is granted without being named.
            let star = [&groups, &resources, &verbs].iter().any(|all| all.iter().any(|one| one == "*"));
            assert!(!star || groups == ["controlplane.kplane.dev"], "a role for everything: {rule}");
            for group in ["rbac.authorization.k8s.io", "admissionregistration.k8s.io", "certificates.k8s.io"]
            {
                assert!(!groups.iter().any(|one| one == group), "a role that gives roles: {rule}");
            }
            for verb in ["bind", "escalate", "impersonate", "deletecollection"] {
                assert!(!verbs.iter().any(|one| one == verb), "a role to be somebody else: {rule}");
            }
            if role["metadata"]["name"] == "kplane-controllers" {
                everywhere += 1;
                let reads = verbs.iter().any(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
                assert!(
                    !reads || !resources.iter().any(|one| one == "secrets"),
                    "a role to read Secrets: {rule}"
                );
            }
        }
    }
    assert!(everywhere > 0, "{text}");
}
