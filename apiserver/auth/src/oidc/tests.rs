use kplane_machinery::field::Path;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://issuer.example.test";

fn authenticator(value: Value) -> JwtAuthenticator {
    let mut whole = json!({
        "issuer": {"url": URL, "audiences": ["kplane"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
    });
    for (field, given) in value.as_object().unwrap() {
        whole[field] = given.clone();
    }
    serde_json::from_value(whole).unwrap()
}

fn issuer(value: Value) -> Issuer {
    compile(&[authenticator(value)], &Path::new("jwt"), &|_| false).unwrap().remove(0)
}

fn refused(value: Value) -> Vec<String> {
    let own = |url: &str| url == "https://own.example.test";
    let errors = compile(&[authenticator(value)], &Path::new("jwt"), &own).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn claims(value: Value) -> Map<String, Value> {
    let mut whole = json!({"iss": URL, "aud": "kplane", "exp": NOW + 60, "sub": "jane"});
    for (field, given) in value.as_object().unwrap() {
        whole[field] = given.clone();
    }
    whole.as_object().unwrap().clone()
}

fn sign(key: &SigningKey, header: Value, claims: &Map<String, Value>) -> String {
    let part = |value: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(value);
    let signed = format!(
        "{}.{}",
        part(header.to_string().as_bytes()),
        part(serde_json::to_string(claims).unwrap().as_bytes())
    );
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", part(&signature.to_bytes()))
}

fn jwk(key: &SigningKey, id: &str) -> Value {
    let point = key.verifying_key().to_encoded_point(false);
    let part = |bytes: Option<&p256::FieldBytes>| BASE64_URL_SAFE_NO_PAD.encode(bytes.unwrap());
    json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig", "x": part(point.x()), "y": part(point.y())})
}

#[test]
fn a_token_is_verified_by_its_issuers_key_and_no_other() {
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let keys = JwkSet::parse(&json!({"keys": [jwk(&key, "a"), {"kty": "oct", "k": "x"}]})).unwrap();
    assert_eq!(keys.len(), 1);
    let token = sign(&key, json!({"alg": "ES256", "kid": "a"}), &claims(json!({})));
    let presented = Presented::parse(&token).unwrap();
    assert_eq!(presented.issuer, URL);
    assert_eq!(presented.verified(&keys).unwrap()["sub"], "jane");

    let judge = |token: &str| Presented::parse(token).unwrap().verified(&keys).map(drop).unwrap_err();
    assert_eq!(
        judge(&sign(&key, json!({"alg": "ES256", "kid": "b"}), &claims(json!({})))),
        Unverified::UnknownKey
    );
    for algorithm in ["none", "HS256", "RS256"] {
        let token = sign(&key, json!({"alg": algorithm, "kid": "a"}), &claims(json!({})));
        assert_eq!(judge(&token), Unverified::Algorithm);
    }
    let other = SigningKey::from_slice(&[8; 32]).unwrap();
    let forged = sign(&other, json!({"alg": "ES256", "kid": "a"}), &claims(json!({})));
    assert_eq!(judge(&forged), Unverified::Signature);
    assert!(Presented::parse("a.b").is_none() && Presented::parse("nope").is_none());
    assert!(
        Presented::parse(&sign(&key, json!({"alg": "ES256", "crit": ["x"]}), &claims(json!({})))).is_none()
    );
}

#[test]
fn claims_make_users() {
    let plain = issuer(json!({}));
    assert_eq!(plain.user(&claims(json!({})), NOW).unwrap().username, "oidc:jane");
    let rich = issuer(json!({
        "claimMappings": {
            "username": {"expression": "'dex:' + claims.name.first"},
            "groups": {"expression": "claims.roles.filter(r, r.startsWith('k-'))"},
            "uid": {"claim": "oid"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        "claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"},
                                 {"expression": "claims.level > 1", "message": "too low"}],
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
    }));
    let good = json!({"name": {"first": "jane"}, "roles": ["k-dev", "x"], "oid": "7", "tenant": "t", "hd": "example.com", "level": 2});
    let user = rich.user(&claims(good.clone()), NOW).unwrap();
    assert_eq!((&*user.username, &*user.uid), ("dex:jane", "7"));
    assert_eq!(user.groups, ["k-dev"]);
    assert_eq!(user.extra["example.com/tenant"], ["t"]);
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        rich.user(&claims(changed), NOW).unwrap_err()
    };
    assert!(with("level", json!(1)).ends_with("validation expression 'claims.level > 1' failed: too low"));
    assert!(with("hd", json!("evil.test")).contains("required claim hd value does not match"));
    let grouped = issuer(json!({"claimMappings": {
        "username": {"claim": "email", "prefix": ""}, "groups": {"claim": "groups", "prefix": "g:"}}}));
    let user = grouped.user(&claims(json!({"email": "a@b.c", "groups": "one"})), NOW).unwrap();
    assert_eq!((&*user.username, &*user.groups), ("a@b.c", &["g:one".to_owned()][..]));
    let unverified = grouped.user(&claims(json!({"email": "a@b.c", "email_verified": false})), NOW);
    assert_eq!(unverified.unwrap_err(), "oidc: email not verified");
    let reserved = issuer(json!({"claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}]}));
    assert!(reserved.user(&claims(json!({"sub": "system:admin"})), NOW).unwrap_err().ends_with("reserved"));
}

#[test]
fn a_token_has_its_time_and_its_audience() {
    let issuer = issuer(json!({}));
    let judge = |value| issuer.user(&claims(value), NOW).unwrap_err();
    assert!(judge(json!({"exp": NOW - 1})).contains("token is expired"));
    assert!(judge(json!({"exp": null})).contains("token is expired"));
    assert!(judge(json!({"nbf": NOW + 301})).contains("before the nbf"));
    assert!(judge(json!({"aud": ["other"]})).contains("expected audience"));
    assert!(judge(json!({"sub": ""})).contains("empty") || judge(json!({"sub": 1})).contains("no text"));
    assert!(issuer.user(&claims(json!({"aud": ["other", "kplane"]})), NOW).is_ok());
}

#[test]
fn a_wrong_configuration_is_told_in_full() {
    for (value, said) in [
        (json!({"issuer": {"url": "http://x", "audiences": ["a"]}}), "URL scheme must be https"),
        (
            json!({"issuer": {"url": "https://u:p@x", "audiences": ["a"]}}),
            "must not contain a username or password",
        ),
        (json!({"issuer": {"url": "https://x?y", "audiences": ["a"]}}), "must not contain a query"),
        (json!({"issuer": {"url": "https://own.example.test", "audiences": ["a"]}}), "disallowed issuers"),
        (json!({"issuer": {"url": URL, "audiences": []}}), "is required"),
        (json!({"issuer": {"url": URL, "audiences": ["a", "b"]}}), "must be MatchAny for multiple audiences"),
        (
            json!({"issuer": {"url": URL, "discoveryURL": URL, "audiences": ["a"]}}),
            "discoveryURL must be different from URL",
        ),
        (
            json!({"issuer": {"url": URL, "audiences": ["a"], "certificateAuthority": "x"}}),
            "certificateAuthority",
        ),
        (json!({"claimMappings": {"username": {"claim": "sub"}}}), "prefix is required when claim is set"),
        (json!({"claimMappings": {"username": {}}}), "claim or expression is required"),
        (json!({"claimMappings": {"username": {"expression": "claims."}}}), "compilation failed"),
        (
            json!({"claimMappings": {"username": {"expression": "claims.email"}}}),
            "claims.email_verified must be used",
        ),
        (json!({"claimValidationRules": [{}]}), "claim or expression is required"),
    ] {
        let errors = refused(value.clone());
        assert!(errors.iter().any(|error| error.contains(said)), "{value}: {errors:?}");
    }
    let twice = compile(&[authenticator(json!({})), authenticator(json!({}))], &Path::new("jwt"), &|_| false);
    assert!(twice.unwrap_err()[0].to_string().starts_with("jwt[1].issuer.url: Duplicate value"));
    assert!(serde_json::from_value::<JwtAuthenticator>(json!({"isuer": {}})).is_err());
}
