//! What is refused, in the words of upstream.

use kplane_kinds::{Context, ResourceDef, table};
use kplane_machinery::object;
use serde_json::{Value, json};

fn def(plural: &str) -> &'static ResourceDef {
    table::builtin().iter().find(|d| &*d.plural == plural).expect("a built-in kind")
}

fn context<'a>(def: &'a ResourceDef, subresource: Option<&'a str>) -> Context<'a> {
    let version = &def.versions[0].name;
    Context {
        def,
        version,
        namespace: "n",
        subresource,
        now: "2026-01-01T00:00:00Z",
        user: "u",
        groups: &[],
        uid: "",
        extra: None,
    }
}

/// The object as it would be stored, and what is wrong with it.
fn created(plural: &str, mut object: Value) -> (Value, Vec<String>) {
    let def = def(plural);
    let cx = context(def, None);
    object::set_meta(&mut object, "name", Some("x".into()));
    object::set_meta(&mut object, "namespace", Some("n".into()));
    object::set_meta(&mut object, "uid", Some("u".into()));
    def.strategy.default(cx.version, &mut object);
    def.strategy.prepare_create(&cx, &mut object);
    let errors = def.strategy.validate_create(&cx, &object).iter().map(ToString::to_string).collect();
    (object, errors)
}

fn updated(plural: &str, old: &Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let def = def(plural);
    let cx = context(def, None);
    let mut new = old.clone();
    change(&mut new);
    def.strategy.default(cx.version, &mut new);
    def.strategy.prepare_update(&cx, &mut new, old);
    def.strategy.validate_update(&cx, &new, old).iter().map(ToString::to_string).collect()
}

fn pod(spec: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    if let (Some(container), Some(more)) = (container.as_object_mut(), spec.as_object()) {
        container.extend(more.clone());
    }
    json!({"spec": {"containers": [container]}})
}

#[test]
fn objects_that_are_wrong() {
    let cases = [
        (
            "pods",
            pod(json!({"name": "A"})),
            "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label",
        ),
        ("pods", pod(json!({"image": ""})), "spec.containers[0].image: Required value"),
        (
            "pods",
            pod(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "pods",
            pod(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "pods",
            pod(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "pods",
            pod(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "pods",
            json!({"spec": {"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "i"}]}}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            "configmaps",
            json!({"data": {"a/b": "c"}}),
            "data[a/b]: Invalid value: \"a/b\": a valid config key",
        ),
        ("secrets", json!({"type": "kubernetes.io/tls"}), "data[tls.crt]: Required value"),
        (
            "services",
            json!({"spec": {"ports": [{"port": 1}, {"name": "b", "port": 2}]}}),
            "spec.ports[0].name: Required value",
        ),
        (
            "deployments",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "strategy": {"type": "Recreate", "rollingUpdate": {}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "cronjobs",
            json!({"spec": {"schedule": "* * *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
        ),
        (
            "rolebindings",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
            "subjects[0].namespace: Required value",
        ),
        (
            "networkpolicies",
            json!({"spec": {"ingress": [{"from": [{}]}]}}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "endpointslices",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}]}),
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
        ),
        (
            "limitranges",
            json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}}),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
        ),
    ];
    for (plural, object, said) in cases {
        let (_, errors) = created(plural, object);
        assert!(errors.iter().any(|e| e.starts_with(said)), "{plural}: {said}\n{errors:#?}");
    }
}

#[test]
fn fields_that_may_not_change() {
    let labelled =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let workload = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": labelled}});
    let (deployment, errors) = created("deployments", workload);
    assert_eq!(errors, Vec::<String>::new());
    let says = updated("deployments", &deployment, |d| {
        d["spec"]["selector"]["matchLabels"]["c"] = "d".into();
        d["spec"]["template"]["metadata"]["labels"]["c"] = "d".into();
    });
    assert!(
        says.iter()
            .any(|e| e.starts_with("spec.selector: Invalid value:") && e.ends_with("field is immutable"))
    );
    assert_eq!(
        updated("deployments", &deployment, |d| d["spec"]["replicas"] = 5.into()),
        Vec::<String>::new()
    );

    let (mut service, _) = created("services", json!({"spec": {"ports": [{"port": 80}]}}));
    service["spec"]["clusterIP"] = "10.0.0.1".into();
    service["spec"]["clusterIPs"] = json!(["10.0.0.1"]);
    let says = updated("services", &service, |s| s["spec"]["clusterIP"] = "10.0.0.2".into());
    assert_eq!(says, ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]);
    let unnamed = updated("services", &service, |s| {
        if let Some(spec) = s["spec"].as_object_mut() {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    });
    assert_eq!(unnamed, Vec::<String>::new());

    let (secret, _) = created("secrets", json!({"immutable": true, "data": {"a": "MQ=="}}));
    let says = updated("secrets", &secret, |s| s["data"]["a"] = "Mg==".into());
    assert_eq!(says, ["data: Forbidden: field is immutable when `immutable` is set"]);
}

#[test]
fn a_job_owns_its_pods_by_its_uid() {
    let spec = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let (job, errors) = created("jobs", spec);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u");
    assert_eq!(job["metadata"]["labels"]["batch.kubernetes.io/job-name"], "x");
}
