"""The Python client against a control plane: every verb on a dozen kinds, typed and dynamic. Prints nothing when all is well."""

import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.client import ApiException

config.load_kube_config(sys.argv[1])
api = client.ApiClient()
CONTAINER = {"name": "c", "image": "busybox"}
TEMPLATE = {"metadata": {"labels": {"app": "p"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": {"app": "p"}}

# The class of the client, the name of the kind in its methods, whether it is namespaced, the object.
KINDS = [
    ("CoreV1Api", "config_map", True, {"data": {"a": "b"}}),
    ("CoreV1Api", "secret", True, {"stringData": {"a": "b"}}),
    ("CoreV1Api", "service", True, {"spec": {"selector": {"app": "p"}, "ports": [{"port": 80}]}}),
    ("CoreV1Api", "service_account", True, {}),
    ("CoreV1Api", "pod", True, {"spec": {"containers": [CONTAINER]}}),
    ("CoreV1Api", "node", False, {}),
    ("AppsV1Api", "deployment", True, {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}),
    ("AppsV1Api", "stateful_set", True, {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"}}),
    ("BatchV1Api", "job", True, {"spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}}),
    ("NetworkingV1Api", "ingress", True, {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    ("RbacAuthorizationV1Api", "cluster_role", False, {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    ("PolicyV1Api", "pod_disruption_budget", True, {"spec": {"minAvailable": 1, "selector": SELECTOR}}),
    ("CoordinationV1Api", "lease", True, {"spec": {"holderIdentity": "me"}}),
    ("StorageV1Api", "storage_class", False, {"provisioner": "example.com/x"}),
    ("AutoscalingV2Api", "horizontal_pod_autoscaler", True, {"spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}}}),
]


def life(group, kind, namespaced, body):
    """Creates, reads, lists, watches, patches in each way, replaces and deletes one object of a kind."""
    methods = getattr(client, group)(api)
    where = ("default",) if namespaced else ()

    def call(verb, *arguments, **options):
        name = f"{verb}_namespaced_{kind}" if namespaced else f"{verb}_{kind}"
        return getattr(methods, name)(*arguments, **options)

    body = {"metadata": {"name": "py", "labels": {"by": "py"}}, **body}
    made = call("create", *where, body)
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo, made
    try:
        call("create", *where, body)
        raise AssertionError(f"{kind} twice")
    except ApiException as error:
        assert error.status == 409 and "already exists" in error.body, error
    assert call("read", "py", *where).metadata.uid == made.metadata.uid
    listed = call("list", *where, label_selector="by=py", limit=5)
    assert [item.metadata.name for item in listed.items] == ["py"], listed
    lister = getattr(methods, f"list_namespaced_{kind}" if namespaced else f"list_{kind}")
    watching = watch.Watch().stream(
        lister, *where, label_selector="by=py", resource_version=listed.metadata.resource_version, timeout_seconds=20
    )
    # A list is a JSON patch, a mapping a strategic merge patch.
    call("patch", "py", *where, [{"op": "add", "path": "/metadata/annotations", "value": {"json": "yes"}}])
    call("patch", "py", *where, {"metadata": {"annotations": {"strategic": "yes"}}})
    for event in watching:
        assert event["type"] == "MODIFIED", event
        if "strategic" in (event["object"].metadata.annotations or {}):
            break
    merged = call("patch", "py", *where, {"metadata": {"annotations": {"json": None}}}, _content_type="application/merge-patch+json")
    assert "json" not in merged.metadata.annotations, merged
    applied = call(
        "patch", "py", *where,
        {"apiVersion": made.api_version or body_version(group), "kind": made.kind or kind_of(made), "metadata": {"name": "py", "labels": {"applied": "yes"}}},
        _content_type="application/apply-patch+yaml", field_manager="py-apply", force=True,
    )
    assert applied.metadata.labels == {"by": "py", "applied": "yes"}, applied.metadata.labels
    assert "Apply" in [entry.operation for entry in applied.metadata.managed_fields], applied
    # Others write too: what a controller changed meanwhile is read again.
    for _ in range(5):
        whole = call("read", "py", *where)
        whole.metadata.annotations = {"replaced": "yes"}
        try:
            whole = call("replace", "py", *where, whole)
            break
        except ApiException as error:
            assert error.status == 409, error
    assert whole.metadata.annotations["replaced"] == "yes", whole
    call("delete", "py", *where, body=client.V1DeleteOptions(grace_period_seconds=0, propagation_policy="Background", dry_run=["All"]))
    call("read", "py", *where)
    call("delete", "py", *where, body=client.V1DeleteOptions(grace_period_seconds=0, propagation_policy="Background"))
    try:
        call("read", "py", *where)
        raise AssertionError(f"{kind} is still there")
    except ApiException as error:
        assert error.status == 404 and error.reason == "Not Found", error


def kind_of(made):
    """A typed object that names no kind is of its class: V1ConfigMap is a ConfigMap."""
    name = type(made).__name__
    return name[2:]


def body_version(group):
    """The version that a class of the client speaks."""
    return {
        "CoreV1Api": "v1", "AppsV1Api": "apps/v1", "BatchV1Api": "batch/v1", "NetworkingV1Api": "networking.k8s.io/v1",
        "RbacAuthorizationV1Api": "rbac.authorization.k8s.io/v1", "PolicyV1Api": "policy/v1", "CoordinationV1Api": "coordination.k8s.io/v1",
        "StorageV1Api": "storage.k8s.io/v1", "AutoscalingV2Api": "autoscaling/v2",
    }[group]


def dynamically():
    """The dynamic client reads discovery and OpenAPI for itself."""
    found = dynamic.DynamicClient(api)
    config_maps = found.resources.get(api_version="v1", kind="ConfigMap")
    config_maps.create(body={"metadata": {"name": "dyn"}, "data": {"a": "b"}}, namespace="default")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"c": "d"}}
    applied = config_maps.server_side_apply(body=manifest, name="dyn", namespace="default", field_manager="dyn")
    assert dict(applied.data) == {"a": "b", "c": "d"}, applied
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    assert deployments.subresources["scale"] is not None
    config_maps.delete(name="dyn", namespace="default")


for entry in KINDS:
    try:
        life(*entry)
    except Exception as error:
        raise AssertionError(entry[1]) from error
dynamically()
