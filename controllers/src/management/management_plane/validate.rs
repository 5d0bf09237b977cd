//! Decides how a management plane is provided (no client required).

use kplane_crds::v1alpha1::{
    EtcdSpec, ExposureSpec, ExposureType, ExternalEtcd, ManagedEtcd, ManagementPlane, ManagementPlaneSpec,
    StoreType, Topology,
};

use super::build::Terms;
use crate::management::plane::EmbeddedPlane;
use crate::tenant::schedule::Schedule;

/// How a management plane is provided.
pub enum Decision<'a> {
    /// By this process.
    Embedded(&'a EmbeddedPlane),
    /// By pods.
    Deployed(Box<Deployed>),
    /// Not at all.
    Impossible {
        /// Why not.
        message: String,
    },
}

/// The terms of a deployed management plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    /// The store.
    pub store: Store,
    /// How many replicas of the API server run.
    pub replicas: i32,
    /// How the members of a managed etcd run now; as a new one's when not known.
    pub terms: Option<Terms>,
}

impl Deployed {
    /// With these, and etcd as at first.
    pub fn new(store: Store, replicas: i32) -> Self {
        Self { store, replicas, terms: None }
    }
}

/// The store of a deployed management plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// An etcd of ours.
    Managed(ManagedEtcd),
    /// An etcd of somebody else.
    External(ExternalEtcd),
    /// A file on a volume of the one replica.
    File,
}

/// Decides.
pub fn validate<'a>(plane: &ManagementPlane, embedded: Option<&'a EmbeddedPlane>) -> Decision<'a> {
    let spec = &plane.spec;
    let default = if embedded.is_some() { Topology::Embedded } else { Topology::Deployed };
    match (spec.topology.unwrap_or(default), embedded) {
        (Topology::Embedded, Some(embedded)) => Decision::Embedded(embedded),
        (Topology::Embedded, None) => {
            impossible("the process that runs the controllers does not serve the API; use topology Deployed")
        }
        (Topology::Deployed, Some(_)) => impossible(
            "this management cluster is the process itself and runs no pods; use topology Embedded",
        ),
        (Topology::Deployed, None) => match store(spec) {
            Store::File if spec.apiserver.replicas > 1 => impossible(
                "an embedded store allows one replica; set spec.apiserver.replicas to 1 or use etcd",
            ),
            _ if spec.exposure.host.as_deref().unwrap_or_default().is_empty()
                && matches!(spec.exposure.type_, ExposureType::Ingress | ExposureType::Gateway) =>
            {
                impossible("an Ingress and a Gateway route by name: set spec.exposure.host")
            }
            _ if spec.exposure.type_ == ExposureType::Gateway && spec.exposure.gateway.is_none() => {
                impossible("set spec.exposure.gateway to the Gateway that the API server is attached to")
            }
            store if store != Store::File && schedule(spec).is_err() => Decision::Impossible {
                message: format!("spec.store.backup.schedule: {}", schedule(spec).err().unwrap_or_default()),
            },
            store => Decision::Deployed(Box::new(Deployed::new(store, spec.apiserver.replicas))),
        },
    }
}

/// When snapshots are due; never when there is no schedule.
pub fn schedule(spec: &ManagementPlaneSpec) -> Result<Option<Schedule>, String> {
    let text = spec.store.backup.as_ref().map_or("", |backup| backup.schedule.trim());
    if text.is_empty() {
        return Ok(None);
    }
    Schedule::parse(text, jiff::tz::TimeZone::UTC).map(Some)
}

fn impossible(message: &str) -> Decision<'static> {
    Decision::Impossible { message: message.to_owned() }
}

fn store(spec: &ManagementPlaneSpec) -> Store {
    match (spec.store.type_, &spec.store.etcd) {
        (StoreType::Embedded, _) => Store::File,
        (StoreType::Etcd, Some(EtcdSpec { external: Some(external), .. })) => {
            Store::External(external.clone())
        }
        (StoreType::Etcd, Some(EtcdSpec { managed: Some(managed), .. })) => Store::Managed(managed.clone()),
        (StoreType::Etcd, _) => Store::Managed(ManagedEtcd::default()),
    }
}

/// The fields that are set and do nothing.
pub fn unsupported(spec: &ManagementPlaneSpec, embedded: Option<&EmbeddedPlane>) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut note = |set: bool, name: &'static str| {
        if set {
            fields.push(name);
        }
    };
    note(
        spec.store.backup.is_some() && (embedded.is_some() || store(spec) == Store::File),
        "spec.store.backup",
    );
    if let Some(embedded) = embedded {
        note(!spec.version.is_empty() && spec.version != embedded.version, "spec.version");
        note(!spec.apiserver.image.is_empty(), "spec.apiserver.image");
        note(!spec.apiserver.extra_args.is_empty(), "spec.apiserver.extraArgs");
        note(spec.store.etcd.is_some(), "spec.store.etcd");
        note(spec.exposure != ExposureSpec::default(), "spec.exposure");
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_crds::v1alpha1::StoreSpec;

    fn plane(spec: ManagementPlaneSpec) -> ManagementPlane {
        ManagementPlane::new("default", spec)
    }

    #[test]
    fn a_management_plane_is_deployed_when_nobody_serves() {
        let spec = ManagementPlaneSpec::default();
        let Decision::Deployed(deployed) = validate(&plane(spec), None) else { panic!("not deployed") };
        assert_eq!(deployed.store, Store::Managed(ManagedEtcd::default()));
        assert_eq!(deployed.replicas, 2);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let embedded =
            ManagementPlaneSpec { topology: Some(Topology::Embedded), ..ManagementPlaneSpec::default() };
        assert!(matches!(validate(&plane(embedded), None), Decision::Impossible { .. }));
        let two_writers = ManagementPlaneSpec {
            store: StoreSpec { type_: StoreType::Embedded, ..StoreSpec::default() },
            ..ManagementPlaneSpec::default()
        };
        assert!(matches!(validate(&plane(two_writers), None), Decision::Impossible { .. }));
    }

    #[test]
    fn a_schedule_that_is_none_is_refused() {
        let mut spec = ManagementPlaneSpec::default();
        let backup = kplane_crds::v1alpha1::BackupSpec { schedule: "0 3 * *".into(), ..Default::default() };
        spec.store.backup = Some(backup);
        let plane = plane(spec);
        let Decision::Impossible { message } = validate(&plane, None) else { panic!("accepted") };
        assert!(message.contains("spec.store.backup.schedule: expected exactly 5 fields"), "{message}");
    }

    #[test]
    fn fields_that_do_nothing_are_named() {
        let mut spec = ManagementPlaneSpec::default();
        assert!(unsupported(&spec, None).is_empty());
        spec.store.backup = Some(kplane_crds::v1alpha1::BackupSpec::default());
        assert!(unsupported(&spec, None).is_empty());
        spec.store.type_ = StoreType::Embedded;
        assert_eq!(unsupported(&spec, None), ["spec.store.backup"]);
        spec.exposure.type_ = ExposureType::Gateway;
        assert!(matches!(validate(&plane(spec), None), Decision::Impossible { .. }));
    }
}
