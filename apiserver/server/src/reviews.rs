//! Kinds that are answered and not stored: who am I, who is this token's, may they.

use http::StatusCode;
use kplane_admission::Operation;
use kplane_auth::UserInfo;
use kplane_auth::authz::{Attributes, Decision};
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{Status, time};
use serde_json::{Value, json};

use crate::body::Answer;
use crate::endpoints::admitting::Admission;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::managed::{self, Tracking};
use crate::endpoints::{decode, output, subresources};
use crate::review_selectors;

/// Answers a review.
pub async fn answer(cx: &Cx, resource: &Resource, mut review: Value) -> Result<Answer, Status> {
    decode::default(resource, &mut review)?;
    if resource.def.namespaced() {
        decode::match_path(cx, resource, &mut review, false)?;
    }
    // The fields are the client's as it sent them: what is answered is nobody's.
    if &*resource.def.plural != "selfsubjectreviews" {
        let manager = cx.field_manager();
        managed::track(cx, resource, None, &mut review, &Tracking::create(&manager));
    }
    // Each is admitted as it would be stored, once what is wrong with it has been said.
    let admission = Admission::new(cx, resource, Operation::Create, "");
    admission.mutate(&mut review, None).await?;
    match (&*resource.def.group, &*resource.def.plural) {
        ("authentication.k8s.io", "selfsubjectreviews") => {
            admission.validate(&review, None).await?;
            review["metadata"]["creationTimestamp"] = time::now().into();
            review["status"] = json!({"userInfo": cx.user});
            return output::object_value(cx, resource, StatusCode::CREATED, &review);
        }
        ("authentication.k8s.io", "tokenreviews") => token(cx, &admission, &mut review).await?,
        ("authorization.k8s.io", "selfsubjectrulesreviews") => rules(cx, &admission, &mut review).await?,
        ("authorization.k8s.io", plural) => access(cx, resource, plural, &admission, &mut review).await?,
        ("tenancy.kplane.dev", "layers") => {
            admission.validate(&review, None).await?;
            crate::layers::answer(cx, &mut review).await?;
        }
        ("", "bindings") => {
            subresources::check_binding(&review)?;
            admission.validate(&review, None).await?;
            return subresources::bind(cx, &review).await;
        }
        _ => return Err(Status::internal(format!("{} are not answered", resource.group_resource()))),
    }
    output::object_value(cx, resource, StatusCode::CREATED, &review)
}

async fn token(cx: &Cx, admission: &Admission<'_>, review: &mut Value) -> Result<(), Status> {
    let token = review["spec"]["token"].as_str().unwrap_or("").to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    admission.validate(review, None).await?;
    let audiences: Vec<String> = texts(&review["spec"]["audiences"]);
    review["status"] = match cx.app.identities.review_token(&cx.app, &cx.vcp, &token, &audiences).await {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user, "audiences": audiences}),
        Err(Ok(why)) => json!({"user": {}, "error": why}),
        Err(Err(status)) => return Err(status),
    };
    Ok(())
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether somebody may do something.
async fn access(
    cx: &Cx,
    resource: &Resource,
    plural: &str,
    admission: &Admission<'_>,
    review: &mut Value,
) -> Result<(), Status> {
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
    errors.extend(review_selectors::check(resource_attributes, &at.child("resourceAttributes")));
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
    let local = plural == "localsubjectaccessreviews";
    if !is_bare(&review["metadata"], local) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid(&Path::new("metadata"), &review["metadata"], why));
    }
    if local {
        let asked = resource_attributes["namespace"].as_str().unwrap_or("");
        if resource_attributes.is_object() && asked != cx.info.namespace {
            errors.push(FieldError::invalid_str(
                &Path::new("spec.resourceAttributes.namespace"),
                asked,
                "must match metadata.namespace",
            ));
        }
        if path_attributes.is_object() {
            errors.push(FieldError::invalid(
                &Path::new("spec.nonResourceAttributes"),
                path_attributes,
                "disallowed on this kind of request",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.def.group_kind(), "", &errors));
    }
    admission.validate(review, None).await?;
    let spec = &review["spec"];
    let (resource_attributes, path_attributes) =
        (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let parts: Vec<String> = ["verb", "group", "version", "resource", "subresource", "namespace", "name"]
        .iter()
        .map(|field| text(resource_attributes, field))
        .collect();
    let (selectors, unread) = review_selectors::read(resource_attributes);
    let (verb, path) = (text(path_attributes, "verb"), text(path_attributes, "path"));
    let attributes = if resource_attributes.is_object() {
        Attributes {
            user: &user,
            verb: &parts[0],
            group: &parts[1],
            version: if parts[2].is_empty() { "*" } else { &parts[2] },
            resource: &parts[3],
            subresource: &parts[4],
            namespace: &parts[5],
            name: &parts[6],
            path: "",
            selectors: Some(&selectors),
        }
    } else {
        Attributes::of_path(&user, &verb, &path)
    };
    let verdict = cx.app.identities.decide(&cx.app, Some(&cx.vcp), &attributes).await?;
    let mut status = json!({"allowed": verdict.allowed()});
    if verdict.decision == Decision::Deny {
        status["denied"] = true.into();
    }
    if !unread.is_empty() {
        status["evaluationError"] = unread.join("; ").into();
    }
    if !verdict.reason.is_empty() {
        status["reason"] = verdict.reason.into();
    }
    review["status"] = status;
    Ok(())
}

/// Whether nothing is said in the metadata but what the server adds.
fn is_bare(metadata: &Value, namespaced: bool) -> bool {
    metadata.as_object().into_iter().flatten().all(|(field, value)| match field.as_str() {
        "managedFields" => true,
        "namespace" if namespaced => true,
        _ => {
            value.is_null()
                || value.as_str() == Some("")
                || value.as_object().is_some_and(|map| map.is_empty())
        }
    })
}

/// What the caller may do in a namespace.
async fn rules(cx: &Cx, admission: &Admission<'_>, review: &mut Value) -> Result<(), Status> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or("").to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    admission.validate(review, None).await?;
    let (rules, errors) = cx.app.identities.rules_for(&cx.app, &cx.vcp, &cx.user, &namespace).await?;
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
