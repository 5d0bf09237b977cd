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

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;

/// The upper bounds of `apiserver_request_duration_seconds`, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The counters of the server.
#[derive(Default)]
pub struct Metrics {
    in_flight: AtomicI64,
    requests: Mutex<BTreeMap<(String, u16), Series>>,
    /// By kind of webhook, operation, and whether the write was refused.
    webhooks: Mutex<BTreeMap<(&'static str, &'static str, bool), Series>>,
    /// Webhooks that could not be asked, by kind: what was refused for that, and what was let through.
    unasked: Mutex<BTreeMap<(&'static str, bool), u64>>,
}

#[derive(Clone, Default)]
struct Series {
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
pub struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request that begins.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts a request that was answered.
    pub fn end(&self, in_flight: InFlight, method: &Method, status: StatusCode, elapsed: Duration) {
        drop(in_flight);
        let seconds = elapsed.as_secs_f64();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.entry((method.as_str().to_owned(), status.as_u16())).or_default().add(seconds);
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
        head(out, "apiserver_request_total", "counter", "Requests answered, by method and status.");
        for ((method, code), series) in &requests {
            line(
                out,
                "apiserver_request_total",
                &format!("verb=\"{method}\",code=\"{code}\""),
                series.count as f64,
            );
        }
        let name = "apiserver_request_duration_seconds";
        head(out, name, "histogram", "The time until an answer began, by method and status.");
        for ((method, code), series) in &requests {
            series.render(out, name, &format!("verb=\"{method}\",code=\"{code}\""));
        }
        head(out, "apiserver_current_inflight_requests", "gauge", "Requests that are being answered.");
        line(out, "apiserver_current_inflight_requests", "", self.in_flight.load(Ordering::Relaxed) as f64);
        self.render_webhooks(out);
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// Answers `/metrics`: the whole server's, for root alone.
pub async fn answer(cx: &Cx) -> Result<Answer, Status> {
    if !cx.vcp.is_root() {
        return Ok(body::page_not_found());
    }
    let mut out = String::new();
    cx.app.metrics.render(&mut out);
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
    // Counted when asked for alone: in a large store it takes a while.
    if cx.query.flag("keys") {
        let request =
            RangeRequest { count_only: true, ..RangeRequest::prefix(cx.app.registry.prefix().to_owned()) };
        if let Ok(counted) = cx.app.registry.store().range(request).await {
            head(&mut out, "kplane_store_keys", "gauge", "Keys in the store.");
            line(&mut out, "kplane_store_keys", "", counted.count as f64);
        }
    }
    if let Some(bytes) = resident_memory() {
        head(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
        line(&mut out, "process_resident_memory_bytes", "", bytes as f64);
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
