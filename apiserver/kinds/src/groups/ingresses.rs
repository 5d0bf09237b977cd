//! Ingresses and their classes.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{at, meta_map, str_at};
use serde_json::{Value, json};

use crate::check;
use crate::common::{first_generation, spec_changed};
use crate::core::services_print::balancer;
use crate::print::{self, NONE};
use crate::strategy::{Context, Strategy};
use crate::val::{At, child, dflt, ensure, items, sub, text};

/// The annotation that named the class before the field did.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
/// How many hosts a row shows.
const SHOWN: usize = 3;

/// `Ingress`.
pub(crate) struct Ingresses;

fn backend(backend: &At<'_>, errors: &mut ErrorList) {
    let (service, resource) = (backend.f("service"), backend.f("resource"));
    let invalid = |says: &str, errors: &mut ErrorList| {
        errors.push(FieldError::invalid_str(&backend.path, "", says));
    };
    match (service.there(), resource.there()) {
        (true, true) => invalid("cannot set both resource and service backends", errors),
        (false, false) => invalid("resource or service backend is required", errors),
        (false, true) => {
            for field in ["kind", "name"] {
                if resource.f(field).str().is_empty() {
                    resource.f(field).required(errors, "");
                }
            }
        }
        (true, false) => {
            let (name, port) = (service.f("name"), service.f("port"));
            if name.str().is_empty() {
                name.required(errors, "");
            } else {
                name.invalid_all(errors, check::label(name.str()));
            }
            let (port_name, number) = (port.f("name"), port.f("number"));
            match (port_name.str().is_empty(), number.num()) {
                (false, n) if n != 0 => errors.push(FieldError::invalid_str(
                    &service.path,
                    "",
                    "cannot set both port name & port number",
                )),
                (true, 0) => service.required(errors, "port name or number is required"),
                (true, n) => {
                    if let Some(says) = check::port(n) {
                        number.invalid(errors, says);
                    }
                }
                (false, _) => port_name.invalid_all(errors, check::port_name(port_name.str())),
            }
        }
    }
}

fn path(path: &At<'_>, errors: &mut ErrorList) {
    let (kind, text) = (path.f("pathType"), path.f("path"));
    match kind.str() {
        _ if !kind.there() => kind.required(errors, "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.str().starts_with('/') {
                text.invalid_text(errors, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.str().contains(bad) {
                    text.invalid(errors, format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if text.str().ends_with(bad) {
                    text.invalid(errors, format!("cannot end with '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.str().is_empty() && !text.str().starts_with('/') {
                text.invalid(errors, "must be an absolute path");
            }
        }
        _ => kind.unsupported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&path.f("backend"), errors);
}

fn host(host: &At<'_>, errors: &mut ErrorList) {
    if host.str().is_empty() {
        return;
    }
    if host.str().parse::<std::net::IpAddr>().is_ok() {
        host.invalid(errors, "must be a DNS name, not an IP address");
    } else if host.str().contains('*') {
        host.invalid_all(errors, check::wildcard_subdomain(host.str()));
    } else {
        host.invalid_all(errors, check::subdomain(host.str()));
    }
}

fn validate(object: &Value, create: bool) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    let spec = root.f("spec");
    let class = spec.f("ingressClassName");
    let old_class = root.at(&["metadata", "annotations"]).key(OLD_CLASS);
    if create && class.there() && old_class.there() && old_class.str() != class.str() {
        old_class.invalid(&mut errors, "must match `ingressClassName` when both are specified");
    }
    if spec.f("rules").len() == 0 && !spec.f("defaultBackend").there() {
        errors.push(FieldError::invalid(
            &spec.path,
            &Value::Null,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if spec.f("defaultBackend").there() {
        backend(&spec.f("defaultBackend"), &mut errors);
    }
    for rule in spec.f("rules").items() {
        host(&rule.f("host"), &mut errors);
        let http = rule.f("http");
        if http.there() {
            if http.f("paths").len() == 0 {
                http.f("paths").required(&mut errors, "");
            }
            for one in http.f("paths").items() {
                path(&one, &mut errors);
            }
        }
    }
    for tls in spec.f("tls").items() {
        for name in tls.f("hosts").items() {
            host(&name, &mut errors);
        }
        let secret = tls.f("secretName");
        if !secret.str().is_empty() {
            secret.invalid_all(&mut errors, check::subdomain(secret.str()));
        }
    }
    if class.there() {
        class.invalid_all(&mut errors, check::subdomain(class.str()));
    }
    errors
}

impl Strategy for Ingresses {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "spec");
        if let Some(status) = ensure(fields, "status") {
            ensure(status, "loadBalancer");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"loadBalancer": {}}));
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object, true)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        if cx.subresource.is_some() { Vec::new() } else { validate(object, false) }
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let old = meta_map(object, "annotations").any(|(key, _)| key == OLD_CLASS);
        if !old || cx.subresource.is_some() {
            return Vec::new();
        }
        vec![format!("annotation \"{OLD_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let named: Vec<&str> =
            items(spec, "rules").iter().map(|r| text(r, "host")).filter(|h| !h.is_empty()).collect();
        let hosts = match named.len() {
            0 => "*".to_owned(),
            n if n > SHOWN => format!("{} + {} more...", named[..SHOWN].join(","), n - SHOWN),
            _ => named.join(","),
        };
        let ports = if items(spec, "tls").is_empty() { "80" } else { "80, 443" };
        Some(vec![
            print::name(object),
            print::text_or(spec, &["ingressClassName"], NONE),
            hosts.into(),
            balancer(at(object, &["status", "loadBalancer"])).into(),
            ports.into(),
            print::age(object, now),
        ])
    }
}

/// `IngressClass`.
pub(crate) struct IngressClasses;

impl Strategy for IngressClasses {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(parameters) = crate::common::ensure_spec(object).and_then(|s| child(s, "parameters")) {
            dflt(parameters, "scope", "Cluster");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        let controller = spec.f("controller");
        if controller.str().is_empty() {
            controller.required(&mut errors, "");
        } else if !controller.str().contains('/') {
            controller.invalid(&mut errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        } else if controller.len() > 250 {
            errors.push(FieldError::too_long(&controller.path, 250));
        }
        let parameters = spec.f("parameters");
        if parameters.there() {
            for field in ["kind", "name"] {
                if parameters.f(field).str().is_empty() {
                    parameters.f(field).required(&mut errors, "");
                }
            }
            let (scope, namespace) = (parameters.f("scope"), parameters.f("namespace"));
            scope.one_of(&mut errors, &["Cluster", "Namespace"]);
            if scope.str() == "Namespace" && namespace.str().is_empty() {
                namespace.required(&mut errors, "`parameters.scope` is set to 'Namespace'");
            }
            if scope.str() == "Cluster" && namespace.there() {
                namespace.forbidden(&mut errors, "`parameters.scope` is set to 'Cluster'");
            }
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(cx, object);
        let path = &["spec", "controller"];
        At::root(object).at(path).immutable(&mut errors, &At::root(old).at(path));
        errors
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let parameters = object.get("spec").and_then(|s| sub(s, "parameters"));
        let shown = parameters.map_or_else(
            || NONE.to_owned(),
            |p| match text(p, "apiGroup") {
                "" => format!("{}/{}", text(p, "kind"), text(p, "name")),
                group => format!("{}.{group}/{}", text(p, "kind"), text(p, "name")),
            },
        );
        Some(vec![
            print::name(object),
            str_at(object, &["spec", "controller"]).into(),
            shown.into(),
            print::age(object, now),
        ])
    }
}
