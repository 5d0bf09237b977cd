//! Signatures of requests: version 4, as every store of this protocol reads it (no client required).
//!
//! In a header, over the digest of what is sent: a signed URL would stand in the logs of whoever passes it on, and would
//! not say what it was signed for. It is sixty lines over the two crates that tokens are signed with anyway; the crates
//! that do it sign URLs alone, or bring a client, an XML reader and a parser of URLs of their own.

use hmac::{Hmac, Mac as _};
use sha2::{Digest, Sha256};

use crate::Error;

/// Who asks. It has no `Debug`: it is in no log.
#[derive(Clone)]
pub struct Credentials {
    /// The name of the key.
    pub key_id: String,
    /// The key.
    pub secret: String,
    /// What comes with a key that lives for some hours.
    pub token: Option<String>,
}

/// What is signed of a request.
pub struct Signed<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its host, as in the header.
    pub host: &'a str,
    /// Its path, encoded.
    pub path: &'a str,
    /// Its query, encoded and sorted: see [`query`].
    pub query: &'a str,
    /// What is sent.
    pub body: &'a [u8],
}

/// The headers that a request is signed with.
pub fn headers(
    who: &Credentials,
    region: &str,
    request: &Signed<'_>,
    now: jiff::Timestamp,
) -> Result<Vec<(&'static str, String)>, Error> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = now.strftime("%Y%m%d").to_string();
    let digest = hex(&Sha256::digest(request.body));
    let mut headers = vec![("x-amz-content-sha256", digest.clone()), ("x-amz-date", time.clone())];
    headers.extend(who.token.clone().map(|token| ("x-amz-security-token", token)));
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: String = headers.iter().map(|(name, _)| format!(";{name}")).collect();
    let canonical = format!(
        "{}\n{}\n{}\nhost:{}\n{lines}\nhost{names}\n{digest}",
        request.method, request.path, request.query, request.host
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", who.secret).into_bytes();
    for part in [day.as_str(), region, "s3", "aws4_request"] {
        key = mac(&key, part)?;
    }
    let signature = hex(&mac(&key, &text)?);
    headers.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders=host{names},Signature={signature}",
            who.key_id
        ),
    ));
    Ok(headers)
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|error| Error::Convert { what: "a key", message: error.to_string() })?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path of a key, encoded.
pub fn path(key: &str) -> String {
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

/// A query, encoded and sorted.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<(String, String)> =
        pairs.iter().map(|(key, value)| (encode(key), encode(value))).collect();
    encoded.sort();
    encoded.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(query: &str) -> String {
        let who = Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let host = "examplebucket.s3.amazonaws.com";
        let request = Signed { method: "GET", host, path: "/", query, body: b"" };
        let headers = headers(&who, "us-east-1", &request, "2013-05-24T00:00:00Z".parse().unwrap()).unwrap();
        headers.last().unwrap().1.clone()
    }

    /// The examples of the protocol's own description.
    #[test]
    fn requests_are_signed_as_the_protocol_shows() {
        let lifecycle = signed(&query(&[("lifecycle", "")]));
        assert!(lifecycle.contains("Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"));
        assert!(lifecycle.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"));
        assert!(
            lifecycle.ends_with("=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            "{lifecycle}"
        );
        let list = signed(&query(&[("prefix", "J"), ("max-keys", "2")]));
        assert!(
            list.ends_with("=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{list}"
        );
    }

    #[test]
    fn what_stands_in_a_path_or_a_query_is_encoded() {
        assert_eq!(path("a b/ü+c.db"), "a%20b/%C3%BC%2Bc.db");
        assert_eq!(query(&[("b", "a/b"), ("a", "")]), "a=&b=a%2Fb");
    }
}
