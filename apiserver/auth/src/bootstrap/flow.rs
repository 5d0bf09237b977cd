//! Priority and fairness: the levels, and who is served at which.

use serde_json::{Value, json};

use super::{BootstrapObject, FLOW_CONTROL, found_level, kind, managed};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Name, shares, lendable percent, and the queues: how many, hand size, length.
type Level = (&'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: &[Level] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// Whose requests.
enum From {
    User(&'static str),
    Group(&'static str),
    /// Every service account of the namespace.
    Accounts(&'static str),
}

/// Which requests.
enum What {
    /// All.
    Everything,
    /// Health checks.
    Probes,
    /// Leader election.
    Leases,
    /// What nodes say of themselves.
    Heartbeats,
}

/// Name, level, precedence, how flows are told apart (empty: one flow), whose and which.
type Flow = (&'static str, &'static str, i64, &'static str, &'static [From], What);

const ANYBODY: &[From] = &[From::Group("system:unauthenticated"), From::Group("system:authenticated")];

const FLOWS: &[Flow] = &[
    ("catch-all", "catch-all", 10000, "ByUser", ANYBODY, What::Everything),
    ("exempt", "exempt", 1, "", &[From::Group("system:masters")], What::Everything),
    ("global-default", "global-default", 9900, "ByUser", ANYBODY, What::Everything),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &[From::User("system:kube-controller-manager")],
        What::Everything,
    ),
    (
        "kube-scheduler",
        "workload-high",
        800,
        "ByNamespace",
        &[From::User("system:kube-scheduler")],
        What::Everything,
    ),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        "ByNamespace",
        &[From::Accounts("kube-system")],
        What::Everything,
    ),
    ("probes", "exempt", 2, "", ANYBODY, What::Probes),
    (
        "service-accounts",
        "workload-low",
        9000,
        "ByUser",
        &[From::Group("system:serviceaccounts")],
        What::Everything,
    ),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        &[
            From::User("system:kube-controller-manager"),
            From::User("system:kube-scheduler"),
            From::Accounts("kube-system"),
        ],
        What::Leases,
    ),
    ("system-node-high", "node-high", 400, "ByUser", &[From::Group("system:nodes")], What::Heartbeats),
    ("system-nodes", "system", 500, "ByUser", &[From::Group("system:nodes")], What::Everything),
];

fn subject(from: &From) -> Value {
    match from {
        From::User(name) => json!({ "kind": "User", "user": { "name": name } }),
        From::Group(name) => json!({ "kind": "Group", "group": { "name": name } }),
        From::Accounts(namespace) => {
            json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": "*" } })
        }
    }
}

/// Adds the rules of a flow to its subjects.
fn rule(from: &[From], what: &What) -> Value {
    let mut rule = json!({ "subjects": from.iter().map(subject).collect::<Vec<_>>() });
    match what {
        What::Everything => {
            rule["resourceRules"] = json!([{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }]);
            rule["nonResourceRules"] = json!([{ "verbs": ["*"], "nonResourceURLs": ["*"] }]);
        }
        What::Probes => {
            rule["nonResourceRules"] =
                json!([{ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] }]);
        }
        What::Leases => {
            rule["resourceRules"] = json!([{
                "verbs": ["get", "create", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "namespaces": ["*"],
            }]);
        }
        What::Heartbeats => {
            rule["resourceRules"] = json!([
                {
                    "verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true,
                    "namespaces": ["*"],
                },
                {
                    "verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                    "namespaces": ["*"],
                },
            ]);
        }
    }
    rule
}

/// Adds the levels and the flows.
pub(super) fn add(objects: &mut Vec<BootstrapObject>) {
    let metadata =
        || json!({ "generation": 1, "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" } });
    let levels = kind(GROUP, "PriorityLevelConfiguration", "prioritylevelconfigurations");
    let mut level = |name: &str, spec: Value| {
        let fields = json!({ "spec": spec, "status": {} });
        objects.push(levels.object(None, name, Some(FLOW_CONTROL), metadata(), fields));
    };
    level(
        "exempt",
        json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } }),
    );
    for (name, shares, lendable, queues) in LEVELS {
        let response = match queues {
            None => json!({ "type": "Reject" }),
            Some((queues, hand, length)) => json!({
                "type": "Queue",
                "queuing": { "queues": queues, "handSize": hand, "queueLengthLimit": length },
            }),
        };
        level(
            name,
            json!({
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable,
                },
            }),
        );
    }
    for (name, level, precedence, distinguisher, from, what) in FLOWS {
        let mut spec = json!({
            "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence,
            "rules": [rule(from, what)],
        });
        if !distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({ "type": distinguisher });
        }
        let status = json!({ "conditions": [{
            "type": "Dangling", "status": "False", "lastTransitionTime": "${created}", "reason": "Found",
            "message": found_level(level),
        }] });
        let mut flow = kind(GROUP, "FlowSchema", "flowschemas").object(
            None,
            name,
            Some(FLOW_CONTROL),
            metadata(),
            json!({ "spec": spec, "status": status }),
        );
        let told =
            managed::condition("Dangling", &["lastTransitionTime", "message", "reason", "status", "type"]);
        let told =
            managed::applied(&flow.value, "api-priority-and-fairness-config-consumer-v1", "status", told);
        let created = flow.value["metadata"]["managedFields"][0].clone();
        flow.value["metadata"]["managedFields"] = json!([told, created]);
        objects.push(flow);
    }
}
