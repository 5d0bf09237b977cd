//! What is known of a control plane in use: its flows, its limits. Read again every few seconds while it is in use, and
//! forgotten when it is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderValue;
use kplane_kinds::tenancy::GROUP as TENANCY;
use kplane_machinery::Status;
use kplane_registry::{ContentHash, ListRequest, ObjectKey, ResourceKey, Stored, Vcp};
use serde_json::Value;

use super::flows::FlowConfig;
use super::limits::ClassLimits;
use crate::app::App;
use crate::endpoints::failures;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// More than anybody has. A list with a limit is read from the store, so that nothing is held in memory for it.
const MOST: usize = 10_000;

/// What is known of a control plane.
#[derive(Debug)]
pub struct Policy {
    /// What its class limits.
    pub limits: ClassLimits,
    pub(super) config: Arc<FlowConfig>,
    schemas: Vec<Named>,
    levels: Vec<Named>,
    /// The names of the levels, shared with the seats.
    pub(super) level_names: Vec<Arc<str>>,
}

/// An object whose uid is told with answers.
#[derive(Debug)]
struct Named {
    stored: Stored,
    uid: OnceLock<Option<HeaderValue>>,
}

impl Named {
    fn uid(&self) -> Option<HeaderValue> {
        let read = || {
            let value = self.stored.to_value().ok()?;
            HeaderValue::from_str(kplane_machinery::object::uid(&value)).ok()
        };
        self.uid.get_or_init(read).clone()
    }
}

/// Configurations of those who changed nothing, by what they start from.
#[derive(Debug, Default)]
pub(super) struct Bases(Mutex<HashMap<Vec<ContentHash>, Arc<FlowConfig>>>);

impl Policy {
    /// The uids of a FlowSchema and a level.
    pub(super) fn uids(
        &self,
        schema: Option<usize>,
        level: Option<usize>,
    ) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let schema = schema.and_then(|index| self.schemas.get(index)).and_then(Named::uid);
        let level = level.and_then(|index| self.config.level(index)).map(|level| level.object);
        (schema, level.and_then(|index| self.levels.get(index)).and_then(Named::uid))
    }

    /// Reads it. What was read before is kept where nothing has changed.
    pub(super) async fn load(
        app: &App,
        vcp: &Vcp,
        bases: &Bases,
        before: Option<&Self>,
    ) -> Result<Self, Status> {
        let schemas = list(app, vcp, "flowschemas").await?;
        let levels = list(app, vcp, "prioritylevelconfigurations").await?;
        let limits = limits(app, vcp).await?;
        let same = |old: &[Named], new: &[Stored]| {
            old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| {
                    old.stored.revision() == new.revision() && old.stored.name() == new.name()
                })
        };
        let config = match before {
            Some(before) if same(&before.schemas, &schemas) && same(&before.levels, &levels) => {
                before.config.clone()
            }
            _ if schemas.iter().chain(&levels).all(|stored| stored.revision() == vcp.fence) => {
                bases.get(vcp.layers.layers(), &schemas, &levels)?
            }
            _ => Arc::new(compile(&schemas, &levels)?),
        };
        let named = |all: Vec<Stored>| -> Vec<Named> {
            all.into_iter().map(|stored| Named { stored, uid: OnceLock::new() }).collect()
        };
        let level_names = levels.iter().map(|stored| Arc::from(stored.name())).collect();
        Ok(Self { limits, config, schemas: named(schemas), levels: named(levels), level_names })
    }
}

impl Bases {
    fn get(
        &self,
        layers: &[ContentHash],
        schemas: &[Stored],
        levels: &[Stored],
    ) -> Result<Arc<FlowConfig>, Status> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(layers) {
            return Ok(known.clone());
        }
        let config = Arc::new(compile(schemas, levels)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(layers.to_vec(), config.clone());
        Ok(config)
    }
}

fn compile(schemas: &[Stored], levels: &[Stored]) -> Result<FlowConfig, Status> {
    let values = |all: &[Stored]| -> Result<Vec<Value>, Status> {
        all.iter().map(|stored| stored.to_value().map_err(Status::internal)).collect()
    };
    Ok(FlowConfig::new(&values(schemas)?, &values(levels)?))
}

async fn list(app: &App, vcp: &Vcp, resource: &str) -> Result<Vec<Stored>, Status> {
    let request = ListRequest { limit: Some(MOST), ..ListRequest::default() };
    let page = app.registry.list(vcp, &ResourceKey::new(GROUP, resource), request).await;
    Ok(page.map_err(failures::store)?.items)
}

/// The limits of a control plane, from its record in root.
async fn limits(app: &App, vcp: &Vcp) -> Result<ClassLimits, Status> {
    if vcp.is_root() {
        return Ok(ClassLimits::default());
    }
    let key = ObjectKey::new(ResourceKey::new(TENANCY, crate::tenancy::PLURAL), None, &vcp.name);
    match app.registry.get(&app.registry.root(), &key).await.map_err(failures::store)? {
        Some(stored) => Ok(ClassLimits::of(&stored.to_value().map_err(Status::internal)?)),
        // Its record went a moment ago; so will it.
        None => Ok(ClassLimits::default()),
    }
}
