//! `get` in its many forms, `watch`, `wait`, `events`, `proxy`, `cluster-info` (`get.sh`, `generic-resources.sh`, `wait.sh`, `events.sh`, `proxy.sh`, `template-output.sh`).

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::Session;

#[test]
fn getting() {
    let mut s = Session::new();
    for n in 1..=5 {
        s.does(&format!("create cm n{n} --from-literal=order={}", 6 - n), "created");
    }
    s.does("label cm n1 n2 half=first", "labeled");
    s.does("label cm n3 half=second", "labeled");
    s.does("create ns other", "created");
    s.does("create cm far -n other", "created");
    let column = "-o custom-columns=:.metadata.name --no-headers";
    for (line, names) in [
        ("get cm --field-selector=metadata.name!=kube-root-ca.crt", "n1 n2 n3 n4 n5"),
        ("get cm --field-selector=metadata.name!=kube-root-ca.crt --chunk-size=2", "n1 n2 n3 n4 n5"),
        ("get cm -l half --sort-by=.data.order", "n3 n2 n1"),
        ("get cm -l half=first", "n1 n2"),
        ("get cm -l 'half in (first, second),half!=first'", "n3"),
        ("get cm -l 'half,half notin (first)'", "n3"),
        ("get cm -l '!half' --field-selector metadata.name!=kube-root-ca.crt", "n4 n5"),
        ("get cm -A --field-selector=metadata.namespace=other,metadata.name=far", "far"),
        ("get cm n5 n1", "n5 n1"),
        ("get cm/n1 sa/default", "n1 default"),
        ("get svc.v1. kubernetes", "kubernetes"),
        ("get ns --field-selector=status.phase=Active,metadata.name=other", "other"),
    ] {
        let output = s.run(&format!("{line} {column}"));
        let shown: Vec<&str> = output.stdout.split_whitespace().collect();
        s.expect(
            output.success && shown.join(" ") == names,
            &format!("{line}: {names}: {}{}", output.stdout, output.stderr),
        );
    }
    for (line, says) in [
        ("get cm n1 -o jsonpath='{.kind}/{.apiVersion} {.data}'", r#"ConfigMap/v1 {"order":"5"}"#),
        ("get cm n1 -o go-template='{{index .data \"order\"}}'", "5"),
        ("get cm n1 -o jsonpath-as-json='{.data}'", "\"order\": \"5\""),
        ("get all -n other", "No resources found in other namespace."),
        ("get pods -n nowhere", "No resources found in nowhere namespace."),
        ("get pods nothing --ignore-not-found", ""),
        ("get cm n1 n9 --ignore-not-found -o name", "configmap/n1"),
        ("get cm n1 -L half", "HALF"),
        ("get cm n1 --show-kind", "configmap/n1"),
        ("get cm n1 --output-watch-events=false -o name", "configmap/n1"),
        (
            "get --raw /clusters/a/control-plane/api/v1/namespaces/default/configmaps/n1",
            "\"kind\":\"ConfigMap\"",
        ),
        ("get --raw /clusters/a/control-plane/livez?verbose", "livez check passed"),
        ("get --raw /version", "\"major\": \"1\""),
        ("get deploy,svc,cm -A -o name", "service/kubernetes"),
        ("api-versions", "apps/v1"),
        ("api-resources --categories=all -o name", "deployments.apps"),
        ("api-resources --namespaced=false --verbs=deletecollection -o wide", "clusterroles"),
        ("api-resources --api-group=batch -o name", "cronjobs.batch"),
        ("version -o json", "\"minor\": \"36\""),
        ("cluster-info", "is running at"),
        ("cluster-info dump", "\"kind\": \"NodeList\""),
    ] {
        s.does(line, says);
    }
    for (line, says) in [
        ("get pods nothing", "pods \"nothing\" not found"),
        ("get nothing", "the server doesn't have a resource type \"nothing\""),
        ("get deployments.v1beta1.apps", "the server doesn't have a resource type \"deployments\""),
        ("get cm --field-selector=data.order=1", "is not a known field selector: only"),
        ("get cm -l 'a=b=c'", "found '=', expected: ',' or 'end of string'"),
        ("get cm n1 -l x=y", "name cannot be provided when a selector is specified"),
        ("get --raw /nothing", "the server could not find the requested resource"),
        ("get pods -n 'Bad_Name' nothing", "not found"),
        ("get cm --subresource=status n1", "the server could not find the requested resource"),
    ] {
        s.refuses(line, says);
    }
    s.end();
}

#[test]
fn watching_and_waiting() {
    let mut s = Session::new();
    let mut watch = s
        .kubectl
        .command(&["get", "cm", "-l", "w=1", "--watch", "--output-watch-events", "--no-headers"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
    s.does("create cm x", "created");
    s.does("label cm x w=1", "labeled");
    let added = next();
    s.expect(added.starts_with("ADDED") && added.contains('x'), &added);
    s.does("annotate cm x seen=yes", "annotated");
    let modified = next();
    s.expect(modified.starts_with("MODIFIED"), &modified);
    s.does("label cm x w-", "unlabeled");
    let left = next();
    s.expect(left.starts_with("DELETED"), &left);
    watch.kill().expect("kill");
    watch.wait().expect("wait");

    s.does("create cm late", "created");
    s.does("wait --for=jsonpath='{.metadata.name}'=late cm/late --timeout=10s", "condition met");
    s.does("wait --for=create cm/late --timeout=10s", "condition met");
    s.refuses(
        "wait --for=condition=Ready cm/late --timeout=1s",
        "timed out waiting for the condition on configmaps/late",
    );
    s.refuses(
        "wait --for=delete cm/late --timeout=1s",
        "timed out waiting for the condition on configmaps/late",
    );
    let mut wait = s
        .kubectl
        .command(&["wait", "--for=delete", "cm/late", "--timeout=20s"])
        .stdout(Stdio::null())
        .spawn()
        .expect("kubectl starts");
    s.does("delete cm late", "deleted");
    s.expect(wait.wait().is_ok_and(|status| status.success()), "who waits for the deletion is told");
    s.end();
}

#[test]
fn events() {
    let mut s = Session::new();
    s.does("create cm x", "created");
    let event = |name: &str, kind: &str, reason: &str, at: &str| {
        format!(
            "apiVersion: v1\nkind: Event\nmetadata: {{name: {name}}}\ninvolvedObject: {{kind: ConfigMap, name: x, namespace: default, apiVersion: v1}}\nreason: {reason}\nmessage: it was {reason}\ntype: {kind}\nlastTimestamp: {at}\nfirstTimestamp: {at}\ncount: 3\nsource: {{component: test}}\n"
        )
    };
    s.does_with("create -f -", &event("one", "Normal", "Seen", "2026-01-01T00:00:00Z"), "event/one created");
    s.does_with("create -f -", &event("two", "Warning", "Lost", "2026-01-02T00:00:00Z"), "event/two created");
    for (line, says) in [
        ("events", "it was Seen"),
        ("events --for configmap/x", "ConfigMap/x"),
        ("events --types=Warning", "Lost"),
        ("get events --field-selector=involvedObject.name=x,reason=Lost -o name", "event/two"),
        ("get events --field-selector=type=Normal", "Seen"),
        ("get events -o wide", "test"),
        (
            "get events.events.k8s.io one -o jsonpath='{.note} {.deprecatedCount} {.regarding.name}'",
            "it was Seen 3 x",
        ),
    ] {
        s.does(line, says);
    }
    s.refuses("events --types=Other", "valid --types are Normal or Warning");
    s.end();
}

#[test]
fn proxy() {
    let mut s = Session::new();
    let mut proxy = s
        .kubectl
        .command(&["proxy", "--port=0", "--append-server-path"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut line = String::new();
    BufReader::new(proxy.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    let url = format!("--server=http://{address}");
    s.does(&format!("{url} --kubeconfig=/dev/null get ns default -o name"), "namespace/default");
    s.does(&format!("{url} --kubeconfig=/dev/null create cm through"), "configmap/through created");
    proxy.kill().expect("kill");
    proxy.wait().expect("wait");
    s.end();
}
