//! The OpenAPI documents of a control plane.
//!
//! They are made anew for each request: clients keep them by their hash, and few ask twice. The hash of a group is of the
//! version of the server and, for custom kinds, of their definitions.

use http::{HeaderValue, StatusCode, header};
use kplane_kinds::{ResourceDef, Verbs};
use kplane_machinery::{GroupVersion, Status};
use kplane_schema::openapi::{self, ResourcePaths, SubresourcePaths};
use std::sync::Arc;

use crate::aggregation;
use crate::body::{self, Answer};
use crate::discovery::Groups;
use crate::endpoints::cx::Cx;
use crate::version::GIT_VERSION;

/// How clients ask for the protobuf form of version 2: by its name with an `@`, which is no valid media type, or without.
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2";
/// How it is answered.
const PROTOBUF_V2_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v2`.
pub async fn v2(cx: &Cx) -> Result<Answer, Status> {
    let groups = aggregation::own_groups(cx).await?;
    let aggregated = aggregation::openapi::v2(cx).await?;
    let accepted = cx.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let protobuf = accepted.contains(PROTOBUF_V2);
    // The largest document there is: making it must not hold up others.
    let (bytes, hash) = crate::heavy::run(cx.vcp.id, move || {
        let resources: Vec<ResourcePaths> = groups
            .0
            .iter()
            .flat_map(|group| &group.versions)
            .flat_map(|(version, defs)| defs.iter().filter_map(|def| paths_of(def, version)))
            .collect();
        let mut document = openapi::v2(GIT_VERSION, &resources);
        for (prefix, theirs) in aggregated {
            openapi::merge_v2(&mut document, theirs, &prefix);
        }
        let bytes = if protobuf { openapi::v2_protobuf(&document) } else { body::to_json(&document) };
        let hash = openapi::hash(&bytes);
        (bytes, hash)
    })
    .await?;
    let mut answer = with_etag(cx, bytes, &hash);
    if protobuf {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF_V2_ANSWER));
    }
    Ok(answer)
}

/// `/openapi/v3`.
pub async fn v3_index(cx: &Cx) -> Result<Answer, Status> {
    let groups = aggregation::own_groups(cx).await?;
    let mut documents: Vec<(GroupVersion, String)> = Vec::new();
    for group in &groups.0 {
        for (version, defs) in &group.versions {
            let gv = GroupVersion::new(group.name.clone(), version.clone());
            let hash = hash_of(&gv, defs);
            documents.push((gv, hash));
        }
    }
    let mut index = openapi::v3_index(&cx.prefix, documents.iter().map(|(gv, hash)| (gv, hash.as_str())));
    aggregation::openapi::merge_index(cx, &mut index).await?;
    Ok(body::json(StatusCode::OK, &index))
}

/// `/openapi/v3/apis/<group>/<version>`.
pub async fn v3(cx: &Cx, path: &str) -> Result<Answer, Status> {
    let gv = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => GroupVersion::new("", *version),
        ["apis", group, version] => GroupVersion::new(*group, *version),
        _ => return Ok(body::page_not_found()),
    };
    let groups: Arc<Groups> = cx.app.groups(&cx.vcp).await?;
    let Some(defs) = groups.resources(&gv.group, &gv.version) else { return Ok(body::page_not_found()) };
    let hash = hash_of(&gv, defs);
    if let Some(asked) = cx.query.get("hash").filter(|asked| *asked != hash) {
        // As upstream: a document asked for by an old hash is at its new one.
        let url = format!("{}/openapi/v3/{path}?hash={hash}", cx.prefix);
        let mut answer = body::answer(StatusCode::MOVED_PERMANENTLY, "application/json", "");
        if let Ok(value) = HeaderValue::from_str(&url) {
            answer.headers_mut().insert(header::LOCATION, value);
        }
        tracing::debug!(asked, hash, "an OpenAPI document was asked for by an old hash");
        return Ok(answer);
    }
    Ok(with_etag(cx, document_of(&gv, &gv.version, defs), &hash))
}

fn document_of(gv: &GroupVersion, version: &str, defs: &[Arc<ResourceDef>]) -> Vec<u8> {
    let resources: Vec<ResourcePaths> = defs.iter().filter_map(|def| paths_of(def, version)).collect();
    body::to_json(&openapi::v3(gv, &resources))
}

/// Of what the document is made of, not of the document: that of custom kinds may be large, and the index has the hashes of all.
fn hash_of(gv: &GroupVersion, defs: &[Arc<ResourceDef>]) -> String {
    let mut parts = format!("{GIT_VERSION} {gv}");
    for def in defs.iter().filter(|def| def.custom) {
        let verbs: Vec<&str> = def.verbs.names().collect();
        parts.push_str(&format!(
            "\n{} {} {} {} {}",
            def.schema_epoch,
            def.plural,
            def.kind,
            def.list_kind,
            verbs.join(",")
        ));
    }
    openapi::hash(parts.as_bytes())
}

/// A document, unless it is known by its hash.
pub(crate) fn with_etag(cx: &Cx, document: Vec<u8>, hash: &str) -> Answer {
    let etag = format!("\"{hash}\"");
    let same = cx.headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut answer = if same {
        body::answer(StatusCode::NOT_MODIFIED, "application/json", "")
    } else {
        body::answer(StatusCode::OK, "application/json", document)
    };
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if cx.query.get("hash").is_some() {
        // What is asked for by its hash never changes.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    answer
}

fn verbs(verbs: Verbs) -> Vec<Arc<str>> {
    verbs.names().map(Arc::from).collect()
}

fn paths_of(def: &ResourceDef, version: &str) -> Option<ResourcePaths> {
    let version_def = def.version(version)?;
    Some(ResourcePaths {
        group: def.group.clone(),
        version: version_def.name.clone(),
        kind: def.kind.clone(),
        list_kind: def.list_kind.clone(),
        plural: def.plural.clone(),
        namespaced: def.namespaced(),
        verbs: verbs(def.verbs),
        subresources: def
            .subresources_of(version)
            .map(|sub| SubresourcePaths {
                name: sub.name.clone(),
                verbs: verbs(sub.verbs),
                kind: sub.kind.clone(),
                schema: sub.schema.clone(),
            })
            .collect(),
        schema: version_def.schema.clone(),
        // Those of built-in kinds are not told, as upstream.
        selectable_fields: if def.custom { version_def.selectable_fields.clone() } else { Vec::new() },
    })
}
