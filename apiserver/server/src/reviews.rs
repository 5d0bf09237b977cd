//! Kinds that are answered and not stored: who am I, who is this token's, may they.

use http::StatusCode;
use kplane_auth::UserInfo;
use kplane_auth::authz::{Attributes, Authorizer};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{Status, time};
use serde_json::{Value, json};

use crate::body::Answer;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::managed::{self, Tracking};
use crate::endpoints::{decode, output};

/// Answers a review.
pub async fn answer(cx: &Cx, resource: &Resource, mut review: Value) -> Result<Answer, Status> {
    decode::default(resource, &mut review)?;
    if resource.def.namespaced() {
        decode::match_path(cx, resource, &mut review, false)?;
    }
    // The fields are the client's as it sent them: what is answered is nobody's.
    if &*resource.def.plural != "selfsubjectreviews" {
        let manager = cx.field_manager();
        managed::track(resource, None, &mut review, &Tracking::create(&manager));
    }
    match (&*resource.def.group, &*resource.def.plural) {
        ("authentication.k8s.io", "selfsubjectreviews") => {
            review["metadata"]["creationTimestamp"] = time::now().into();
            review["status"] = json!({"userInfo": cx.user});
            return output::object_value(cx, resource, StatusCode::CREATED, &review);
        }
        ("authentication.k8s.io", "tokenreviews") => token(cx, &mut review).await?,
        ("authorization.k8s.io", "selfsubjectrulesreviews") => rules(cx, &mut review).await?,
        ("authorization.k8s.io", plural) => access(cx, resource, plural, &mut review).await?,
        ("", "bindings") => return crate::endpoints::subresources::bind(cx, &review).await,
        _ => return Err(Status::internal(format!("{} are not answered", resource.group_resource()))),
    }
    output::object_value(cx, resource, StatusCode::CREATED, &review)
}

async fn token(cx: &Cx, review: &mut Value) -> Result<(), Status> {
    let token = review["spec"]["token"].as_str().unwrap_or("").to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = texts(&review["spec"]["audiences"]);
    review["status"] = match cx.app.identities.review_token(&cx.app, &cx.vcp, &token, &audiences).await {
        Ok(identity) => json!({
            "authenticated": true, "user": identity.user, "audiences": identity.audiences,
        }),
        Err(error) => match error.read_failure() {
            Some(status) => return Err(status.clone()),
            None => json!({"user": {}, "error": error.to_string()}),
        },
    };
    Ok(())
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether somebody may do something.
async fn access(cx: &Cx, resource: &Resource, plural: &str, review: &mut Value) -> Result<(), Status> {
    let spec = &review["spec"];
    let at = Path::new("spec");
    let mut errors = Vec::new();
    let resource_attributes = &spec["resourceAttributes"];
    let path_attributes = &spec["nonResourceAttributes"];
    match (resource_attributes.is_object(), path_attributes.is_object()) {
        (true, true) => errors.push(FieldError::invalid(
            &at.child("nonResourceAttributes"),
            path_attributes,
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(FieldError::invalid(
            &at.child("resourceAttributes"),
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let user = if plural == "selfsubjectaccessreviews" {
        cx.user.clone()
    } else {
        let text = |field: &str| spec[field].as_str().unwrap_or("").to_owned();
        let groups = texts(&spec["groups"]);
        if text("user").is_empty() && groups.is_empty() {
            errors.push(FieldError::invalid_str(
                &at.child("user"),
                "",
                "at least one of user or group must be specified",
            ));
        }
        let extra = spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.to_lowercase(), texts(values)))
            .collect();
        UserInfo { username: text("user"), uid: text("uid"), groups, extra }
    };
    if plural == "localsubjectaccessreviews" {
        let asked = resource_attributes["namespace"].as_str().unwrap_or("");
        if asked != cx.info.namespace {
            errors.push(FieldError::invalid_str(
                &at.child("resourceAttributes").child("namespace"),
                asked,
                "must match metadata.namespace",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.def.group_kind(), "", &errors));
    }
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let parts: Vec<String> = ["verb", "group", "version", "resource", "subresource", "namespace", "name"]
        .iter()
        .map(|field| text(resource_attributes, field))
        .collect();
    let (verb, path) = (text(path_attributes, "verb"), text(path_attributes, "path"));
    let attributes = if resource_attributes.is_object() {
        Attributes {
            user: &user,
            verb: &parts[0],
            group: &parts[1],
            version: &parts[2],
            resource: &parts[3],
            subresource: &parts[4],
            namespace: &parts[5],
            name: &parts[6],
            path: "",
        }
    } else {
        Attributes::of_path(&user, &verb, &path)
    };
    let rbac = cx.app.identities.policies().index(&cx.app, Some(&cx.vcp)).await?;
    let verdict = Authorizer::new(&rbac).authorize(&attributes);
    let mut status = json!({"allowed": verdict.allowed()});
    if !verdict.reason.is_empty() {
        status["reason"] = verdict.reason.into();
    }
    review["status"] = status;
    Ok(())
}

/// What the caller may do in a namespace.
async fn rules(cx: &Cx, review: &mut Value) -> Result<(), Status> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or("").to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rbac = cx.app.identities.policies().index(&cx.app, Some(&cx.vcp)).await?;
    let (rules, errors) = Authorizer::new(&rbac).rules_for(&cx.user, &namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        if rule.non_resource_urls.is_empty() {
            let mut entry =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                entry["resourceNames"] = rule.resource_names.into();
            }
            resources.push(entry);
        } else {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !errors.is_empty()});
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    review["status"] = status;
    Ok(())
}
