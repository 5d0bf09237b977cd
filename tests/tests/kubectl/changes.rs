//! Commands that change what is there: `set`, `scale`, `patch`, `label`, `replace`, `rollout`, nodes (`apps.sh`, `core.sh`, `node-management.sh`).

use crate::Session;

#[test]
fn workloads_are_changed() {
    let mut s = Session::new();
    for (line, says) in [
        ("create deployment web --image=nginx:1", "created"),
        ("scale deployment web --replicas=3", "deployment.apps/web scaled"),
        ("scale --current-replicas=3 --replicas=2 deployment/web", "scaled"),
        ("set image deployment/web nginx=nginx:2", "deployment.apps/web image updated"),
        ("set image deployment/web '*=nginx:3'", "image updated"),
        ("set env deployment/web A=1 B=2", "deployment.apps/web env updated"),
        ("set env deployment/web B-", "env updated"),
        ("set env deployment/web --list", "A=1"),
        (
            "set resources deployment/web --limits=cpu=200m,memory=512Mi --requests=cpu=100m",
            "resource requirements updated",
        ),
        ("set serviceaccount deployment/web robot", "serviceaccount updated"),
        ("create service clusterip svc --tcp=80", "created"),
        ("set selector service svc app=web", "selector updated"),
        ("create rolebinding rb --clusterrole=view --user=u", "created"),
        ("set subject rolebinding rb --user=u2 --serviceaccount=default:robot", "subjects updated"),
        ("label deployment web a=1 b=2", "deployment.apps/web labeled"),
        ("label deployment web a=3 --overwrite", "labeled"),
        ("label deployment web b-", "unlabeled"),
        ("label deployment -l a=3 c=4 --dry-run=server", "labeled (server dry run)"),
        ("annotate deployment web note='some text'", "annotated"),
        ("annotate deployment --all note-", "annotated"),
        ("rollout pause deployment/web", "deployment.apps/web paused"),
        ("rollout resume deployment/web", "deployment.apps/web resumed"),
        ("rollout restart deployment/web", "deployment.apps/web restarted"),
        ("rollout history deployment/web", "deployment.apps/web"),
    ] {
        s.does(line, says);
    }
    for (line, says) in [
        ("label deployment web a=5", "'a' already has a value (3), and --overwrite is false"),
        ("label deployment web 'a=b c'", "invalid label value"),
        ("annotate deployment web note=x --resource-version=1", "the object has been modified"),
        ("scale --current-replicas=7 --replicas=2 deployment/web", "Expected replicas to be 7, was 2"),
        ("scale deployment nothing --replicas=1", "deployments.apps \"nothing\" not found"),
        ("scale configmap kube-root-ca.crt --replicas=1", "the server could not find the requested resource"),
        ("set image deployment/web nothing=x", "unable to find container named \"nothing\""),
        ("rollout pause deployment/nothing", "not found"),
    ] {
        s.refuses(line, says);
    }
    for (path, value) in [
        (".spec.replicas", "2"),
        (".spec.template.spec.containers[0].image", "nginx:3"),
        (".spec.template.spec.containers[0].env[*].name", "A"),
        (".spec.template.spec.containers[0].resources.limits.memory", "512Mi"),
        (".spec.template.spec.serviceAccountName", "robot"),
        (".metadata.labels", r#"{"a":"3","app":"web"}"#),
    ] {
        s.shows(&format!("get deployment web -o jsonpath='{{{path}}}'"), value);
    }
    s.shows("get rolebinding rb -o jsonpath='{.subjects[*].name}'", "u u2 robot");
    s.shows("get svc svc -o jsonpath='{.spec.selector}'", r#"{"app":"web"}"#);
    s.does(
        "get deployment web --subresource=scale -o jsonpath='{.kind} {.spec.replicas} {.status.selector}'",
        "Scale 2 app=web",
    );
    // In the answer: the controller says what is so right after.
    s.does(
        "patch deployment web --subresource=status --type=merge -p '{\"status\":{\"replicas\":9}}' -o jsonpath='{.status.replicas}'",
        "9",
    );
    s.end();
}

#[test]
fn patches() {
    let mut s = Session::new();
    s.does("run valid-pod --image=nginx --labels=name=valid-pod", "created");
    for (line, says) in [
        (
            r#"patch pod valid-pod -p '{"spec":{"containers":[{"name":"valid-pod","image":"nginx2"}]}}'"#,
            "patched",
        ),
        (
            r#"patch pod valid-pod --type=json -p '[{"op":"replace","path":"/spec/containers/0/image","value":"nginx3"}]'"#,
            "patched",
        ),
        (r#"patch pod valid-pod --type=merge -p '{"metadata":{"labels":{"b":"c"}}}'"#, "patched"),
        (r#"patch pod valid-pod -p '{"metadata":{"labels":{"b":"c"}}}'"#, "patched (no change)"),
        (r#"patch pod valid-pod -p '{"metadata":{"labels":{"b":null}}}'"#, "patched"),
        (r#"patch pod valid-pod --dry-run=server -p '{"metadata":{"labels":{"x":"y"}}}'"#, "patched"),
    ] {
        s.does(line, says);
    }
    s.shows(
        "get pod valid-pod -o jsonpath='{.metadata.labels}{.spec.containers[0].image}'",
        r#"{"name":"valid-pod"}nginx3"#,
    );
    for (line, says) in [
        // What a strategic patch makes is restored into a struct; what other patches make is decoded.
        (
            r#"patch pod valid-pod -p '{"metadata":{"labels":"invalid"}}'"#,
            "patch: Invalid value: \"map[metadata:map[labels:invalid]]\": cannot restore map from string",
        ),
        (
            r#"patch pod valid-pod --type=merge -p '{"metadata":{"labels":"invalid"}}'"#,
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            r#"patch pod valid-pod -p '{"spec":{"activeDeadlineSeconds":"x"}}'"#,
            "cannot convert string to int64",
        ),
        (r#"patch pod valid-pod -p '{"metadata":{"resourceVersion":"1"}}'"#, "the object has been modified"),
        (
            r#"patch pod valid-pod -p '{"spec":{"nodeSelector":{"a":"b"}}}'"#,
            "pod updates may not change fields other than",
        ),
        (
            r#"patch pod valid-pod --type=json -p '[{"op":"test","path":"/kind","value":"x"}]'"#,
            "the server rejected our request due to an error in our request",
        ),
        (
            r#"patch pod valid-pod --type=json -p '[{"op":"remove","path":"/nothing"}]'"#,
            "the server rejected our request due to an error in our request",
        ),
        (r#"patch pod nothing -p '{}'"#, "pods \"nothing\" not found"),
        ("patch pod valid-pod -p '{'", "error decoding patch: unexpected end of JSON input"),
    ] {
        s.refuses(line, says);
    }
    s.end();
}

#[test]
fn replacing() {
    let mut s = Session::new();
    let service = |port: u16, extra: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: svc{extra}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    };
    s.does_with("create --save-config -f -", &service(80, ""), "service/svc created");
    s.shows("get svc svc -o go-template='{{len .metadata.annotations}}'", "1");
    s.does_with("replace -f -", &service(81, ""), "service/svc replaced");
    s.refuses_with("replace -f -", &service(82, ", resourceVersion: \"1\""), "the object has been modified");
    let uid = s.run("get svc svc -o jsonpath='{.metadata.uid}'").stdout;
    s.does_with("replace --force --grace-period=0 -f -", &service(83, ""), "service/svc replaced");
    s.expect(uid != s.run("get svc svc -o jsonpath='{.metadata.uid}'").stdout, "it is another service");
    s.refuses_with(
        "replace -f -",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
        "configmaps \"x\" not found",
    );
    let immutable = "apiVersion: v1\nkind: Service\nmetadata: {name: svc}\nspec: {clusterIP: 10.96.0.77, ports: [{port: 83}]}\n";
    s.refuses_with(
        "replace -f -",
        immutable,
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.77\"]: may not change once set",
    );
    s.end();
}

#[test]
fn nodes() {
    let mut s = Session::new();
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: one, labels: {kubernetes.io/hostname: one}}\n";
    s.does_with("create -f -", node, "node/one created");
    s.does_with(
        "create -f -",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: upon}\nspec: {nodeName: one, containers: [{name: c, image: i}]}\n",
        "pod/upon created",
    );
    for (line, says) in [
        ("taint node one dedicated=x:NoSchedule", "node/one tainted"),
        ("taint node one dedicated=y:NoSchedule --overwrite", "node/one modified"),
        ("taint node one dedicated:NoSchedule-", "node/one untainted"),
        ("cordon one", "node/one cordoned"),
        ("cordon one", "node/one already cordoned"),
        ("uncordon one", "node/one uncordoned"),
        ("drain one --dry-run=server --force", "node/one drained (server dry run)"),
        ("get pods -o name", "pod/upon"),
        ("drain one --force --disable-eviction --grace-period=0", "node/one drained"),
        ("get node one", "SchedulingDisabled"),
        ("describe node one", "Unschedulable:      true"),
    ] {
        s.does(line, says);
    }
    s.refuses("taint node one dedicated=x:Never", "invalid taint effect");
    s.refuses("drain nothing", "nodes \"nothing\" not found");
    s.refuses("get pod upon", "pods \"upon\" not found");
    s.end();
}
