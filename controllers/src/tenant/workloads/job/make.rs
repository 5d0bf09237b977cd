//! The pods of a Job: which are missing, and what they look like (no client required).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::policy::{INDEX, INDEX_FAILURES, Meaning, has_failed, index_of, is_indexed, meaning};
use super::{COMPONENT, TRACKING};
use crate::tenant::api::JOBS;
use crate::tenant::value::{annotation, count, items, map_at, name, text};
use crate::tenant::workloads::pods::{self, Parent};

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// How often an index failed so far, by its pods.
pub fn failures_of_index(job: &Value, pods: &[Value], index: i64) -> i64 {
    pods.iter()
        .filter(|pod| index_of(pod) == Some(index) && has_failed(job, pod))
        .map(|pod| {
            let before = annotation(pod, INDEX_FAILURES).and_then(|n| n.parse::<i64>().ok()).unwrap_or(0);
            before + i64::from(meaning(job, pod) != Meaning::Ignored)
        })
        .max()
        .unwrap_or(0)
}

/// The lowest indexes without a pod or a result, so many of them.
pub fn missing_indexes(job: &Value, active: &[Value], done: &BTreeSet<i64>, many: usize) -> Vec<i64> {
    let taken: BTreeSet<i64> = active.iter().filter_map(index_of).collect();
    (0..count(job, "/spec/completions"))
        .filter(|index| !taken.contains(index) && !done.contains(index))
        .take(many)
        .collect()
}

/// The pod for an index, or one like all others.
pub fn pod(job: &Value, index: Option<(i64, Option<i64>)>) -> Value {
    let parent = Parent { object: job, kind: &JOBS, component: COMPONENT };
    let mut pod = pods::from_template(&job["spec"]["template"], &parent);
    let mut finalizers = items(&pod, "/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|f| f == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    pod["metadata"]["finalizers"] = finalizers.into();
    let Some((index, failures)) = index.filter(|_| is_indexed(job)) else { return pod };
    let number = index.to_string();
    let prefix: String = name(job).chars().take(57 - number.len().min(50)).collect();
    pod["metadata"]["generateName"] = format!("{prefix}-{number}-").into();
    map_at(&mut pod, &["metadata", "annotations"]).insert(INDEX.into(), number.as_str().into());
    if let Some(failures) = failures {
        map_at(&mut pod, &["metadata", "annotations"])
            .insert(INDEX_FAILURES.into(), failures.to_string().into());
    }
    map_at(&mut pod, &["metadata", "labels"]).insert(INDEX.into(), number.as_str().into());
    pod["spec"]["hostname"] = format!("{}-{number}", name(job)).into();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let mut environment = items(container, "/env").to_vec();
            if environment.iter().any(|v| text(v, "/name") == INDEX_VARIABLE) {
                continue;
            }
            environment.push(json!({ "name": INDEX_VARIABLE, "valueFrom": { "fieldRef": {
                "fieldPath": format!("metadata.labels['{INDEX}']") } } }));
            container["env"] = environment.into();
        }
    }
    pod
}

/// Active pods that an indexed Job has no use for: of an index that is done, out of range, or taken.
pub fn useless_indexes<'a>(job: &Value, active: &'a [Value], done: &BTreeSet<i64>) -> Vec<&'a Value> {
    let mut seen = BTreeSet::new();
    active
        .iter()
        .filter(|pod| match index_of(pod) {
            Some(index) if index < count(job, "/spec/completions") && !done.contains(&index) => {
                !seen.insert(index)
            }
            _ => true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indexed_pod_knows_its_index() {
        let job = json!({ "metadata": { "name": "sums", "namespace": "farm", "uid": "u" },
            "spec": { "completionMode": "Indexed", "completions": 3,
                "template": { "spec": { "containers": [{ "name": "c" }] } } } });
        let made = pod(&job, Some((2, None)));
        assert_eq!(made["metadata"]["generateName"], "sums-2-");
        assert_eq!(made["spec"]["hostname"], "sums-2");
        assert_eq!(made["spec"]["containers"][0]["env"][0]["name"], INDEX_VARIABLE);
        assert_eq!(made["metadata"]["finalizers"], json!([TRACKING]));
        assert_eq!(index_of(&made), Some(2));
        let done = BTreeSet::from([0]);
        assert_eq!(missing_indexes(&job, std::slice::from_ref(&made), &done, 5), [1]);
        assert_eq!(useless_indexes(&job, &[made.clone(), made.clone()], &done).len(), 1);
    }
}
