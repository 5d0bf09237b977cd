//! Events, of core and of `events.k8s.io`: the same objects under two sets of names.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::object::{meta_str, str_at};
use serde_json::Value;

use crate::check;
use crate::print::{self, UNKNOWN};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, ensure, int, sub, text};

/// The names of the same field in core and in `events.k8s.io`.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// `Event` of core, or of `events.k8s.io` when `new`.
pub(crate) struct Events {
    /// Of `events.k8s.io`.
    pub(crate) new: bool,
}

impl Events {
    fn names(&self) -> (&'static str, &'static str) {
        if self.new { ("regarding", "reportingController") } else { ("involvedObject", "reportingComponent") }
    }

    fn validate(&self, object: &Value, create: bool) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let namespace = meta_str(object, "namespace");
        let about_namespace = root.f(self.names().0).f("namespace").str();
        let path = Path::new("involvedObject").child("namespace");
        let expected = if about_namespace.is_empty() { "default" } else { about_namespace };
        if namespace != expected && !(about_namespace.is_empty() && namespace == "kube-system") {
            errors.push(FieldError::invalid_str(&path, about_namespace, "does not match event.namespace"));
        }
        let timed = root.f("eventTime").there();
        let needed = self.new && create;
        if !timed && !needed {
            return errors;
        }
        if !timed {
            root.f("eventTime").required(&mut errors, "");
        }
        let controller = root.f(self.names().1);
        let shown = Path::new("reportingController");
        if controller.str().is_empty() {
            errors.push(FieldError::required(&shown, ""));
        }
        for message in check::qualified(controller.str()) {
            if !controller.str().is_empty() {
                errors.push(FieldError::invalid_str(&shown, controller.str(), message));
            }
        }
        let instance = root.f("reportingInstance");
        if instance.str().is_empty() {
            instance.required(&mut errors, "");
        } else if instance.len() > 128 {
            instance.invalid(&mut errors, "can have at most 128 characters");
        }
        for (field, limit) in [("action", 128), ("reason", 128)] {
            let field = root.f(field);
            if field.str().is_empty() {
                field.required(&mut errors, "");
            } else if field.len() > limit {
                field.invalid(&mut errors, format!("can have at most {limit} characters"));
            }
        }
        let note = root.f(if self.new { "note" } else { "message" });
        if note.len() > 1024 {
            let path = Path::new("message");
            errors.push(FieldError::invalid(&path, note.value(), "can have at most 1024 characters"));
        }
        let kind = root.f("type");
        if !["Normal", "Warning"].contains(&kind.str()) {
            kind.invalid_text(&mut errors, "has invalid value: ");
        }
        errors
    }
}

impl Strategy for Events {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        dflt(fields, "eventTime", Value::Null);
        if self.new {
            ensure(fields, "regarding");
            for field in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
                dflt(fields, field, Value::Null);
            }
            ensure(fields, "deprecatedSource");
            return;
        }
        for field in ["involvedObject", "source"] {
            ensure(fields, field);
        }
        for field in ["firstTimestamp", "lastTimestamp"] {
            dflt(fields, field, Value::Null);
        }
        for field in ["reportingComponent", "reportingInstance"] {
            dflt(fields, field, "");
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(object, true)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object, false);
        if self.new {
            let (new, old) = (At::root(object), At::root(old));
            for field in
                ["regarding", "reason", "reportingController", "reportingInstance", "action", "note", "type"]
            {
                new.f(field).immutable(&mut errors, &old.f(field));
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn selectable_value(&self, object: &Value, path: &str) -> String {
        let (about, reporter) = self.names();
        let component = |o: &Value| {
            let source = str_at(o, &[if self.new { "deprecatedSource" } else { "source" }, "component"]);
            if source.is_empty() { text(o, reporter).to_owned() } else { source.to_owned() }
        };
        if path == "source" {
            return component(object);
        }
        if let Some(field) = path.strip_prefix("involvedObject.").or_else(|| path.strip_prefix("regarding."))
        {
            return str_at(object, &[about, field]).to_owned();
        }
        match path {
            "reportingComponent" | "reportingController" => text(object, reporter).to_owned(),
            other => text(object, other).to_owned(),
        }
    }

    /// `from` and `to` are whole apiVersions: the same object under other names.
    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), String> {
        let is_new = |api_version: &str| api_version.starts_with("events.k8s.io/");
        if is_new(from) == is_new(to) {
            return Ok(());
        }
        let Some(fields) = object.as_object_mut() else {
            return Err("an Event is a map".to_owned());
        };
        for (core, new) in RENAMED {
            let (old_name, new_name) = if is_new(to) { (core, new) } else { (new, core) };
            if let Some(value) = fields.remove(old_name) {
                fields.insert(new_name.to_owned(), value);
            }
        }
        fields.insert("apiVersion".into(), to.into());
        if is_new(to) {
            return Ok(());
        }
        for field in ["reportingComponent", "reportingInstance"] {
            dflt(fields, field, "");
        }
        Ok(())
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let field = |core: &'static str| {
            let new = RENAMED.iter().find(|(c, _)| *c == core).map_or(core, |(_, n)| *n);
            if self.new { new } else { core }
        };
        let time = |name: &str| match sub(object, name).and_then(Value::as_str) {
            Some(time) => print::since(time, now),
            None => UNKNOWN.to_owned(),
        };
        let mut first = time(field("firstTimestamp"));
        if first == UNKNOWN {
            first = time("eventTime");
        }
        let mut last = time(field("lastTimestamp"));
        if last == UNKNOWN {
            last = first.clone();
        }
        let mut count = int(object, field("count")).unwrap_or(0);
        if let Some(series) = sub(object, "series") {
            last = print::since(text(series, "lastObservedTime"), now);
            count = int(series, "count").unwrap_or(0);
        } else if count == 0 {
            count = 1;
        }
        let about = sub(object, field("involvedObject")).unwrap_or(&Value::Null);
        let kind = text(about, "kind").to_lowercase();
        let target =
            if text(about, "name").is_empty() { kind } else { format!("{kind}/{}", text(about, "name")) };
        let source = sub(object, field("source")).unwrap_or(&Value::Null);
        let (mut component, mut instance) = (text(source, "component"), text(source, "host"));
        if component.is_empty() {
            component = text(object, field("reportingComponent"));
            instance = text(object, "reportingInstance");
        }
        let source =
            if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
        Some(vec![
            last.into(),
            text(object, "type").into(),
            text(object, "reason").into(),
            target.into(),
            text(about, "fieldPath").into(),
            source.into(),
            text(object, field("message")).trim().into(),
            first.into(),
            count.into(),
            print::name(object),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_two_faces() {
        let mut event = json!({"apiVersion": "v1", "involvedObject": {"name": "x"}, "message": "m", "reportingInstance": ""});
        let strategy = Events { new: true };
        strategy.convert(&mut event, "v1", "events.k8s.io/v1").expect("converts");
        assert_eq!(event["note"], "m");
        assert_eq!(event["regarding"]["name"], "x");
        strategy.convert(&mut event, "events.k8s.io/v1", "v1").expect("converts back");
        assert_eq!(event["message"], "m");
    }
}
