//! Label selectors: their text, their object form, and what they match
//! (`k8s.io/apimachinery/pkg/labels`).

use std::fmt;

use serde_json::Value;

use crate::field::{FieldError, Path, go_quote};
use crate::names;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`
    NotEquals,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
}

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it compares.
    pub operator: Operator,
    /// With what; sorted and without duplicates.
    pub values: Vec<String>,
}

/// A label selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    /// Matches nothing, whatever the requirements: the selector of an absent `LabelSelector`.
    nothing: bool,
}

impl Requirement {
    /// Builds one and checks it, as `labels.NewRequirement`.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        values.sort_unstable();
        values.dedup();
        let mut errors = Vec::new();
        let key_errors = names::is_qualified_name(key);
        if !key_errors.is_empty() {
            errors.push(FieldError::invalid_str(&Path::new("key"), key, key_errors.join("; ")));
        }
        let path = Path::new("values");
        let shown = Value::from(values.clone());
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => errors.push(FieldError::invalid(
                &path,
                &shown,
                "for 'in', 'notin' operators, values set can't be empty",
            )),
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => errors
                .push(FieldError::invalid(
                    &path,
                    &shown,
                    "exact-match compatibility requires one single value",
                )),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => errors.push(
                FieldError::invalid(&path, &shown, "values set must be empty for exists and does not exist"),
            ),
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.push(FieldError::invalid(
                        &path,
                        &shown,
                        "for 'Gt', 'Lt' operators, exactly one value is required",
                    ));
                }
                for (i, value) in values.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        errors.push(FieldError::invalid_str(
                            &path.index(i),
                            value,
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        ));
                    }
                }
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let value_errors = names::is_valid_label_value(value);
            if !value_errors.is_empty() {
                errors.push(FieldError::invalid_str(&path.index(i).key(key), value, value_errors.join("; ")));
            }
        }
        match errors.as_slice() {
            [] => Ok(Self { key: key.to_owned(), operator, values }),
            [one] => Err(one.to_string()),
            many => Err(format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
        }
    }

    /// Whether the value of this requirement's key, if there is one, satisfies it.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|w| w == v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let have = value.and_then(|v| v.parse::<i64>().ok());
                let want = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (have, want) {
                    (Some(have), Some(want)) if self.operator == Operator::GreaterThan => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl Selector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads the text form. The error is what upstream answers with 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = parse::Parser::new(text).parse()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// From a `metav1.LabelSelector`; an absent one matches nothing, an empty one everything.
    pub fn from_label_selector(selector: Option<&Value>) -> Result<Self, String> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{} is not a valid label selector operator", go_quote(other))),
            };
            let values = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|v| v.as_str().unwrap_or_default().to_owned())
                .collect();
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// From a plain map of labels that must be equal, as a Service's `spec.selector`. Nothing is checked.
    pub fn from_map(labels: Option<&Value>) -> Self {
        let requirements = labels
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: vec![value.as_str().unwrap_or_default().to_owned()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Its terms, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether labels, looked up by key, satisfy it.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether labels, given as pairs, satisfy it.
    pub fn matches<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        self.matches_with(|key| labels.clone().find(|(k, _)| *k == key).map(|(_, v)| v))
    }

    /// Whether the labels of an object satisfy it.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches_labels(object.get("metadata").and_then(|m| m.get("labels")))
    }

    /// Whether a map of labels satisfies it.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        self.matches_with(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }
}

/// `metav1.FormatLabelSelector`: the text of a `LabelSelector`, `<none>` when empty, `<error>` when invalid.
pub fn format_label_selector(selector: Option<&Value>) -> String {
    match Selector::from_label_selector(selector) {
        Ok(s) if s.requirements.is_empty() => "<none>".to_owned(),
        Ok(s) => s.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

mod parse;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_read_and_print() {
        for (text, printed) in [
            ("", ""),
            ("a=b", "a=b"),
            ("x in (b,a) , !y, z", "x in (a,b),!y,z"),
            ("a==b,c!=d", "a==b,c!=d"),
            ("n>3,m<5", "m<5,n>3"),
            ("a=", "a="),
            ("a in ()", "a in ()"),
            ("in=in", "in=in"),
        ] {
            let parsed = Selector::parse(text).map(|s| s.to_string());
            assert_eq!(parsed.as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn errors_read_as_upstream() {
        for (text, error) in [
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err(), error, "{text}");
        }
        assert!(
            Selector::parse("a=b/c").unwrap_err().starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"b/c\": a valid label"
            )
        );
        assert!(
            Selector::parse("a@b=c")
                .unwrap_err()
                .starts_with("unable to parse requirement: <nil>: Invalid value: \"a@b\": name part")
        );
    }

    #[test]
    fn absence_is_part_of_matching() {
        let labels = json!({"metadata": {"labels": {"a": "1", "b": "x"}}});
        for (text, holds) in [
            ("a=1", true),
            ("a!=1", false),
            ("c!=1", true),
            ("c notin (x)", true),
            ("b in (x,y)", true),
            ("!c", true),
            ("!a", false),
            ("a>0", true),
            ("b>0", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches_object(&labels), holds, "{text}");
        }
        assert!(!Selector::from_label_selector(None).unwrap().matches_object(&labels));
        assert!(Selector::from_label_selector(Some(&json!({}))).unwrap().matches_object(&labels));
        let expression =
            json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]});
        assert!(Selector::from_label_selector(Some(&expression)).unwrap().matches_object(&labels));
        assert_eq!(format_label_selector(Some(&expression)), "a=1,b");
    }
}
