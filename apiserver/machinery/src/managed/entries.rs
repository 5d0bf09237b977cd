//! `metadata.managedFields` read into managers and written again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::Set;
use crate::time::Time;

/// A manager: everything that tells one entry from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// It applies; otherwise it updates.
    pub applies: bool,
    /// The version it wrote; empty for appliers, who stay the same whatever version they write.
    pub api_version: String,
    /// The subresource it wrote through.
    pub subresource: String,
}

/// What a manager owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owned {
    /// The fields.
    pub set: Set,
    /// The version they are those of.
    pub api_version: String,
    /// When this last changed.
    pub time: Option<Time>,
}

/// All managers of an object.
pub type Managers = BTreeMap<Manager, Owned>;

impl Manager {
    /// One that applies.
    pub fn applier(name: &str, subresource: &str) -> Self {
        Self {
            name: name.to_owned(),
            applies: true,
            api_version: String::new(),
            subresource: subresource.to_owned(),
        }
    }

    /// One that updates.
    pub fn updater(name: &str, api_version: &str, subresource: &str) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        Self {
            name: name.to_owned(),
            applies: false,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As conflicts name it: `"kubectl" using apps/v1`.
    pub fn shown(&self) -> String {
        let mut out = crate::field::go_quote(&self.name);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", crate::field::go_quote(&self.subresource)));
        }
        if !self.applies {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// Reads the entries of an object.
pub fn decode(object: &Value) -> Result<Managers, String> {
    decode_list(object.pointer("/metadata/managedFields"))
}

/// Reads a list of entries.
pub fn decode_list(entries: Option<&Value>) -> Result<Managers, String> {
    let mut managers = Managers::new();
    for entry in entries.and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let applies = match text("operation") {
            "Apply" => true,
            "Update" => false,
            other => {
                return Err(format!("invalid operation {other}: must be one of [Apply Update] or nil"));
            }
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err("missing fieldsType in managed fields entry".to_owned()),
            other => {
                return Err(format!(
                    "invalid fieldsType \"{other}\" in managed fields entry, must be FieldsV1"
                ));
            }
        }
        let set = match entry.get("fieldsV1") {
            None | Some(Value::Null) => Set::new(),
            Some(fields) => Set::from_fields_v1(fields)?,
        };
        let manager = Manager {
            name: text("manager").to_owned(),
            applies,
            api_version: if applies { String::new() } else { text("apiVersion").to_owned() },
            subresource: text("subresource").to_owned(),
        };
        managers.insert(
            manager,
            Owned { set, api_version: text("apiVersion").to_owned(), time: Time::parse(text("time")).ok() },
        );
    }
    Ok(managers)
}

/// Whether these entries ask to forget all: an empty list, or one empty entry.
pub(super) fn asks_reset(entries: Option<&Value>) -> bool {
    match entries.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(|m| m.values().all(|v| v.is_null() || v == "")),
        _ => false,
    }
}

/// The entries as a list, sorted as upstream does. `None` when there are none.
pub fn encode(managers: &Managers) -> Option<Value> {
    let mut sorted: Vec<(&Manager, &Owned)> = managers.iter().collect();
    let seconds = |owned: &Owned| owned.time.map_or(0, Time::unix);
    sorted.sort_by(|(a, ao), (b, bo)| {
        (b.applies.cmp(&a.applies))
            .then(seconds(ao).cmp(&seconds(bo)))
            .then(a.name.cmp(&b.name))
            .then(ao.api_version.cmp(&bo.api_version))
            .then(a.subresource.cmp(&b.subresource))
    });
    let list: Vec<Value> = sorted
        .into_iter()
        .map(|(manager, owned)| {
            let mut entry = Map::new();
            if !manager.name.is_empty() {
                entry.insert("manager".to_owned(), json!(manager.name));
            }
            let operation = if manager.applies { "Apply" } else { "Update" };
            entry.insert("operation".to_owned(), json!(operation));
            entry.insert("apiVersion".to_owned(), json!(owned.api_version));
            if let Some(time) = owned.time {
                entry.insert("time".to_owned(), json!(time.to_string()));
            }
            entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
            entry.insert("fieldsV1".to_owned(), owned.set.to_fields_v1());
            if !manager.subresource.is_empty() {
                entry.insert("subresource".to_owned(), json!(manager.subresource));
            }
            Value::Object(entry)
        })
        .collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Writes the entries into an object.
pub fn write(object: &mut Value, managers: &Managers) {
    crate::object::set_meta(object, "managedFields", encode(managers));
}
