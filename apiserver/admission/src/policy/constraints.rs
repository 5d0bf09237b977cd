//! Which writes a policy or a binding is about: [`Constraints`].

use kplane_machinery::Status;
use kplane_machinery::labels::Selector;
use kplane_machinery::object;
use serde_json::Value;

use crate::Attributes;
use crate::webhook::hook::Rule;
use crate::webhook::matching::{Seen, by_rules, namespace_labels};

/// `matchConstraints` of a policy, `matchResources` of a binding.
pub(super) struct Constraints {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Rules match what is the same in another version too.
    equivalent: bool,
    namespace_selector: Result<Selector, String>,
    object_selector: Result<Selector, String>,
}

impl Constraints {
    /// Reads them; whoever stored them has checked and defaulted them.
    pub(super) fn read(constraints: &Value) -> Self {
        let rules = |field: &str| -> Vec<Rule> {
            let list = constraints.get(field).and_then(Value::as_array);
            list.into_iter().flatten().map(Rule::read).collect()
        };
        Self {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: object::str_at(constraints, &["matchPolicy"]) != "Exact",
            namespace_selector: Selector::from_label_selector(constraints.get("namespaceSelector")),
            object_selector: Selector::from_label_selector(constraints.get("objectSelector")),
        }
    }

    /// How a write is seen, if it is meant. For a deletion there is no object.
    pub(super) async fn matches(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Seen>, Status> {
        let in_namespace = match &self.namespace_selector {
            Ok(selector) if selector.is_empty() => Ok(true),
            Ok(selector) => namespace_labels(attributes, object)
                .await
                .map(|found| found.is_none_or(|namespace| selector.matches_object(&namespace))),
            Err(why) => Err(Status::internal(why)),
        };
        if matches!(in_namespace, Ok(false)) {
            return Ok(None);
        }
        let by_labels = match &self.object_selector {
            Ok(selector) if selector.is_empty() => Ok(true),
            Ok(selector) => Ok([object, attributes.old]
                .into_iter()
                .flatten()
                .any(|object| selector.matches_object(object))),
            Err(why) => Err(Status::internal(why)),
        };
        if matches!(by_labels, Ok(false)) {
            return Ok(None);
        }
        if by_rules(&self.excluded, self.equivalent, attributes).is_some() {
            return Ok(None);
        }
        let own = || Seen { version: attributes.version.to_owned() };
        let seen = if self.rules.is_empty() {
            Some(own())
        } else {
            by_rules(&self.rules, self.equivalent, attributes)
        };
        if seen.is_some() {
            // What cannot be told matters only to those whose rules match.
            in_namespace?;
            by_labels?;
        }
        Ok(seen)
    }
}
