//! Credentials that are replayed, forged, or made to say more than they do.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Attack;
use crate::world::{FLAG, HOME, MAPS, TARGET, VICTIM, answered, holds, refused};

const ROOT_RECORDS: &str = "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters";
const ACROSS: &str = "/clusters/*/control-plane/api/v1/configmaps";

pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "the attacker's token elsewhere",
        why: "one issuer and one key for all control planes",
        run: |w| {
            for path in [
                format!("{VICTIM}/api"),
                format!("{VICTIM}{TARGET}"),
                format!("/clusters/root/control-plane{MAPS}"),
                ACROSS.into(),
            ] {
                answered(&w.bearer(&w.token, &path), 401).map_err(|how| format!("{path}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "the victim's token at the attacker's",
        why: "a stolen token, to be looked up in another control plane",
        run: |w| answered(&w.bearer(&w.victim_token, &format!("{HOME}/api")), 401),
    },
    Attack {
        name: "a token beside a certificate",
        why: "the second credential may be taken where the first is refused",
        run: |w| {
            for token in [&w.token, &w.victim_token] {
                let header = format!("Bearer {token}");
                let answer = w.send("GET", &format!("{VICTIM}{TARGET}"), &[("Authorization", &header)], "");
                refused(&answer)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a token that names another issuer",
        why: "routing without a path goes by the issuer, which is read before it is proven",
        run: |w| {
            let port = w.server.port();
            let issuer = format!("https://127.0.0.1:{port}/clusters/victim/control-plane");
            let changed = with_claims(&w.token, |claims| claims["iss"] = json!(issuer));
            for path in [TARGET.to_owned(), format!("{VICTIM}{TARGET}"), format!("{HOME}{MAPS}")] {
                answered(&w.bearer(&changed, &path), 401).map_err(|how| format!("{path}: {how}"))?;
            }
            let issuer = format!("https://127.0.0.1:{port}/clusters/root/control-plane");
            let changed = with_claims(&w.token, |claims| claims["iss"] = json!(issuer));
            answered(&w.bearer(&changed, ROOT_RECORDS), 401)
        },
    },
    Attack {
        name: "unsigned tokens",
        why: "the algorithm `none`",
        run: |w| {
            for alg in ["none", "None", "NONE", ""] {
                let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
                let claims = w.victim_token.split('.').nth(1).expect("claims");
                for signature in ["", "AAAA"] {
                    let token = format!("{header}.{claims}.{signature}");
                    answered(&w.bearer(&token, &format!("{VICTIM}{TARGET}")), 401)?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "a signature of another algorithm",
        why: "a public key that is taken for a shared secret, or a key from the token itself",
        run: |w| {
            let claims = w.victim_token.split('.').nth(1).expect("claims");
            let signature = w.token.split('.').nth(2).expect("a signature");
            let jwks = w.admin.vcp("victim").get_as("/openid/v1/jwks", "*/*").ok();
            for head in [
                json!({"alg": "HS256", "kid": jwks["keys"][0]["kid"]}),
                json!({"alg": "RS256", "kid": "../../dev/null"}),
                json!({"alg": "ES256", "jwk": jwks["keys"][0]}),
                json!({"alg": "ES256", "jku": "https://127.0.0.1:1/keys"}),
                json!({"alg": "ES256", "x5u": "file:///etc/passwd", "crit": ["x5u"]}),
            ] {
                let token = format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(head.to_string()));
                answered(&w.bearer(&token, &format!("{VICTIM}{TARGET}")), 401)?;
            }
            Ok(())
        },
    },
    Attack {
        name: "broken signatures",
        why: "signatures that verify because they are empty, zero or too long",
        run: |w| {
            let (head, claims) =
                w.victim_token.rsplit_once('.').expect("a signature").0.split_once('.').expect("claims");
            for bytes in [vec![], vec![0; 64], vec![0xff; 64], vec![0; 1 << 16]] {
                let token = format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(bytes));
                if token.len() < 30_000 {
                    answered(&w.bearer(&token, &format!("{VICTIM}{TARGET}")), 401)?;
                } else {
                    refused(&w.bearer(&token, &format!("{VICTIM}{TARGET}")))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "a token asked for with the victim's audience",
        why: "audiences are the asker's to choose, and an audience is another's issuer",
        run: |w| {
            let port = w.server.port();
            let path = format!("{HOME}/api/v1/namespaces/default/serviceaccounts/default/token");
            for audience in [
                format!("https://127.0.0.1:{port}/clusters/victim/control-plane"),
                format!("https://127.0.0.1:{port}/clusters/root/control-plane"),
                format!("https://127.0.0.1:{port}"),
                "https://kubernetes.default.svc".to_owned(),
            ] {
                let body = json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [audience]},
                });
                let answer = w.post(&path, &body).json();
                let token = answer["status"]["token"].as_str().unwrap_or("none").to_owned();
                for path in [
                    format!("{VICTIM}/api"),
                    "/clusters/root/control-plane/api".to_owned(),
                    TARGET.to_owned(),
                ] {
                    let answer = w.bearer(&token, &path);
                    refused(&answer).map_err(|how| format!("{audience} at {path}: {how}"))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "a review of the victim's token",
        why: "a TokenReview that looks everywhere",
        run: |w| {
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": w.victim_token},
            });
            let answer = w.post(&format!("{HOME}/apis/authentication.k8s.io/v1/tokenreviews"), &review);
            answered(&answer, 201)?;
            let status = answer.json()["status"].clone();
            let silent = status["authenticated"] != json!(true)
                && status["user"]["username"].as_str().unwrap_or("").is_empty();
            holds(silent, || status.to_string())
        },
    },
    Attack {
        name: "a review with another's audience",
        why: "an audience that chooses the control plane whose tokens are looked for",
        run: |w| {
            let port = w.server.port();
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": w.victim_token, "audiences": [format!("https://127.0.0.1:{port}/clusters/victim/control-plane")]},
            });
            let answer = w.post(&format!("{HOME}/apis/authentication.k8s.io/v1/tokenreviews"), &review);
            holds(answer.json()["status"]["authenticated"] != json!(true), || answer.body.clone())
        },
    },
    Attack {
        name: "impersonated masters",
        why: "a group that may do everything, and is taken along",
        run: |w| {
            let headers = [("Impersonate-User", "kplane-admin"), ("Impersonate-Group", "system:masters")];
            for path in [
                format!("{VICTIM}{TARGET}"),
                ROOT_RECORDS.into(),
                ACROSS.into(),
                "/clusters/root/control-plane/api".into(),
            ] {
                refused(&w.send("GET", &path, &headers, "")).map_err(|how| format!("{path}: {how}"))?;
            }
            // At home it stays what it is: an administrator of that home.
            answered(&w.send("GET", &format!("{HOME}{MAPS}"), &headers, ""), 200)
        },
    },
    Attack {
        name: "impersonated identities of the server",
        why: "upstream gives `system:apiserver` with an extra the right to read all control planes",
        run: |w| {
            for user in [
                "system:apiserver",
                "system:kube-controller-manager",
                "kplane-admin",
                "system:serviceaccount:kube-system:generic-garbage-collector",
            ] {
                let headers = [
                    ("Impersonate-User", user),
                    ("Impersonate-Group", "system:masters"),
                    ("Impersonate-Uid", "0"),
                    ("Impersonate-Extra-multicluster.k8s.io%2fcross-cluster", "true"),
                    ("Impersonate-Extra-kplane.dev%2fof-root", "true"),
                    ("Impersonate-Extra-scopes", "*"),
                ];
                for path in [
                    ACROSS.to_owned(),
                    "/clusters/*/control-plane/objects".into(),
                    format!("{VICTIM}{TARGET}"),
                    ROOT_RECORDS.into(),
                ] {
                    refused(&w.send("GET", &path, &headers, ""))
                        .map_err(|how| format!("{user} at {path}: {how}"))?;
                }
            }
            Ok(())
        },
    },
    Attack {
        name: "root's administrator, impersonated at home",
        why: "an impersonated user that is taken for root's own",
        run: |w| {
            let headers = [("Impersonate-User", "kplane-admin"), ("Impersonate-Group", "system:masters")];
            let review =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
            let path = format!("{HOME}/apis/authentication.k8s.io/v1/selfsubjectreviews");
            let me = w.send("POST", &path, &headers, &review);
            answered(&me, 201)?;
            refused(&w.send("GET", &format!("{HOME}{ROOT_RECORDS}"), &headers, ""))?;
            refused(&w.send("POST", &format!("{HOME}{ROOT_RECORDS}/victim/credentials"), &headers, "{}"))
        },
    },
    Attack {
        name: "a certificate of the attacker's own making",
        why: "any certificate that says system:masters",
        run: |w| {
            let issued = w.admin.post(
                "/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/attacker/credentials",
                &json!({"apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest", "spec": {"user": "m"}}),
            );
            let issued = issued.ok();
            let pem = |field: &str| {
                let text = issued["status"][field].as_str().expect(field);
                String::from_utf8(STANDARD.decode(text).expect("base64")).expect("PEM")
            };
            // A chain that begins with another's certificate does not lend its authority.
            let (certificate, key) = (pem("clientCertificateData"), pem("clientKeyData"));
            let chain = format!("{certificate}{}", w.ca);
            for path in [TARGET.to_owned(), format!("{VICTIM}{TARGET}"), ACROSS.to_owned()] {
                let answer = w.other(&chain, &key, &path);
                holds(answer.code == 0 || (400..500).contains(&answer.code), || format!("{answer:?}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a certificate signed at home",
        why: "a signing request that an administrator approves for the group system:masters",
        run: |w| {
            let csr = json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "up"},
                "spec": {
                    "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
                    "request": STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
                },
            });
            refused(
                &w.post(&format!("{HOME}/apis/certificates.k8s.io/v1/certificatesigningrequests"), &csr),
            )?;
            let theirs = format!("{VICTIM}/apis/certificates.k8s.io/v1/certificatesigningrequests");
            refused(&w.post(&theirs, &csr))
        },
    },
    Attack {
        name: "bootstrap tokens elsewhere",
        why: "tokens that are Secrets, looked for in every control plane",
        run: |w| {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
                "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
                "stringData": {
                    "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
                    "auth-extra-groups": "system:bootstrappers:masters",
                },
            });
            answered(&w.post(&format!("{HOME}/api/v1/namespaces/kube-system/secrets"), &secret), 201)?;
            let token = "abcdef.0123456789abcdef";
            let home = w.bearer(token, &format!("{HOME}/api"));
            holds(home.code == 200, || format!("it is not even good at home: {home:?}"))?;
            for path in [
                format!("{VICTIM}/api"),
                "/api".into(),
                "/clusters/root/control-plane/api".into(),
                "/clusters/nobody/control-plane/api".into(),
            ] {
                answered(&w.bearer(token, &path), 401).map_err(|how| format!("{path}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "an access review about the victim",
        why: "reviews that answer for all control planes",
        run: |w| {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": "system:serviceaccount:default:default", "resourceAttributes": {
                    "verb": "get", "resource": "configmaps", "name": "flag", "namespace": "default",
                }},
            });
            refused(
                &w.post(&format!("{VICTIM}/apis/authorization.k8s.io/v1/subjectaccessreviews"), &review),
            )?;
            let own =
                w.post(&format!("{HOME}/apis/authorization.k8s.io/v1/subjectaccessreviews"), &review).json();
            holds(own["status"]["allowed"] == json!(false), || own.to_string())
        },
    },
    Attack {
        name: "other ways to send a token",
        why: "WebSocket subprotocols, queries, cookies and basic authentication",
        run: |w| {
            let target = format!("{VICTIM}{TARGET}");
            let encoded = URL_SAFE_NO_PAD.encode(&w.token);
            let protocol = format!("base64url.bearer.authorization.k8s.io.{encoded}");
            let basic = format!("Basic {}", STANDARD.encode("kplane-admin:kplane-admin"));
            for (name, value) in [
                ("Sec-WebSocket-Protocol", protocol.as_str()),
                ("Authorization", basic.as_str()),
                ("Authorization", "Negotiate AAAA"),
                ("Authorization", "Bearer"),
                ("Authorization", "Bearer null"),
                ("Cookie", "token=system:masters"),
                ("X-Auth-Token", &w.victim_token),
            ] {
                refused(&w.stranger("GET", &target, &[(name, value)], ""))?;
            }
            refused(&w.stranger("GET", &format!("{target}?access_token={}", w.victim_token), &[], ""))
        },
    },
    Attack {
        name: "the admin of the record",
        why: "credentials for any control plane are made by writing to its record",
        run: |w| {
            let body = json!({
                "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest",
                "spec": {"user": "m", "groups": ["system:masters"]},
            });
            for prefix in ["", HOME, VICTIM, "/clusters/root/control-plane", "/clusters/*/control-plane"] {
                refused(&w.post(&format!("{prefix}{ROOT_RECORDS}/victim/credentials"), &body))
                    .map_err(|how| format!("{prefix}: {how}"))?;
            }
            Ok(())
        },
    },
    Attack {
        name: "a new control plane",
        why: "a tenant that makes tenants",
        run: |w| {
            let record = json!({
                "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "VirtualCluster", "metadata": {"name": "mine"},
            });
            for prefix in ["", HOME, VICTIM, "/clusters/root/control-plane", "/clusters/*/control-plane"] {
                refused(&w.post(&format!("{prefix}{ROOT_RECORDS}"), &record))
                    .map_err(|how| format!("{prefix}: {how}"))?;
            }
            let found = w.admin.get(&format!("{ROOT_RECORDS}/mine"));
            holds(found.code == 404, || "it was made".into())
        },
    },
    Attack {
        name: "a Secret that makes a token of another",
        why: "legacy tokens are written into Secrets by the server",
        run: |w| {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
                "metadata": {"name": "legacy", "annotations": {
                    "kubernetes.io/service-account.name": "default", "kubernetes.io/service-account.uid": w.victim_uid,
                }},
            });
            let made = w.post(&format!("{HOME}/api/v1/namespaces/default/secrets"), &secret);
            holds(made.code == 201 || (400..500).contains(&made.code), || format!("{made:?}"))?;
            holds(!made.body.contains(FLAG), || made.body.clone())
        },
    },
];

/// A token with other claims and its old signature.
fn with_claims(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("claims");
    change(&mut claims);
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}
