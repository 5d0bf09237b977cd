//! What every request passes before an endpoint sees it, in the order of `DefaultBuildHandlerChain`:
//!
//! ```text
//! route: control plane + RequestInfo → authenticate → audit → impersonate → fairness → authorize → endpoint
//! ```
//!
//! Nothing is made or loaded for a request that is not authenticated and authorized.

mod authenticate;
mod authorize;
mod impersonate;
pub mod request_info;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::{HeaderName, HeaderValue, Request, header};
use hyper::body::Incoming;
use kplane_machinery::Status;
use tracing::Instrument;

pub use request_info::{RequestInfo, Target};

use crate::app::App;
use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;
use crate::listen::{Handler, Peer};
use crate::query::Query;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

impl Handler for App {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let started = Instant::now();
        // As upstream: the client may choose the id under which its request is audited.
        let audit_id = match request.headers().get(&AUDIT_ID) {
            Some(given) => given.clone(),
            None => HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("")),
        };
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let span = tracing::debug_span!("request", %method, path);
        let metrics = self.metrics.clone();
        let in_flight = metrics.begin();
        let accepts_gzip = crate::compress::accepts(request.headers());
        let mut answer = match chain(self, request, peer).instrument(span).await {
            Ok(answer) => answer,
            Err(status) => body::failure(&status),
        };
        if accepts_gzip {
            answer = crate::compress::answer(answer).await;
        }
        answer.headers_mut().insert(AUDIT_ID, audit_id);
        if method == http::Method::HEAD {
            *answer.body_mut() = body::full("");
        }
        metrics.end(in_flight, &method, answer.status(), started.elapsed());
        tracing::debug!(%method, path, status = answer.status().as_u16(), elapsed = ?started.elapsed(), "answered");
        answer
    }
}

async fn chain(app: Arc<App>, request: Request<Incoming>, peer: Peer) -> Result<Answer, Status> {
    let (parts, incoming) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or(""));

    // route
    let path = parts.uri.path();
    let Some((target, inner)) = request_info::split_target(path) else {
        // A path below /clusters that names no control plane: nobody's, and told to no one but the authenticated.
        authenticate::root(&app, &parts.headers, &peer).await?;
        return Ok(body::page_not_found());
    };
    let prefix = path
        .strip_suffix(inner.strip_suffix('/').unwrap_or(inner))
        .unwrap_or("")
        .trim_end_matches('/')
        .to_owned();
    let target = match target {
        Target::Vcp(name) if name == app.root_name => Target::Root,
        other => other,
    };
    let Some(info) = request_info::parse(&parts.method, inner, &query) else {
        return Err(Status::bad_request("the path is not a valid URL path"));
    };

    // authenticate
    let vcp = match &target {
        Target::Root | Target::All => Some(app.registry.root()),
        Target::Vcp(name) => app.registry.vcp(name).await.map_err(crate::endpoints::failures::store)?,
    };
    let user = authenticate::user(&app, vcp.as_deref(), &parts.headers, &peer).await?;

    // impersonate
    let user = impersonate::user(&app, vcp.as_ref(), user, &parts.headers).await?;

    // authorize
    authorize::request(&app, vcp.as_ref(), &target, &user, &info).await?;
    let Some(vcp) = vcp else {
        // Told only to those who might have used it.
        return Err(authorize::no_such_control_plane(&target));
    };

    let cx = Arc::new(Cx {
        app: app.clone(),
        vcp,
        prefix,
        info,
        query,
        headers: parts.headers,
        user: user.user,
        warnings: Mutex::default(),
    });
    let result = match target {
        Target::All => crate::all_vcps::answer(cx.clone()).await,
        _ => crate::dispatch::answer(cx.clone(), &parts.method, incoming).await,
    };
    let mut answer = result.unwrap_or_else(|status| body::failure(&status));
    add_warnings(&cx, &mut answer);
    Ok(answer)
}

/// `Warning: 299 - "text"`, one header a warning, as RFC 7234 writes it.
fn add_warnings(cx: &Cx, answer: &mut Answer) {
    let warnings = cx.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for text in warnings.iter() {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        match HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            Ok(value) => {
                answer.headers_mut().append(header::WARNING, value);
            }
            Err(_) => tracing::debug!(text, "a warning cannot be sent as a header"),
        }
    }
}
