//! Compiled rules, arranged as the schema is, and the walk over an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path};
use kplane_machinery::schema::{ListType, Schema, SchemaLink, ValidationRule};
use serde_json::Value;

use crate::cel::{Budget, Outcome, Program, Variables, to_cel};
use crate::check::{Expressions, expressions};
use crate::field_path::{self, Step};
use crate::{CompiledRules, types};

/// What all rules of an object may cost.
const BUDGET: u64 = 10_000_000;
/// The longest message an expression may make.
const LONGEST_MESSAGE: usize = 5 * 1024;

struct Rule {
    source: ValidationRule,
    /// Or why it does not compile.
    program: Result<Program, String>,
    message: Option<Program>,
    field: Vec<Step>,
    uses_old: bool,
}

/// The rules at a place and below it.
struct Node {
    schema: Arc<Schema>,
    rules: Vec<Rule>,
    properties: BTreeMap<Arc<str>, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
}

/// The rules of a schema.
pub(crate) struct Rules {
    root: Node,
}

impl Rules {
    pub(crate) fn compile(schema: &Schema) -> Option<Self> {
        node(&Arc::new(schema.clone()), true).map(|root| Self { root })
    }
}

fn shared(link: &SchemaLink) -> Arc<Schema> {
    match link {
        SchemaLink::Direct(schema) => schema.clone(),
        SchemaLink::Named(named) => named.cell.get().cloned().unwrap_or_default(),
    }
}

fn node(schema: &Arc<Schema>, root: bool) -> Option<Node> {
    // Built-in types have no rules, and may contain themselves.
    if schema.type_name.is_some() {
        return None;
    }
    let below = |link: &SchemaLink| node(&shared(link), false);
    let rules = schema.validations.iter().flat_map(|v| &v.rules);
    let out = Node {
        schema: schema.clone(),
        rules: rules.map(|rule| compiled(rule, schema, root)).collect(),
        properties: (schema.properties.iter())
            .filter_map(|property| Some((property.name.clone(), below(&property.schema)?)))
            .collect(),
        additional: schema.additional.as_ref().and_then(below).map(Box::new),
        items: schema.items.as_ref().and_then(below).map(Box::new),
    };
    let empty =
        out.rules.is_empty() && out.properties.is_empty() && out.additional.is_none() && out.items.is_none();
    (!empty).then_some(out)
}

fn compiled(rule: &ValidationRule, schema: &Arc<Schema>, root: bool) -> Rule {
    let Expressions { rule: parsed, message, rule_error, message_error } = expressions(rule, schema, root);
    let uses_old = parsed.as_ref().is_some_and(|parsed| types::uses(parsed, "oldSelf"));
    let program = match (parsed, rule_error) {
        (Some(parsed), None) => Ok(Program::new(parsed)),
        (_, told) => Err(format!("rule compile error: {}", told.unwrap_or_default())),
    };
    Rule {
        source: rule.clone(),
        program,
        message: message.filter(|_| message_error.is_none()).map(Program::new),
        // One that leads nowhere is refused when a definition is written.
        field: field_path::parse(&rule.field_path, schema).unwrap_or_default(),
        uses_old,
    }
}

/// `Invalid value: told`; rules do not show the value.
fn invalid(path: &Path, told: impl Into<String>) -> FieldError {
    FieldError { error_type: ErrorType::Invalid, field: path.clone(), shown: None, detail: told.into() }
}

impl CompiledRules for Rules {
    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        let mut walk = Walk { errors: Vec::new(), budget: Budget::new(BUDGET), over: false };
        let at = At { old, unchanged: false, root: true };
        walk.node(&self.root, object, at, &Path::root());
        walk.errors
    }
}

/// What was at the same place before.
#[derive(Clone, Copy)]
struct At<'a> {
    old: Option<&'a Value>,
    /// Nothing has changed here, though it may not be known what was there: something around it is as it was.
    unchanged: bool,
    /// The object itself.
    root: bool,
}

impl<'a> At<'a> {
    fn below(self, old: Option<&'a Value>) -> Self {
        Self { old, unchanged: self.unchanged, root: false }
    }
}

struct Walk {
    errors: ErrorList,
    budget: Budget,
    /// Nothing is left of the budget.
    over: bool,
}

impl Walk {
    fn node(&mut self, node: &Node, value: &Value, mut at: At<'_>, path: &Path) {
        if value.is_null() && !node.schema.nullable {
            return;
        }
        at.unchanged |= at.old == Some(value);
        self.rules(node, value, at, path);
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if self.over {
                        return;
                    }
                    let at = at.below(at.old.and_then(|old| old.get(name)));
                    if let Some(inner) = node.properties.get(name.as_str()) {
                        self.node(inner, value, at, &path.child(name));
                    } else if let Some(inner) = &node.additional
                        && node.schema.property(name).is_none()
                    {
                        self.node(inner, value, at, &path.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let Some(inner) = &node.items else { return };
                let old = at.old.and_then(Value::as_array);
                for (index, value) in items.iter().enumerate() {
                    if self.over {
                        return;
                    }
                    let old = old.and_then(|old| counterpart(&node.schema, value, old));
                    self.node(inner, value, at.below(old), &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, node: &Node, value: &Value, at: At<'_>, path: &Path) {
        let mut variables = None;
        for rule in &node.rules {
            if self.over {
                return;
            }
            let optional_old = rule.source.optional_old_self == Some(true);
            if (rule.uses_old && at.old.is_none() && !optional_old) || (!rule.uses_old && at.unchanged) {
                continue;
            }
            let variables: &Variables = variables.get_or_insert_with(|| Variables {
                this: to_cel(&node.schema, value, at.root),
                old: at.old.map(|old| to_cel(&node.schema, old, at.root)),
            });
            let optional;
            let seen = if optional_old {
                optional = variables.clone().with_optional_old();
                &optional
            } else {
                variables
            };
            self.rule(rule, seen, path);
        }
    }

    fn rule(&mut self, rule: &Rule, variables: &Variables, path: &Path) {
        let program = match &rule.program {
            Ok(program) => program,
            Err(told) => return self.errors.push(invalid(path, told)),
        };
        let told = match program.run(variables, &mut self.budget) {
            Outcome::Bool(true) => return,
            Outcome::Bool(false) => {
                let message = self.message(rule, variables);
                if self.over {
                    return self.out_of_budget(path);
                }
                self.errors.push(failed(rule, path, message));
                return;
            }
            Outcome::OutOfBudget => return self.out_of_budget(path),
            Outcome::Text(_) | Outcome::Other => "cel expression must evaluate to a bool".to_owned(),
            Outcome::Failed(told) if told == "no such overload" => {
                "call arguments did not match a supported operator, function or macro signature for rule"
                    .to_owned()
            }
            Outcome::Failed(told) => format!("{told} evaluating rule"),
        };
        self.errors.push(invalid(path, format!("{told}: {}", shown(&rule.source))));
    }

    fn out_of_budget(&mut self, path: &Path) {
        self.over = true;
        self.errors.push(invalid(
            path,
            "validation failed due to running out of cost budget, no further validation rules will be run",
        ));
    }

    /// What the rule says; its `message` when the expression says nothing that can be shown.
    fn message(&mut self, rule: &Rule, variables: &Variables) -> String {
        if let Some(expression) = &rule.message {
            match expression.run(variables, &mut self.budget) {
                Outcome::Text(text) => {
                    let text = text.trim();
                    if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
                        return text.to_owned();
                    }
                }
                Outcome::OutOfBudget => self.over = true,
                Outcome::Bool(_) | Outcome::Other | Outcome::Failed(_) => {}
            }
        }
        if rule.source.message.is_empty() {
            format!("failed rule: {}", rule.source.rule.trim())
        } else {
            rule.source.message.trim().to_owned()
        }
    }
}

/// The item of the old list that has the same keys.
fn counterpart<'a>(schema: &Schema, item: &Value, old: &'a [Value]) -> Option<&'a Value> {
    let ListType::Map(keys) = &schema.list_type else { return None };
    old.iter().find(|before| keys.iter().all(|key| before.get(&**key) == item.get(&**key)))
}

/// How errors name a rule.
fn shown(rule: &ValidationRule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}

fn failed(rule: &Rule, path: &Path, told: String) -> FieldError {
    let path = field_path::extend(path, &rule.field);
    match rule.source.reason.as_deref() {
        Some("FieldValueForbidden") => FieldError::forbidden(&path, told),
        Some("FieldValueRequired") => FieldError::required(&path, told),
        Some("FieldValueDuplicate") => {
            FieldError { error_type: ErrorType::Duplicate, field: path, shown: None, detail: String::new() }
        }
        _ => invalid(&path, told),
    }
}
