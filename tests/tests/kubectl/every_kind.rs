//! Every kind that a control plane serves, by every command that works on all kinds.

use std::collections::BTreeSet;

use crate::Session;

const MANIFESTS: &str = include_str!("manifests.yaml");

/// What is only asked, never kept, and what is made by other means.
const WITHOUT_MANIFEST: [&str; 9] = [
    "bindings",
    "componentstatuses",
    "localsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "tokenreviews.authentication.k8s.io",
    "anythings.all.example.com",
];

#[test]
fn every_kind_by_every_command() {
    let mut s = Session::new();
    let file = s.file("all.yaml", MANIFESTS);
    let objects = MANIFESTS.matches("\nkind: ").count();
    let lines = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();

    s.does(&format!("create --dry-run=server -o name -f {file}"), "pod/all");
    s.does(&format!("create -f {file}"), "deployment.apps/all created");
    s.refuses("create -f - ", "no objects passed to create");

    // No kind was forgotten.
    let names = s.run(&format!("get -f {file} -o name"));
    s.expect(lines(&names.stdout) == objects, &format!("{objects} names: {}", names.stdout));
    let here: BTreeSet<&str> = names.stdout.lines().filter_map(|line| line.split('/').next()).collect();
    let served = s.run("api-resources --verbs=create -o name --no-headers");
    for resource in served.stdout.lines().filter(|name| !WITHOUT_MANIFEST.contains(name)) {
        let singular = s.run(&format!("get {resource} -A -o name")).stdout;
        let found =
            singular.lines().any(|line| line.split('/').next().is_some_and(|kind| here.contains(kind)));
        s.expect(found, &format!("{resource} has no manifest, or its list does not show it: {singular}"));
    }

    for format in [
        "-o wide",
        "-o yaml",
        "-o json",
        "-o jsonpath='{.items[*].metadata.name}'",
        "-o custom-columns=N:.metadata.name,K:.kind",
        "-o go-template='{{range .items}}{{.metadata.name}} {{end}}'",
        "--show-labels",
        "--show-managed-fields -o yaml",
        "--server-print=false",
    ] {
        s.does(&format!("get {format} -f {file}"), "all");
    }
    s.does(&format!("apply -f {file}"), "configmap/all configured");
    s.does(&format!("apply -f {file}"), "configmap/all unchanged");
    s.does(&format!("apply -f {file}"), "deployment.apps/all unchanged");
    s.shows(&format!("diff -f {file}"), "");
    s.does(&format!("apply --server-side --force-conflicts -f {file}"), "configmap/all serverside-applied");
    s.shows(&format!("diff --server-side --force-conflicts -f {file}"), "");
    s.does(&format!("label -f {file} tier=test"), "configmap/all labeled");
    s.does(&format!("annotate -f {file} note=seen"), "configmap/all annotated");
    for (kind, patch) in [
        ("merge", r#"{"metadata":{"annotations":{"patch":"merge"}}}"#),
        ("strategic", r#"{"metadata":{"annotations":{"patch":"strategic"}}}"#),
        ("json", r#"[{"op":"add","path":"/metadata/annotations/patch","value":"json"}]"#),
    ] {
        // A custom resource definition is patched as any built-in kind; what it defines is not among the manifests.
        s.does(&format!("patch --type={kind} -p '{patch}' -f {file}"), "configmap/all patched");
    }
    let editor = s.file("editor", "#!/bin/sh\nsed -i 's/tier: test/tier: edited/' \"$1\"\n");
    let edit = s.kubectl.command(&["edit", "-f", &file]).env("KUBE_EDITOR", format!("sh {editor}")).output();
    let edit = edit.expect("kubectl edit runs");
    let said = format!("{}{}", String::from_utf8_lossy(&edit.stdout), String::from_utf8_lossy(&edit.stderr));
    s.expect(edit.status.success() && said.matches(" edited").count() == objects, &format!("edit: {said}"));
    s.does(&format!("get -f {file} -l tier=edited -o name"), "");
    s.does("get cm,deploy,crd,nodes -l tier=edited,tier!=test -o name", "configmap/all");
    // kubectl 1.32 describes some kinds by versions that are gone, and a Pod or Job cannot be replaced by its manifest.
    for line in [
        "describe cm,deploy,crd,ns,sa,svc,ing,netpol,quota,pdb,sc,hpa,cj,rs,sts,ds,csr,nodes,pv,pvc,pods",
        "describe -A roles,leases,events",
    ] {
        s.does(line, "all");
    }
    let replaceable: Vec<&str> = MANIFESTS
        .split("\n---\n")
        // Nor a claim, which is bound by now.
        .filter(|document| {
            ["Pod", "Job", "PersistentVolumeClaim"]
                .iter()
                .all(|kind| !document.contains(&format!("kind: {kind}\n")))
        })
        .collect();
    s.does_with(
        "replace --dry-run=server -f -",
        &replaceable.join("\n---\n"),
        "configmap/all replaced (server dry run)",
    );
    s.does(&format!("delete --dry-run=server -f {file}"), "configmap \"all\" deleted (server dry run)");
    let kept = s.run(&format!("get -f {file} -o name"));
    s.expect(kept.success && lines(&kept.stdout) == objects, "a dry run deletes nothing");
    s.does(
        &format!("delete --wait=false --grace-period=0 --force -f {file}"),
        "configmap \"all\" force deleted",
    );
    s.end();
}

#[test]
fn every_kind_is_explained() {
    let mut s = Session::new();
    let resources = s.run("api-resources --no-headers");
    let kinds: Vec<(String, String)> = resources
        .stdout
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let version =
                words.iter().rposition(|word| *word == "true" || *word == "false")?.checked_sub(1)?;
            Some((words.first()?.to_string(), words.get(version)?.to_string()))
        })
        .collect();
    s.expect(kinds.len() > 60, &format!("kinds: {kinds:?}"));
    for (resource, version) in &kinds {
        s.does(&format!("explain {resource} --api-version={version} --recursive"), "DESCRIPTION:");
    }
    // The other document says the same; it is one, so a few kinds tell.
    for resource in ["pods", "deployments", "customresourcedefinitions", "ingresses", "flowschemas"] {
        let of = |format: &str| s.run(&format!("explain {resource} --recursive --output={format}")).stdout;
        let (third, second) = (of("plaintext"), of("plaintext-openapiv2"));
        let fields = |text: &str| -> BTreeSet<String> {
            let fields = text.split_once("FIELDS:").map_or("", |(_, fields)| fields).lines();
            fields.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
        };
        s.expect(
            fields(&third).len() > 10 && fields(&third) == fields(&second),
            &format!("{resource} is explained otherwise by version 2:\n{third}\n{second}"),
        );
    }
    for (field, says) in [
        ("pods.spec.containers.livenessProbe.httpGet.port", "IntOrString"),
        ("deployment.spec.strategy.rollingUpdate.maxSurge", "Value can be an absolute number"),
        ("crd.spec.versions.schema.openAPIV3Schema", "JSONSchemaProps"),
        ("hpa.spec.metrics --api-version=autoscaling/v2", "MetricSpec"),
        ("hpa.spec.targetCPUUtilizationPercentage --api-version=autoscaling/v1", "integer"),
        ("events.involvedObject --api-version=v1", "ObjectReference"),
        ("secret.data", "map[string]string"),
        ("cronjobs.spec.jobTemplate.spec.template.spec.volumes.projected.sources", "VolumeProjection"),
    ] {
        s.does(&format!("explain {field}"), says);
    }
    s.refuses("explain pods.spec.nothing", "field \"nothing\" does not exist");
    s.end();
}
