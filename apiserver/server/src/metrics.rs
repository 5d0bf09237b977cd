//! `/metrics`: upstream's main names, and the figures of the registry. No series belongs to one control plane, so that
//! an idle one costs none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use kplane_admission::webhook::Observation;
use kplane_machinery::Status;
use kplane_storage::RangeRequest;
use sha2::{Digest, Sha256};

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;
use crate::filters::RequestInfo;
use crate::reload::Reloads;

/// The upper bounds of `apiserver_request_duration_seconds`, in seconds.
const BOUNDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// What stands for the groups and resources that control planes define for themselves: their names are without number.
const CUSTOM: &str = "custom";

/// The counters of the server.
#[derive(Default)]
pub struct Metrics {
    reads: AtomicI64,
    writes: AtomicI64,
    requests: Mutex<BTreeMap<Labels, Series>>,
    long_running: Mutex<BTreeMap<Labels, i64>>,
    /// By kind of webhook, operation, and whether the write was refused.
    webhooks: Mutex<BTreeMap<(&'static str, &'static str, bool), Series>>,
    /// Webhooks that could not be asked, by kind: what was refused for that, and what was let through.
    unasked: Mutex<BTreeMap<(&'static str, bool), u64>>,
    /// Configuration files that were read again.
    pub reloads: Reloads,
}

/// What tells one series from another. Never a control plane's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    dry_run: &'static str,
}

impl Labels {
    /// Of a request. `builtin` says whether a group is one of the server's own.
    pub fn of(
        method: &Method,
        info: Option<&RequestInfo>,
        headers: Option<&str>,
        dry_run: bool,
        builtin: impl Fn(&str) -> bool,
    ) -> Self {
        let dry_run = if dry_run { "All" } else { "" };
        let Some(info) = info.filter(|info| info.is_resource) else {
            return Self { verb: method.as_str().to_owned(), dry_run, ..Self::default() };
        };
        let verb = match info.verb.as_str() {
            "get" | "list" | "watch" | "delete" | "deletecollection" => info.verb.to_uppercase(),
            "create" => "POST".to_owned(),
            "update" => "PUT".to_owned(),
            "patch" if headers.is_some_and(|media| media.starts_with("application/apply-patch")) => {
                "APPLY".to_owned()
            }
            "patch" => "PATCH".to_owned(),
            _ => "OTHER".to_owned(),
        };
        let scope = if !info.name.is_empty() || info.verb == "create" {
            "resource"
        } else if info.namespace.is_empty() {
            "cluster"
        } else {
            "namespace"
        };
        if !builtin(&info.group) {
            let custom = || CUSTOM.to_owned();
            return Self { verb, group: custom(), resource: custom(), scope, dry_run, ..Self::default() };
        }
        Self {
            verb,
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            scope,
            dry_run,
        }
    }

    fn text(&self) -> String {
        format!(
            "component=\"apiserver\",dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.dry_run, self.group, self.resource, self.scope, self.subresource, self.verb, self.version
        )
    }
}

#[derive(Clone, Default)]
struct Series {
    codes: BTreeMap<u16, u64>,
    count: u64,
    seconds: f64,
    buckets: [u64; BOUNDS.len()],
}

impl Series {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.seconds += seconds;
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            line(out, &format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), *bucket as f64);
        }
        line(out, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), self.count as f64);
        line(out, &format!("{name}_sum"), labels, self.seconds);
        line(out, &format!("{name}_count"), labels, self.count as f64);
    }
}

/// A request that is being answered.
pub struct InFlight {
    metrics: Arc<Metrics>,
    write: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight(self.write).fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that is being sent.
pub struct LongRunning {
    metrics: Arc<Metrics>,
    labels: Labels,
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        let mut running = self.metrics.long_running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.labels) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.labels);
            }
        }
    }
}

impl Metrics {
    fn in_flight(&self, write: bool) -> &AtomicI64 {
        if write { &self.writes } else { &self.reads }
    }

    /// Counts a request that begins.
    pub fn begin(self: &Arc<Self>, method: &Method) -> InFlight {
        let write = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        self.in_flight(write).fetch_add(1, Ordering::Relaxed);
        InFlight { metrics: self.clone(), write }
    }

    /// Counts a stream for as long as it lasts.
    pub fn long_running(self: &Arc<Self>, labels: Labels) -> LongRunning {
        *self
            .long_running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(labels.clone())
            .or_default() += 1;
        LongRunning { metrics: self.clone(), labels }
    }

    /// Counts a request that was answered.
    pub fn end(&self, in_flight: InFlight, labels: Labels, status: StatusCode, elapsed: Duration) {
        drop(in_flight);
        let seconds = elapsed.as_secs_f64();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // A name that nobody serves makes no series of its own.
        let labels = match status {
            StatusCode::NOT_FOUND if !requests.contains_key(&labels) => Labels {
                verb: labels.verb,
                scope: labels.scope,
                dry_run: labels.dry_run,
                ..Labels::default()
            },
            _ => labels,
        };
        let series = requests.entry(labels).or_default();
        *series.codes.entry(status.as_u16()).or_default() += 1;
        series.add(seconds);
    }

    /// Counts a call of an admission webhook.
    pub fn webhook(&self, call: &Observation) {
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = (call.webhook, call.operation.as_str(), call.rejected);
        webhooks.entry(labels).or_default().add(call.elapsed.as_secs_f64());
        drop(webhooks);
        if call.failed {
            let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
            *unasked.entry((call.webhook, call.rejected)).or_default() += 1;
        }
    }

    fn render_webhooks(&self, out: &mut String) {
        let webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        head(out, name, "histogram", "How long webhooks took, by kind, operation and outcome.");
        for ((webhook, operation, rejected), series) in &webhooks {
            let labels = format!("type=\"{webhook}\",operation=\"{operation}\",rejected=\"{rejected}\"");
            series.render(out, name, &labels);
        }
        let unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (closed, open) =
            ("apiserver_admission_webhook_rejection_count", "apiserver_admission_webhook_fail_open_count");
        head(out, closed, "counter", "Writes refused because a webhook could not be asked, by kind.");
        head(out, open, "counter", "Webhooks that could not be asked and were passed over, by kind.");
        for ((webhook, rejected), count) in &unasked {
            let labels = if *rejected {
                format!("type=\"{webhook}\",error_type=\"calling_webhook_error\"")
            } else {
                format!("type=\"{webhook}\"")
            };
            line(out, if *rejected { closed } else { open }, &labels, *count as f64);
        }
    }

    fn render(&self, out: &mut String) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = "apiserver_request_total";
        head(
            out,
            name,
            "counter",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        );
        for (labels, series) in &requests {
            let labels = labels.text();
            for (code, count) in &series.codes {
                line(out, name, &format!("code=\"{code}\",{labels}"), *count as f64);
            }
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        for (labels, series) in &requests {
            let labels = labels.text();
            series.render(out, name, &labels);
        }
        let name = "apiserver_current_inflight_requests";
        head(out, name, "gauge", "Requests that are being answered, by whether they may change something.");
        for (kind, write) in [("mutating", true), ("readOnly", false)] {
            let count = self.in_flight(write).load(Ordering::Relaxed);
            line(out, name, &format!("request_kind=\"{kind}\""), count as f64);
        }
        let name = "apiserver_longrunning_requests";
        head(
            out,
            name,
            "gauge",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        );
        let running = self.long_running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (labels, count) in &running {
            line(out, name, &labels.text(), *count as f64);
        }
        self.render_webhooks(out);
    }
}

/// What stands before the series of a name.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One series.
pub fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// `/metrics` of a control plane: its own figures, made when they are asked for, so that no series is kept for it.
async fn of_one(cx: &Cx) -> Result<Answer, Status> {
    let mut out = String::new();
    let figures = cx.app.fairness.of(cx.vcp.id);
    for (name, help, of) in [
        (
            "apiserver_flowcontrol_current_executing_requests",
            "Requests that are being answered.",
            (|(_, executing, _)| *executing) as fn(&(Arc<str>, usize, usize)) -> usize,
        ),
        (
            "apiserver_flowcontrol_current_inqueue_requests",
            "Requests that wait for a seat.",
            |(_, _, waiting)| *waiting,
        ),
    ] {
        head(&mut out, name, "gauge", help);
        for level in &figures.levels {
            line(&mut out, name, &format!("priority_level=\"{}\"", level.0), of(level) as f64);
        }
    }
    let stats = cx.app.registry.stats_of(cx.vcp.id);
    for (name, help, value) in [
        ("hot_sets", "Resources that are held in memory.", stats.hot_sets),
        ("hot_objects", "Objects in them.", stats.hot_objects),
        ("hot_bytes", "About how many bytes they take.", stats.hot_bytes),
        ("watchers", "Watches under way.", stats.watchers),
    ] {
        let name = format!("kplane_control_plane_{name}");
        head(&mut out, &name, "gauge", help);
        line(&mut out, &name, "", value as f64);
    }
    let usage = cx.app.registry.usage(&cx.vcp).await.map_err(crate::endpoints::failures::store)?;
    for (name, help, value) in [
        ("objects", "Objects kept, those that it began with not counted.", usage.objects),
        ("bytes", "Bytes of them as stored.", usage.bytes),
    ] {
        let name = format!("kplane_control_plane_{name}");
        head(&mut out, &name, "gauge", help);
        line(&mut out, &name, "", value as f64);
    }
    let counts = [("admitted", figures.admitted), ("refused", figures.refused)];
    let name = "kplane_control_plane_requests";
    head(&mut out, name, "gauge", "Requests let in and refused since it has been in use without a pause.");
    for (result, count) in counts {
        line(&mut out, name, &format!("result=\"{result}\""), count as f64);
    }
    let limits = figures.limits;
    let name = "kplane_control_plane_limit";
    head(&mut out, name, "gauge", "What its class limits.");
    for (what, limit) in [
        ("requestsInFlight", limits.requests_in_flight.map(|n| n as u64)),
        ("requestsPerSecond", limits.requests_per_second.map(u64::from)),
        ("objects", limits.objects),
        ("bytes", limits.bytes),
        ("watches", limits.watches.map(|n| n as u64)),
    ] {
        if let Some(limit) = limit {
            line(&mut out, name, &format!("limit=\"{what}\""), limit as f64);
        }
    }
    Ok(body::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out))
}

/// Answers `/metrics`: the whole server's for root, its own for a control plane.
pub async fn answer(cx: &Cx) -> Result<Answer, Status> {
    if !cx.vcp.is_root() {
        return of_one(cx).await;
    }
    let mut out = String::new();
    cx.app.metrics.render(&mut out);
    let server: String =
        Sha256::digest(&cx.app.advertised).iter().map(|byte| format!("{byte:02x}")).collect();
    cx.app.metrics.reloads.render(&mut out, &server);
    let stats = cx.app.registry.stats();
    for (name, help, value) in [
        ("control_planes", "Virtual control planes known, root among them.", stats.vcps as u64),
        ("hot_sets", "Resources of control planes that are held in memory.", stats.hot_sets as u64),
        ("hot_objects", "Objects in them.", stats.hot_objects as u64),
        ("hot_bytes", "About how many bytes they take.", stats.hot_bytes as u64),
        ("watchers", "Watches under way.", stats.watchers as u64),
        ("revision", "The revision that has been seen of the store.", stats.revision),
        ("compacted_revision", "The revision before which history is forgotten.", stats.compacted),
    ] {
        let name = format!("kplane_registry_{name}");
        head(&mut out, &name, "gauge", help);
        line(&mut out, &name, "", value as f64);
    }
    let (active, seated, waiting) = cx.app.fairness.figures();
    for (name, help, value) in [
        ("kplane_fairness_control_planes", "Control planes with requests now or a moment ago.", active),
        ("kplane_fairness_seats_taken", "Requests that have a seat.", seated),
        ("kplane_fairness_waiting", "Requests that wait for one.", waiting),
    ] {
        head(&mut out, name, "gauge", help);
        line(&mut out, name, "", value as f64);
    }
    let lag = stats.revision.saturating_sub(stats.compacted);
    head(&mut out, "kplane_store_history_revisions", "gauge", "Revisions of which history is kept.");
    line(&mut out, "kplane_store_history_revisions", "", lag as f64);
    if let Ok(status) = cx.app.registry.store_status().await {
        head(&mut out, "kplane_store_bytes", "gauge", "How much room the store takes on disk.");
        line(&mut out, "kplane_store_bytes", "", status.bytes as f64);
        if let Some(bytes) = status.bytes_in_use {
            head(&mut out, "kplane_store_bytes_in_use", "gauge", "How much of it is in use.");
            line(&mut out, "kplane_store_bytes_in_use", "", bytes as f64);
        }
    }
    let mark = crate::encryption::sweep::mark(cx.app.registry.prefix());
    if let Ok(Some(found)) = cx.app.registry.store().get(&mark, None).await.map(|found| found.kv) {
        let name = "kplane_store_encryption";
        head(
            &mut out,
            name,
            "gauge",
            "By what configuration all values are encrypted: no keys, but their names.",
        );
        let labels = format!(
            "configuration=\"{}\"",
            String::from_utf8_lossy(&found.value).replace(['"', '\\', '\n'], "_")
        );
        line(&mut out, name, &labels, 1.0);
    }
    // Counted when asked for alone: in a large store it takes a while.
    if cx.query.flag("keys") {
        let request =
            RangeRequest { count_only: true, ..RangeRequest::prefix(cx.app.registry.prefix().to_owned()) };
        if let Ok(counted) = cx.app.registry.store().range(request).await {
            head(&mut out, "kplane_store_keys", "gauge", "Keys in the store.");
            line(&mut out, "kplane_store_keys", "", counted.count as f64);
        }
    }
    let info = crate::version::info();
    let text = |field: &str| info[field].as_str().unwrap_or_default().to_owned();
    head(&mut out, "kubernetes_build_info", "gauge", "The version that is served, as labels; always 1.");
    let labels: Vec<String> = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ]
    .iter()
    .map(|(label, field)| format!("{label}=\"{}\"", text(field)))
    .collect();
    line(&mut out, "kubernetes_build_info", &labels.join(","), 1.0);
    if let Some(bytes) = resident_memory() {
        head(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
        line(&mut out, "process_resident_memory_bytes", "", bytes as f64);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        head(&mut out, "process_open_fds", "gauge", "Number of open file descriptors.");
        line(&mut out, "process_open_fds", "", files.count() as f64);
    }
    Ok(body::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out))
}

/// The resident memory of this process, where the system tells.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(verb: &str, group: &str, name: &str) -> Labels {
        let info = RequestInfo {
            is_resource: true,
            verb: verb.into(),
            group: group.into(),
            version: "v1".into(),
            resource: "things".into(),
            name: name.into(),
            ..RequestInfo::default()
        };
        Labels::of(&Method::GET, Some(&info), None, false, |group| group == "apps")
    }

    #[test]
    fn series_are_by_kind_and_not_by_what_tenants_invent() {
        let metrics = Arc::new(Metrics::default());
        for (group, status) in [("apps", 200), ("a.example.com", 200), ("b.example.com", 404), ("apps", 403)]
        {
            let begun = metrics.begin(&Method::GET);
            let status = StatusCode::from_u16(status).expect("a status");
            metrics.end(begun, labels("list", group, ""), status, Duration::from_millis(30));
        }
        let mut out = String::new();
        metrics.render(&mut out);
        let series = "component=\"apiserver\",dry_run=\"\",group=\"apps\",resource=\"things\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        assert!(out.contains(&format!("apiserver_request_total{{code=\"200\",{series}}} 1")), "{out}");
        assert!(
            out.contains(&format!("apiserver_request_duration_seconds_bucket{{{series},le=\"0.05\"}} 2")),
            "{out}"
        );
        assert!(!out.contains("example.com"), "{out}");
        assert!(out.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0"));
    }

    #[test]
    fn a_stream_counts_while_it_lasts() {
        let metrics = Arc::new(Metrics::default());
        let running = metrics.long_running(labels("watch", "apps", ""));
        assert_eq!(metrics.long_running.lock().expect("counts").values().sum::<i64>(), 1);
        drop(running);
        assert!(metrics.long_running.lock().expect("counts").is_empty());
    }
}
