//! A control plane of a few objects, for the tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use kplane_kinds::ResourceDef;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::{AccessCheck, Attributes, Chain, Decision, Operation, Plugin, Reader};

/// Objects by resource, namespace and name.
#[derive(Default)]
pub struct Objects {
    pub held: Mutex<BTreeMap<(String, String, String), Value>>,
    /// What anybody may do: `verb name`.
    pub allowed: Vec<&'static str>,
}

impl Objects {
    /// With one object more.
    pub fn with(self, resource: &str, value: Value) -> Self {
        let key =
            (resource.to_owned(), object::namespace(&value).to_owned(), object::name(&value).to_owned());
        self.held.lock().unwrap().insert(key, value);
        self
    }
}

#[async_trait]
impl Reader for Objects {
    async fn get(&self, gr: &GroupResource, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        let key = (gr.to_string(), namespace.to_owned(), name.to_owned());
        Ok(self.held.lock().unwrap().get(&key).cloned())
    }

    async fn list(&self, gr: &GroupResource, namespace: &str) -> Result<Vec<Value>, Status> {
        let held = self.held.lock().unwrap();
        let matching = held
            .iter()
            .filter(|((r, ns, _), _)| *r == gr.to_string() && (namespace.is_empty() || ns == namespace));
        Ok(matching.map(|(_, v)| v.clone()).collect())
    }

    async fn authorize(&self, check: &AccessCheck<'_>) -> Result<Decision, Status> {
        let allowed = self.allowed.contains(&format!("{} {}", check.verb, check.name).as_str());
        Ok(Decision { allowed, ..Decision::default() })
    }
}

/// A write by a user in the namespace `ns`.
pub struct Write<'a> {
    pub resource: &'static str,
    pub subresource: &'static str,
    pub operation: Operation,
    pub user: &'static str,
    pub groups: Vec<String>,
    pub old: Option<Value>,
    pub objects: &'a Objects,
    pub warnings: Mutex<Vec<String>>,
}

impl<'a> Write<'a> {
    pub fn create(objects: &'a Objects, resource: &'static str) -> Self {
        Self {
            resource,
            subresource: "",
            operation: Operation::Create,
            user: "u",
            groups: Vec::new(),
            old: None,
            objects,
            warnings: Mutex::default(),
        }
    }

    pub fn update(objects: &'a Objects, resource: &'static str, old: Value) -> Self {
        Self { operation: Operation::Update, old: Some(old), ..Self::create(objects, resource) }
    }

    fn def(&self) -> &'static ResourceDef {
        let all = kplane_kinds::table::builtin();
        all.iter().find(|d| d.group_resource().to_string() == self.resource).unwrap()
    }

    /// What a plugin makes of the object, or the words of its refusal.
    pub async fn ask(&self, plugin: impl Plugin + 'static, mut object: Value) -> Result<Value, String> {
        let def = self.def();
        let name = object::name(&object).to_owned();
        let warn = |text: String| self.warnings.lock().unwrap().push(text);
        let attributes = Attributes {
            operation: self.operation,
            def,
            version: "v1",
            namespace: if def.namespaced() { "ns" } else { "" },
            name: &name,
            subresource: self.subresource,
            old: self.old.as_ref(),
            dry_run: false,
            user: self.user,
            groups: &self.groups,
            user_uid: "",
            extra: &BTreeMap::new(),
            options: &Value::Null,
            shape: crate::Shape::Whole,
            reader: self.objects,
            warn: &warn,
            annotate: &|_, _| {},
            shows_content: false,
            memory: &crate::Memory::default(),
        };
        let chain = Chain::new(vec![Box::new(plugin)]);
        chain.mutate(&attributes, &mut object).await.map_err(|s| s.message)?;
        chain.validate(&attributes, &object).await.map_err(|s| s.message)?;
        for quota in chain.charge(&attributes, &object).await.map_err(|s| s.message)? {
            let key = ("resourcequotas".to_owned(), "ns".to_owned(), object::name(&quota).to_owned());
            self.objects.held.lock().unwrap().insert(key, quota);
        }
        Ok(object)
    }
}
