//! Who set which field: field management put to work on a request.

use kplane_kinds::StatusKeeps;
use kplane_machinery::managed::{self, Request, Set, Versions};
use kplane_machinery::schema::Schema;
use kplane_machinery::time::Time;
use kplane_machinery::{GroupVersion, Status};
use serde_json::Value;

use super::cx::{Cx, Resource};
use super::objects;

/// How a write is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Tracking<'a> {
    manager: &'a str,
    subresource: &'a str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// POST, and what a PUT creates.
    Create,
    Put,
    Patch,
    /// An apply has recorded itself.
    Applied,
}

impl<'a> Tracking<'a> {
    /// A creation.
    pub fn create(manager: &'a str) -> Self {
        Self { manager, subresource: "", kind: Kind::Create }
    }

    /// A PUT.
    pub fn update(manager: &'a str, subresource: Option<&'a str>) -> Self {
        Self { manager, subresource: subresource.unwrap_or(""), kind: Kind::Put }
    }

    /// A patch that is no apply.
    pub fn patch(manager: &'a str, subresource: Option<&'a str>) -> Self {
        Self { manager, subresource: subresource.unwrap_or(""), kind: Kind::Patch }
    }

    /// An apply.
    pub fn applied() -> Self {
        Self { manager: "", subresource: "", kind: Kind::Applied }
    }

    /// Nothing is recorded.
    pub fn none() -> Self {
        Self::applied()
    }

    /// Whether the client sent the whole object.
    pub fn is_put(&self) -> bool {
        self.kind == Kind::Put
    }
}

/// The versions of a kind, for one request.
struct Converter<'a> {
    cx: &'a Cx,
    resource: &'a Resource,
}

impl Versions for Converter<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        let gv = GroupVersion::parse(api_version)?;
        let def = &self.resource.def;
        if gv.group != def.group {
            return None;
        }
        def.version(&gv.version).map(|version| &*version.schema)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, String> {
        let from = objects::version_of(object["apiVersion"].as_str().unwrap_or("")).to_owned();
        let to = objects::version_of(api_version);
        if self.resource.def.conversion.is_some() && from != to {
            return self.cx.kept.conversions.find(object, to);
        }
        let mut converted = object.clone();
        objects::convert(self.resource, &mut converted, &from, to).map_err(|s| s.message)?;
        Ok(converted)
    }
}

/// The fields that an endpoint resets, which nobody can own by it (`GetResetFields`).
fn reset_fields(resource: &Resource, subresource: &str) -> Set {
    if &*resource.def.group == "certificates.k8s.io" && &*resource.def.plural == "certificatesigningrequests"
    {
        return match subresource {
            "" => Set::of_fields(&[&["spec"], &["status"]]),
            "approval" => Set::of_fields(&[&["spec"], &["status", "certificate"]]),
            _ => Set::of_fields(&[&["spec"], &["status", "conditions"]]),
        };
    }
    match subresource {
        "" if resource.def.subresource(&resource.version, "status").is_some() => {
            Set::of_fields(&[&["status"]])
        }
        "status" if resource.def.custom => Set::of_fields(&[&["spec"], &["metadata"]]),
        "status" => match resource.def.strategy.status_keeps() {
            StatusKeeps::Fields(names) => {
                let mut paths: Vec<Vec<&str>> = names.iter().map(|name| vec!["metadata", *name]).collect();
                paths.push(vec!["spec"]);
                let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
                Set::of_fields(&paths)
            }
            StatusKeeps::Nothing | StatusKeeps::All => Set::of_fields(&[&["spec"]]),
        },
        _ => Set::default(),
    }
}

fn with_request<T>(
    cx: &Cx,
    resource: &Resource,
    subresource: &str,
    run: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let api_version = resource.api_version();
    let reset = reset_fields(resource, subresource);
    run(&Request {
        api_version: &api_version,
        kind: &resource.def.kind,
        subresource,
        versions: &Converter { cx, resource },
        reset: &reset,
        now: Time::now().truncated(),
    })
}

/// Records a create, update or patch.
pub fn track(cx: &Cx, resource: &Resource, old: Option<&Value>, new: &mut Value, tracking: &Tracking<'_>) {
    if tracking.kind != Kind::Applied {
        with_request(cx, resource, tracking.subresource, |request| {
            managed::track_update(request, old, new, tracking.manager);
        });
    }
}

/// Applies a configuration to an object, or makes one of it.
pub fn apply(
    cx: &Cx,
    resource: &Resource,
    subresource: Option<&str>,
    old: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Status> {
    with_request(cx, resource, subresource.unwrap_or(""), |request| {
        managed::apply(request, old, config, manager, force)
    })
}
