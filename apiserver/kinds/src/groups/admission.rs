//! Configurations of admission webhooks.

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_rules::admission::{Scope, Wanted, check_expression};
use serde_json::Value;

use crate::check;
use crate::common::{first_generation, part_changed};
use crate::print;
use crate::rules::label_selector;
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, child, dflt, dflt_str, each, ensure, items};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// `ValidatingWebhookConfiguration` and `MutatingWebhookConfiguration`.
pub(crate) struct Webhooks {
    /// May change what it sees.
    pub(crate) mutating: bool,
}

/// A rule covers objects of every scope unless it says otherwise.
pub(super) fn default_rules(owner: &mut Obj, field: &str) {
    each(owner, field, |rule| dflt(rule, "scope", "*"));
}

/// The port of a service that answers calls.
pub(crate) fn default_client(config: &mut Obj) {
    if let Some(service) = child(config, "service") {
        dflt(service, "port", 443);
    }
}

/// The rules that say which requests are seen.
pub(super) fn rule(rule: &At<'_>, errors: &mut ErrorList) {
    for (field, name) in
        [("apiGroups", "apiGroups"), ("apiVersions", "apiVersions"), ("resources", "resources")]
    {
        let list = rule.f(field);
        if list.len() == 0 {
            list.required(errors, "");
        }
        let star = list.items().any(|i| i.str() == "*");
        if star && list.len() > 1 && name != "resources" {
            list.invalid(errors, "if '*' is present, must not specify other ".to_owned() + what(name));
        }
        for item in list.items() {
            if item.str().is_empty() && name != "apiGroups" {
                item.required(errors, "");
            }
        }
    }
    let scope = rule.f("scope");
    if scope.there() {
        scope.one_of(errors, &["*", "Cluster", "Namespaced"]);
    }
    let operations = rule.f("operations");
    if operations.len() == 0 {
        operations.required(errors, "");
    }
    if operations.len() > 1 && operations.items().any(|o| o.str() == "*") {
        operations.invalid(errors, "if '*' is present, must not specify other operations");
    }
    for operation in operations.items() {
        operation.one_of(errors, &OPERATIONS);
    }
}

fn what(field: &str) -> &'static str {
    if field == "apiGroups" { "API groups" } else { "API versions" }
}

/// Where calls go: a URL or a service.
pub(crate) fn client_config(config: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (config.f("url"), config.f("service"));
    if url.there() == service.there() {
        config.required(errors, "exactly one of url or service is required");
        return;
    }
    if url.there() {
        let rest = url.str().strip_prefix("https://");
        match rest {
            None => {
                url.invalid(
                    errors,
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]",
                );
            }
            Some(rest) => {
                if rest.is_empty() || rest.starts_with('/') {
                    url.invalid(errors, "host must be specified; desired format: https://host[/path]");
                }
                for (mark, says) in [
                    ('?', "query parameters are not permitted in the URL"),
                    ('#', "fragments are not permitted in the URL"),
                    ('@', "user information is not permitted in the URL"),
                ] {
                    if rest.contains(mark) {
                        url.invalid(errors, says);
                    }
                }
            }
        }
        return;
    }
    for field in ["name", "namespace"] {
        if service.f(field).str().is_empty() {
            service.f(field).required(
                errors,
                if field == "name" { "service name is required" } else { "service namespace is required" },
            );
        }
    }
    let port = service.f("port");
    if port.there() && check::port(port.num()).is_some() {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = service.f("path");
    if path.there() && !path.str().starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
}

/// The names of conditions and the expressions there are.
pub(super) fn match_conditions(conditions: &At<'_>, scope: Scope, errors: &mut ErrorList) {
    if conditions.len() > 64 {
        errors.push(FieldError::too_many(&conditions.path, conditions.len(), 64));
    }
    let mut names = HashSet::new();
    for condition in conditions.items() {
        let (name, expression) = (condition.f("name"), condition.f("expression"));
        if expression.str().trim().is_empty() {
            expression.required(errors, "");
        } else {
            expression_of(&expression, scope, Wanted::Bool, errors);
        }
        if name.str().is_empty() {
            name.required(errors, "");
        } else {
            name.invalid_all(errors, check::qualified(name.str()));
            if !names.insert(name.str()) {
                name.duplicate(errors);
            }
        }
    }
}

/// That an expression compiles to what is wanted.
pub(super) fn expression_of(at: &At<'_>, scope: Scope, wanted: Wanted, errors: &mut ErrorList) {
    let source = at.str().trim();
    if let Err(told) = check_expression(source, scope, wanted) {
        errors.push(FieldError::invalid_str(&at.path, source, told));
    }
}

fn webhook(hook: &At<'_>, errors: &mut ErrorList) {
    let name = hook.f("name");
    let labels = name.str().split('.').count();
    if name.str().is_empty() {
        name.required(errors, "");
    } else {
        let messages = check::subdomain(name.str());
        if messages.is_empty() && labels < 3 {
            name.invalid(errors, "should be a domain with at least three segments separated by dots");
        }
        name.invalid_all(errors, messages);
    }
    let versions = hook.f("admissionReviewVersions");
    if versions.len() == 0 {
        versions.required(errors, "must specify one of v1, v1beta1");
    } else if !versions.items().any(|v| matches!(v.str(), "v1" | "v1beta1")) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
    for one in hook.f("rules").items() {
        rule(&one, errors);
    }
    hook.f("failurePolicy").one_of(errors, &["Fail", "Ignore"]);
    hook.f("matchPolicy").one_of(errors, &["Equivalent", "Exact"]);
    let effects = hook.f("sideEffects");
    if !effects.there() {
        effects.required(errors, "must specify one of None, NoneOnDryRun");
    } else {
        effects.one_of(errors, &["None", "NoneOnDryRun"]);
    }
    let timeout = hook.f("timeoutSeconds");
    if timeout.there() && !(1..=30).contains(&timeout.num()) {
        timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        label_selector(&hook.f(selector), errors);
    }
    client_config(&hook.f("clientConfig"), errors);
    let again = hook.f("reinvocationPolicy");
    if again.there() {
        again.one_of(errors, &["IfNeeded", "Never"]);
    }
    match_conditions(&hook.f("matchConditions"), Scope { params: false, authorizer: true }, errors);
}

impl Strategy for Webhooks {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let mutating = self.mutating;
        each(fields, "webhooks", |hook| {
            dflt_str(hook, "failurePolicy", "Fail");
            dflt_str(hook, "matchPolicy", "Equivalent");
            ensure(hook, "namespaceSelector");
            ensure(hook, "objectSelector");
            dflt(hook, "timeoutSeconds", 10);
            if mutating {
                dflt_str(hook, "reinvocationPolicy", "Never");
            }
            if let Some(config) = ensure(hook, "clientConfig") {
                default_client(config);
            }
            default_rules(hook, "rules");
        });
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let mut names = HashSet::new();
        for hook in At::root(object).f("webhooks").items() {
            webhook(&hook, &mut errors);
            let name = hook.f("name");
            if !name.str().is_empty() && !names.insert(name.str()) {
                name.duplicate(&mut errors);
            }
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate_create(cx, object)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        part_changed(cx, object, old, "webhooks")
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let hooks = items(object, "webhooks").len();
        Some(vec![print::name(object), hooks.into(), print::age(object, now)])
    }
}
