//! Admission as the endpoints ask for it, and what it may not leave behind.

use kplane_admission as admission;
use kplane_machinery::{Status, meta, object};
use serde_json::Value;

use super::cx::{Cx, Resource};

const INVALID_MANAGED_FIELDS: &str = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: ";

/// Takes owners out that are named twice, and warns of it; `when` says when that was found.
pub fn without_repeated_owners(cx: &Cx, object: &mut Value, when: &str) {
    let repeated = meta::without_repeated_owners(object);
    if !repeated.is_empty() {
        cx.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        ));
    }
}

/// Asks the admission plugins: first those that change, then, once the object is whole, those that refuse.
pub struct Admission<'a> {
    cx: &'a Cx,
    resource: &'a Resource,
    operation: admission::Operation,
    subresource: &'a str,
    dry_run: bool,
    shape: admission::Shape<'a>,
    options: Value,
    memory: admission::Memory,
}

impl<'a> Admission<'a> {
    /// For one operation of a request.
    pub fn new(
        cx: &'a Cx,
        resource: &'a Resource,
        operation: admission::Operation,
        subresource: &'a str,
    ) -> Self {
        Self {
            cx,
            resource,
            operation,
            subresource,
            dry_run: cx.dry_run(),
            shape: admission::Shape::Whole,
            options: options(cx, operation),
            memory: admission::Memory::default(),
        }
    }

    /// Whether nothing will be stored, where that is not told by the query: the options of a deletion say it.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// With objects of another kind than the resource's own.
    pub fn shaped(self, shape: admission::Shape<'a>) -> Self {
        Self { shape, ..self }
    }

    /// With these options instead of those of the query.
    pub fn with_options(self, options: Value) -> Self {
        Self { options, ..self }
    }

    async fn with<F, T>(&self, name: &str, old: Option<&Value>, run: F) -> Result<T, Status>
    where
        F: AsyncFnOnce(&admission::Chain, &admission::Attributes<'_>) -> Result<T, Status>,
    {
        let reader = self.cx.reader();
        let warn = |text: String| self.cx.warn(text);
        let annotate = |key: String, value: String| self.cx.annotate(key, value);
        let attributes = admission::Attributes {
            operation: self.operation,
            def: &self.resource.def,
            version: &self.resource.version,
            namespace: &self.cx.info.namespace,
            name,
            subresource: self.subresource,
            old,
            dry_run: self.dry_run,
            user: &self.cx.user.username,
            groups: &self.cx.user.groups,
            user_uid: &self.cx.user.uid,
            extra: &self.cx.user.extra,
            options: &self.options,
            shape: self.shape,
            reader: &reader,
            warn: &warn,
            annotate: &annotate,
            shows_content: self.cx.audit.wants_request(),
            memory: &self.memory,
        };
        run(&self.cx.app.admission, &attributes).await
    }

    /// Lets plugins change the object. What they may not leave behind is mended, with a warning.
    pub async fn mutate(&self, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        let name = self.name_of(object);
        let managed = object.pointer("/metadata/managedFields").cloned();
        self.with(&name, old, async |chain, attributes| chain.mutate(attributes, object).await).await?;
        if object.pointer("/metadata/managedFields") != managed.as_ref()
            && let Some(why) = meta::managed_fields_fault(object)
        {
            object::set_meta(object, "managedFields", managed);
            self.cx.warn(format!("{INVALID_MANAGED_FIELDS}{why}"));
        }
        without_repeated_owners(self.cx, object, " after mutating admission happens");
        Ok(())
    }

    /// Lets plugins refuse the object.
    pub async fn validate(&self, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let name = self.name_of(object);
        self.with(&name, old, async |chain, attributes| chain.validate(attributes, object).await).await
    }

    /// What the write adds to the usage of quotas, or why it may not.
    pub async fn charge(&self, object: &Value, old: Option<&Value>) -> Result<Vec<Value>, Status> {
        let name = self.name_of(object);
        self.with(&name, old, async |chain, attributes| chain.charge(attributes, object).await).await
    }

    /// Whether nothing will be stored.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    fn name_of(&self, object: &Value) -> String {
        if self.cx.info.name.is_empty() { object::name(object).to_owned() } else { self.cx.info.name.clone() }
    }
}

/// The options of a write as admission sees them: those of the query.
fn options(cx: &Cx, operation: admission::Operation) -> Value {
    let kind = match operation {
        admission::Operation::Create => "CreateOptions",
        admission::Operation::Update => "UpdateOptions",
        admission::Operation::Delete => "DeleteOptions",
        admission::Operation::Connect => return Value::Null,
    };
    let mut options = serde_json::json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if cx.dry_run() {
        options["dryRun"] = serde_json::json!(["All"]);
    }
    if operation != admission::Operation::Delete {
        for field in ["fieldManager", "fieldValidation"] {
            if let Some(given) = cx.query.get(field).filter(|given| !given.is_empty()) {
                options[field] = given.into();
            }
        }
    }
    options
}
