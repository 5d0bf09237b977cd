//! What every request passes before an endpoint sees it, in the order of `DefaultBuildHandlerChain`:
//!
//! ```text
//! route: control plane + RequestInfo → authenticate → audit → impersonate → fairness → authorize → endpoint
//! ```
//!
//! Nothing is made or loaded for a request that is not authenticated and authorized.

pub mod audit;
mod authenticate;
pub mod authorize;
mod by_name;
pub mod fairness;
mod impersonate;
pub mod request_info;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::{HeaderName, HeaderValue, Request, header};
use hyper::body::Incoming;
use kplane_auth::user::{MASTERS, UNAUTHENTICATED};
use kplane_machinery::Status;
use kplane_registry::VcpId;
use tracing::Instrument;

pub use authenticate::bearer;
pub use request_info::{RequestInfo, Target};

use self::audit::Audited;
use self::fairness::Fairness;

use crate::app::App;
use crate::body::{self, Answer};
use crate::endpoints::cx::{Cx, Kept, Upgrade};
use crate::endpoints::negotiate;
use crate::endpoints::websocket;
use crate::listen::{Handler, Peer};
use crate::metrics::Labels;
use crate::query::Query;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// More of an id that a client chose is not repeated.
const LONGEST_AUDIT_ID: usize = 64;
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

impl Handler for App {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let started = Instant::now();
        // As upstream: the client may choose the id under which its request is audited.
        let given = request.headers().get(&AUDIT_ID).and_then(|id| id.to_str().ok());
        let given = given.filter(|id| !id.is_empty()).map(|id| &id[..id.len().min(LONGEST_AUDIT_ID)]);
        let audit_id = match given.and_then(|id| HeaderValue::from_str(id).ok()) {
            Some(given) => given,
            None => HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("")),
        };
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let span = tracing::debug_span!("request", %method, path);
        let metrics = self.metrics.clone();
        let failures_as = negotiate::of_failure(request.headers());
        let in_flight = metrics.begin(&method);
        let media =
            request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let dry_run = request.uri().query().is_some_and(|query| query.contains("dryRun=All"));
        let kinds = self.clone();
        let accepts_gzip = crate::compress::accepts(request.headers());
        let audit_text = audit_id.to_str().unwrap_or("");
        let mut audited = Audited::new(
            self.audit.clone(),
            audit_text,
            &method,
            request.uri(),
            request.headers(),
            peer.address.ip(),
        );
        let turns = self.fairness.turns.clone();
        let whose = turn_of(&self, &request, &peer);
        // A panic is a fault of ours: it fails this request, and no other.
        let answering = AssertUnwindSafe(timed(self, request, peer, &mut audited)).catch_unwind();
        let result = turns.share(whose, answering).instrument(span).await;
        let mut answer = match result {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => body::failure(&status, failures_as),
            Err(_) => {
                tracing::error!(%method, path, "a request caused a panic");
                audited.panicked();
                let why = "this request caused the API server to panic; look in its log for details";
                body::failure(&Status::internal(why), failures_as)
            }
        };
        for (name, id) in [(FLOW_SCHEMA, &audited.flow.schema), (PRIORITY_LEVEL, &audited.flow.level)] {
            if let Some(id) = id {
                answer.headers_mut().insert(name, id.clone());
            }
        }
        let labels = Labels::of(&method, audited.info.as_ref(), media.as_deref(), dry_run, |group| {
            kinds.kinds.groups(true).get(group).is_some()
        });
        answer = audited.answered(answer).await;
        if accepts_gzip {
            answer = crate::compress::answer(answer).await;
        }
        answer.headers_mut().insert(AUDIT_ID, audit_id);
        if method == http::Method::HEAD {
            *answer.body_mut() = body::full("");
        }
        metrics.end(in_flight, labels, answer.status(), started.elapsed());
        tracing::debug!(%method, path, status = answer.status().as_u16(), elapsed = ?started.elapsed(), "answered");
        answer
    }

    fn handshake<F>(&self, address: IpAddr, handshake: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        self.fairness.turns.share(Fairness::stranger_at(address), handshake)
    }

    fn carry<F>(&self, peer: &Peer, carrying: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        let (connection, stranger) = (peer.connection.clone(), Fairness::stranger_at(peer.address.ip()));
        self.fairness.turns.follow(move || connection.control_plane().unwrap_or(stranger), carrying)
    }
}

/// Whose time at the processor a request counts as, judged by its path alone: who asks is not known yet.
fn turn_of(app: &App, request: &Request<Incoming>, peer: &Peer) -> VcpId {
    let named = by_name::target_of(app, request.uri(), request.headers(), peer).ok().flatten();
    let target = match named {
        Some(target) => Some(target),
        None => match request_info::split_target(request.uri().path()) {
            Some((Target::Root, path)) if path == request.uri().path() => {
                Some(by_name::target_of_token(app, request.headers()))
            }
            other => other.map(|(target, _)| target),
        },
    };
    match target {
        Some(Target::Root | Target::All) => VcpId::ROOT,
        Some(Target::Vcp(name)) if name == app.root_name => VcpId::ROOT,
        Some(Target::Vcp(name)) => app.registry.id_of(&name).unwrap_or_else(Fairness::stranger),
        None => Fairness::stranger(),
    }
}

/// How long a request that is no watch may take (`--request-timeout`).
const TIMEOUT: Duration = Duration::from_secs(60);

/// The time a request may take: what its query asks for, up to what any may.
fn asked_timeout(query: &str) -> Result<Duration, Status> {
    if !query.contains("timeout=") {
        return Ok(TIMEOUT);
    }
    let query = Query::parse(query);
    match query.get("timeout").filter(|text| !text.is_empty()) {
        None => Ok(TIMEOUT),
        Some(text) => match crate::options::duration(text) {
            Ok(time) if time.is_zero() => Ok(TIMEOUT),
            Ok(time) => Ok(time.min(TIMEOUT)),
            Err(_) => Err(Status::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))),
        },
    }
}

/// The chain within its time. A watch is answered at once; its stream has a time of its own.
async fn timed(
    app: Arc<App>,
    request: Request<Incoming>,
    peer: Peer,
    audited: &mut Audited,
) -> Result<Answer, Status> {
    let timeout = asked_timeout(request.uri().query().unwrap_or(""))?;
    match tokio::time::timeout(timeout, chain(app, request, peer, audited)).await {
        Ok(result) => result,
        Err(_) => Err(Status::timeout("request did not complete within the allotted timeout", 0)),
    }
}

/// Who asks; one who is refused only by what is known of the control plane now is judged again by what is newer.
async fn authenticated(
    app: &App,
    vcp: Option<&Arc<kplane_registry::Vcp>>,
    headers: &http::HeaderMap,
    peer: &Peer,
    path: &str,
) -> Result<crate::identity::Caller, Status> {
    match (authenticate::user(app, vcp.map(|vcp| &**vcp), headers, peer, path).await, vcp) {
        (Err(refused), Some(vcp)) if refused.code == 401 => match app.identities.newer(app, vcp, true).await?
        {
            Some(now) => authenticate::user(app, Some(&now), headers, peer, path).await,
            None => Err(refused),
        },
        (other, _) => other,
    }
}

async fn chain(
    app: Arc<App>,
    request: Request<Incoming>,
    peer: Peer,
    audited: &mut Audited,
) -> Result<Answer, Status> {
    let (mut parts, incoming) = request.into_parts();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    // A browser cannot set the header, and sends its token as a subprotocol of its WebSocket.
    if !parts.headers.contains_key(header::AUTHORIZATION)
        && let Some(token) = websocket::bearer(&parts.headers)
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
    {
        parts.headers.insert(header::AUTHORIZATION, value);
    }
    let query = Query::parse(parts.uri.query().unwrap_or(""));

    // route
    let path = parts.uri.path();
    let named = by_name::target(&app, &parts, &peer)?;
    let by_path = named.is_none();
    let routed = match named {
        Some(target) => Some((target, path)),
        None => request_info::split_target(path),
    };
    let Some((target, inner)) = routed else {
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
        Target::Root if by_path && prefix.is_empty() => by_name::target_of_token(&app, &parts.headers),
        other => other,
    };
    let Some(info) = request_info::parse(&parts.method, inner, &query) else {
        return Err(Status::bad_request("the path is not a valid URL path"));
    };

    audited.info = Some(info.clone());
    audited.cluster = match &target {
        Target::Root => "root".to_owned(),
        Target::All => "*".to_owned(),
        Target::Vcp(name) => name.clone(),
    };

    // authenticate
    let vcp = match &target {
        Target::Root | Target::All => Some(app.registry.root()),
        Target::Vcp(name) => app.registry.vcp(name).await.map_err(crate::endpoints::failures::store)?,
    };
    let user = authenticated(&app, vcp.as_ref(), &parts.headers, &peer, &info.path).await;
    audited.user = user.as_ref().ok().map(|caller| caller.user.clone());
    audited.begin();
    let user = user?;
    if let Some(vcp) = vcp.as_ref().filter(|_| !user.user.in_group(UNAUTHENTICATED)) {
        peer.connection.owned_by(vcp.id);
    }

    // impersonate
    let (real, of_root) = (user.user.clone(), user.of_root);
    let user = impersonate::user(&app, vcp.as_ref(), user, &parts.headers, &info).await?;
    if user.user != real {
        audited.impersonated = Some(user.user.clone());
    }

    // fairness
    let upgrades = upgrade.is_some() && websocket::upgrades(&parts.headers);
    let admitted =
        app.fairness.admit(&app, vcp.as_deref(), &user, &info, upgrades, &mut audited.flow).await?;
    let _seat = admitted.seat;
    audited.watch.clone_from(&admitted.watch);
    let upgrade = upgrade.map(|upgrade| Upgrade { upgrade, counted: admitted.watch });

    // authorize
    let allowed = authorize::request(&app, vcp.as_ref(), &target, &user, &info).await;
    let (decision, reason) = match &allowed {
        Ok(reason) => ("allow", reason.as_str()),
        Err(status) => ("forbid", status.message.as_str()),
    };
    audited.sink.annotate("authorization.k8s.io/decision", decision);
    audited.sink.annotate("authorization.k8s.io/reason", reason);
    allowed?;
    if let Some(vcp) = vcp.as_ref().filter(|vcp| !vcp.is_root()) {
        // Authorization waits for what was written before the request, but for those it asks nothing about.
        let wait = real.in_group(MASTERS) && !of_root;
        if let Some(now) = app.identities.newer(&app, vcp, wait).await? {
            authenticate::user(&app, Some(&now), &parts.headers, &peer, &info.path).await?;
        }
    }
    let vcp = match vcp {
        Some(vcp) => vcp,
        // What anybody may read (the version, health) is the server's own: a stranger reads it where there is no control
        // plane as where there is one, and does not learn which.
        None if user.user.in_group(UNAUTHENTICATED) && !info.is_resource => app.registry.root(),
        // Told only to those who might have used it.
        None => return Err(authorize::no_such_control_plane(&target)),
    };

    let cx = Arc::new(Cx {
        app: app.clone(),
        vcp,
        prefix,
        method: parts.method.clone(),
        info,
        query,
        headers: parts.headers,
        user: user.user,
        warnings: Mutex::default(),
        kept: Kept::default(),
        upgrade: Mutex::new(upgrade),
        audit: audited.sink.clone(),
    });
    let result = match target {
        Target::All => crate::all_vcps::answer(cx.clone()).await,
        _ => crate::dispatch::answer(cx.clone(), &parts.method, incoming).await,
    };
    let mut answer =
        result.unwrap_or_else(|status| body::failure(&status, negotiate::of_failure(&cx.headers)));
    add_warnings(&cx, &mut answer);
    // What admission says for the audit log.
    for (name, value) in cx.kept.annotations.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter()
    {
        cx.audit.annotate(name.as_str(), value.as_str());
    }
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
