//! What a definition's rules must be: [`check_rules`].

use std::sync::Arc;

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path};
use kplane_machinery::schema::{ListType, Schema, SchemaLink, ValidationRule};
use kplane_schema::structural;
use kube_cel::cel::parser::Expression;
use serde_json::{Value, json};

use crate::types::{self, Checker, Type};
use crate::{cel, field_path};

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What is wrong with the rules of a CustomResourceDefinition's schema, which is otherwise sound.
///
/// `path` is that of the schema in the definition. A schema that cannot be read has no rules to speak of: its own
/// errors are told elsewhere.
pub fn check_rules(raw: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    if let Ok(mut schema) = structural::from_json(raw, path) {
        structural::add_type_and_object_meta(&mut schema);
        walk(&Arc::new(schema), true, path, None, &mut errors);
    }
    errors
}

fn shared(link: &SchemaLink) -> Arc<Schema> {
    match link {
        SchemaLink::Direct(schema) => schema.clone(),
        SchemaLink::Named(named) => named.cell.get().cloned().unwrap_or_default(),
    }
}

/// `apart` is the list above whose items cannot be told apart between two versions of an object.
fn walk(schema: &Arc<Schema>, root: bool, path: &Path, apart: Option<&Path>, errors: &mut ErrorList) {
    if schema.type_name.is_some() {
        return;
    }
    for (index, rule) in schema.validations.iter().flat_map(|v| &v.rules).enumerate() {
        let at = path.child("x-kubernetes-validations").index(index);
        form(rule, schema, &at, errors);
        meaning(rule, schema, root, &at, apart, errors);
    }
    for property in &schema.properties {
        let path = path.child("properties").key(&property.name);
        walk(&shared(&property.schema), false, &path, apart, errors);
    }
    if let Some(of) = &schema.additional {
        walk(&shared(of), false, &path.child("additionalProperties"), apart, errors);
    }
    if let Some(of) = &schema.items {
        let apart = apart.or(if matches!(schema.list_type, ListType::Map(_)) { None } else { Some(path) });
        walk(&shared(of), false, &path.child("items"), apart, errors);
    }
}

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn form(rule: &ValidationRule, schema: &Schema, at: &Path, errors: &mut ErrorList) {
    let (text, message) = (rule.rule.trim(), rule.message.trim());
    if text.is_empty() {
        errors.push(FieldError::required(&at.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        let told = "message must be non-empty if specified";
        errors.push(FieldError::invalid_str(&at.child("message"), &rule.message, told));
    } else if has_newlines(message) {
        let told = "message must not contain line breaks";
        errors.push(FieldError::invalid_str(&at.child("message"), &rule.message, told));
    } else if has_newlines(text) && message.is_empty() {
        let told = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&at.child("message"), told));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let told = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&at.child("messageExpression"), told));
    }
    if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(&at.child("reason"), &json!(reason), &REASONS));
    }
    if rule.field_path.is_empty() {
        return;
    }
    let field = at.child("fieldPath");
    if rule.field_path.trim().is_empty() {
        let told = "fieldPath must be non-empty if specified";
        errors.push(FieldError::invalid_str(&field, &rule.field_path, told));
    }
    if has_newlines(&rule.field_path) {
        let told = "fieldPath must not contain line breaks";
        errors.push(FieldError::invalid_str(&field, &rule.field_path, told));
    }
    if field_path::parse(&rule.field_path, schema).is_none() {
        errors.push(FieldError::invalid_str(&field, &rule.field_path, "fieldPath must be a valid path"));
    }
}

fn meaning(
    rule: &ValidationRule,
    schema: &Arc<Schema>,
    root: bool,
    at: &Path,
    apart: Option<&Path>,
    errors: &mut ErrorList,
) {
    if rule.rule.trim().is_empty() {
        return;
    }
    let found = expressions(rule, schema, root);
    let mut blame = |field: &str, told: String| {
        errors.push(FieldError {
            error_type: ErrorType::Invalid,
            field: at.child(field),
            shown: Some(as_upstream_shows(rule)),
            detail: told,
        });
    };
    if let Some(told) = found.rule_error {
        blame("rule", told);
    }
    if let Some(told) = found.message_error {
        blame("messageExpression", told);
    }
    let Some(parsed) = found.rule else { return };
    if types::uses(&parsed, "oldSelf") {
        if let Some(apart) = apart {
            let told =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}");
            errors.push(FieldError::invalid_str(&at.child("rule"), &rule.rule, told));
        }
    } else if let Some(optional) = rule.optional_old_self {
        let told = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(&at.child("optionalOldSelf"), &json!(optional), told));
    }
}

/// The rule as Go encodes its internal form.
fn as_upstream_shows(rule: &ValidationRule) -> String {
    let text = |text: &str| kplane_machinery::field::go_value(&json!([text]));
    let inner = |shown: String| shown[1..shown.len() - 1].to_owned();
    let optional = |shown: Option<String>| shown.unwrap_or_else(|| "null".to_owned());
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        inner(text(&rule.rule)),
        inner(text(&rule.message)),
        inner(text(&rule.message_expression)),
        optional(rule.reason.as_deref().map(|reason| inner(text(reason)))),
        inner(text(&rule.field_path)),
        optional(rule.optional_old_self.map(|value| value.to_string())),
    )
}

/// A rule's expressions, and what is wrong with them.
pub(crate) struct Expressions {
    pub rule: Option<Expression>,
    pub message: Option<Expression>,
    pub rule_error: Option<String>,
    pub message_error: Option<String>,
}

/// Parses and checks a rule that stands at a schema.
pub(crate) fn expressions(rule: &ValidationRule, schema: &Arc<Schema>, root: bool) -> Expressions {
    // What rules cannot see, such as a value of any type, they may still be written about.
    let this = types::of_schema(schema, root).unwrap_or(Type::Any);
    let old = if rule.optional_old_self == Some(true) { Type::Any } else { this.clone() };
    let check = |source: &str| -> Result<(Expression, Type), String> {
        let parsed = cel::parse(source)?;
        let mut checker = Checker::new(this.clone(), old.clone());
        let result = checker.check(&parsed);
        if checker.problems.is_empty() {
            Ok((parsed, result))
        } else {
            let told: Vec<String> = checker.problems.iter().map(|problem| problem.told(source)).collect();
            Err(told.join("\n"))
        }
    };
    let mut out = Expressions { rule: None, message: None, rule_error: None, message_error: None };
    match check(&rule.rule) {
        Ok((parsed, result)) => {
            if !result.may_be_bool() {
                out.rule_error = Some("cel expression must evaluate to a bool".to_owned());
            }
            out.rule = Some(parsed);
        }
        Err(told) => out.rule_error = Some(format!("compilation failed: {told}")),
    }
    if !rule.message_expression.trim().is_empty() {
        match check(&rule.message_expression) {
            Ok((parsed, result)) => {
                if !result.may_be_text() {
                    out.message_error = Some("messageExpression must evaluate to a string".to_owned());
                }
                out.message = Some(parsed);
            }
            Err(told) => out.message_error = Some(format!("messageExpression compilation failed: {told}")),
        }
    }
    out
}
