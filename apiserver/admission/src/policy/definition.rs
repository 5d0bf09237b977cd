//! Policies and bindings, compiled: [`Policies`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use kplane_machinery::labels::Selector;
use kplane_machinery::{GroupVersionKind, object};
use kplane_rules::admission::{Compiler, Expression, MatchConditions, Scope, Wanted};
use serde_json::Value;

use super::constraints::Constraints;

/// The policies of a control plane that are bound.
#[derive(Debug, Default)]
pub struct Policies {
    /// Those that may refuse.
    pub validating: Vec<Bound>,
    /// Those that may change.
    pub mutating: Vec<Bound>,
}

/// A policy and what binds it.
pub struct Bound {
    pub(super) name: String,
    pub(super) policy: Arc<Policy>,
    pub(super) bindings: Vec<Binding>,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bound").field(&self.name).finish()
    }
}

/// What policies of the same content share.
pub(super) struct Policy {
    spec: Value,
    pub fails_closed: bool,
    pub param_kind: Option<GroupVersionKind>,
    pub constraints: Constraints,
    pub conditions: MatchConditions,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<Validation>,
    /// By their keys.
    pub audits: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
    /// It is applied again when others changed the object after it.
    pub reinvoked: bool,
    /// One of its expressions, beside its conditions, may keep a processor busy.
    pub may_take_long: bool,
}

pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

pub(super) struct Mutation {
    /// The expression makes an apply configuration; else a JSON patch.
    pub applies: bool,
    pub expression: Expression,
}

/// Where a policy is in force, and with which parameters.
pub(super) struct Binding {
    pub name: String,
    pub params: Option<ParamRef>,
    pub constraints: Option<Constraints>,
    pub actions: Vec<String>,
}

pub(super) struct ParamRef {
    pub name: String,
    pub namespace: String,
    pub selector: Option<Result<Selector, String>>,
    pub denies_without: bool,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    object::str_at(value, &[field])
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

impl Policies {
    /// Reads policies that validate and their bindings, then those that mutate and theirs.
    pub fn read(objects: [Vec<Value>; 4]) -> Self {
        let [policies, bindings, mutating, mutating_bindings] = objects;
        Self {
            validating: bound(policies, bindings, false),
            mutating: bound(mutating, mutating_bindings, true),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.validating.is_empty() && self.mutating.is_empty()
    }
}

/// By their names, so that all servers ask them in one order. What nothing binds is not in force.
fn bound(mut policies: Vec<Value>, mut bindings: Vec<Value>, mutating: bool) -> Vec<Bound> {
    policies.sort_by(|a, b| object::name(a).cmp(object::name(b)));
    bindings.sort_by(|a, b| object::name(a).cmp(object::name(b)));
    let mut out = Vec::new();
    for policy in policies {
        let name = object::name(&policy);
        let own = bindings.iter().filter(|binding| object::str_at(binding, &["spec", "policyName"]) == name);
        let bindings: Vec<Binding> = own.map(Binding::read).collect();
        if !bindings.is_empty() {
            out.push(Bound { name: name.to_owned(), policy: shared(&policy["spec"], mutating), bindings });
        }
    }
    out
}

/// The compiled policy of a content, which all that have the same share.
fn shared(spec: &Value, mutating: bool) -> Arc<Policy> {
    static KNOWN: OnceLock<Mutex<HashMap<u64, Vec<Weak<Policy>>>>> = OnceLock::new();
    let mut hasher = DefaultHasher::new();
    (spec.to_string(), mutating).hash(&mut hasher);
    let mark = hasher.finish();
    let known = KNOWN.get_or_init(Mutex::default);
    let find = |known: &HashMap<u64, Vec<Weak<Policy>>>| {
        let alike = known.get(&mark)?.iter().filter_map(Weak::upgrade);
        alike.into_iter().find(|policy| policy.spec == *spec)
    };
    if let Some(found) = find(&known.lock().unwrap_or_else(PoisonError::into_inner)) {
        return found;
    }
    // Compiled without the lock: what takes long holds up nobody.
    let made = Arc::new(Policy::compile(spec, mutating));
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = find(&known) {
        return found;
    }
    known.retain(|_, alike| {
        alike.retain(|policy| policy.strong_count() > 0);
        !alike.is_empty()
    });
    known.entry(mark).or_default().push(Arc::downgrade(&made));
    made
}

impl Policy {
    fn compile(spec: &Value, mutating: bool) -> Self {
        let param_kind = spec.get("paramKind").filter(|kind| kind.is_object()).map(|kind| {
            let (group, version) =
                text(kind, "apiVersion").split_once('/').unwrap_or(("", text(kind, "apiVersion")));
            GroupVersionKind::new(group, version, text(kind, "kind"))
        });
        let scope = Scope { params: param_kind.is_some(), authorizer: true };
        let mut compiler = if mutating { Compiler::mutating(scope) } else { Compiler::new(scope) };
        let variables = list(spec, "variables").map(|variable| {
            let name = text(variable, "name");
            (name.to_owned(), compiler.variable(name, text(variable, "expression")))
        });
        let variables: Vec<(String, Expression)> = variables.collect();
        let validations = list(spec, "validations").map(|validation| Validation {
            expression: compiler.compile(text(validation, "expression").trim(), Wanted::Bool),
            message: text(validation, "message").trim().to_owned(),
            message_expression: Some(text(validation, "messageExpression").trim())
                .filter(|source| !source.is_empty())
                .map(|source| compiler.message(source)),
            reason: text(validation, "reason").to_owned(),
        });
        let validations: Vec<Validation> = validations.collect();
        let audits = list(spec, "auditAnnotations").map(|audit| {
            let source = text(audit, "valueExpression").trim();
            (text(audit, "key").to_owned(), compiler.compile(source, Wanted::TextOrNull))
        });
        let audits: Vec<(String, Expression)> = audits.collect();
        let mutations = list(spec, "mutations").map(|mutation| {
            let applies = text(mutation, "patchType") == "ApplyConfiguration";
            let (field, wanted) =
                if applies { ("applyConfiguration", Wanted::Object) } else { ("jsonPatch", Wanted::Patch) };
            let source = object::str_at(mutation, &[field, "expression"]).trim();
            Mutation { applies, expression: compiler.compile(source, wanted) }
        });
        let mutations: Vec<Mutation> = mutations.collect();
        let named = variables.iter().chain(&audits).map(|(_, expression)| expression);
        let validating =
            validations.iter().flat_map(|one| [Some(&one.expression), one.message_expression.as_ref()]);
        let may_take_long = named
            .chain(validating.flatten())
            .chain(mutations.iter().map(|one| &one.expression))
            .any(Expression::may_take_long);
        Self {
            fails_closed: text(spec, "failurePolicy") != "Ignore",
            param_kind,
            constraints: Constraints::read(&spec["matchConstraints"]),
            conditions: MatchConditions::compile(&spec["matchConditions"], scope),
            variables,
            validations,
            audits,
            mutations,
            reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
            may_take_long,
            spec: spec.clone(),
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let params = spec.get("paramRef").filter(|params| params.is_object()).map(|params| ParamRef {
            name: text(params, "name").to_owned(),
            namespace: text(params, "namespace").to_owned(),
            selector: params
                .get("selector")
                .filter(|selector| !selector.is_null())
                .map(|selector| Selector::from_label_selector(Some(selector))),
            denies_without: text(params, "parameterNotFoundAction") == "Deny",
        });
        Self {
            name: object::name(binding).to_owned(),
            params,
            constraints: spec.get("matchResources").filter(|r| r.is_object()).map(Constraints::read),
            actions: list(spec, "validationActions").filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}
