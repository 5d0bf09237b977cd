//! Where the attacks happen: a server with a victim, an attacker who administers a control plane of their own, and
//! everything about the victim that must never be seen elsewhere.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_tests::{Client, Server, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::raw::{self, Identity, Raw};

/// What is in the victim's Secret and ConfigMap, and nowhere else.
pub const FLAG: &str = "the-flag-of-the-victim-7f3a91";
/// A namespace that only the victim has.
pub const VAULT: &str = "vault-namespace";
/// A group that only the victim has.
pub const GROUP: &str = "vault.example";
/// Where the attacker is at home.
pub const HOME: &str = "/clusters/attacker/control-plane";
/// Where it is not.
pub const VICTIM: &str = "/clusters/victim/control-plane";
/// The ConfigMap it is after.
pub const TARGET: &str = "/api/v1/namespaces/default/configmaps/flag";
/// The attacker's own ConfigMaps.
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The server, and who is on it.
pub struct World {
    /// The server.
    pub server: Server,
    /// Root's administrator, who prepares and checks, and takes no part in attacks.
    pub admin: Client,
    attacker: Identity,
    nobody: Identity,
    /// A token of a service account of the attacker's.
    pub token: String,
    /// A token of one of the victim's.
    pub victim_token: String,
    /// The uid of the victim's control plane.
    pub victim_uid: String,
    /// The CA, in PEM.
    pub ca: String,
    /// Where the audit log is.
    pub audit: TempDir,
    marks: Vec<String>,
    leaks: Mutex<Vec<String>>,
    before: Value,
}

fn object(kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    for (field, value) in rest.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

/// A ConfigMap.
pub fn config_map(name: &str) -> Value {
    object("ConfigMap", name, json!({"data": {"a": "b"}}))
}

/// A CRD without much to it.
pub fn definition(group: &str, plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    })
}

/// A user of a control plane with a certificate of its own: `tenant`, an administrator there and nowhere else.
pub fn tenant(server: &Server, vcp: &str) -> Identity {
    let issued = server
        .client()
        .post(
            &format!("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/{vcp}/credentials"),
            &json!({
                "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest",
                "spec": {"user": "tenant", "groups": ["system:masters"], "expirationSeconds": 3600},
            }),
        )
        .ok();
    let pem = |field: &str| {
        let text = issued["status"][field].as_str().expect(field);
        String::from_utf8(STANDARD.decode(text).expect("base64")).expect("PEM")
    };
    let pair = (pem("clientCertificateData"), pem("clientKeyData"));
    Identity::new(server.port(), &pem("certificateAuthorityData"), Some((&pair.0, &pair.1)))
}

/// Where CRDs are.
pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl World {
    /// Makes it.
    pub fn new(store: Store) -> Self {
        let audit = tempfile::Builder::new().prefix("kplane-audit-").tempdir().expect("a folder");
        let log = format!("--audit-log-path={}", audit.path().join("audit.log").display());
        let server = Server::start_with(store, &[&log]);
        let admin = server.client();
        for name in ["victim", "attacker"] {
            admin
                .post(
                    "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters",
                    &json!({
                        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster",
                        "metadata": {"name": name},
                    }),
                )
                .ok();
        }
        let victim = admin.vcp("victim");
        victim.post("/api/v1/namespaces", &object("Namespace", VAULT, json!({}))).ok();
        victim.post(MAPS, &object("ConfigMap", "flag", json!({"data": {"flag": FLAG}}))).ok();
        let secrets = "/api/v1/namespaces/default/secrets";
        victim.post(secrets, &object("Secret", "flag", json!({"stringData": {"flag": FLAG}}))).ok();
        victim.post(CRDS, &definition(GROUP, "treasures", "Treasure")).ok();
        kplane_tests::eventually("the victim's kind", std::time::Duration::from_secs(10), || {
            victim.get(&format!("/apis/{GROUP}/v1/treasures")).code == 200
        });
        victim
            .post(
                &format!("/apis/{GROUP}/v1/namespaces/default/treasures"),
                &json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Treasure", "metadata": {"name": "t"}, "flag": FLAG}),
            )
            .ok();
        let token = |name: &str| {
            let request =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
            let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
            let answer = admin.vcp(name).post(path, &request).ok();
            answer["status"]["token"].as_str().expect("a token").to_owned()
        };
        let record = admin.get("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/victim").ok();
        let victim_uid = record["metadata"]["uid"].as_str().expect("a uid").to_owned();
        let issued = admin
            .post(
                "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/attacker/credentials",
                &json!({
                    "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest",
                    "spec": {"user": "mallory", "groups": ["system:masters"], "expirationSeconds": 7200},
                }),
            )
            .ok();
        let pem = |field: &str| {
            let text = issued["status"][field].as_str().expect(field);
            String::from_utf8(STANDARD.decode(text).expect("base64")).expect("PEM")
        };
        let ca = pem("certificateAuthorityData");
        let pair = (pem("clientCertificateData"), pem("clientKeyData"));
        let (token, victim_token) = (token("attacker"), token("victim"));
        let mut world = Self {
            attacker: Identity::new(server.port(), &ca, Some((&pair.0, &pair.1))),
            nobody: Identity::new(server.port(), &ca, None),
            marks: vec![
                FLAG.to_owned(),
                STANDARD.encode(FLAG),
                VAULT.to_owned(),
                victim_uid.clone(),
                victim_uid.replace('-', ""),
            ],
            token,
            victim_token,
            victim_uid,
            ca,
            audit,
            leaks: Mutex::default(),
            before: Value::Null,
            admin,
            server,
        };
        world.before = world.fingerprint();
        // The attacker is who it says it is; without this every refusal below would prove nothing.
        let own = world.get(&format!("{HOME}{MAPS}"));
        assert_eq!(own.code, 200, "the attacker at home: {}", own.body);
        let own = world.bearer(&world.token.clone(), &format!("{HOME}/api"));
        assert_eq!(own.code, 200, "the attacker's token at home: {}", own.body);
        let theirs = world.admin.vcp("victim").get(TARGET).ok();
        assert_eq!(theirs["data"]["flag"], FLAG);
        world.leaks();
        world
    }

    /// What the victim has, down to the revisions.
    pub fn fingerprint(&self) -> Value {
        let victim = self.admin.vcp("victim");
        let mut all = Vec::new();
        for path in [
            "/api/v1/namespaces",
            "/api/v1/configmaps",
            "/api/v1/secrets",
            "/api/v1/serviceaccounts",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            CRDS,
            "/apis/vault.example/v1/treasures",
        ] {
            all.push(victim.get(path).ok()["items"].clone());
        }
        let records = self.admin.get("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters").ok();
        let names = records["items"].as_array().into_iter().flatten();
        let mut names: Vec<&str> = names.filter_map(|item| item["metadata"]["name"].as_str()).collect();
        // The attacks make some of their own; the victim must be among them as it was.
        names.retain(|name| *name == "victim");
        all.push(json!(names));
        Value::Array(all)
    }

    /// Whether the victim is as it was.
    pub fn untouched(&self) -> Result<(), String> {
        let now = self.fingerprint();
        if now == self.before { Ok(()) } else { Err(format!("the victim was changed: {now}")) }
    }

    fn watched(&self, identity: &Identity, server_name: &str, bytes: &[u8]) -> Raw {
        let answer = identity.exchange_as(server_name, bytes);
        let sent = String::from_utf8_lossy(bytes);
        for mark in &self.marks {
            // What the attacker wrote itself may be repeated to it.
            if !sent.contains(mark.as_str()) && (answer.body.contains(mark) || answer.head.contains(mark)) {
                let first = sent.lines().next().unwrap_or("").chars().take(200).collect::<String>();
                self.leaks.lock().expect("the leaks").push(format!("{first:?} was told {mark:?}"));
            }
        }
        answer
    }

    /// What was told that must not be, since the last time.
    pub fn leaks(&self) -> Vec<String> {
        std::mem::take(&mut *self.leaks.lock().expect("the leaks"))
    }

    /// Sends bytes as the attacker.
    pub fn bytes(&self, bytes: &[u8]) -> Raw {
        self.watched(&self.attacker, "127.0.0.1", bytes)
    }

    /// Sends bytes as the attacker, with this name in the handshake.
    pub fn bytes_as(&self, server_name: &str, bytes: &[u8]) -> Raw {
        self.watched(&self.attacker, server_name, bytes)
    }

    /// Sends a request as the attacker.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Raw {
        self.bytes(&raw::request(method, target, headers, body))
    }

    /// GET as the attacker.
    pub fn get(&self, target: &str) -> Raw {
        self.send("GET", target, &[], "")
    }

    /// POST as the attacker.
    pub fn post(&self, target: &str, body: &Value) -> Raw {
        self.send("POST", target, &[], &body.to_string())
    }

    /// Sends a request without a certificate.
    pub fn stranger(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Raw {
        self.watched(&self.nobody, "127.0.0.1", &raw::request(method, target, headers, body))
    }

    /// GET with a token and nothing else.
    pub fn bearer(&self, token: &str, target: &str) -> Raw {
        self.stranger("GET", target, &[("Authorization", &format!("Bearer {token}"))], "")
    }

    /// Another identity, whose answers are looked at as well.
    pub fn other(&self, certificate: &str, key: &str, target: &str) -> Raw {
        let identity = Identity::new(self.server.port(), &self.ca, Some((certificate, key)));
        self.watched(&identity, "127.0.0.1", &raw::request("GET", target, &[], ""))
    }

    /// The attacker's connection, for what is no request.
    pub fn attacker(&self) -> &Identity {
        &self.attacker
    }
}

/// Nothing got through, if the answer is a refusal.
pub fn refused(answer: &Raw) -> Result<(), String> {
    match answer.code {
        400..=499 => Ok(()),
        code => Err(format!("answered with {code}: {}", answer.body.chars().take(300).collect::<String>())),
    }
}

/// Nothing got through, if the answer is this one.
pub fn answered(answer: &Raw, code: u16) -> Result<(), String> {
    if answer.code == code {
        return Ok(());
    }
    Err(format!(
        "answered with {} instead of {code}: {}",
        answer.code,
        answer.body.chars().take(300).collect::<String>()
    ))
}

/// Nothing got through, if this holds.
pub fn holds(what: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if what { Ok(()) } else { Err(why()) }
}
