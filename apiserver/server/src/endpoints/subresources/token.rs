//! `serviceaccounts/token`: a token for a service account.

use http::StatusCode;
use hyper::body::Incoming;
use kplane_admission::{Operation, Reader, Shape};
use kplane_kinds::{Subresource, Verbs};
use kplane_machinery::Status;

use super::{own_kind, require};
use crate::body::Answer;
use crate::endpoints::admitting::Admission;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::{body, decode, output};

/// Answers a `TokenRequest`.
pub async fn answer(
    cx: &Cx,
    resource: &Resource,
    sub: &Subresource,
    incoming: Incoming,
) -> Result<Answer, Status> {
    require(sub, Verbs::CREATE)?;
    let validation = decode::write_options(cx, "CreateOptions")?;
    let bytes = body::read(incoming).await?;
    let expected = own_kind(sub)?;
    let mut request = decode::object(cx, &bytes, &expected, validation)?;
    // Another name than that of the path is told where the token is made.
    decode::match_path(cx, resource, &mut request, false)?;
    kplane_schema::default(expected.schema, &mut request);
    let gr = resource.group_resource();
    let account = cx
        .reader()
        .get(&gr, &cx.info.namespace, &cx.info.name)
        .await?
        .ok_or_else(|| Status::not_found(&gr, &cx.info.name))?;
    let admission = Admission::new(cx, resource, Operation::Create, "token").shaped(Shape::Own);
    admission.mutate(&mut request, None).await?;
    admission.validate(&request, None).await?;
    let outcome = cx.app.identities.issue_token(&cx.app, &cx.vcp, &account, &request).await?;
    if let Some(warning) = outcome.warning {
        cx.warn(warning);
    }
    output::value(cx, StatusCode::CREATED, &outcome.response)
}
