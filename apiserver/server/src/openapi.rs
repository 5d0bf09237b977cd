//! The OpenAPI documents of a control plane.

use kplane_machinery::Status;

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;

/// `/openapi/v2`.
pub async fn v2(_cx: &Cx) -> Result<Answer, Status> {
    Ok(body::page_not_found())
}

/// `/openapi/v3`.
pub async fn v3_index(_cx: &Cx) -> Result<Answer, Status> {
    Ok(body::page_not_found())
}

/// `/openapi/v3/apis/<group>/<version>`.
pub async fn v3(_cx: &Cx, _path: &str) -> Result<Answer, Status> {
    Ok(body::page_not_found())
}
