//! May they: the last filter before the endpoints.

use std::sync::Arc;

use kplane_auth::UserInfo;
use kplane_auth::authz::Attributes;
use kplane_machinery::{GroupResource, Reason, Status};
use kplane_registry::Vcp;

use super::{RequestInfo, Target};
use crate::app::App;
use crate::identity::Caller;

/// What authorization is asked about a request.
pub fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes::of_path(user, &info.verb, &info.path);
    }
    Attributes {
        user,
        verb: &info.verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: "",
        selectors: Some(&info.selectors),
    }
}

/// Refuses a request that its user may not make; says why it may. Of a control plane that does not exist a stranger
/// learns nothing: it gets the answer that it would get of one that does.
pub async fn request(
    app: &App,
    vcp: Option<&Arc<Vcp>>,
    target: &Target,
    caller: &Caller,
    info: &RequestInfo,
) -> Result<String, Status> {
    if *target == Target::All && !caller.of_root {
        return Err(Status::forbidden(
            &GroupResource::new(info.group.as_str(), info.resource.as_str()),
            "",
            format!(
                "User {:?} is not root's own, and only such may read all control planes",
                caller.user.username
            ),
        ));
    }
    app.identities.require(app, vcp, &attributes(&caller.user, info)).await
}

/// 404 for a control plane that does not exist, to those who administer them.
pub fn no_such_control_plane(target: &Target) -> Status {
    let name = match target {
        Target::Vcp(name) => name.as_str(),
        Target::Root | Target::All => "",
    };
    Status::new(
        404,
        Reason::NotFound,
        format!("there is no virtual control plane {name:?}; `kubectl vcp list` shows those that are there"),
    )
}
