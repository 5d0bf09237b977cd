//! What the variables of admission are declared to be.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::Scope;
use crate::check::{Environment, Type};
use crate::schema::{Decl, Field, Object, Shape};

fn scalar(of: Type) -> Decl {
    Decl { shape: Shape::Scalar(of), max: u64::MAX, min_size: 0 }
}

fn text() -> Decl {
    scalar(Type::String)
}

fn list(of: Decl) -> Decl {
    Decl { shape: Shape::List(Arc::new(of), Default::default()), max: u64::MAX, min_size: 2 }
}

fn map(of: Decl) -> Decl {
    Decl { shape: Shape::Map(Arc::new(of)), max: u64::MAX, min_size: 2 }
}

/// An object of these fields, by the names expressions have for them and those in JSON.
fn object(name: &str, fields: Vec<(&'static str, &'static str, Decl)>) -> Decl {
    let mut all = BTreeMap::new();
    for (escaped, name, decl) in fields {
        all.insert(Arc::from(escaped), Field { name: name.into(), decl: Arc::new(decl) });
    }
    let object = Object { name: name.to_owned(), fields: all, open: false };
    Decl { shape: Shape::Object(Arc::new(object)), max: u64::MAX, min_size: 2 }
}

/// `request`.
pub(super) fn request() -> &'static Decl {
    static REQUEST: OnceLock<Decl> = OnceLock::new();
    REQUEST.get_or_init(|| {
        let kind = || {
            let fields =
                [("group", "group"), ("version", "version"), ("kind", "kind")].map(|(e, n)| (e, n, text()));
            object("kubernetes.GroupVersionKind", fields.into())
        };
        let resource = || {
            let fields = [("group", "group"), ("version", "version"), ("resource", "resource")]
                .map(|(e, n)| (e, n, text()));
            object("kubernetes.GroupVersionResource", fields.into())
        };
        let user = object(
            "kubernetes.UserInfo",
            vec![
                ("username", "username", text()),
                ("uid", "uid", text()),
                ("groups", "groups", list(text())),
                ("extra", "extra", map(list(text()))),
            ],
        );
        object(
            "kubernetes.AdmissionRequest",
            vec![
                ("kind", "kind", kind()),
                ("resource", "resource", resource()),
                ("subResource", "subResource", text()),
                ("requestKind", "requestKind", kind()),
                ("requestResource", "requestResource", resource()),
                ("requestSubResource", "requestSubResource", text()),
                ("name", "name", text()),
                ("__namespace__", "namespace", text()),
                ("operation", "operation", text()),
                ("userInfo", "userInfo", user),
                ("dryRun", "dryRun", scalar(Type::Bool)),
                ("options", "options", Decl::any()),
            ],
        )
    })
}

/// `namespaceObject`.
pub(super) fn namespace() -> &'static Decl {
    static NAMESPACE: OnceLock<Decl> = OnceLock::new();
    NAMESPACE.get_or_init(|| {
        let metadata = object(
            "kubernetes.NamespaceMetadata",
            vec![
                ("name", "name", text()),
                ("generateName", "generateName", text()),
                ("__namespace__", "namespace", text()),
                ("labels", "labels", map(text())),
                ("annotations", "annotations", map(text())),
                ("UID", "uid", text()),
                ("creationTimestamp", "creationTimestamp", scalar(Type::Timestamp)),
                ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds", scalar(Type::Int)),
                ("deletionTimestamp", "deletionTimestamp", scalar(Type::Timestamp)),
                ("generation", "generation", scalar(Type::Int)),
                ("resourceVersion", "resourceVersion", text()),
                ("finalizers", "finalizers", list(text())),
            ],
        );
        let spec = object("kubernetes.NamespaceSpec", vec![("finalizers", "finalizers", list(text()))]);
        let status = object("kubernetes.NamespaceStatus", vec![("phase", "phase", text())]);
        object(
            "kubernetes.Namespace",
            vec![("metadata", "metadata", metadata), ("spec", "spec", spec), ("status", "status", status)],
        )
    })
}

/// What all expressions of a scope may name. `object` and `params` are of any type unless they are declared.
pub(super) fn environment(scope: Scope, object: Option<&Decl>, params: Option<&Decl>) -> Environment {
    let of = |decl: Option<&Decl>| decl.map_or(Type::Dyn, Decl::of_type);
    let mut environment = Environment::new([
        ("object", of(object)),
        ("oldObject", of(object)),
        ("request", request().of_type()),
        ("namespaceObject", namespace().of_type()),
    ]);
    if scope.params {
        environment = environment.with("params", of(params));
    }
    if scope.authorizer {
        environment = environment
            .with("authorizer", Type::Named("kubernetes.authorization.Authorizer"))
            .with("authorizer.requestResource", Type::Named("kubernetes.authorization.ResourceCheck"));
    }
    environment
}

/// The type of `variables`, of which these are known.
pub(super) fn variables(known: &[(String, Type)]) -> Type {
    let mut fields = BTreeMap::new();
    for (name, of) in known {
        let shape = match of {
            Type::Dyn => Shape::Dyn,
            of => Shape::Scalar(of.clone()),
        };
        let decl = Arc::new(Decl { shape, max: u64::MAX, min_size: 0 });
        fields.insert(Arc::from(&**name), Field { name: name.as_str().into(), decl });
    }
    Type::Object(Arc::new(Object { name: "kubernetes.variables".to_owned(), fields, open: false }))
}
