//! The selectors of an access review: how they are checked, and how authorizers see them.

use kplane_auth::authz::Selectors;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::fields::{self, Term};
use kplane_machinery::labels::{self, Operator, Requirement};
use serde_json::Value;

/// What is wrong with the selectors of `resourceAttributes`.
pub fn check(attributes: &Value, at: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for kind in ["fieldSelector", "labelSelector"] {
        let (selector, at) = (&attributes[kind], at.child(kind));
        if !selector.is_object() {
            continue;
        }
        let raw = selector["rawSelector"].as_str().unwrap_or("");
        let requirements = requirements(selector);
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid_str(&at.child("rawSelector"), raw, why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&at.child("requirements"), why));
        }
        for (index, requirement) in requirements.iter().enumerate() {
            check_requirement(requirement, &at.child("requirements").index(index), &mut errors);
        }
    }
    errors
}

fn check_requirement(requirement: &Value, at: &Path, errors: &mut Vec<FieldError>) {
    let values = requirement["values"].as_array().map_or(0, Vec::len);
    match requirement["operator"].as_str().unwrap_or("") {
        "In" | "NotIn" if values == 0 => errors.push(FieldError::required(
            &at.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if values > 0 => errors.push(FieldError::forbidden(
            &at.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        // Others may be known to a newer client.
        _ => {}
    }
    if requirement["key"].as_str().unwrap_or("").is_empty() {
        errors.push(FieldError::required(&at.child("key"), "must be specified"));
    }
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map_or(&[], Vec::as_slice)
}

/// The selectors as authorizers see them, and what is to be said of those that cannot be read. To leave one out asks
/// for more than was asked, so that nothing is allowed by it.
pub fn read(attributes: &Value) -> (Selectors, Vec<String>) {
    let (mut selectors, mut said) = (Selectors::default(), Vec::new());
    let mut tell = |kind: &str, some: bool| {
        let partially = if some { "partially " } else { "" };
        said.push(format!("spec.resourceAttributes.{kind} {partially}ignored due to parse error"));
    };
    let field_selector = &attributes["fieldSelector"];
    if let Some(raw) = field_selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        match fields::Selector::parse(raw) {
            Ok(parsed) => selectors.fields = parsed.terms().to_vec(),
            Err(_) => tell("fieldSelector", false),
        }
    }
    let asked = requirements(field_selector);
    let read: Vec<Term> = asked.iter().filter_map(term).collect();
    if read.len() < asked.len() {
        tell("fieldSelector", !read.is_empty());
    }
    selectors.fields.extend(read);
    let label_selector = &attributes["labelSelector"];
    if let Some(raw) = label_selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        match labels::Selector::parse(raw) {
            Ok(parsed) => selectors.labels = parsed.requirements().to_vec(),
            Err(_) => tell("labelSelector", false),
        }
    }
    let asked = requirements(label_selector);
    let read: Vec<Requirement> = asked.iter().filter_map(label_requirement).collect();
    if read.len() < asked.len() {
        tell("labelSelector", !read.is_empty());
    }
    selectors.labels.extend(read);
    (selectors, said)
}

/// Selectors as they are written, as authorizers see them; what cannot be read is left out.
pub fn parse(field_selector: &str, label_selector: &str) -> Selectors {
    let written = |raw: &str| serde_json::json!({ "rawSelector": raw });
    read(&serde_json::json!({
        "fieldSelector": written(field_selector), "labelSelector": written(label_selector),
    }))
    .0
}

fn values(requirement: &Value) -> Vec<String> {
    let values = requirement["values"].as_array().into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn term(requirement: &Value) -> Option<Term> {
    let [value] = <[String; 1]>::try_from(values(requirement)).ok()?;
    let negated = match requirement["operator"].as_str()? {
        "In" => false,
        "NotIn" => true,
        _ => return None,
    };
    Some(Term { field: requirement["key"].as_str()?.to_owned(), value, negated })
}

fn label_requirement(requirement: &Value) -> Option<Requirement> {
    let operator = match requirement["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Requirement::new(requirement["key"].as_str()?, operator, values(requirement)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_left_out_and_told() {
        let (selectors, said) = read(&json!({
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                                               {"key": "x", "operator": "Exists"}]},
            "labelSelector": {"rawSelector": "a in ("},
        }));
        assert_eq!(selectors.fields.len(), 1);
        assert_eq!(
            said,
            [
                "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
                "spec.resourceAttributes.labelSelector ignored due to parse error"
            ]
        );
        let (selectors, said) = read(&json!({"fieldSelector": {"rawSelector": "a=b,c!=d"}}));
        assert_eq!((selectors.fields.len(), said.len()), (2, 0));
    }

    #[test]
    fn selectors_are_checked() {
        let at = Path::new("spec").child("resourceAttributes");
        let said =
            |attributes| -> Vec<String> { check(&attributes, &at).iter().map(ToString::to_string).collect() };
        assert!(said(json!({"fieldSelector": {"rawSelector": "a=b"}})).is_empty());
        assert_eq!(said(json!({"labelSelector": {}})).len(), 1);
        assert_eq!(
            said(json!({"labelSelector": {"requirements": [{"key": "", "operator": "In"}]}})).len(),
            2
        );
    }
}
