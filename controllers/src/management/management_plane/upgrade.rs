//! Which version of the API server runs: the one that is wanted, or the one before while that cannot be (no client
//! required).
//!
//! A change of version is looked at before anything is touched. A rollout replaces no server before a new one is ready; if
//! none becomes so within `spec.apiserver.progressDeadlineSeconds`, the version that ran is put back, and the new one is
//! not tried again before the spec changes.

use kplane_crds::v1alpha1::{FailedUpgrade, ManagementPlane};
use serde_json::Value;

/// An image and the version that it is of, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The image.
    pub image: String,
    /// The version; empty when nobody says.
    pub version: String,
}

/// What is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is to run.
    pub run: Release,
    /// What ran before, if that is another.
    pub from: Option<Release>,
    /// Why it is not what the spec wants, if it is not.
    pub kept: Option<Kept>,
}

/// Why a version is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// For programs.
    pub reason: &'static str,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// The image that is wanted: the spec's, or the default's at the spec's version.
pub fn wanted(plane: &ManagementPlane, default: &str) -> Release {
    let spec = &plane.spec;
    let image = match default.rsplit_once(':') {
        _ if !spec.apiserver.image.is_empty() => spec.apiserver.image.clone(),
        Some((repository, _)) if !spec.version.is_empty() && !repository.contains('@') => {
            format!("{repository}:{}", spec.version)
        }
        _ => default.to_owned(),
    };
    let version = match image.rsplit_once(':') {
        _ if !spec.version.is_empty() => spec.version.clone(),
        Some((repository, tag)) if !repository.contains('@') && !tag.contains('/') => tag.to_owned(),
        _ => String::new(),
    };
    Release { image, version }
}

/// Decides.
pub fn plan(plane: &ManagementPlane, wanted: Release) -> Plan {
    let status = plane.status.as_ref();
    let running = status.and_then(|status| {
        let version = status.version.clone().unwrap_or_default();
        Some(Release { image: status.image.clone()?, version })
    });
    let preflight = preflight(plane, running.as_ref(), &wanted);
    let Some(running) = running.filter(|running| running.image != wanted.image) else {
        return Plan { run: wanted, from: None, kept: preflight.err() };
    };
    let failed = status.and_then(|status| status.failed_upgrade.as_ref());
    let failed = failed.filter(|failed| {
        failed.image == wanted.image && Some(failed.generation) == plane.metadata.generation
    });
    let kept = match (failed, preflight) {
        (Some(failed), _) => Some(Kept { reason: "UpgradeFailed", message: failed.message.clone() }),
        (None, Err(kept)) => Some(kept),
        (None, Ok(())) => None,
    };
    match kept {
        Some(_) => Plan { run: running, from: None, kept },
        None => Plan { run: wanted, from: Some(running), kept: None },
    }
}

/// Looks at a change of version before anything is touched.
fn preflight(plane: &ManagementPlane, running: Option<&Release>, wanted: &Release) -> Result<(), Kept> {
    let new = parse(&wanted.version);
    if !plane.spec.version.is_empty() && new.is_none() {
        let message = format!(
            "spec.version {:?} is no version such as v1.2.3; write one, or name the image in spec.apiserver.image and \
             leave the version empty",
            plane.spec.version
        );
        return Err(Kept { reason: "VersionInvalid", message });
    }
    let old = running.and_then(|running| parse(&running.version));
    let (Some(old), Some(new)) = (old, new) else { return Ok(()) };
    if old.0 != new.0 || old.1.abs_diff(new.1) > 1 {
        let (major, minor) = old;
        let next = if new < old { minor.saturating_sub(1) } else { minor + 1 };
        let message = format!(
            "version {} runs, and {} is more than one minor version away; change spec.version to {major}.{next} first",
            running.map(|running| running.version.as_str()).unwrap_or_default(),
            wanted.version
        );
        return Err(Kept { reason: "VersionSkew", message });
    }
    Ok(())
}

/// The major and minor number of a version.
fn parse(version: &str) -> Option<(u64, u64)> {
    let text = version.strip_prefix('v').unwrap_or(version);
    let core = text.split(['-', '+']).next()?;
    let numbers: Vec<u64> = core.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    match numbers.as_slice() {
        [major, minor] | [major, minor, _] => Some((*major, *minor)),
        _ => None,
    }
}

/// How the rollout of a Deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All replicas are of its template, and available.
    Done,
    /// It goes on.
    Going,
    /// No progress was made within the deadline.
    Stuck,
}

/// Looks at a Deployment.
pub fn rollout(deployment: &Value) -> Rollout {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    if status["observedGeneration"] != deployment["metadata"]["generation"] {
        return Rollout::Going;
    }
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    if ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|key| count(key) == wanted) {
        return Rollout::Done;
    }
    let stuck = status["conditions"].as_array().into_iter().flatten().any(|condition| {
        condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded"
    });
    if stuck { Rollout::Stuck } else { Rollout::Going }
}

/// The record of an upgrade that did not come about. `trouble` is what the cluster says of the pods.
pub fn failed(plane: &ManagementPlane, plan: &Plan, trouble: Option<&str>) -> FailedUpgrade {
    let same = plan.from.as_ref().is_some_and(|from| from.version == plan.run.version);
    let name = |release: &Release| {
        if same || release.version.is_empty() { release.image.clone() } else { release.version.clone() }
    };
    let message = format!(
        "{} did not become ready within {} seconds{}; {} runs again. Mend what is wrong, then change the spec: \
         another version, or the same after the old one",
        name(&plan.run),
        plane.spec.apiserver.progress_deadline_seconds,
        trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default(),
        plan.from.as_ref().map(name).unwrap_or_default(),
    );
    FailedUpgrade {
        image: plan.run.image.clone(),
        generation: plane.metadata.generation.unwrap_or_default(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_crds::v1alpha1::{ManagementPlaneSpec, ManagementPlaneStatus};
    use serde_json::json;

    fn plane(version: &str, running: Option<&str>) -> ManagementPlane {
        let spec = ManagementPlaneSpec { version: version.into(), ..ManagementPlaneSpec::default() };
        let mut plane = ManagementPlane::new("default", spec);
        plane.metadata.generation = Some(7);
        plane.status = running.map(|running| ManagementPlaneStatus {
            version: Some(running.to_owned()),
            image: Some(format!("host:5000/kplane:{running}")),
            ..ManagementPlaneStatus::default()
        });
        plane
    }

    fn planned(plane: &ManagementPlane) -> Plan {
        plan(plane, wanted(plane, "host:5000/kplane:v1.0.0"))
    }

    #[test]
    fn the_image_follows_the_version() {
        let mut plane = plane("", None);
        let of = |plane: &ManagementPlane| {
            let Release { image, version } = wanted(plane, "host:5000/kplane:v1.0.0");
            (image, version)
        };
        assert_eq!(of(&plane), ("host:5000/kplane:v1.0.0".into(), "v1.0.0".into()));
        plane.spec.version = "v2.0.0".into();
        assert_eq!(of(&plane), ("host:5000/kplane:v2.0.0".into(), "v2.0.0".into()));
        plane.spec.apiserver.image = "host:5000/mine".into();
        assert_eq!(of(&plane), ("host:5000/mine".into(), "v2.0.0".into()));
        plane.spec.version = String::new();
        assert_eq!(of(&plane), ("host:5000/mine".into(), String::new()));
    }

    #[test]
    fn one_minor_version_at_a_time() {
        let reason = |version, running| planned(&plane(version, running)).kept.map(|kept| kept.reason);
        assert_eq!(reason("v1.3.0", None), None);
        assert_eq!(reason("v1.3.0", Some("v1.2.9")), None);
        assert_eq!(reason("v1.1.0", Some("v1.2.9")), None);
        assert_eq!(reason("v1.4.0", Some("v1.2.9")), Some("VersionSkew"));
        assert_eq!(reason("v2.2.0", Some("v1.2.9")), Some("VersionSkew"));
        assert_eq!(reason("latest", Some("v1.2.9")), Some("VersionInvalid"));
        assert_eq!(reason("v1.3.0-rc.1+x", Some("1.2")), None);
    }

    #[test]
    fn a_refused_version_leaves_what_runs() {
        let plan = planned(&plane("v1.4.0", Some("v1.2.0")));
        assert_eq!((plan.run.version.as_str(), plan.from), ("v1.2.0", None));
        assert!(plan.kept.unwrap().message.contains("1.3 first"));
    }

    #[test]
    fn what_failed_is_not_tried_again_before_the_spec_changes() {
        let mut plane = plane("v1.3.0", Some("v1.2.0"));
        let plan = planned(&plane);
        assert_eq!((plan.run.version.as_str(), plan.kept.is_none()), ("v1.3.0", true));
        let record = failed(&plane, &plan, Some("no such image"));
        assert!(
            record.message.starts_with("v1.3.0 did")
                && record.message.contains("v1.2.0 runs again")
                && record.message.contains("no such image")
        );
        if let Some(status) = &mut plane.status {
            status.failed_upgrade = Some(record);
        }
        let plan = planned(&plane);
        assert_eq!(plan.run.version, "v1.2.0");
        assert_eq!(plan.kept.map(|kept| kept.reason), Some("UpgradeFailed"));
        plane.metadata.generation = Some(8);
        assert_eq!(planned(&plane).run.version, "v1.3.0");
    }

    #[test]
    fn a_rollout_is_done_going_or_stuck() {
        let deployment = |updated: i64, generation: i64, reason: &str| {
            json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": {
                "observedGeneration": generation, "replicas": 2, "updatedReplicas": updated,
                "availableReplicas": 2, "conditions": [{ "type": "Progressing", "reason": reason }],
            }})
        };
        assert_eq!(rollout(&deployment(2, 2, "NewReplicaSetAvailable")), Rollout::Done);
        assert_eq!(rollout(&deployment(1, 2, "ReplicaSetUpdated")), Rollout::Going);
        assert_eq!(rollout(&deployment(1, 2, "ProgressDeadlineExceeded")), Rollout::Stuck);
        assert_eq!(rollout(&deployment(1, 1, "ProgressDeadlineExceeded")), Rollout::Going);
    }
}
