//! What is refused, in upstream's words.

use serde_json::json;

use super::*;

/// What is wrong, a line each.
fn told(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {}", error.field, error.body())).collect()
}

fn claim(devices: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    let spec = json!({"spec": {"devices": devices}});
    claim::spec(&At::root(&spec).f("spec"), "v1", &mut errors);
    told(&errors)
}

fn slice(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let mut errors = Vec::new();
    let whole = json!({ "spec": spec });
    let before = old.map(|old| json!({ "spec": old }));
    let before = before.as_ref().map(|old| At::root(old).f("spec"));
    slice::spec(&At::root(&whole).f("spec"), before.as_ref(), "v1", &mut errors);
    told(&errors)
}

fn status(status: &Value, old: &Value) -> Vec<String> {
    let devices = json!({"requests": [{"name": "gpu", "exactly": {}}, {"name": "any", "firstAvailable": [{"name": "big"}]}]});
    let whole = |status: &Value| json!({"metadata": {}, "spec": {"devices": devices}, "status": status});
    let mut errors = Vec::new();
    claim::status(&whole(status), &whole(old), &mut errors);
    told(&errors)
}

#[test]
fn requests_are_flat_in_the_oldest_version() {
    let mut claim =
        json!({"spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c", "count": 1}]}}});
    let before = claim.clone();
    let strategy = Claims { template: false };
    strategy.convert(&mut claim, "v1beta1", "v1").expect("converts");
    assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "c");
    strategy.convert(&mut claim, "v1", "v1beta1").expect("converts back");
    assert_eq!(claim, before);
}

#[test]
fn claims_ask_for_devices_of_classes() {
    let exactly = |more: Value| {
        let mut exactly =
            json!({"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 1});
        exactly.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"requests": [{"name": "gpu", "exactly": exactly}]})
    };
    let cel = |expression: &str| exactly(json!({"selectors": [{"cel": {"expression": expression}}]}));
    assert_eq!(claim(&cel("device.attributes['gpu.example.com'].model == 'A100'")), [""; 0]);
    let at = "spec.devices.requests[0].exactly";
    let wrong = claim(&cel("device.serial == 1"));
    assert!(wrong[0].starts_with(&format!("{at}.selectors[0].cel.expression: Invalid value: \"device.serial == 1\": compilation failed: ERROR: <input>:1:7: undefined field 'serial'")), "{wrong:?}");
    assert_eq!(
        claim(&cel("'a'")),
        [format!(
            "{at}.selectors[0].cel.expression: Invalid value: \"'a'\": must evaluate to bool or the unknown type, not string"
        )]
    );
    assert_eq!(
        claim(&cel(&"a".repeat(10_241))),
        [format!("{at}.selectors[0].cel.expression: Too long: may not be more than 10240 bytes")]
    );
    assert_eq!(
        claim(&exactly(json!({"selectors": [{}]}))),
        [format!("{at}.selectors[0].cel: Required value")]
    );
    assert_eq!(
        claim(&exactly(json!({"tolerations": [
            {"key": "a b", "operator": "Exists", "value": "x", "effect": "Never"},
            {"operator": "Less"},
        ]})))
        .len(),
        4
    );
    let requests =
        json!([{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "All"}}, {"name": "a"}]);
    assert_eq!(
        claim(&json!({"requests": requests, "constraints": [
            {"requests": ["a", "b", "a"], "matchAttribute": "model"}, {},
        ], "config": [{"requests": ["a/b/c"]}]})),
        [
            "spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1]: Duplicate value: \"a\"",
            "spec.devices.constraints[0].requests[1]: Invalid value: \"b\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].requests[2]: Duplicate value: \"a\"",
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"model\": a fully qualified name must be a domain and a name separated by a slash",
            "spec.devices.constraints[1]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            "spec.devices.config[0].requests[0]: Invalid value: \"a/b/c\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.config[0].opaque: Required value",
        ]
    );
    let many: Vec<Value> = (0..33).map(|n| json!({"name": format!("r{n}")})).collect();
    assert_eq!(
        claim(&json!({"requests": many})),
        ["spec.devices.requests: Too many: 33: must have at most 32 items"]
    );
}

#[test]
fn a_claim_is_allocated_once_and_reserved_when_it_is() {
    let result = json!({"request": "gpu", "driver": "d.example.com", "pool": "p/q", "device": "x"});
    let allocation = |result: &Value| json!({"devices": {"results": [result]}});
    let consumer = json!({"resource": "pods", "name": "a", "uid": "1"});
    let good = json!({"allocation": allocation(&result), "reservedFor": [consumer]});
    assert_eq!(status(&good, &json!({})), [""; 0]);
    assert_eq!(
        status(&json!({"reservedFor": [consumer]}), &json!({})),
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
    );
    let mut other = result.clone();
    other["device"] = "y".into();
    let changed = status(&json!({"allocation": allocation(&other)}), &good);
    assert!(changed[0].ends_with("field is immutable"), "{changed:?}");
    other["request"] = "any/small".into();
    other["shareID"] = "A".into();
    let wrong = status(&json!({"allocation": allocation(&other)}), &json!({}));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let device = json!({"driver": "d.example.com", "pool": "p/q", "device": "z", "networkData": {"ips": ["10.0.0.1", "10.0.0.1/8"]}});
    assert_eq!(
        status(&json!({"allocation": allocation(&result), "devices": [device]}), &json!({})),
        [
            "status.devices[0]: Invalid value: \"d.example.com/p/q/z\": must be an allocated device in the claim",
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        ]
    );
}

#[test]
fn a_slice_says_where_its_devices_are_and_what_they_are() {
    let spec = |more: Value| {
        let mut spec = json!({
            "driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let devices = |device: Value| spec(json!({"devices": [device]}));
    let good = devices(json!({
        "name": "x",
        "attributes": {"model": {"string": "A"}, "other.example.com/version": {"version": "1.2.3-rc.1"}},
        "capacity": {"memory": {"value": "80Gi", "requestPolicy": {
            "default": "1Gi", "validRange": {"min": "1Gi", "max": "80Gi", "step": "1Gi"},
        }}},
        "allowMultipleAllocations": true,
        "taints": [{"key": "broken", "effect": "NoSchedule"}],
    }));
    assert_eq!(slice(&good, None), [""; 0]);
    assert_eq!(slice(&good, Some(&good)), [""; 0]);
    assert_eq!(
        slice(&spec(json!({"allNodes": true})), None),
        [
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"
        ]
    );
    assert_eq!(
        slice(&spec(json!({"nodeName": null})), None),
        [
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        ]
    );
    let moved = slice(&spec(json!({"nodeName": "m"})), Some(&good));
    assert_eq!(moved, ["spec.nodeName: Invalid value: \"m\": field is immutable"]);
    let wrong = slice(
        &devices(json!({
            "name": "X",
            "attributes": {"a/b/c": {"bool": true}, "two": {"bool": true, "int": 1}, "v": {"version": "1.02.3"}},
            "capacity": {"memory": {"value": "2Gi", "requestPolicy": {"default": "1Gi"}}},
            "taints": [{"key": "k"}],
            "consumesCounters": [{"counterSet": "s"}],
            "nodeName": "n",
            "bindingConditions": ["a"],
        })),
        None,
    );
    let at = "spec.devices[0]";
    for expected in [
        format!("{at}.attributes: Invalid value: \"a/b/c\": must not contain more than one slash"),
        format!(
            "{at}.attributes[v].version: Invalid value: \"1.02.3\": must be a string compatible with semver.org spec 2.0.0"
        ),
        format!("{at}.capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true"),
        format!("{at}.taints[0].effect: Required value"),
        format!("{at}.consumesCounters[0].counters: Required value"),
        format!(
            "{at}: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
        ),
    ] {
        assert!(wrong.contains(&expected), "{expected}\n{wrong:#?}");
    }
    assert_eq!(wrong.len(), 9, "{wrong:#?}");
    let policy = |policy: Value| {
        let told = slice(
            &devices(json!({
                "name": "x", "allowMultipleAllocations": true,
                "capacity": {"c": {"value": "10", "requestPolicy": policy}},
            })),
            None,
        );
        let at = format!("{at}.capacity[c].requestPolicy");
        told.iter().map(|told| told.strip_prefix(&at).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        policy(json!({"default": "3", "validValues": ["2", "1", "20"]})),
        [
            ".validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
            ".validValues[2]: Invalid value: \"20\": option is larger than capacity value: 10",
            ".validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
        ]
    );
    assert_eq!(
        policy(json!({"default": "4", "validRange": {"min": "1", "max": "9", "step": "2"}})),
        [".validRange.step: Invalid value: \"4\": value is not a multiple of a given step (2) from (1)"]
    );
    assert_eq!(
        policy(json!({"validValues": ["1"]})),
        [".default: Required value: required when validValues is defined"]
    );
}

#[test]
fn a_class_keeps_what_was_stored_and_names_an_extended_resource() {
    let class = |spec: &Value, old: Option<&Value>| {
        let mut errors = Vec::new();
        let old = old.map(|old| json!({ "spec": old }));
        class::class(&json!({ "spec": spec }), old.as_ref(), &mut errors);
        told(&errors)
    };
    let broken = json!({"selectors": [{"cel": {"expression": "device.serial == 1"}}]});
    assert_eq!(class(&broken, None).len(), 1);
    assert_eq!(class(&broken, Some(&broken)), [""; 0]);
    assert_eq!(class(&json!({"extendedResourceName": "example.com/gpu"}), None), [""; 0]);
    for wrong in ["cpu", "kubernetes.io/gpu", "requests.example.com/gpu", "example.com/a b"] {
        assert_eq!(
            class(&json!({ "extendedResourceName": wrong }), None),
            [format!(
                "spec.extendedResourceName: Invalid value: \"{wrong}\": must be a valid extended resource name"
            )]
        );
    }
}
