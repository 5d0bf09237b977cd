//! `kubectl apply`, `diff`, `--prune`, `-k`, validation (`apply.sh`, `diff.sh`, `create.sh`), and what GitOps tools and Helm send through the same doors.

use crate::Session;

fn config_map(name: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: one}}}}\ndata: {data}\n"
    )
}

#[test]
fn three_way_merges() {
    let mut s = Session::new();
    s.does_with("apply -f -", &config_map("x", "{a: '1', b: '2'}"), "configmap/x created");
    s.does_with("apply view-last-applied cm/x", "", "a: \"1\"");
    s.does("patch cm x --type=merge -p '{\"data\":{\"other\":\"kept\"}}'", "patched");
    s.refuses_with("diff -f -", &config_map("x", "{a: '9'}"), "");
    s.does_with("apply -f -", &config_map("x", "{a: '3'}"), "configmap/x configured");
    s.shows("get cm x -o jsonpath='{.data}'", r#"{"a":"3","other":"kept"}"#);
    s.does_with("apply edit-last-applied cm/x --help", "", "Edit");
    s.does_with(
        "apply set-last-applied --create-annotation -f -",
        &config_map("x", "{a: '3'}"),
        "configured",
    );
    // Lists by their merge keys, and what another wrote stays.
    let deployment = |containers: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: {containers}}}\n"
        )
    };
    s.does_with("apply -f -", &deployment("[{name: a, image: i}, {name: b, image: i}]"), "created");
    s.does("set env deployment/web -c a X=1", "updated");
    s.does_with("apply -f -", &deployment("[{name: a, image: j}]"), "configured");
    s.shows("get deploy web -o jsonpath='{.spec.template.spec.containers[*].name}{.spec.template.spec.containers[0].env[0].name}'", "aX");
    s.refuses_with(
        "apply -f -",
        &deployment("[{name: a, image: j}]").replace("app: web", "app: other"),
        "field is immutable",
    );
    s.does_with(
        "apply --force --grace-period=0 -f -",
        &deployment("[{name: a, image: j}]").replace("app: web", "app: other"),
        "",
    );
    s.end();
}

#[test]
fn server_side() {
    let mut s = Session::new();
    s.does_with(
        "apply --server-side --dry-run=server -f -",
        &config_map("x", "{a: '1'}"),
        "(server dry run)",
    );
    s.does_with(
        "apply --server-side --field-manager=one -f -",
        &config_map("x", "{a: '1', b: '2'}"),
        "serverside-applied",
    );
    s.refuses_with(
        "apply --server-side --field-manager=two -f -",
        &config_map("x", "{a: '2'}"),
        "Apply failed with 1 conflict: conflict with \"one\": .data.a",
    );
    s.does_with(
        "apply --server-side --field-manager=two --force-conflicts -f -",
        &config_map("x", "{a: '2'}"),
        "serverside-applied",
    );
    s.does_with("apply --server-side --field-manager=one -f -", &config_map("x", "{}"), "serverside-applied");
    s.shows("get cm x -o jsonpath='{.data}'", r#"{"a":"2"}"#);
    // From client-side to server-side and back.
    s.does_with("apply -f -", &config_map("z", "{a: '1', b: '2'}"), "created");
    s.does_with("apply --server-side -f -", &config_map("z", "{a: '1'}"), "serverside-applied");
    s.shows("get cm z -o jsonpath='{.data}'", r#"{"a":"1"}"#);
    s.does_with("apply -f -", &config_map("z", "{c: '1'}"), "configured");
    s.shows("get cm z -o jsonpath='{.data}'", r#"{"c":"1"}"#);
    s.end();
}

#[test]
fn what_is_no_longer_in_the_set_is_pruned() {
    let mut s = Session::new();
    let all = format!("{}---\n{}", config_map("x", "{}"), config_map("z", "{}"));
    s.does_with(
        "apply --prune -l set=one --prune-allowlist=core/v1/ConfigMap -f -",
        &all,
        "configmap/z created",
    );
    s.does_with(
        "apply --prune -l set=one --prune-allowlist=core/v1/ConfigMap --dry-run=server -f -",
        &config_map("x", "{}"),
        "configmap/z pruned (server dry run)",
    );
    s.does("get cm z -o name", "configmap/z");
    s.does_with(
        "apply --prune -l set=one --prune-allowlist=core/v1/ConfigMap -f -",
        &config_map("x", "{}"),
        "configmap/z pruned",
    );
    s.refuses("get cm z", "not found");
    // The same by an ApplySet, which lists what it may hold as metadata.
    let set = |objects: &str, says: &str, s: &mut Session| {
        let words = ["apply", "--prune", "--applyset=secrets/set", "-n", "default", "-f", "-"];
        let mut command = s.kubectl.command(&words);
        command.env("KUBECTL_APPLYSET", "true").stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("its input"), objects.as_bytes())
            .expect("written");
        let output = child.wait_with_output().expect("kubectl ends");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        s.expect(output.status.success() && said.contains(says), &format!("ApplySet: {says}: {said}"));
    };
    let all = all.replace("name: x", "name: p").replace("name: z", "name: q");
    set(&all, "configmap/q created", &mut s);
    set(&config_map("p", "{}"), "configmap/q pruned", &mut s);
    s.refuses("get cm q", "not found");
    s.end();
}

#[test]
fn kustomizations_and_folders() {
    let mut s = Session::new();
    s.file("k/cm.yaml", &config_map("base", "{a: b}"));
    s.file("k/deeper/cm.yaml", &config_map("deep", "{a: b}"));
    s.file("k/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [}\n");
    let kustomization = s.file(
        "kz/kustomization.yaml",
        "namePrefix: pre-\nresources: [cm.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\nlabels: [{pairs: {from: kustomize}}]\n",
    );
    s.file("kz/cm.yaml", &config_map("base", "{a: b}"));
    let folder = kustomization.trim_end_matches("/kustomization.yaml").to_owned();
    s.does(&format!("apply -k {folder}"), "configmap/pre-base created");
    s.does(&format!("diff -k {folder}"), "");
    s.does("get cm -l from=kustomize -o name", "configmap/pre-made-");
    s.does(&format!("delete -k {folder}"), "configmap \"pre-base\" deleted");
    // One broken file does not keep the others from being applied.
    let folder = folder.replace("/kz", "/k");
    s.refuses(&format!("apply -R -f {folder}"), "error parsing");
    s.does("get cm base deep -o name", "configmap/deep");
    s.end();
}

#[test]
fn validation_of_fields() {
    let mut s = Session::new();
    let unknown = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: i, bogus: 1}]}\n";
    s.refuses_with(
        "create --validate=strict -f -",
        unknown,
        "strict decoding error: unknown field \"spec.containers[0].bogus\"",
    );
    s.refuses_with("apply --validate=true -f -", unknown, "unknown field \"spec.containers[0].bogus\"");
    s.does_with(
        "create --validate=warn -f -",
        unknown,
        "Warning: unknown field \"spec.containers[0].bogus\"",
    );
    s.does("delete pod x --grace-period=0 --force", "deleted");
    s.does_with("create --validate=ignore -f -", unknown, "pod/x created");
    for (kind, patch) in [
        ("merge", r#"{"metadata":{"bogus":1}}"#),
        ("strategic", r#"{"metadata":{"bogus":1}}"#),
        ("json", r#"[{"op":"add","path":"/metadata/bogus","value":1}]"#),
    ] {
        s.does(
            &format!("patch pod x --type={kind} -p '{patch}'"),
            "Warning: unknown field \"metadata.bogus\"",
        );
    }
    let client = s.server.client().vcp("a");
    for (kind, patch, says) in [
        ("merge", r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#, r#"duplicate field "metadata.labels.a""#),
        (
            "strategic-merge",
            r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#,
            r#"duplicate field "metadata.labels.a""#,
        ),
        (
            "json",
            r#"[{"op":"test","path":"/kind","value":"Pod","foo":1}]"#,
            r#"json patch unknown field "[0].foo""#,
        ),
        ("merge", r#"{"spec":{"bogus":1}}"#, r#"unknown field "spec.bogus""#),
    ] {
        let headers = [("Content-Type", &*format!("application/{kind}-patch+json"))];
        let path = "/api/v1/namespaces/default/pods/x?fieldValidation=Strict";
        let answer = client.send("PATCH", path, &headers, patch).expect("an answer");
        s.expect(
            answer.code == 422
                && answer.text.contains("strict decoding error")
                && answer.body["message"].as_str().is_some_and(|message| message.contains(says)),
            &format!("{kind} {patch}: {says}: {}", answer.text),
        );
    }
    s.end();
}
