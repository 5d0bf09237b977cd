//! The names of what the controllers make for a control plane.
//!
//! A name that would be too long is cut and ends with a part of its hash, so that it stays one object's own.

use sha2::{Digest, Sha256};

/// The longest name that a namespace can have.
const LONGEST: usize = 63;

/// The namespace, in the management cluster, of the ControlPlane of this name.
pub fn namespace(control_plane: &str) -> String {
    shorten(format!("kplane-cp-{control_plane}"))
}

/// The Secret with the kubeconfigs of the ControlPlane of this name.
pub fn kubeconfig_secret(control_plane: &str) -> String {
    shorten(format!("controlplane-{control_plane}-kubeconfig"))
}

/// The Secret of the ControlPlaneCredential of this name, unless its spec names another.
pub fn credential_secret(credential: &str) -> String {
    shorten(format!("{credential}-kubeconfig"))
}

/// The Secret by which Argo CD knows the control plane of the ControlPlane of this name, unless its spec names another.
pub fn argo_cd_secret(control_plane: &str) -> String {
    shorten(format!("kplane-{control_plane}"))
}

/// The Secret by which Argo CD knows a control plane with the role of the ControlPlaneCredential of this name, unless its
/// spec names another.
pub fn credential_argo_cd_secret(credential: &str) -> String {
    shorten(format!("kplane-credential-{credential}"))
}

fn shorten(name: String) -> String {
    if name.len() <= LONGEST && !name.contains('.') {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let head: String = name.chars().take(40).map(|c| if c == '.' { '-' } else { c }).collect();
    format!("{head}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_when_short_and_hashed_when_long() {
        assert_eq!(namespace("demo"), "kplane-cp-demo");
        assert_eq!(kubeconfig_secret("demo"), "controlplane-demo-kubeconfig");
        let long = namespace(&"x".repeat(63));
        assert_eq!(long.len(), 49);
        assert_ne!(long, namespace(&format!("{}y", "x".repeat(62))));
        assert!(!namespace("a.b").contains('.'));
    }
}
