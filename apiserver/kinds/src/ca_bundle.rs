//! Bundles of certificates that webhooks are trusted by.

use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;

/// Why nobody can be trusted by a bundle; `None` when somebody can, and when there is none, which means the machine's own.
pub fn fault(bundle: &[u8]) -> Option<String> {
    if bundle.is_empty() {
        return None;
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(bundle) {
        let Ok(block) = block else { break };
        blocks += 1;
        if block.label != "CERTIFICATE" {
            continue;
        }
        return match parse_x509_certificate(&block.contents) {
            Ok(_) => None,
            Err(error) => Some(format!("failed to parse certificate: {error}")),
        };
    }
    let why = if blocks == 0 {
        "unable to parse bytes as PEM block"
    } else {
        "no valid certificate authority data seen"
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_told() {
        assert_eq!(fault(b""), None);
        assert_eq!(fault(b"Cg==").as_deref(), Some("unable to parse bytes as PEM block"));
        let key = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(fault(key).as_deref(), Some("no valid certificate authority data seen"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(fault(broken).is_some_and(|why| why.starts_with("failed to parse certificate: ")));
    }
}
