use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kplane_machinery::Status;
use serde_json::{Value, json};

use super::*;
use crate::pki::{CertifiedPem, ClientSubject, Pki, PkiOptions, certificates_of_pem};
use crate::token::{IssueRequest, TokenKeys};

const NOW: i64 = 1_800_000_000;

struct Objects(HashMap<&'static str, Value>);

#[async_trait::async_trait]
impl ObjectReader for Objects {
    async fn get(&self, _: &str, resource: &str, _: &str, name: &str) -> Result<Option<Value>, Status> {
        match self.0.get(format!("{resource}/{name}").as_str()) {
            Some(Value::Null) => Err(Status::unavailable("the store is away")),
            found => Ok(found.cloned()),
        }
    }
}

struct Plane {
    pki: Pki,
    authenticator: Authenticator,
    objects: Objects,
    _dir: tempfile::TempDir,
}

fn vcp(name: &str) -> VcpIdentity {
    VcpIdentity {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        is_root: name == "root",
        issuer: format!("https://h/clusters/{name}/control-plane"),
        accepted_issuers: Vec::new(),
        epoch: 0,
        generations: BTreeMap::new(),
    }
}

fn account() -> Value {
    json!({"metadata": {"name": "sa", "namespace": "ns", "uid": "u1"}})
}

impl Plane {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(PkiOptions { dir: dir.path().to_owned(), ..PkiOptions::default() }, NOW).unwrap();
        let trust = Arc::new(ClientTrust::new([pki.authority().certificate()]).unwrap());
        let tokens = Arc::new(ServiceAccountTokens::new(TokenKeys::new(pki.secrets().to_vec())));
        let file =
            StaticTokens::parse("admin-token,root-admin,1,system:masters\nplain-token,alice,2,dev").unwrap();
        let text = |s: &str| BASE64_STANDARD.encode(s);
        let bootstrap = json!({"type": "bootstrap.kubernetes.io/token", "metadata": {}, "data": {
            "token-id": text("abcdef"), "token-secret": text("0123456789abcdef"),
            "usage-bootstrap-authentication": text("true"),
            "expiration": text("2030-01-01T00:00:00Z"), "auth-extra-groups": text("system:bootstrappers:x"),
        }});
        let objects = Objects(HashMap::from([
            ("serviceaccounts/sa", account()),
            ("secrets/bootstrap-token-abcdef", bootstrap),
            ("secrets/bootstrap-token-aaaaaa", Value::Null),
        ]));
        Self { authenticator: Authenticator::new(trust, tokens, file), pki, objects, _dir: dir }
    }

    fn client(&self, vcp: Option<&str>, groups: &[&str]) -> Vec<CertificateDer<'static>> {
        let groups: Vec<_> = groups.iter().map(|&g| g.to_owned()).collect();
        let CertifiedPem { certificate, .. } = self
            .pki
            .issue_client(
                vcp.map(VcpScope::of).as_ref(),
                &ClientSubject::new("jane", &groups),
                Duration::from_secs(60),
                NOW,
            )
            .unwrap();
        certificates_of_pem(certificate.as_bytes()).unwrap()
    }

    async fn ask(
        &self,
        at: &str,
        peer: &[CertificateDer<'static>],
        bearer: Option<&str>,
    ) -> Result<Option<Identity>, AuthnError> {
        let vcp = vcp(at);
        let credentials =
            Credentials { bearer, peer, vcp: &vcp, reader: &self.objects, audiences: &[], now: NOW };
        self.authenticator.authenticate(&credentials).await
    }
}

#[tokio::test]
async fn without_credentials_nobody_is_known() {
    assert_eq!(Plane::new().ask("a", &[], None).await.unwrap(), None);
    assert_eq!(Plane::new().ask("a", &[], Some(" ")).await.unwrap(), None);
}

#[tokio::test]
async fn a_certificate_is_good_in_its_own_control_plane_only() {
    let plane = Plane::new();
    let client = plane.client(Some("uid-a"), &["system:masters"]);
    let identity = plane.ask("a", &client, None).await.unwrap().unwrap();
    assert_eq!(identity.user.groups, ["system:masters", "system:authenticated"]);
    assert!(!identity.of_root);
    for elsewhere in ["b", "root"] {
        assert!(matches!(plane.ask(elsewhere, &client, None).await, Err(AuthnError::ElsewhereOnly)));
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_bad_at_once() {
    let plane = Plane::new();
    let issue = |epoch, generation: Option<&str>| {
        let scope = VcpScope { uid: "uid-a".into(), epoch, generation: generation.map(str::to_owned) };
        let made = plane
            .pki
            .issue_client(Some(&scope), &ClientSubject::new("jane", &[]), Duration::from_secs(60), NOW)
            .unwrap();
        certificates_of_pem(made.certificate.as_bytes()).unwrap()
    };
    let (first, second, later) = (issue(0, Some("1")), issue(0, Some("2")), issue(1, Some("2")));
    let good = async |vcp: &VcpIdentity, peer: &[CertificateDer<'static>]| {
        let credentials =
            Credentials { bearer: None, peer, vcp, reader: &plane.objects, audiences: &[], now: NOW };
        match plane.authenticator.authenticate(&credentials).await {
            Ok(Some(_)) => true,
            Err(AuthnError::Revoked) => false,
            other => panic!("{other:?}"),
        }
    };
    let a = vcp("a");
    assert!(good(&a, &first).await && good(&a, &second).await && !good(&a, &later).await);
    let rotated =
        VcpIdentity { generations: BTreeMap::from([("jane".into(), Some("2".into()))]), ..a.clone() };
    assert!(!good(&rotated, &first).await && good(&rotated, &second).await);
    let revoked = VcpIdentity { generations: BTreeMap::from([("jane".into(), None)]), ..a.clone() };
    assert!(!good(&revoked, &first).await && !good(&revoked, &issue(0, None)).await);
    let next = VcpIdentity { epoch: 1, ..a };
    assert!(!good(&next, &second).await && good(&next, &later).await);
    assert_ne!(next.key_name(), vcp("a").key_name());
}

#[tokio::test]
async fn root_enters_as_administrator_only() {
    let plane = Plane::new();
    let (admin, plain) = (plane.client(None, &["system:masters"]), plane.client(None, &["dev"]));
    assert!(plane.ask("a", &admin, None).await.unwrap().unwrap().of_root);
    assert!(plane.ask("root", &plain, None).await.unwrap().unwrap().of_root);
    assert!(matches!(plane.ask("a", &plain, None).await, Err(AuthnError::ElsewhereOnly)));
    assert_eq!(plane.ask("a", &[], Some("admin-token")).await.unwrap().unwrap().via, Via::StaticToken);
    assert!(plane.ask("root", &[], Some("plain-token")).await.is_ok());
    assert!(plane.ask("a", &[], Some("plain-token")).await.is_err());
}

#[tokio::test]
async fn a_token_is_good_in_its_own_control_plane_only() {
    let plane = Plane::new();
    let a = vcp("a");
    let (account, request) = (account(), json!({}));
    let ask =
        IssueRequest { key_name: &a.uid, issuer: &a.issuer, account: &account, request: &request, now: NOW };
    let issued = plane.authenticator.tokens().issue(ask, &plane.objects).await.unwrap();
    let token = issued.response["status"]["token"].as_str().unwrap();
    let identity = plane.ask("a", &[], Some(token)).await.unwrap().unwrap();
    assert_eq!(identity.via, Via::ServiceAccountToken);
    assert_eq!(identity.user.groups.last().unwrap(), "system:authenticated");
    assert!(plane.ask("b", &[], Some(token)).await.is_err());
    assert!(plane.ask("root", &[], Some(token)).await.is_err());
    // One of another uid that took the same name has other keys.
    let again = VcpIdentity { uid: "uid-new".to_owned(), ..a };
    let credentials = Credentials {
        bearer: Some(token),
        peer: &[],
        vcp: &again,
        reader: &plane.objects,
        audiences: &[],
        now: NOW,
    };
    assert!(plane.authenticator.authenticate(&credentials).await.is_err());
}

#[tokio::test]
async fn bootstrap_tokens_are_secrets_of_the_control_plane() {
    let plane = Plane::new();
    let identity = plane.ask("a", &[], Some("abcdef.0123456789abcdef")).await.unwrap().unwrap();
    assert_eq!(identity.user.username, "system:bootstrap:abcdef");
    assert_eq!(identity.user.groups[..2], ["system:bootstrappers", "system:bootstrappers:x"]);
    assert!(plane.ask("a", &[], Some("abcdef.0123456789abcdee")).await.is_err());
    assert!(plane.ask("a", &[], Some("bbbbbb.0123456789abcdef")).await.is_err());
    let unread = plane.ask("a", &[], Some("aaaaaa.0123456789abcdef")).await.unwrap_err();
    assert_eq!(unread.read_failure().map(|status| status.code), Some(503));
}

#[tokio::test]
async fn a_good_token_outweighs_a_bad_certificate() {
    let plane = Plane::new();
    let client = plane.client(Some("uid-b"), &[]);
    assert!(plane.ask("a", &client, Some("admin-token")).await.is_ok());
    assert_eq!(plane.ask("a", &client, Some("nope")).await.unwrap_err().to_string(), "invalid bearer token");
}
