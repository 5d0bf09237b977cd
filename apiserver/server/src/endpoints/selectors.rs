//! Which objects of a list or watch the client wants: label and field selectors.

use kplane_machinery::{Status, object};
use kplane_machinery::{fields, labels};
use kplane_registry::Stored;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cx::{Cx, Resource};
use super::objects;

/// The selectors of a request.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: Option<labels::Selector>,
    fields: Option<fields::Selector>,
    /// The one name a field selector asks for.
    pub name: Option<String>,
}

/// The parts of an object that selectors look at most, read without building the rest.
#[derive(Deserialize)]
struct Labelled<'a> {
    #[serde(borrow, default)]
    metadata: LabelledMeta<'a>,
}

#[derive(Deserialize, Default)]
struct LabelledMeta<'a> {
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

impl Selection {
    /// Reads the selectors of a request; a field that cannot be selected by is refused.
    pub fn parse(cx: &Cx, resource: &Resource) -> Result<Self, Status> {
        let mut selection = Self::default();
        if let Some(text) = cx.query.get("labelSelector").filter(|t| !t.is_empty()) {
            let selector = labels::Selector::parse(text).map_err(Status::bad_request)?;
            selection.labels = (!selector.is_empty()).then_some(selector);
        }
        if let Some(text) = cx.query.get("fieldSelector").filter(|t| !t.is_empty()) {
            let selector = fields::Selector::parse(text).map_err(Status::bad_request)?;
            check(resource, &selector)?;
            selection.name = selector.requires("metadata.name").map(str::to_owned);
            selection.fields = (!selector.is_empty()).then_some(selector);
        }
        if let Some(name) = (!cx.info.name.is_empty()).then(|| cx.info.name.clone()) {
            // A watch of one name given in the path.
            selection.name.get_or_insert(name);
        }
        Ok(selection)
    }

    /// Whether every object is wanted.
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none() && self.name.is_none()
    }

    /// Whether an object is wanted.
    pub fn matches(&self, resource: &Resource, stored: &Stored) -> Result<bool, Status> {
        if self.name.as_deref().is_some_and(|name| name != stored.name()) {
            return Ok(false);
        }
        if let Some(selector) = &self.labels {
            let bytes = stored.raw_json();
            let labelled: Labelled<'_> = serde_json::from_slice(&bytes)
                .map_err(|e| Status::internal(format!("a stored object cannot be read: {e}")))?;
            let labels = labelled.metadata.labels.unwrap_or_default();
            if !selector.matches_with(|key| labels.get(key).map(AsRef::as_ref)) {
                return Ok(false);
            }
        }
        match &self.fields {
            None => Ok(true),
            Some(_) => Ok(self.matches_fields(resource, &objects::decode(resource, stored)?)),
        }
    }

    fn matches_fields(&self, resource: &Resource, value: &Value) -> bool {
        let Some(selector) = &self.fields else { return true };
        let values: Vec<(&str, String)> = selector
            .terms()
            .iter()
            .map(|term| match term.field.as_str() {
                "metadata.name" => ("metadata.name", object::name(value).to_owned()),
                "metadata.namespace" => ("metadata.namespace", object::namespace(value).to_owned()),
                other => (other, resource.def.strategy.selectable_value(value, other)),
            })
            .collect();
        selector.matches(|field| values.iter().find(|(f, _)| *f == field).map_or("", |(_, v)| v))
    }
}

/// Refuses a field that objects of the kind cannot be selected by. Upstream words it in one way for kinds that have such
/// fields, and for custom resources, and in another for those that have none beside name and namespace.
fn check(resource: &Resource, selector: &fields::Selector) -> Result<(), Status> {
    let own = &resource.version_def()?.selectable_fields;
    if own.is_empty() && !resource.def.custom {
        return selector.check_metadata_only().map_err(Status::bad_request);
    }
    let mut supported = vec!["metadata.name", "metadata.namespace"];
    supported.extend(own.iter().map(|field| &**field));
    selector.check_supported(&supported).map_err(Status::bad_request)
}
