use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::secrets::DatedSecret;
use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://127.0.0.1:8443/clusters/a/control-plane";

#[derive(Default)]
struct Objects(HashMap<(String, String, String), Value>);

impl Objects {
    fn with(mut self, resource: &str, namespace: &str, name: &str, object: Value) -> Self {
        self.0.insert((resource.into(), namespace.into(), name.into()), object);
        self
    }
}

#[async_trait::async_trait]
impl ObjectReader for Objects {
    async fn get(
        &self,
        _group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, kplane_machinery::Status> {
        Ok(self.0.get(&(resource.into(), namespace.into(), name.into())).cloned())
    }
}

fn account() -> Value {
    json!({"metadata": {"name": "sa", "namespace": "ns", "uid": "u1"}})
}

fn objects() -> Objects {
    Objects::default()
        .with("serviceaccounts", "ns", "sa", account())
        .with(
            "pods",
            "ns",
            "p",
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pu"},
                   "spec": {"serviceAccountName": "sa", "nodeName": "n"}}),
        )
        .with("nodes", "", "n", json!({"metadata": {"name": "n", "uid": "nu"}}))
}

fn tokens() -> ServiceAccountTokens {
    ServiceAccountTokens::new(TokenKeys::new(vec![DatedSecret::plain(PlaneSecret::from([7; 32]))]))
}

async fn issue(spec: Value) -> Result<Value, kplane_machinery::Status> {
    let request = json!({"spec": spec});
    let account = account();
    let ask = IssueRequest { key_name: "A", issuer: ISSUER, account: &account, request: &request, now: NOW };
    tokens().issue(ask, &objects()).await.map(|outcome| outcome.response)
}

async fn token(spec: Value) -> String {
    issue(spec).await.unwrap()["status"]["token"].as_str().unwrap().to_owned()
}

async fn verify(
    token: &str,
    vcp: &str,
    audience: &str,
    now: i64,
) -> Result<(UserInfo, Vec<String>), TokenError> {
    tokens().verify(token, vcp, ISSUER, &[audience.to_owned()], &objects(), now).await
}

use crate::user::UserInfo;

#[tokio::test]
async fn a_token_speaks_for_its_account() {
    let (user, audiences) = verify(&token(json!({})).await, "A", ISSUER, NOW).await.unwrap();
    assert_eq!(user.username, "system:serviceaccount:ns:sa");
    assert_eq!(user.uid, "u1");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
    assert!(user.extra[crate::user::CREDENTIAL_ID][0].starts_with("JTI="));
    assert_eq!(audiences, [ISSUER]);
}

#[tokio::test]
async fn another_control_plane_refuses_it() {
    let token = token(json!({})).await;
    assert!(matches!(verify(&token, "B", ISSUER, NOW).await, Err(TokenError::Signature)));
    let other = tokens().verify(&token, "A", "https://other", &[ISSUER.into()], &objects(), NOW).await;
    assert!(matches!(other, Err(TokenError::Issuer)));
}

#[tokio::test]
async fn time_and_audience_are_checked() {
    let token = token(json!({"expirationSeconds": 600, "audiences": ["vault"]})).await;
    assert!(verify(&token, "A", "vault", NOW + 600).await.is_ok());
    assert!(matches!(verify(&token, "A", "vault", NOW + 661).await, Err(TokenError::Expired)));
    assert!(matches!(verify(&token, "A", "vault", NOW - 61).await, Err(TokenError::NotYet)));
    assert!(matches!(verify(&token, "A", ISSUER, NOW).await, Err(TokenError::Audience { .. })));
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let token = token(json!({})).await;
    let parts: Vec<_> = token.split('.').collect();
    let claims = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(claims.replace(":ns:sa", ":ns:xx"));
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for changed in [
        format!("{}.{forged}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], BASE64_URL_SAFE_NO_PAD.encode([0; 64])),
        format!("{}.{}", parts[0], parts[1]),
        "nope".to_owned(),
        "x".repeat(100_000),
    ] {
        assert!(verify(&changed, "A", ISSUER, NOW).await.is_err(), "{changed}");
    }
}

#[tokio::test]
async fn what_it_is_bound_to_must_live() {
    let token = token(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}})).await;
    let (user, _) = verify(&token, "A", ISSUER, NOW).await.unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/pod-uid"], ["pu"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    let deleted = "2027-01-15T07:00:00Z";
    for (resource, name, found) in [
        ("pods", "p", json!({"metadata": {"uid": "another"}})),
        ("pods", "p", json!({"metadata": {"uid": "pu", "deletionTimestamp": deleted}})),
        ("serviceaccounts", "sa", json!({"metadata": {"uid": "another"}})),
    ] {
        let objects = objects().with(resource, "ns", name, found);
        let said = tokens().verify(&token, "A", ISSUER, &[ISSUER.into()], &objects, NOW).await;
        assert!(matches!(said, Err(TokenError::Invalidated(_))), "{said:?}");
    }
    let nothing = tokens().verify(&token, "A", ISSUER, &[ISSUER.into()], &Objects::default(), NOW).await;
    assert!(matches!(nothing, Err(TokenError::Invalidated(_))));
}

#[tokio::test]
async fn requests_are_checked() {
    let too_short = issue(json!({"expirationSeconds": 599})).await.unwrap_err();
    assert_eq!(
        too_short.message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: \
         may not specify a duration less than 10 minutes"
    );
    assert_eq!(issue(json!({"expirationSeconds": (1_i64 << 32) + 1})).await.unwrap_err().code, 422);
    let (account, request) = (account(), json!({"metadata": {"name": "other"}}));
    let ask = IssueRequest { key_name: "A", issuer: ISSUER, account: &account, request: &request, now: NOW };
    let named = tokens().issue(ask, &objects()).await.unwrap_err();
    assert!(named.message.ends_with("must match the service account name if specified"), "{named}");
    let request = json!({"metadata": {"uid": "u2"}});
    let other = tokens().issue(IssueRequest { request: &request, ..ask }, &objects()).await.unwrap_err();
    let told = "the UID in the token request (u2) does not match the UID of the service account (u1)";
    assert!(other.code == 409 && other.message.ends_with(told), "{other}");
    let request = json!({"metadata": {"uid": "u1"}});
    let issued = tokens().issue(IssueRequest { request: &request, ..ask }, &objects()).await.unwrap();
    assert_eq!(issued.response["metadata"]["uid"], "u1");
    for (bound, code) in [
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "none"}), 404),
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "another"}), 409),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}), 400),
    ] {
        assert_eq!(issue(json!({"boundObjectRef": bound})).await.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn kubelets_ask_for_tokens_that_live_longer_and_warn() {
    let unbound = token(json!({"expirationSeconds": 3607})).await;
    assert!(verify(&unbound, "A", ISSUER, NOW + 4000).await.is_err());
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p"});
    let response = issue(json!({"expirationSeconds": 3607, "boundObjectRef": bound})).await.unwrap();
    let token = response["status"]["token"].as_str().unwrap();
    assert!(verify(token, "A", ISSUER, NOW + 300 * 24 * 3600).await.is_ok());
    assert_eq!(response["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
}

#[tokio::test]
async fn a_previous_secret_is_accepted_and_not_signed_with() {
    let old = token(json!({})).await;
    let (new_secret, old_secret) = (PlaneSecret::from([8; 32]), PlaneSecret::from([7; 32]));
    let both = ServiceAccountTokens::new(TokenKeys::new(
        [new_secret.clone(), old_secret].map(DatedSecret::plain).into(),
    ));
    assert!(both.verify(&old, "A", ISSUER, &[ISSUER.into()], &objects(), NOW).await.is_ok());
    assert_eq!(both.keys().jwks("A", NOW)["keys"].as_array().unwrap().len(), 2);
    let only_new = ServiceAccountTokens::new(TokenKeys::new(vec![DatedSecret::plain(new_secret)]));
    assert!(only_new.verify(&old, "A", ISSUER, &[ISSUER.into()], &objects(), NOW).await.is_err());
}

#[tokio::test]
async fn keys_are_rotated_without_a_gap() {
    let tokens = tokens();
    let at = |second: i64| NOW + second;
    let issue = async |now: i64| {
        let (request, account) = (json!({"spec": {"expirationSeconds": 600}}), account());
        let ask = IssueRequest { key_name: "A", issuer: ISSUER, account: &account, request: &request, now };
        let issued = tokens.issue(ask, &objects()).await.unwrap().response;
        issued["status"]["token"].as_str().unwrap().to_owned()
    };
    let good = async |token: &str, now: i64| {
        tokens.verify(token, "A", ISSUER, &[ISSUER.into()], &objects(), now).await.is_ok()
    };
    let before = issue(at(0)).await;
    let old = vec![DatedSecret::plain(PlaneSecret::from([7; 32]))];
    tokens.replace_secrets(secrets::rotate(&old, PlaneSecret::from([8; 32]), 600, at(0)));
    assert_eq!(tokens.keys().jwks("A", at(1))["keys"].as_array().unwrap().len(), 2);
    let between = issue(at(60)).await;
    let after = issue(at(130)).await;
    let key = |token: &str| claims::header_key(token).unwrap();
    assert!(key(&before) == key(&between) && key(&between) != key(&after));
    assert!(good(&before, at(500)).await && good(&between, at(600)).await && good(&after, at(600)).await);
    // The old key is gone when the last of its tokens has ended.
    assert!(!good(&between, at(720)).await && good(&after, at(720)).await);
    assert_eq!(tokens.keys().jwks("A", at(720))["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_legacy_token_is_good_while_its_secret_holds_it() {
    let tokens = tokens();
    let token = tokens.sign_legacy("A", &account(), "s", NOW).unwrap();
    let secret = |token: &str, labels: Value| {
        let data = base64::prelude::BASE64_STANDARD.encode(token);
        json!({"metadata": {"name": "s", "namespace": "ns", "labels": labels}, "data": {"token": data}})
    };
    let with = |secret: Value| objects().with("secrets", "ns", "s", secret);
    let held = with(secret(&token, json!({})));
    let user = tokens.verify_legacy(&token, "A", &held, NOW).await.unwrap();
    assert_eq!((&*user.username, &*user.uid), ("system:serviceaccount:ns:sa", "u1"));
    assert!(tokens.verify_legacy(&token, "B", &held, NOW).await.is_err());
    assert!(tokens.verify_legacy(&token, "A", &objects(), NOW).await.is_err());
    assert!(tokens.verify_legacy(&token, "A", &with(secret("other", json!({}))), NOW).await.is_err());
    let marked = with(secret(&token, json!({"kubernetes.io/legacy-token-invalid-since": "2026-01-01"})));
    assert!(tokens.verify_legacy(&token, "A", &marked, NOW).await.is_err());
    assert!(tokens.is_current_legacy("A", &token, &account(), NOW));
    let other = json!({"metadata": {"name": "sa", "namespace": "ns", "uid": "u2"}});
    assert!(!tokens.is_current_legacy("A", &token, &other, NOW));
}

#[tokio::test]
async fn no_token_outlives_what_the_server_allows() {
    let tokens = tokens().at_most(Some(1200));
    let (request, account) = (json!({"spec": {"expirationSeconds": 7200}}), account());
    let ask = IssueRequest { key_name: "A", issuer: ISSUER, account: &account, request: &request, now: NOW };
    let issued = tokens.issue(ask, &objects()).await.unwrap();
    assert_eq!(issued.response["spec"]["expirationSeconds"], 1200);
    let told = "requested expiration of 7200 seconds shortened to 1200 seconds";
    assert_eq!(issued.warning.as_deref(), Some(told));
}

#[test]
fn the_documents_tell_the_public_key_only() {
    let keys = TokenKeys::new(vec![DatedSecret::plain(PlaneSecret::from([7; 32]))]);
    let jwks = keys.jwks("A", NOW);
    assert_eq!(jwks["keys"][0]["alg"], "ES256");
    assert_ne!(jwks, keys.jwks("B", NOW));
    assert!(!jwks.to_string().contains("\"d\""));
    assert_eq!(keys.openid_configuration(ISSUER)["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    assert_eq!(format!("{:?}", PlaneSecret::from([7; 32])), "PlaneSecret(..)");
}

#[tokio::test]
async fn the_issuer_is_read_to_route_by() {
    assert_eq!(unverified_issuer(&token(json!({})).await).as_deref(), Some(ISSUER));
    assert_eq!(unverified_issuer("a.b.c"), None);
}
