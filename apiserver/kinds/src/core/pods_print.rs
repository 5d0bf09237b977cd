//! The row of a pod.

use kplane_machinery::object::{meta_str, str_at};
use serde_json::Value;

use crate::print::{self, NONE};
use crate::val::{int, items, sub, text, truth};

/// What is seen of the containers.
struct Seen {
    reason: String,
    restarts: i64,
    last_restart: Option<i64>,
    ready: usize,
    total: usize,
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    items(pod.get("status")?, "conditions").iter().find(|c| text(c, "type") == kind)
}

fn is_true(condition: Option<&Value>) -> bool {
    condition.is_some_and(|c| text(c, "status") == "True")
}

fn ended(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn state<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    sub(status.get("state")?, name)
}

impl Seen {
    fn restarted(&mut self, status: &Value) {
        self.restarts += int(status, "restartCount").unwrap_or(0);
        let last = status.get("lastState").and_then(|s| sub(s, "terminated"));
        let at = last.and_then(|t| print::epoch(text(t, "finishedAt")));
        self.last_restart = self.last_restart.max(at);
    }

    /// Goes through the init containers; true while they are not done.
    fn init(&mut self, pod: &Value, spec: &Value) -> (bool, i64, Option<i64>) {
        let declared = items(spec, "initContainers");
        let sidecar = |name: &str| {
            declared.iter().any(|c| text(c, "name") == name && text(c, "restartPolicy") == "Always")
        };
        self.total += declared.iter().filter(|c| text(c, "restartPolicy") == "Always").count();
        let (mut sidecar_restarts, mut sidecar_last) = (0, None);
        let statuses = pod.get("status").map(|s| items(s, "initContainerStatuses")).unwrap_or(&[]);
        for (i, status) in statuses.iter().enumerate() {
            self.restarted(status);
            let is_sidecar = sidecar(text(status, "name"));
            if is_sidecar {
                sidecar_restarts += int(status, "restartCount").unwrap_or(0);
                let last = status.get("lastState").and_then(|s| sub(s, "terminated"));
                sidecar_last = sidecar_last.max(last.and_then(|t| print::epoch(text(t, "finishedAt"))));
            }
            if let Some(terminated) = state(status, "terminated") {
                if int(terminated, "exitCode").unwrap_or(0) == 0 {
                    continue;
                }
                self.reason = format!("Init:{}", ended(terminated));
            } else if is_sidecar && truth(status, "started") {
                if truth(status, "ready") {
                    self.ready += 1;
                }
                continue;
            } else if let Some(waiting) = state(status, "waiting")
                && !matches!(text(waiting, "reason"), "" | "PodInitializing")
            {
                self.reason = format!("Init:{}", text(waiting, "reason"));
            } else {
                self.reason = format!("Init:{i}/{}", declared.len());
            }
            return (true, sidecar_restarts, sidecar_last);
        }
        (false, sidecar_restarts, sidecar_last)
    }

    fn main(&mut self, pod: &Value) {
        let mut running = false;
        let statuses = pod.get("status").map(|s| items(s, "containerStatuses")).unwrap_or(&[]);
        for status in statuses.iter().rev() {
            self.restarted(status);
            if let Some(waiting) = state(status, "waiting")
                && !text(waiting, "reason").is_empty()
            {
                self.reason = text(waiting, "reason").to_owned();
            } else if let Some(terminated) = state(status, "terminated") {
                self.reason = ended(terminated);
            } else if truth(status, "ready") && state(status, "running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = is_true(condition(pod, "Ready"));
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

fn seen(pod: &Value, spec: &Value) -> Seen {
    let status_reason = str_at(pod, &["status", "reason"]);
    let phase = str_at(pod, &["status", "phase"]);
    let mut seen = Seen {
        reason: if status_reason.is_empty() { phase } else { status_reason }.to_owned(),
        restarts: 0,
        last_restart: None,
        ready: 0,
        total: items(spec, "containers").len(),
    };
    if condition(pod, "PodScheduled").is_some_and(|c| text(c, "reason") == "SchedulingGated") {
        seen.reason = "SchedulingGated".to_owned();
    }
    let (initializing, restarts, last) = seen.init(pod, spec);
    if !initializing || is_true(condition(pod, "Initialized")) {
        seen.restarts = restarts;
        seen.last_restart = last;
        seen.main(pod);
    }
    if super::pods::terminating(pod) {
        if status_reason == "NodeLost" {
            seen.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            seen.reason = "Terminating".to_owned();
        }
    }
    seen
}

/// The cells.
pub(super) fn row(pod: &Value, now: i64) -> Vec<Value> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let seen = seen(pod, spec);
    let restarts = match seen.last_restart {
        Some(at) if seen.restarts != 0 => format!("{} ({} ago)", seen.restarts, print::duration(now - at)),
        _ => seen.restarts.to_string(),
    };
    let gates = items(spec, "readinessGates");
    let readiness = if gates.is_empty() {
        NONE.to_owned()
    } else {
        let good = gates.iter().filter(|g| is_true(condition(pod, text(g, "conditionType")))).count();
        format!("{good}/{}", gates.len())
    };
    let address = pod
        .get("status")
        .map(|s| items(s, "podIPs"))
        .and_then(|l| l.first())
        .map(|ip| text(ip, "ip"))
        .filter(|ip| !ip.is_empty())
        .unwrap_or_else(|| str_at(pod, &["status", "podIP"]));
    let or_none = |text: &str| Value::from(if text.is_empty() { NONE } else { text });
    vec![
        print::name(pod),
        format!("{}/{}", seen.ready, seen.total).into(),
        seen.reason.into(),
        restarts.into(),
        print::since(meta_str(pod, "creationTimestamp"), now).into(),
        or_none(address),
        or_none(text(spec, "nodeName")),
        or_none(str_at(pod, &["status", "nominatedNodeName"])),
        readiness.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_of_a_pod_sums_up_its_containers() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}}},
                {"name": "b", "ready": false, "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
        let cells = row(&pod, 0);
        assert_eq!(cells[1], "1/2");
        assert_eq!(cells[2], "CrashLoopBackOff");
        assert_eq!(cells[3], "3");
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(row(&pod, 0)[2], "Terminating");
    }
}
