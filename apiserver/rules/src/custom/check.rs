//! What a definition's rules must be: [`check_rules`].

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path};
use kplane_machinery::schema::{ListType, Schema, SchemaType, ValidationRule};
use kplane_schema::structural;
use serde_json::{Value, json};

use super::costs::{Costs, executions};
use super::field_path;
use crate::check::{Checked, Environment, Type};
use crate::estimate::estimate;
use crate::program::checked;
use crate::schema::{Decl, declare};

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
        let mut check = Check { errors: Vec::new(), costs: Costs::default() };
        check.walk(&schema, Around { root: true, times: Some(1), apart: None }, path);
        errors.append(&mut check.errors);
        check.costs.settle(path, &mut errors);
    }
    errors
}

/// What is known of the place of a schema.
#[derive(Clone, Copy)]
struct Around<'a> {
    root: bool,
    /// How often its value may be there in one object, where limits say.
    times: Option<u64>,
    /// The list above whose items cannot be told apart between two versions of an object.
    apart: Option<&'a Path>,
}

struct Check {
    errors: ErrorList,
    costs: Costs,
}

impl Check {
    /// True when the form of a rule was wrong here or below; what rules mean is not looked at then.
    fn walk(&mut self, schema: &Schema, around: Around<'_>, path: &Path) -> bool {
        if schema.type_name.is_some() {
            return false;
        }
        let limits = schema.validations.as_deref();
        let factor = match schema.schema_type {
            SchemaType::Object if schema.additional.is_some() => {
                limits.and_then(|limits| limits.max_properties)
            }
            SchemaType::Array => limits.and_then(|limits| limits.max_items),
            _ => Some(1),
        };
        let times = around.times.and_then(|times| Some(times.saturating_mul(factor?)));
        let below = Around { root: false, times, apart: around.apart };
        let mut malformed = false;
        for property in &schema.properties {
            malformed |= self.walk(&property.schema, below, &path.child("properties").key(&property.name));
        }
        if let Some(of) = &schema.additional {
            malformed |= self.walk(of, below, &path.child("additionalProperties"));
        }
        if let Some(of) = &schema.items {
            let own = if matches!(schema.list_type, ListType::Map(_)) { None } else { Some(path) };
            malformed |= self.walk(of, Around { apart: around.apart.or(own), ..below }, &path.child("items"));
        }
        let rules = limits.map_or(&[][..], |limits| &limits.rules);
        if rules.is_empty() {
            return malformed;
        }
        let at = path.child("x-kubernetes-validations");
        for (index, rule) in rules.iter().enumerate() {
            let before = self.errors.len();
            form(rule, schema, &at.index(index), &mut self.errors);
            malformed |= self.errors.len() > before;
        }
        if malformed {
            return true;
        }
        let Some(decl) = declare(schema, around.root || schema.embedded_resource, SELF) else {
            let told = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(FieldError::internal(&at, told));
            return false;
        };
        for (index, rule) in rules.iter().enumerate() {
            self.meaning(rule, &decl, around, &at.index(index));
        }
        false
    }

    fn meaning(&mut self, rule: &ValidationRule, decl: &Decl, around: Around<'_>, at: &Path) {
        let blame = |field: &str, told: String| FieldError {
            error_type: ErrorType::Invalid,
            field: at.child(field),
            shown: Some(as_upstream_shows(rule)),
            detail: told,
        };
        let found = expressions(rule, decl);
        let cost = found.rule.as_ref().map_or(0, |checked| estimate(checked, decl).max);
        let cost = cost.saturating_mul(executions(around.times, decl.min_size));
        self.costs.count(&at.child("rule"), "estimated rule cost", cost, &mut self.errors);
        if let Some(told) = found.rule_error {
            self.errors.push(blame("rule", told));
        }
        if let Some(told) = found.message_error {
            self.errors.push(blame("messageExpression", told));
        } else if let Some(message) = &found.message {
            let cost = estimate(message, decl).max;
            let what = "estimated messageExpression cost";
            self.costs.count(&at.child("messageExpression"), what, cost, &mut self.errors);
        }
        let Some(checked) = found.rule else { return };
        if checked.expr.mentions("oldSelf") {
            if let Some(apart) = around.apart {
                let told = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}"
                );
                self.errors.push(FieldError::invalid_str(&at.child("rule"), &rule.rule, told));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let told = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&at.child("optionalOldSelf"), &json!(optional), told));
        }
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

/// The name of the type of the value that rules stand at; those of its fields are below it.
pub(super) const SELF: &str = "selfType";

/// A rule's expressions, and what is wrong with them.
pub(super) struct Expressions {
    pub rule: Option<Checked>,
    pub message: Option<Checked>,
    pub rule_error: Option<String>,
    pub message_error: Option<String>,
}

/// Parses and checks a rule that stands at a declared value.
pub(super) fn expressions(rule: &ValidationRule, decl: &Decl) -> Expressions {
    let this = decl.of_type();
    let old = if rule.optional_old_self == Some(true) { Type::optional(this.clone()) } else { this.clone() };
    let environment = Environment::new([("self", this), ("oldSelf", old)]);
    let mut out = Expressions { rule: None, message: None, rule_error: None, message_error: None };
    match checked(&rule.rule, &environment) {
        Ok(found) if matches!(found.type_of(&found.expr), Type::Bool) => out.rule = Some(found),
        Ok(_) => out.rule_error = Some("cel expression must evaluate to a bool".to_owned()),
        Err(told) => out.rule_error = Some(format!("compilation failed: {told}")),
    }
    if !rule.message_expression.trim().is_empty() {
        match checked(&rule.message_expression, &environment) {
            Ok(found) if matches!(found.type_of(&found.expr), Type::String) => out.message = Some(found),
            Ok(_) => out.message_error = Some("messageExpression must evaluate to a string".to_owned()),
            Err(told) => out.message_error = Some(format!("messageExpression compilation failed: {told}")),
        }
    }
    out
}
