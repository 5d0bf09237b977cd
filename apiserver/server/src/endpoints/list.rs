//! GET of a collection.

use std::sync::Arc;

use kplane_kinds::Verbs;
use kplane_machinery::Status;
use kplane_registry::{Error, ListPage, ListRequest, ResourceVersion, Stored};
use serde_json::json;

use super::cx::{Cx, Resource};
use super::failures;
use super::list_options::{ContinueToken, ListOptions, VersionMatch};
use super::output;
use super::selectors::Selection;
use crate::body::{self, Answer};

/// The namespace a request is limited to.
pub fn namespace_of(cx: &Cx, resource: &Resource) -> Option<Arc<str>> {
    (resource.def.namespaced() && !cx.info.namespace.is_empty()).then(|| cx.info.namespace.as_str().into())
}

/// Answers a list.
pub async fn list(cx: &Cx, resource: &Resource) -> Result<Answer, Status> {
    if !resource.def.verbs.contains(Verbs::LIST) {
        return Err(body::method_not_allowed());
    }
    let form = output::negotiate(cx, resource)?;
    let options = ListOptions::parse(&cx.query, false)?;
    let selection = Selection::parse(cx, resource)?;
    let namespace = namespace_of(cx, resource);
    let mut request = ListRequest {
        namespace: namespace.clone(),
        name: selection.name.as_deref().map(Into::into),
        ..ListRequest::default()
    };
    let mut inconsistent = false;
    if let Some(text) = &options.continue_token {
        let token = ContinueToken::decode(text)?;
        let (ns, name) = token.position(namespace.as_deref(), resource.def.namespaced())?;
        if options.resource_version.is_some_and(|v| v != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        request.after = Some(resource.object_key(ns.as_deref().unwrap_or(""), &name));
        match u64::try_from(token.rv) {
            Ok(revision) => {
                request.version = ResourceVersion::Exact(revision);
                request.behind = token.behind;
            }
            Err(_) => inconsistent = true,
        }
        request.limit = (options.limit > 0).then_some(options.limit as usize);
    } else {
        // The table of "resourceVersion Parameter" in the API concepts.
        request.version = match (options.resource_version, options.version_match) {
            (None, _) => ResourceVersion::Unset,
            (Some(0), _) => ResourceVersion::Any,
            (Some(v), Some(VersionMatch::Exact)) => ResourceVersion::Exact(v),
            (Some(v), None) if options.limit > 0 => ResourceVersion::Exact(v),
            (Some(v), _) => ResourceVersion::NotOlderThan(v),
        };
        // A list that any version satisfies comes from memory, whole.
        if options.limit > 0 && request.version != ResourceVersion::Any {
            request.limit = Some(options.limit as usize);
        }
    }

    // A predicate cannot fail, so what could not be read is kept and told afterwards.
    let broken: std::sync::Mutex<Option<Status>> = std::sync::Mutex::new(None);
    let wanted = |stored: &Stored| match selection.matches(resource, stored) {
        Ok(wanted) => wanted,
        Err(status) => {
            broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(status);
            false
        }
    };
    let page = if selection.is_everything() {
        cx.app.registry.list(&cx.vcp, &resource.key(), request.clone()).await
    } else if resource.def.conversion.is_some() {
        list_converted(cx, resource, &selection, request.clone()).await?
    } else {
        cx.app.registry.list_where(&cx.vcp, &resource.key(), request.clone(), &wanted).await
    };
    let page = match page {
        Ok(page) => page,
        Err(Error::Expired { .. }) if options.continue_token.is_some() && !inconsistent => {
            return Ok(expired_continue(&options));
        }
        Err(Error::Expired { .. }) => {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        Err(error) => return Err(failures::store(error)),
    };
    if let Some(status) = broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(status);
    }
    let ListPage { items, revision, next, remaining } = page;
    let items = crate::custom::conversion::show(cx, resource, items).await?;
    // What is left cannot be counted without looking at it when a selector is given.
    let remaining = remaining.filter(|_| next.is_some() && selection.is_everything());
    let token = next.map(|key| {
        let ns = key.namespace.as_deref();
        let mut token = ContinueToken::after(revision as i64, ns, &key.name, namespace.is_some());
        token.behind = remaining;
        token.encode()
    });
    output::list(cx, resource, form, items, output::ListMeta { revision, token, remaining }).await
}

/// What is wanted of objects that a webhook converts, which only their converted form tells.
async fn list_converted(
    cx: &Cx,
    resource: &Resource,
    selection: &Selection,
    mut request: ListRequest,
) -> Result<Result<ListPage, Error>, Status> {
    let limit = request.limit;
    let mut found = Vec::new();
    loop {
        request.limit = limit.map(|limit| limit.saturating_sub(found.len()));
        let page = match cx.app.registry.list(&cx.vcp, &resource.key(), request.clone()).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        for stored in crate::custom::conversion::show(cx, resource, page.items).await? {
            if selection.matches(resource, &stored)? {
                found.push(stored);
            }
        }
        match page.next {
            Some(next) if limit.is_some_and(|limit| found.len() < limit) => {
                request.after = Some(next);
                request.version = ResourceVersion::Exact(page.revision);
            }
            next => {
                return Ok(Ok(ListPage { items: found, revision: page.revision, next, remaining: None }));
            }
        }
    }
}

/// 410 with a token that goes on at the present revision.
fn expired_continue(options: &ListOptions) -> Answer {
    let status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let token =
        options.continue_token.as_deref().and_then(|t| ContinueToken::decode(t).ok()).map(|mut token| {
            token.rv = -1;
            token.behind = None;
            token.encode()
        });
    let mut value = status.to_value();
    value["metadata"] = json!({"continue": token});
    body::json(http::StatusCode::GONE, &value)
}
