//! Discovery: which groups, versions and resources a control plane serves, in the legacy and the aggregated form.

mod aggregated;
mod legacy;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;

use kplane_kinds::ResourceDef;
use sha2::{Digest, Sha256, Sha512};

pub use aggregated::aggregated;
pub use legacy::{api_versions, group, group_list, resource_list};

/// The groups of a control plane, in the order they are listed, each with its resources.
#[derive(Clone, Debug, Default)]
pub struct Groups(pub Vec<Group>);

/// A group and its versions, the preferred one first.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name, empty for core.
    pub name: Arc<str>,
    /// Its versions with the resources served in each, sorted by plural.
    pub versions: Vec<(Arc<str>, Vec<Arc<ResourceDef>>)>,
}

impl Groups {
    /// A group by its name.
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.0.iter().find(|g| &*g.name == name)
    }

    /// The resources of a group and version.
    pub fn resources(&self, group: &str, version: &str) -> Option<&[Arc<ResourceDef>]> {
        let group = self.get(group)?;
        group.versions.iter().find(|(name, _)| &**name == version).map(|(_, defs)| defs.as_slice())
    }

    /// Adds a resource to the groups and versions it is served in, keeping resources sorted by plural.
    pub fn add(&mut self, def: &Arc<ResourceDef>, served: impl Fn(&str) -> bool) {
        for version in def.versions.iter().filter(|v| v.served && served(&v.name)) {
            let index = match self.0.iter().position(|g| g.name == def.group) {
                Some(index) => index,
                None => {
                    self.0.push(Group { name: def.group.clone(), versions: Vec::new() });
                    self.0.len() - 1
                }
            };
            let versions = &mut self.0[index].versions;
            let index = match versions.iter().position(|(name, _)| *name == version.name) {
                Some(index) => index,
                None => {
                    versions.push((version.name.clone(), Vec::new()));
                    versions.sort_by(|(a, _), (b, _)| compare_versions(b, a));
                    versions.iter().position(|(name, _)| *name == version.name).unwrap_or(0)
                }
            };
            let defs = &mut versions[index].1;
            let at = defs.partition_point(|d| d.plural < def.plural);
            defs.insert(at, def.clone());
        }
    }
}

/// The version of the aggregated form that a client asks for first, if it asks for one.
pub fn asks_aggregated(headers: &HeaderMap) -> Option<&'static str> {
    let text = headers.get(header::ACCEPT)?.to_str().ok()?;
    text.split(',').map(str::trim).find_map(|range| {
        let has = |part: &str| range.split(';').any(|p| p.trim() == part);
        if has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io") && has("application/json") {
            ["v2", "v2beta1"].into_iter().find(|v| has(&format!("v={v}")))
        } else {
            None
        }
    })
}

/// The aggregated document with its `ETag`; 304 when the client has it.
pub fn with_etag(cx: &Cx, document: &Value, version: &'static str) -> Answer {
    let bytes = body::to_json(document);
    let etag = format!("\"{}\"", hex(&Sha512::digest(&bytes)));
    let same = cx.headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let mut answer = if same {
        body::answer(StatusCode::NOT_MODIFIED, content_type, "")
    } else {
        body::answer(StatusCode::OK, content_type, bytes)
    };
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares two versions by Kubernetes' priority: GA over beta over alpha, higher over lower, other names last.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    fn key(version: &str) -> Option<(u8, u32, u32)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let major = rest[..digits].parse().ok()?;
        let rest = &rest[digits..];
        if rest.is_empty() {
            return Some((3, major, 0));
        }
        for (rank, word) in [(2, "beta"), (1, "alpha")] {
            if let Some(minor) = rest.strip_prefix(word) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        None
    }
    match (key(a), key(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// `storageVersionHash`: the first eight bytes of the SHA-256 of `group/version/kind`, in base64.
fn storage_version_hash(def: &ResourceDef) -> String {
    use base64::Engine;
    let digest = Sha256::digest(format!(
        "{}/{}/{}",
        def.group,
        def.hash_version.as_ref().unwrap_or(&def.storage_version),
        def.kind
    ));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::compare_versions;

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions =
            ["foo1", "v1alpha1", "v10", "v2", "v1beta2", "v1", "v1beta1", "v11alpha2", "foo10"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }
}
