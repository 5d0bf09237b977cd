//! `controlplane.kplane.dev/v1alpha1`, one file a kind.

mod control_plane;
mod control_plane_class;
mod control_plane_credential;
mod control_plane_endpoint;
mod control_plane_registration;
mod exports;
mod jwt;
mod management_plane;

pub use control_plane::*;
pub use control_plane_class::*;
pub use control_plane_credential::*;
pub use control_plane_endpoint::*;
pub use control_plane_registration::*;
pub use exports::*;
pub use jwt::*;
pub use management_plane::*;

/// The API group.
pub const GROUP: &str = "controlplane.kplane.dev";
/// The version of this module's kinds.
pub const VERSION: &str = "v1alpha1";

/// The finalizer by which our controllers finish their work before an object goes.
pub const FINALIZER: &str = "controlplane.kplane.dev/finalizer";

/// The annotation of a `ControlPlane` or `ControlPlaneCredential` that rotates its certificate: whenever it changes, what
/// was issued before is good no more, and a new one is written. By habit a time.
pub const ROTATE_ANNOTATION: &str = "controlplane.kplane.dev/rotate";

/// The annotation of a `ControlPlane` that revokes all that was ever issued for it, service account tokens included,
/// whenever it changes. By habit a time.
pub const REVOKE_ALL_ANNOTATION: &str = "controlplane.kplane.dev/revoke-all";

/// The annotation that lets an object go, once it is being deleted, although what its end waits for cannot be had. What
/// that would have done, such as detaching the data or revoking a role, is left undone.
pub const FORCE_DELETE_ANNOTATION: &str = "controlplane.kplane.dev/force-delete";

/// The label, on what the controllers make for a `ControlPlane`, with its name.
pub const NAME_LABEL: &str = "controlplane.kplane.dev/name";

/// The annotation, on a Secret with a kubeconfig, of when its certificate ends.
pub const EXPIRATION_ANNOTATION: &str = "controlplane.kplane.dev/expiration-time";

/// The key of the kubeconfig, in a Secret, that works inside the management cluster.
pub const KUBECONFIG_KEY: &str = "kubeconfig";
/// The key of the kubeconfig, in a Secret, that works from outside the management cluster.
pub const KUBECONFIG_EXTERNAL_KEY: &str = "kubeconfig-external";
