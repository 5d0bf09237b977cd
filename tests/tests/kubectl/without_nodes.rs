//! What needs a node, in the words of upstream while there is none (`exec.sh`, `debug.sh`, `request-timeout.sh`).

use crate::Session;

#[test]
fn pods_that_run_nowhere() {
    let mut s = Session::new();
    s.does("run idle --image=busybox --labels=app=idle", "pod/idle created");
    s.does_with(
        "create -f -",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: placed}\nspec: {nodeName: gone, containers: [{name: a, image: i}, {name: b, image: i}]}\n",
        "pod/placed created",
    );
    let file = s.file("copied", "x");
    for (line, says) in [
        ("exec idle -- date", "pod idle does not have a host assigned"),
        ("exec nothing -- date", "pods \"nothing\" not found"),
        ("exec deployment/nothing -- date", "deployments.apps \"nothing\" not found"),
        ("exec svc/kubernetes -- date", "cannot attach to *v1.Service"),
        ("exec placed -c c -- date", "container c is not valid for pod placed"),
        ("attach idle", "pod idle does not have a host assigned"),
        ("port-forward pod/idle 18080:80", "pod is not running"),
        ("port-forward pod/nothing 18080:80", "pods \"nothing\" not found"),
        ("logs nothing", "pods \"nothing\" not found"),
        ("logs placed -c c", "container c is not valid for pod placed"),
        (&format!("cp {file} idle:/tmp/x"), "pod idle does not have a host assigned"),
        ("top nodes", "Metrics API not available"),
        ("top pods", "Metrics API not available"),
        ("get --raw /api/v1/nodes/gone/proxy/", "nodes \"gone\" not found"),
        ("get --raw /api/v1/namespaces/default/services/nothing/proxy/", "services \"nothing\" not found"),
        ("get pods --request-timeout=1n", "Invalid timeout value"),
    ] {
        s.refuses(line, says);
    }
    s.does("logs idle", "");
    s.does(
        "debug idle --image=busybox --profile=general --attach=false",
        "Defaulting debug container name to debugger-",
    );
    s.does("get pod idle -o jsonpath='{.spec.ephemeralContainers[0].image}'", "busybox");
    s.does("debug idle --copy-to=copy --image=busybox --profile=general --attach=false", "");
    s.does("get pod copy -o name", "pod/copy");
    s.does("describe pod idle", "Ephemeral Containers:");
    s.does("delete pod idle copy --now", "deleted");
    s.end();
}
