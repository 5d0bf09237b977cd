//! Volumes and claims: who belongs to whom, and what may go.

mod matching;
mod protection;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::{CLAIMS, STORAGE_CLASSES, VOLUMES};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{
    annotation, is_deleting, items, map_at, name, namespace, set_annotation, text, uid,
};
use matching::Fit;

const COMPONENT: &str = "persistentvolume-controller";
/// The claim is bound for good.
const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binding was decided here and not by a user.
const DECIDED: &str = "pv.kubernetes.io/bound-by-controller";

/// The volumes and claims of a control plane.
struct Look<'a> {
    cx: &'a Cx<'a>,
    volumes: Vec<Value>,
    claims: Vec<Value>,
}

/// Looks at those of a control plane.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let volumes = cx.api.list(&VOLUMES, "").await?;
    let claims = cx.api.list(&CLAIMS, "").await?;
    protection::reconcile(cx, &volumes, &claims).await?;
    let mut look = Look { cx, volumes, claims };
    let mut failure = None;
    for at in 0..look.claims.len() {
        let claim = look.claims[at].clone();
        if let Err(error) = look.claim(claim).await {
            failure = failure.or(Some(error));
        }
    }
    for at in 0..look.volumes.len() {
        let volume = look.volumes[at].clone();
        if let Err(error) = look.volume(volume).await {
            failure = failure.or(Some(error));
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(Next::Done),
    }
}

/// Whether a volume names a claim, whichever uid it has.
fn names(volume: &Value, claim: &Value) -> bool {
    let of = |field: &str| text(volume, &format!("/spec/claimRef/{field}"));
    of("name") == name(claim) && of("namespace") == namespace(claim)
}

/// Whether a volume is bound to a claim, or wants to be.
fn is_for(volume: &Value, claim: &Value) -> bool {
    let claim_uid = text(volume, "/spec/claimRef/uid");
    names(volume, claim) && (claim_uid.is_empty() || claim_uid == uid(claim))
}

fn is_free(volume: &Value) -> bool {
    volume.pointer("/spec/claimRef").is_none_or(Value::is_null)
}

impl Look<'_> {
    fn volume_named(&self, wanted: &str) -> Option<Value> {
        self.volumes.iter().find(|volume| name(volume) == wanted).cloned()
    }

    fn put_volume(&mut self, written: &Value) {
        if let Some(volume) = self.volumes.iter_mut().find(|volume| uid(volume) == uid(written)) {
            *volume = written.clone();
        }
    }

    fn put_claim(&mut self, written: &Value) {
        if let Some(claim) = self.claims.iter_mut().find(|claim| uid(claim) == uid(written)) {
            *claim = written.clone();
        }
    }

    /// One claim.
    async fn claim(&mut self, claim: Value) -> Result<(), Error> {
        if annotation(&claim, COMPLETED).is_some() {
            return self.bound_claim(claim).await;
        }
        if is_deleting(&claim) {
            return Ok(());
        }
        let wanted = text(&claim, "/spec/volumeName").to_owned();
        if wanted.is_empty() {
            return self.free_claim(claim).await;
        }
        let Some(volume) = self.volume_named(&wanted) else {
            return self.claim_phase(claim, "Pending", None).await;
        };
        if is_free(&volume) {
            return match matching::fit(&volume, &claim) {
                Fit::Yes => self.bind(volume, claim).await,
                Fit::No(why) => {
                    let message = format!("Cannot bind to requested volume {wanted:?}: {why}");
                    self.cx.api.warning(COMPONENT, &claim, "VolumeMismatch", &message);
                    self.claim_phase(claim, "Pending", None).await
                }
            };
        }
        if is_for(&volume, &claim) {
            return self.bind(volume, claim).await;
        }
        let message = format!("volume {wanted:?} already bound to a different claim.");
        self.cx.api.warning(COMPONENT, &claim, "FailedBinding", &message);
        self.claim_phase(claim, "Pending", None).await
    }

    /// A claim that names no volume: one is looked for.
    async fn free_claim(&mut self, claim: Value) -> Result<(), Error> {
        let class_name = text(&claim, "/spec/storageClassName").to_owned();
        let class = if class_name.is_empty() {
            None
        } else {
            self.cx.api.get(&STORAGE_CLASSES, "", &class_name).await?
        };
        let waits = class.as_ref().is_some_and(|c| text(c, "/volumeBindingMode") == "WaitForFirstConsumer");
        let prebound = self.volumes.iter().find(|volume| is_for(volume, &claim) && !is_deleting(volume));
        let found = match prebound {
            Some(volume) => Some(volume),
            None if waits => None,
            None => matching::best(&self.volumes, &claim),
        };
        if let Some(volume) = found.cloned() {
            return self.bind(volume, claim).await;
        }
        let api = &self.cx.api;
        if waits {
            let message = "waiting for first consumer to be created before binding";
            api.normal(COMPONENT, &claim, "WaitForFirstConsumer", message);
        } else if class_name.is_empty() {
            let message = "no persistent volumes available for this claim and no storage class is set";
            api.normal(COMPONENT, &claim, "FailedBinding", message);
        } else if let Some(class) = class {
            let message = format!(
                "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
                text(&class, "/provisioner")
            );
            api.normal(COMPONENT, &claim, "ExternalProvisioning", &message);
            return self.ask_provisioner(claim, &class).await;
        } else {
            let message = format!("storageclass.storage.k8s.io {class_name:?} not found");
            api.warning(COMPONENT, &claim, "ProvisioningFailed", &message);
        }
        self.claim_phase(claim, "Pending", None).await
    }

    /// Tells a provisioner outside that a claim wants a volume.
    async fn ask_provisioner(&mut self, mut claim: Value, class: &Value) -> Result<(), Error> {
        let provisioner = text(class, "/provisioner");
        if provisioner == "kubernetes.io/no-provisioner" {
            return self.claim_phase(claim, "Pending", None).await;
        }
        let mut changed = false;
        for key in
            ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"]
        {
            if annotation(&claim, key) != Some(provisioner) {
                changed |= set_annotation(&mut claim, key, provisioner);
            }
        }
        if changed {
            claim = self.cx.api.update(&CLAIMS, &claim).await?;
            self.put_claim(&claim);
        }
        self.claim_phase(claim, "Pending", None).await
    }

    /// A claim that was bound: it stays so, or is lost.
    async fn bound_claim(&mut self, claim: Value) -> Result<(), Error> {
        let wanted = text(&claim, "/spec/volumeName").to_owned();
        let lost = |reason: &'static str, message: &'static str| (reason, message);
        let (reason, message) = if wanted.is_empty() {
            lost(
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            )
        } else {
            match self.volume_named(&wanted) {
                None => lost(
                    "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
                ),
                Some(volume) if is_free(&volume) || is_for(&volume, &claim) => {
                    return self.bind(volume, claim).await;
                }
                Some(_) => lost(
                    "ClaimMisbound",
                    "Two claims are bound to the same volume, this one is bound incorrectly",
                ),
            }
        };
        if text(&claim, "/status/phase") != "Lost" {
            self.cx.api.warning(COMPONENT, &claim, reason, message);
        }
        self.claim_phase(claim, "Lost", None).await
    }

    /// Binds a volume and a claim: the volume first, so that no two claims get it.
    async fn bind(&mut self, volume: Value, claim: Value) -> Result<(), Error> {
        let mut next = volume.clone();
        if text(&next, "/spec/claimRef/uid") != uid(&claim) || !names(&next, &claim) {
            if is_free(&next) {
                set_annotation(&mut next, DECIDED, "yes");
            }
            next["spec"]["claimRef"] = json!({
                "kind": CLAIMS.kind, "apiVersion": CLAIMS.api_version, "namespace": namespace(&claim),
                "name": name(&claim), "uid": uid(&claim),
                "resourceVersion": text(&claim, "/metadata/resourceVersion"),
            });
            next = self.cx.api.update(&VOLUMES, &next).await?;
        }
        let next = self.volume_phase(next, "Bound").await?;
        let mut bound = claim.clone();
        if text(&bound, "/spec/volumeName") != name(&next) {
            bound["spec"]["volumeName"] = name(&next).into();
            set_annotation(&mut bound, DECIDED, "yes");
        }
        let changed = set_annotation(&mut bound, COMPLETED, "yes");
        if changed || bound != claim {
            bound = self.cx.api.update(&CLAIMS, &bound).await?;
            self.put_claim(&bound);
        }
        self.claim_phase(bound, "Bound", Some(&next)).await
    }

    /// Writes the phase of a claim, and what it got.
    async fn claim_phase(&mut self, claim: Value, phase: &str, volume: Option<&Value>) -> Result<(), Error> {
        let mut next = claim.clone();
        let status: &mut Map<String, Value> = map_at(&mut next, &["status"]);
        status.insert("phase".into(), phase.into());
        match volume {
            Some(volume) => {
                status.insert("accessModes".into(), volume["spec"]["accessModes"].clone());
                // Later it is whoever resizes a volume that tells its size.
                if text(&claim, "/status/phase") != "Bound" {
                    status.insert("capacity".into(), volume["spec"]["capacity"].clone());
                }
            }
            None if phase == "Pending" => {
                status.remove("accessModes");
                status.remove("capacity");
            }
            None => {}
        }
        if next != claim {
            let written = self.cx.api.update_status(&CLAIMS, &next).await?;
            self.put_claim(&written);
        }
        Ok(())
    }

    /// Writes the phase of a volume.
    async fn volume_phase(&mut self, volume: Value, phase: &str) -> Result<Value, Error> {
        let mut next = volume;
        if text(&next, "/status/phase") != phase {
            map_at(&mut next, &["status"]).insert("phase".into(), phase.into());
            next = self.cx.api.update_status(&VOLUMES, &next).await?;
        }
        self.put_volume(&next);
        Ok(next)
    }

    /// One volume.
    async fn volume(&mut self, volume: Value) -> Result<(), Error> {
        if is_free(&volume) || text(&volume, "/spec/claimRef/uid").is_empty() {
            self.volume_phase(volume, "Available").await?;
            return Ok(());
        }
        let claim_uid = text(&volume, "/spec/claimRef/uid").to_owned();
        let claim =
            self.claims.iter().find(|claim| names(&volume, claim) && uid(claim) == claim_uid).cloned();
        let Some(claim) = claim else {
            if !matches!(text(&volume, "/status/phase"), "Released" | "Failed") {
                self.volume_phase(volume, "Released").await?;
            }
            return Ok(());
        };
        let bound_to = text(&claim, "/spec/volumeName");
        if bound_to == name(&volume) {
            self.volume_phase(volume, "Bound").await?;
        } else if !bound_to.is_empty() && annotation(&volume, DECIDED).is_some() {
            // The claim went elsewhere: the volume is free again.
            let mut next = volume;
            map_at(&mut next, &["spec"]).remove("claimRef");
            map_at(&mut next, &["metadata", "annotations"]).remove(DECIDED);
            let written = self.cx.api.update(&VOLUMES, &next).await?;
            self.volume_phase(written, "Available").await?;
        } else if !bound_to.is_empty() {
            // A user wanted this pair; what the user meant by the other is for the user to say.
            let mut next = volume;
            map_at(&mut next, &["spec", "claimRef"]).remove("uid");
            map_at(&mut next, &["spec", "claimRef"]).remove("resourceVersion");
            let written = self.cx.api.update(&VOLUMES, &next).await?;
            self.volume_phase(written, "Available").await?;
        }
        Ok(())
    }
}

/// Removes a finalizer from an object.
async fn release(
    cx: &Cx<'_>,
    kind: &crate::tenant::api::Kind,
    object: &Value,
    finalizer: &str,
) -> Result<(), Error> {
    let rest: Vec<&Value> =
        items(object, "/metadata/finalizers").iter().filter(|f| *f != finalizer).collect();
    let patch = json!({ "metadata": { "finalizers": rest } });
    raw::optional(cx.api.patch_unchanged(kind, object, patch).await)?;
    Ok(())
}
