use kplane_tests::{Server, Store};
use serde_json::json;

use super::with_certificate;

#[test]
fn a_node_reads_what_its_pods_use_and_nothing_else() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    for name in ["used", "unused"] {
        farm.ok(&["create", "secret", "generic", name]);
        farm.ok(&["create", "configmap", name]);
    }
    farm.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: owl}\nspec:\n  nodeName: barn\n  containers:\n  - name: main\n    image: x\n    envFrom: [{secretRef: {name: used}}, {configMapRef: {name: used}}]\n",
    );
    let node = |name: &str| {
        let user = format!("system:node:{name}");
        with_certificate(&server, "farm", json!({"user": user, "groups": ["system:nodes"]}))
    };
    let (barn, shed) = (node("barn"), node("shed"));
    barn.ok(&["get", "secret", "used"]);
    barn.ok(&["get", "configmap", "used"]);
    barn.ok(&["get", "pod", "owl"]);
    barn.ok(&["get", "pods", "-A", "--field-selector=spec.nodeName=barn"]);
    let told = barn.fails(&["get", "secret", "unused"]);
    assert!(
        told.contains(
            "secrets \"unused\" is forbidden: User \"system:node:barn\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\": no relationship found between node 'barn' and this object"
        ),
        "{told}"
    );
    assert!(
        barn.fails(&["get", "pods", "-A"])
            .contains("can only list/watch pods with spec.nodeName field selector")
    );
    assert!(barn.fails(&["get", "secrets"]).contains("No Object name found"));
    assert!(shed.fails(&["get", "secret", "used"]).contains("no relationship found between node 'shed'"));
    // When the pod goes, so does what it gave.
    farm.ok(&["delete", "pod", "owl", "--force", "--grace-period=0"]);
    barn.fails(&["get", "secret", "used"]);
    // By review, as anybody may ask about another.
    let can =
        farm.run(&["auth", "can-i", "get", "node/barn", "--as=system:node:barn", "--as-group=system:nodes"]);
    assert_eq!(can.stdout.trim(), "yes");
    let can =
        farm.run(&["auth", "can-i", "get", "node/shed", "--as=system:node:barn", "--as-group=system:nodes"]);
    assert_eq!(
        can.stdout.lines().next(),
        Some("no - node 'barn' cannot read 'shed', only its own Node object")
    );
}
