//! The checks of the Pod Security Standards, in upstream's order and words.

use kplane_machinery::object;
use serde_json::Value;

use super::Level;
use crate::access::{items, set};

const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Sysctls that are safe, each with the minor version it is since.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.tcp_wmem", 32),
];

struct Pod<'a> {
    pod: &'a Value,
    containers: Vec<&'a Value>,
    windows: bool,
    minor: u32,
}

/// What in the pod is more than the level allows.
pub(super) fn violations(level: Level, minor: u32, pod: &Value) -> Vec<String> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let containers =
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|f| items(pod, &["spec", f]));
    let pod = Pod {
        pod,
        containers: containers.collect(),
        windows: minor >= 25 && object::str_at(pod, &["spec", "os", "name"]) == "windows",
        minor,
    };
    let restricted = level == Level::Restricted;
    // Each level's checks in the order of their names upstream; a restricted check stands for the baseline's of the
    // same matter, where it applies.
    let mut found = vec![pod.apparmor()];
    if !restricted {
        found.push(pod.capabilities_baseline());
    }
    found.extend([pod.host_namespaces(), pod.host_path(), pod.host_ports()]);
    if minor >= 34 {
        found.push(pod.host_probes());
    }
    found.extend([pod.privileged(), pod.proc_mount(), pod.selinux()]);
    let seccomp_restricted = restricted && !pod.windows && minor >= 19;
    if !seccomp_restricted {
        found.push(pod.seccomp_baseline());
    }
    found.extend([pod.sysctls(), pod.host_process()]);
    if restricted {
        if !pod.windows {
            found.push(pod.privilege_escalation());
        }
        found.push(pod.capabilities_restricted());
        found.extend([pod.volume_types(), pod.non_root(), pod.root_user()]);
        if seccomp_restricted {
            found.push(pod.seccomp_restricted());
        }
    }
    found.into_iter().flatten().collect()
}

fn name(of: &Value) -> &str {
    of["name"].as_str().unwrap_or("")
}

/// `container "a"` or `containers "a", "b"`.
fn said(word: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("{n:?}")).collect();
    format!("{word}{} {}", if names.len() == 1 { "" } else { "s" }, quoted.join(", "))
}

fn quoted(values: &[String]) -> String {
    values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", ")
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values.dedup();
    values
}

impl<'a> Pod<'a> {
    fn context(&self, path: &[&str]) -> Option<&'a Value> {
        set(self.pod, &["spec", "securityContext"]).and_then(|c| set(c, path))
    }

    fn failing(&self, bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|c| bad(c)).map(|c| name(c)).collect()
    }

    fn privilege_escalation(&self) -> Option<String> {
        let bad = self.failing(|c| {
            object::at(c, &["securityContext", "allowPrivilegeEscalation"]) != Some(&Value::Bool(false))
        });
        (!bad.is_empty()).then(|| {
            let who = said("container", &bad);
            format!(
                "allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
            )
        })
    }

    fn apparmor(&self) -> Option<String> {
        let mut values = Vec::new();
        let mut setters = Vec::new();
        let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
        let unconfined =
            |c: &Value| object::str_at(c, &["securityContext", "appArmorProfile", "type"]) == "Unconfined";
        if self.context(&["appArmorProfile", "type"]).is_some_and(|t| t == "Unconfined") {
            setters.push("pod".to_owned());
            values.push("type=\"Unconfined\"".to_owned());
        }
        let bad = self.failing(unconfined);
        if !bad.is_empty() {
            setters.push(said("container", &bad));
            values.push("type=\"Unconfined\"".to_owned());
        }
        let mut annotations = Vec::new();
        for (key, value) in object::meta_map(self.pod, "annotations") {
            if key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed(value) {
                annotations.push(format!("{key}={value:?}"));
            }
        }
        if values.is_empty() && annotations.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        if !setters.is_empty() {
            parts.push(format!(
                "{} must not set AppArmor profile {}",
                setters.join(" and "),
                sorted(values.clone()).join(", ")
            ));
        }
        if !annotations.is_empty() {
            let plural = if annotations.len() == 1 { "" } else { "s" };
            parts.push(format!("annotation{plural} {}", sorted(annotations.clone()).join(", ")));
        }
        let profiles = if values.len() + annotations.len() == 1 { "profile" } else { "profiles" };
        Some(format!("forbidden AppArmor {profiles} ({})", parts.join("; ")))
    }

    /// The containers that add other capabilities than these, and which.
    fn added(&self, allowed: &[&str]) -> (Vec<&'a str>, Vec<String>) {
        let (mut bad, mut capabilities) = (Vec::new(), Vec::new());
        for container in &self.containers {
            let more: Vec<String> = items(container, &["securityContext", "capabilities", "add"])
                .iter()
                .filter_map(Value::as_str)
                .filter(|c| !allowed.contains(c))
                .map(str::to_owned)
                .collect();
            if !more.is_empty() {
                bad.push(name(container));
                capabilities.extend(more);
            }
        }
        (bad, sorted(capabilities))
    }

    fn capabilities_baseline(&self) -> Option<String> {
        let (bad, added) = self.added(&BASELINE_CAPABILITIES);
        (!bad.is_empty()).then(|| {
            let who = said("container", &bad);
            format!(
                "non-default capabilities ({who} must not include {} in securityContext.capabilities.add)",
                quoted(&added)
            )
        })
    }

    fn capabilities_restricted(&self) -> Option<String> {
        if self.windows || self.minor < 22 {
            return self.capabilities_baseline();
        }
        let undropped = self
            .failing(|c| !items(c, &["securityContext", "capabilities", "drop"]).iter().any(|d| d == "ALL"));
        let (bad, added) = self.added(&["NET_BIND_SERVICE"]);
        let mut parts = Vec::new();
        if !undropped.is_empty() {
            let who = said("container", &undropped);
            parts.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
        }
        if !bad.is_empty() {
            let who = said("container", &bad);
            parts.push(format!(
                "{who} must not include {} in securityContext.capabilities.add",
                quoted(&added)
            ));
        }
        (!parts.is_empty()).then(|| format!("unrestricted capabilities ({})", parts.join("; ")))
    }

    fn host_namespaces(&self) -> Option<String> {
        let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
            .iter()
            .filter(|f| self.pod["spec"][**f] == true)
            .map(|f| format!("{f}=true"))
            .collect();
        (!used.is_empty()).then(|| format!("host namespaces ({})", used.join(", ")))
    }

    fn host_path(&self) -> Option<String> {
        let bad: Vec<&str> = items(self.pod, &["spec", "volumes"])
            .iter()
            .filter(|v| set(v, &["hostPath"]).is_some())
            .map(name)
            .collect();
        (!bad.is_empty()).then(|| format!("hostPath volumes ({})", said("volume", &bad)))
    }

    fn host_ports(&self) -> Option<String> {
        let mut ports: Vec<i64> = Vec::new();
        let mut bad = Vec::new();
        for container in &self.containers {
            let own: Vec<i64> = items(container, &["ports"])
                .iter()
                .filter_map(|p| p["hostPort"].as_i64())
                .filter(|p| *p != 0)
                .collect();
            if !own.is_empty() {
                bad.push(name(container));
                ports.extend(own);
            }
        }
        if bad.is_empty() {
            return None;
        }
        let mut texts: Vec<String> = ports.iter().map(i64::to_string).collect();
        texts.sort();
        texts.dedup();
        let (ports, verb) = (
            if texts.len() == 1 { "hostPort" } else { "hostPorts" },
            if bad.len() == 1 { "uses" } else { "use" },
        );
        Some(format!("hostPort ({} {verb} {ports} {})", said("container", &bad), texts.join(", ")))
    }

    fn host_probes(&self) -> Option<String> {
        let mut hosts = Vec::new();
        let bad: Vec<&str> = self
            .containers
            .iter()
            .filter(|c| {
                let handlers = [
                    &["livenessProbe"][..],
                    &["readinessProbe"],
                    &["startupProbe"],
                    &["lifecycle", "postStart"],
                    &["lifecycle", "preStop"],
                ];
                let before = hosts.len();
                for handler in handlers.iter().filter_map(|path| set(c, path)) {
                    for kind in ["httpGet", "tcpSocket"] {
                        let host = object::str_at(handler, &[kind, "host"]);
                        if !host.is_empty() {
                            hosts.push(host.to_owned());
                        }
                    }
                }
                hosts.len() > before
            })
            .map(|c| name(c))
            .collect();
        (!bad.is_empty()).then(|| {
            let hosts = sorted(hosts);
            let (word, verb) = (
                if hosts.len() == 1 { "host" } else { "hosts" },
                if bad.len() == 1 { "uses" } else { "use" },
            );
            format!("probe or lifecycle host ({} {verb} {word} {})", said("container", &bad), quoted(&hosts))
        })
    }

    fn privileged(&self) -> Option<String> {
        let bad =
            self.failing(|c| object::at(c, &["securityContext", "privileged"]) == Some(&Value::Bool(true)));
        (!bad.is_empty()).then(|| {
            format!("privileged ({} must not set securityContext.privileged=true)", said("container", &bad))
        })
    }

    fn proc_mount(&self) -> Option<String> {
        let mut values = Vec::new();
        let of = |c: &Value| object::str_at(c, &["securityContext", "procMount"]).to_owned();
        let bad = self.failing(|c| !matches!(of(c).as_str(), "" | "Default"));
        for container in &self.containers {
            if bad.contains(&name(container)) {
                values.push(of(container));
            }
        }
        (!bad.is_empty()).then(|| {
            format!(
                "procMount ({} must not set securityContext.procMount to {})",
                said("container", &bad),
                quoted(&sorted(values))
            )
        })
    }

    fn volume_types(&self) -> Option<String> {
        let (mut bad, mut types) = (Vec::new(), Vec::new());
        for volume in items(self.pod, &["spec", "volumes"]) {
            let kinds = volume.as_object().into_iter().flatten();
            for (kind, _) in kinds.filter(|(k, v)| *k != "name" && !v.is_null()) {
                if !RESTRICTED_VOLUMES.contains(&kind.as_str()) {
                    bad.push(name(volume));
                    types.push(kind.clone());
                }
            }
        }
        (!bad.is_empty()).then(|| {
            let types = sorted(types);
            let (verb, word) = (
                if bad.len() == 1 { "uses" } else { "use" },
                if types.len() == 1 { "type" } else { "types" },
            );
            format!(
                "restricted volume types ({} {verb} restricted volume {word} {})",
                said("volume", &bad),
                quoted(&types)
            )
        })
    }

    fn non_root(&self) -> Option<String> {
        let of = |c: &Value| set(c, &["securityContext", "runAsNonRoot"]).and_then(Value::as_bool);
        let pod = self.context(&["runAsNonRoot"]).and_then(Value::as_bool);
        let explicit = self.failing(|c| of(c) == Some(false));
        let implicit = if pod == Some(true) { Vec::new() } else { self.failing(|c| of(c).is_none()) };
        let mut parts = Vec::new();
        if pod == Some(false) {
            parts.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
        }
        if !explicit.is_empty() {
            let who = said("container", &explicit);
            parts.push(format!("{who} must not set securityContext.runAsNonRoot=false"));
        }
        // What is said of the pod or a container on purpose stands alone.
        if parts.is_empty() && !implicit.is_empty() {
            let who = said("container", &implicit);
            parts.push(format!("pod or {who} must set securityContext.runAsNonRoot=true"));
        }
        (!parts.is_empty()).then(|| format!("runAsNonRoot != true ({})", parts.join("; ")))
    }

    fn root_user(&self) -> Option<String> {
        if self.minor < 23 {
            return None;
        }
        let mut parts = Vec::new();
        if self.context(&["runAsUser"]).and_then(Value::as_i64) == Some(0) {
            parts.push("pod".to_owned());
        }
        let bad = self
            .failing(|c| object::at(c, &["securityContext", "runAsUser"]).and_then(Value::as_i64) == Some(0));
        if !bad.is_empty() {
            parts.push(said("container", &bad));
        }
        (!parts.is_empty()).then(|| format!("runAsUser=0 ({} must not set runAsUser=0)", parts.join(" and ")))
    }

    fn selinux(&self) -> Option<String> {
        let mut allowed = vec!["", "container_t", "container_init_t", "container_kvm_t"];
        if self.minor >= 31 {
            allowed.push("container_engine_t");
        }
        let (mut setters, mut types, mut user, mut role) = (Vec::new(), Vec::new(), false, false);
        let mut look = |options: Option<&Value>| {
            let Some(options) = options else { return false };
            let of = |f: &str| object::str_at(options, &[f]);
            let mut bad = false;
            if !allowed.contains(&of("type")) {
                types.push(of("type").to_owned());
                bad = true;
            }
            user |= !of("user").is_empty();
            role |= !of("role").is_empty();
            bad || !of("user").is_empty() || !of("role").is_empty()
        };
        if look(self.context(&["seLinuxOptions"])) {
            setters.push("pod".to_owned());
        }
        let mut bad = Vec::new();
        for container in &self.containers {
            if look(set(container, &["securityContext", "seLinuxOptions"])) {
                bad.push(name(container));
            }
        }
        if !bad.is_empty() {
            setters.push(said("container", &bad));
        }
        if setters.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        let types = sorted(types);
        if !types.is_empty() {
            let word = if types.len() == 1 { "type" } else { "types" };
            parts.push(format!("{word} {}", quoted(&types)));
        }
        if user {
            parts.push("user may not be set".to_owned());
        }
        if role {
            parts.push("role may not be set".to_owned());
        }
        Some(format!(
            "seLinuxOptions ({} set forbidden securityContext.seLinuxOptions: {})",
            setters.join(" and "),
            parts.join("; ")
        ))
    }

    fn seccomp_type(of: &Value) -> &str {
        object::str_at(of, &["securityContext", "seccompProfile", "type"])
    }

    fn seccomp_baseline(&self) -> Option<String> {
        let bad_type = |t: &str| !matches!(t, "" | "RuntimeDefault" | "Localhost");
        let (mut setters, mut values) = (Vec::new(), Vec::new());
        let of_pod = Self::seccomp_type(&self.pod["spec"]);
        if bad_type(of_pod) {
            setters.push("pod".to_owned());
            values.push(of_pod.to_owned());
        }
        let bad = self.failing(|c| bad_type(Self::seccomp_type(c)));
        if !bad.is_empty() {
            setters.push(said("container", &bad));
            let types = self.containers.iter().map(|c| Self::seccomp_type(c)).filter(|t| bad_type(t));
            values.extend(types.map(str::to_owned));
        }
        (!setters.is_empty()).then(|| {
            format!(
                "seccompProfile ({} must not set securityContext.seccompProfile.type to {})",
                setters.join(" and "),
                quoted(&sorted(values))
            )
        })
    }

    fn seccomp_restricted(&self) -> Option<String> {
        if let Some(explicit) = self.seccomp_baseline() {
            return Some(explicit);
        }
        if !Self::seccomp_type(&self.pod["spec"]).is_empty() {
            return None;
        }
        let bad = self.failing(|c| Self::seccomp_type(c).is_empty());
        (!bad.is_empty()).then(|| {
            format!(
                "seccompProfile (pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
                said("container", &bad)
            )
        })
    }

    fn sysctls(&self) -> Option<String> {
        let allowed = |name: &str| SYSCTLS.iter().any(|(n, since)| *n == name && *since <= self.minor);
        let context = set(self.pod, &["spec", "securityContext"])?;
        let bad: Vec<&str> = items(context, &["sysctls"]).iter().map(name).filter(|n| !allowed(n)).collect();
        (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
    }

    fn host_process(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.context(&["windowsOptions", "hostProcess"]) == Some(&Value::Bool(true)) {
            parts.push("pod".to_owned());
        }
        let bad = self.failing(|c| {
            object::at(c, &["securityContext", "windowsOptions", "hostProcess"]) == Some(&Value::Bool(true))
        });
        if !bad.is_empty() {
            parts.push(said("container", &bad));
        }
        (!parts.is_empty()).then(|| {
            format!(
                "hostProcess ({} must not set securityContext.windowsOptions.hostProcess=true)",
                parts.join(" and ")
            )
        })
    }
}
