//! Admission policies and their bindings.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{at, str_at};
use kplane_rules::admission::{Compiler, Scope, Wanted};
use serde_json::Value;

use super::admission::{default_rules, match_conditions, rule};
use crate::common::{clear_status, first_generation, spec_changed};
use crate::print::{self, UNSET};
use crate::rules::label_selector;
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, Obj, child, dflt_str, ensure, items, sub, text};

/// `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`.
pub(crate) struct Policies {
    /// May change what it sees.
    pub(crate) mutating: bool,
}

fn default_match(spec: &mut Obj, field: &str) {
    if let Some(constraints) = child(spec, field) {
        dflt_str(constraints, "matchPolicy", "Equivalent");
        ensure(constraints, "namespaceSelector");
        ensure(constraints, "objectSelector");
        for rules in ["resourceRules", "excludeResourceRules"] {
            default_rules(constraints, rules);
        }
    }
}

fn match_resources(constraints: &At<'_>, errors: &mut ErrorList) {
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(&constraints.f(field), errors);
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        for one in constraints.f(rules).items() {
            rule(&one, errors);
        }
    }
    let policy = constraints.f("matchPolicy");
    if policy.there() {
        policy.one_of(errors, &["Equivalent", "Exact"]);
    }
}

impl Policies {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        let failure = spec.f("failurePolicy");
        if failure.there() {
            failure.one_of(&mut errors, &["Fail", "Ignore"]);
        }
        let kind = spec.f("paramKind");
        if kind.there() {
            for field in ["apiVersion", "kind"] {
                if kind.f(field).str().is_empty() {
                    kind.f(field).required(&mut errors, "");
                }
            }
        }
        let constraints = spec.f("matchConstraints");
        if !constraints.there() {
            constraints.required(&mut errors, "");
        } else {
            match_resources(&constraints, &mut errors);
            if constraints.f("resourceRules").len() == 0 {
                constraints.f("resourceRules").required(&mut errors, "");
            }
        }
        let scope = Scope { params: kind.there(), authorizer: true };
        match_conditions(&spec.f("matchConditions"), scope, &mut errors);
        let mut compiler = if self.mutating { Compiler::mutating(scope) } else { Compiler::new(scope) };
        variables(&spec, &mut compiler, &mut errors);
        if self.mutating {
            self.mutations(&spec, &compiler, &mut errors);
        } else {
            validations(&spec, &compiler, &mut errors);
        }
        errors
    }

    fn mutations(&self, spec: &At<'_>, compiler: &Compiler, errors: &mut ErrorList) {
        let mutations = spec.f("mutations");
        if mutations.len() == 0 {
            mutations.required(errors, "mutations must contain at least one item");
        }
        for mutation in mutations.items() {
            let kind = mutation.f("patchType");
            let (field, wanted) = match kind.str() {
                "ApplyConfiguration" => ("applyConfiguration", Wanted::Object),
                "JSONPatch" => ("jsonPatch", Wanted::Patch),
                "" => {
                    kind.required(errors, "");
                    continue;
                }
                _ => {
                    kind.unsupported(errors, &["ApplyConfiguration", "JSONPatch"]);
                    continue;
                }
            };
            let body = mutation.f(field);
            if !body.there() {
                body.required(errors, &format!("must be specified when patchType is {}", kind.str()));
            } else if body.f("expression").str().trim().is_empty() {
                body.f("expression").required(errors, "expression is not specified");
            } else {
                let source = body.f("expression");
                blame(&source, compiler.check(source.str().trim(), wanted), errors);
            }
        }
        spec.f("reinvocationPolicy").required_one_of(errors, &["IfNeeded", "Never"]);
    }
}

/// What is wrong with an expression, said where it stands.
fn blame(at: &At<'_>, found: Result<(), String>, errors: &mut ErrorList) {
    if let Err(told) = found {
        errors.push(FieldError::invalid_str(&at.path, at.str().trim(), told));
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Variables see those before them.
fn variables(spec: &At<'_>, compiler: &mut Compiler, errors: &mut ErrorList) {
    let mut names = std::collections::HashSet::new();
    for variable in spec.f("variables").items() {
        let (name, expression) = (variable.f("name"), variable.f("expression"));
        if name.str().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !is_identifier(name.str()) {
            name.invalid(errors, "name is not a valid CEL identifier");
        } else if !names.insert(name.str()) {
            name.duplicate(errors);
        }
        let source = expression.str().trim();
        if source.is_empty() {
            expression.required(errors, "expression is not specified");
        } else {
            blame(&expression, compiler.check(source, Wanted::Anything), errors);
            compiler.variable(name.str(), source);
        }
    }
}

fn validations(spec: &At<'_>, compiler: &Compiler, errors: &mut ErrorList) {
    let (validations, audits) = (spec.f("validations"), spec.f("auditAnnotations"));
    if validations.len() == 0 && audits.len() == 0 {
        let says = "validations or auditAnnotations must contain at least one item";
        validations.required(errors, says);
        audits.required(errors, says);
        return;
    }
    for validation in validations.items() {
        let expression = validation.f("expression");
        if expression.str().trim().is_empty() {
            expression.required(errors, "expression is not specified");
        } else {
            blame(&expression, compiler.check(expression.str().trim(), Wanted::Bool), errors);
        }
        let own = validation.f("messageExpression");
        if own.there() && !own.str().is_empty() {
            if own.str().trim().is_empty() {
                own.invalid(errors, "must be non-empty if specified");
            } else {
                blame(&own, compiler.check_message(own.str().trim()), errors);
            }
        }
        let (message, reason) = (validation.f("message"), validation.f("reason"));
        if message.there() && message.str().trim().is_empty() && !message.str().is_empty() {
            message.invalid(errors, "message must be non-empty if specified");
        } else if message.str().trim().contains('\n') {
            message.invalid(errors, "message must not contain line breaks");
        }
        if reason.there() {
            reason.one_of(errors, &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"]);
        }
    }
    let mut keys = std::collections::HashSet::new();
    for audit in audits.items() {
        let (key, value) = (audit.f("key"), audit.f("valueExpression"));
        if key.str().is_empty() {
            key.required(errors, "");
        } else if !keys.insert(key.str()) {
            key.duplicate(errors);
        }
        if value.str().trim().is_empty() {
            value.required(errors, "valueExpression is not specified");
        } else {
            blame(&value, compiler.check(value.str().trim(), Wanted::TextOrNull), errors);
        }
    }
}

impl Strategy for Policies {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        if !self.mutating
            && let Some(fields) = object.as_object_mut()
        {
            ensure(fields, "status");
        }
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        dflt_str(spec, "failurePolicy", "Fail");
        if self.mutating {
            dflt_str(spec, "reinvocationPolicy", "Never");
        }
        default_match(spec, "matchConstraints");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        if !self.mutating {
            clear_status(object);
        }
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(object)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() { Vec::new() } else { self.validate(object) }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let count = items(spec, if self.mutating { "mutations" } else { "validations" }).len();
        let kind = sub(spec, "paramKind").map_or_else(
            || UNSET.to_owned(),
            |kind| format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")),
        );
        Some(vec![print::name(object), count.into(), kind.into(), print::age(object, now)])
    }
}

/// `ValidatingAdmissionPolicyBinding` and `MutatingAdmissionPolicyBinding`.
pub(crate) struct PolicyBindings {
    /// Of a policy that may change what it sees.
    pub(crate) mutating: bool,
}

impl PolicyBindings {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        let name = spec.f("policyName");
        if name.str().is_empty() {
            name.required(&mut errors, "");
        } else {
            name.invalid_all(&mut errors, crate::check::subdomain(name.str()));
        }
        let param = spec.f("paramRef");
        if param.there() {
            let (own, selector) = (param.f("name"), param.f("selector"));
            let both = !own.str().is_empty() && selector.there();
            if both {
                own.forbidden(&mut errors, "name and selector are mutually exclusive");
            } else if own.str().is_empty() && !selector.there() {
                param.required(&mut errors, "one of name or selector must be specified");
            }
            let action = param.f("parameterNotFoundAction");
            action.required_one_of(&mut errors, &["Allow", "Deny"]);
        }
        match_resources(&spec.f("matchResources"), &mut errors);
        if self.mutating {
            return errors;
        }
        let actions = spec.f("validationActions");
        if actions.len() == 0 {
            actions.required(&mut errors, "at least one validation action is required");
        }
        let mut seen = std::collections::HashSet::new();
        for action in actions.items() {
            action.one_of(&mut errors, &["Audit", "Deny", "Warn"]);
            if !seen.insert(action.str()) {
                action.duplicate(&mut errors);
            }
        }
        if seen.contains("Deny") && seen.contains("Warn") {
            errors.push(FieldError::invalid(
                &actions.path,
                actions.value(),
                "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            ));
        }
        errors
    }
}

impl Strategy for PolicyBindings {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(spec) = crate::common::ensure_spec(object) {
            default_match(spec, "matchResources");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate(object)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let param = at(object, &["spec", "paramRef"]).filter(|p| !p.is_null());
        let shown = match param {
            None => UNSET.to_owned(),
            Some(p) => match (text(p, "name"), text(p, "namespace")) {
                ("", _) => print::selector(sub(p, "selector")),
                (name, "") => format!("*/{name}"),
                (name, namespace) => format!("{namespace}/{name}"),
            },
        };
        Some(vec![
            print::name(object),
            str_at(object, &["spec", "policyName"]).into(),
            shown.into(),
            print::age(object, now),
        ])
    }
}
