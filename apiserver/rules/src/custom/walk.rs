//! Compiled rules, arranged as the schema is, and the walk over an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_machinery::field::{ErrorList, ErrorType, FieldError, Path};
use kplane_machinery::schema::{ListType, Schema, SchemaLink, ValidationRule};
use serde_json::Value;

use super::check::{Expressions, SELF, expressions};
use super::field_path::{self, Step};
use crate::CompiledRules;
use crate::admission::Answers;
use crate::eval::Activation;
use crate::library::Stop;
use crate::program::{Budget, LIMIT_EXCEEDED, OUT_OF_BUDGET, Program};
use crate::schema::{Decl, declare};
use crate::value::{Value as CelValue, from_json};

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
    may_take_long: bool,
}

/// The rules at a place and below it.
struct Node {
    schema: Arc<Schema>,
    /// What rules see of a value; `None` when there are none.
    decl: Option<Arc<Decl>>,
    rules: Vec<Rule>,
    properties: BTreeMap<Arc<str>, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
}

/// The rules of a schema.
pub(crate) struct Rules {
    root: Node,
    may_take_long: bool,
}

impl Rules {
    pub(crate) fn compile(schema: &Schema) -> Option<Self> {
        let mut may_take_long = false;
        let root = node(&Arc::new(schema.clone()), true, &mut may_take_long)?;
        Some(Self { root, may_take_long })
    }
}

fn shared(link: &SchemaLink) -> Arc<Schema> {
    match link {
        SchemaLink::Direct(schema) => schema.clone(),
        SchemaLink::Named(named) => named.cell.get().cloned().unwrap_or_default(),
    }
}

fn node(schema: &Arc<Schema>, root: bool, long: &mut bool) -> Option<Node> {
    // Built-in types have no rules, and may contain themselves.
    if schema.type_name.is_some() {
        return None;
    }
    let mut below = |link: &SchemaLink| node(&shared(link), false, long);
    let properties = (schema.properties.iter())
        .filter_map(|property| Some((property.name.clone(), below(&property.schema)?)))
        .collect();
    let additional = schema.additional.as_ref().and_then(&mut below).map(Box::new);
    let items = schema.items.as_ref().and_then(&mut below).map(Box::new);
    let given = schema.validations.iter().flat_map(|v| &v.rules);
    let mut out =
        Node { schema: schema.clone(), decl: None, rules: Vec::new(), properties, additional, items };
    if given.clone().next().is_some() {
        out.decl = declare(schema, root || schema.embedded_resource, SELF);
        let any = Decl::any();
        let decl = out.decl.as_deref().unwrap_or(&any);
        out.rules = given.map(|rule| compiled(rule, schema, decl)).collect();
        *long |= out.rules.iter().any(|rule| rule.may_take_long);
    }
    let empty =
        out.rules.is_empty() && out.properties.is_empty() && out.additional.is_none() && out.items.is_none();
    (!empty).then_some(out)
}

fn compiled(rule: &ValidationRule, schema: &Schema, decl: &Decl) -> Rule {
    let Expressions { rule: found, message, rule_error, message_error } = expressions(rule, decl);
    let uses_old = found.as_ref().is_some_and(|found| found.expr.mentions("oldSelf"));
    let program = match (found, rule_error) {
        (Some(found), None) => Ok(Program::new(&found)),
        (_, told) => Err(format!("rule compile error: {}", told.unwrap_or_default())),
    };
    let may_take_long = program.as_ref().is_ok_and(|program: &Program| program.may_take_long);
    Rule {
        source: rule.clone(),
        program,
        message: message.filter(|_| message_error.is_none()).map(|found| Program::new(&found)),
        // One that leads nowhere is refused when a definition is written.
        field: field_path::parse(&rule.field_path, schema).unwrap_or_default(),
        uses_old,
        may_take_long,
    }
}

/// `Invalid value: told`; rules do not show the value.
fn invalid(path: &Path, told: impl Into<String>) -> FieldError {
    FieldError { error_type: ErrorType::Invalid, field: path.clone(), shown: None, detail: told.into() }
}

impl CompiledRules for Rules {
    fn validate(&self, object: &Value, old: Option<&Value>) -> ErrorList {
        let mut walk = Walk { errors: Vec::new(), budget: Budget::new(BUDGET), over: false };
        let at = At { old, unchanged: false };
        walk.node(&self.root, object, at, &Path::root());
        walk.errors
    }

    fn may_take_long(&self) -> bool {
        self.may_take_long
    }
}

/// What was at the same place before.
#[derive(Clone, Copy)]
struct At<'a> {
    old: Option<&'a Value>,
    /// Nothing has changed here, though it may not be known what was there: something around it is as it was.
    unchanged: bool,
}

impl<'a> At<'a> {
    fn below(self, old: Option<&'a Value>) -> Self {
        Self { old, unchanged: self.unchanged }
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
        // What may be null is for the rules of what is around it to look at.
        if value.is_null() {
            return;
        }
        at.old = at.old.filter(|old| !old.is_null());
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
        let decl = node.decl.as_deref();
        // In which version an object is spoken of is not kept with it: that it has not changed says nothing.
        let fickle = matches!(path.as_str(), "apiVersion" | "kind");
        for rule in &node.rules {
            if self.over {
                return;
            }
            let optional_old = rule.source.optional_old_self == Some(true);
            if (rule.uses_old && at.old.is_none() && !optional_old)
                || (!rule.uses_old && at.unchanged && !fickle)
            {
                continue;
            }
            let mut seen = vec![("self", from_json(value, decl))];
            match (at.old.map(|old| from_json(old, decl)), optional_old) {
                (Some(old), false) => seen.push(("oldSelf", old)),
                (Some(old), true) => seen.push(("oldSelf", old.some())),
                (None, true) => seen.push(("oldSelf", CelValue::none())),
                (None, false) => {}
            }
            self.rule(rule, &seen, path);
        }
    }

    /// The value of an expression; `None` when the budget did not suffice.
    fn run<'a>(
        &mut self,
        program: &'a Program,
        seen: &[(&'static str, CelValue<'a>)],
    ) -> Option<Result<CelValue<'a>, Stop>> {
        let answers = Answers::default();
        let (outcome, cost) = program.run(&Activation { globals: seen, answers: &answers, variables: None });
        self.budget.spend(cost).then_some(outcome)
    }

    fn rule<'a>(&mut self, rule: &'a Rule, seen: &[(&'static str, CelValue<'a>)], path: &Path) {
        let program = match &rule.program {
            Ok(program) => program,
            Err(told) => return self.errors.push(invalid(path, told)),
        };
        let Some(outcome) = self.run(program, seen) else { return self.out_of_budget(path) };
        let stop = match outcome {
            Ok(CelValue::Bool(true)) => return,
            Ok(_) => {
                let message = self.message(rule, seen);
                if self.over {
                    return self.out_of_budget(path);
                }
                self.errors.push(failed(rule, path, message));
                return;
            }
            Err(stop) => stop,
        };
        let (told, shown) = (stop.words(), shown(&rule.source));
        let told = if told.starts_with("no such overload") {
            format!(
                "'{told}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            )
        } else if told.starts_with(LIMIT_EXCEEDED) {
            self.over = true;
            format!(
                "'{told}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
            )
        } else {
            format!("{told} evaluating rule: {shown}")
        };
        self.errors.push(invalid(path, told));
    }

    fn out_of_budget(&mut self, path: &Path) {
        self.over = true;
        self.errors.push(invalid(path, OUT_OF_BUDGET));
    }

    /// What the rule says; its `message` when the expression says nothing that can be shown.
    fn message<'a>(&mut self, rule: &'a Rule, seen: &[(&'static str, CelValue<'a>)]) -> String {
        if let Some(expression) = &rule.message {
            match self.run(expression, seen) {
                Some(Ok(CelValue::String(text))) => {
                    let text = text.trim();
                    if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') {
                        return text.to_owned();
                    }
                }
                None => self.over = true,
                Some(_) => {}
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
