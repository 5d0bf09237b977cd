//! What an object store answers (no client required). Of its XML only flat elements matter, which are read leniently:
//! not every store writes the namespace, or the outer element, that the protocol asks for.

use kplane_crds::conditions::reason;

use super::Place;
use crate::Error;

/// The texts of all elements of a name, in their order.
pub fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find(&start) {
        let from = &rest[at + start.len()..];
        let Some(length) = from.find(&end) else { break };
        found.push(&from[..length]);
        rest = &from[length + end.len()..];
    }
    found
}

/// The text of the first element of a name, as it was before it became XML.
pub fn element(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).first().map(|text| unescape(text))
}

fn unescape(text: &str) -> String {
    let quotes =
        text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&apos;", "'").replace("&#39;", "'");
    quotes.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Text as XML has it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A refusal.
pub struct Refusal<'a> {
    /// Its status.
    pub status: u16,
    /// The region that the bucket is in, where the header says so.
    pub region: Option<&'a str>,
    /// What it says.
    pub body: &'a str,
}

impl Refusal<'_> {
    /// The store's name for what is wrong; empty when it gives none.
    pub fn code(&self) -> String {
        element(self.body, "Code").unwrap_or_default()
    }

    /// Whether the same may be answered otherwise soon.
    pub fn passes(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// The error, with what to do about it. `action` is what was asked for.
    pub fn error(&self, action: &str, place: &Place) -> Error {
        let code = self.code();
        let said = element(self.body, "Message").unwrap_or_default();
        let said = match (code.as_str(), said.as_str()) {
            ("", "") => format!("status {}", self.status),
            (code, "") => code.to_owned(),
            ("", said) => said.to_owned(),
            (code, said) => format!("{code}: {}", said.trim_end_matches('.')),
        };
        let (reason, next) = match (code.as_str(), self.status) {
            ("NoSuchBucket", _) => (
                reason::BUCKET_NOT_FOUND,
                "make the bucket, or correct spec.store.backup.destination.s3.bucket".to_owned(),
            ),
            ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 301 | 307) => {
                let there = self.region.map(str::to_owned).or_else(|| element(self.body, "Region"));
                let there = match there.filter(|region| *region != place.region) {
                    Some(region) => format!("the bucket is in region {region:?} and not in {:?}: ", place.region),
                    None => String::new(),
                };
                (
                    reason::WRONG_REGION,
                    format!("{there}correct spec.store.backup.destination.s3.region, or its endpoint"),
                )
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken", _) => (
                reason::DESTINATION_DENIED,
                "put the right keys into the Secret of spec.store.backup.destination.s3.credentialsSecretRef".to_owned(),
            ),
            ("RequestTimeTooSkewed", _) => (
                reason::DESTINATION_DENIED,
                "set the clock of the node right".to_owned(),
            ),
            (_, 401 | 403) => (
                reason::DESTINATION_DENIED,
                "allow these keys to list the bucket and its uploads, and to read, write and delete below the prefix".to_owned(),
            ),
            _ => (reason::BACKUP_FAILED, "see what the object store logs".to_owned()),
        };
        let message = format!(
            "the object store at {} refuses to {action} (bucket {:?}): {said}; {next}",
            place.endpoint, place.bucket
        );
        Error::ObjectStore { reason, message }
    }
}

/// The error when nothing was answered.
pub fn unreachable(error: &kplane_egress::Error, place: &Place) -> Error {
    let next = match error {
        kplane_egress::Error::Tls(_) => {
            "if its certificate is of an authority of your own, name that in spec.store.backup.destination.s3.caSecretRef"
        }
        _ => {
            "see spec.store.backup.destination.s3.endpoint, and that pods of the plane's namespace may reach it"
        }
    };
    let message = format!("the object store at {} does not answer: {error}; {next}", place.endpoint);
    Error::ObjectStore { reason: reason::DESTINATION_UNREACHABLE, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, region: Option<&str>, body: &str) -> (&'static str, String) {
        let place = Place {
            bucket: "owls".into(),
            region: "eu-1".into(),
            endpoint: "https://s3.example.test".into(),
            ..Place::default()
        };
        match (Refusal { status, region, body }).error("list", &place) {
            Error::ObjectStore { reason, message } => (reason, message),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn refusals_have_their_reason_and_a_next_step() {
        let body = |code: &str, rest: &str| format!("<?xml?>\n<Error>\n <Code>{code}</Code>{rest}</Error>");
        let (reason, message) = told(404, None, &body("NoSuchBucket", "<Message>No such bucket.</Message>"));
        assert_eq!(reason, "BucketNotFound");
        assert_eq!(
            message,
            "the object store at https://s3.example.test refuses to list (bucket \"owls\"): NoSuchBucket: No such bucket; \
             make the bucket, or correct spec.store.backup.destination.s3.bucket"
        );
        let malformed = body("AuthorizationHeaderMalformed", "<Region>us-2</Region>");
        for (status, region, body) in [(400, None, malformed.as_str()), (301, Some("us-2"), "")] {
            let (reason, message) = told(status, region, body);
            assert_eq!(reason, "WrongRegion");
            assert!(message.contains("in region \"us-2\" and not in \"eu-1\""), "{message}");
        }
        assert_eq!(told(403, None, &body("SignatureDoesNotMatch", "")).0, "DestinationDenied");
        assert!(told(403, None, "").1.contains("status 403; allow these keys"));
        assert_eq!(told(500, None, &body("InternalError", "")).0, "BackupFailed");
    }

    #[test]
    fn elements_are_found_whatever_is_around_them() {
        let xml = "<List xmlns=\"x\"><Contents><Key>a</Key></Contents>\n<Contents><Key>b&amp;c</Key></Contents></List>";
        assert_eq!(elements(xml, "Contents").len(), 2);
        assert_eq!(element(elements(xml, "Contents")[1], "Key").as_deref(), Some("b&c"));
        assert_eq!(element(xml, "Nothing"), None);
        assert_eq!(element("<ETag>&#34;x&#34;</ETag>", "ETag").as_deref(), Some("\"x\""));
    }
}
