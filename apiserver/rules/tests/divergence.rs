//! Where rules differ from Kubernetes, a test a difference. What fails here has been mended: then the test goes.
//!
//! None lets pass what Kubernetes would refuse but those marked *lenient*.

use kplane_machinery::field::Path;
use kplane_rules::check_rules;
use serde_json::{Value, json};

fn refused(rule: Value) -> Vec<String> {
    let schema = json!({"type": "object", "properties": {
        "l": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
        "n": {"type": "integer"}},
        "x-kubernetes-validations": [rule]});
    check_rules(&schema, &Path::root()).into_iter().map(|error| error.detail).collect()
}

/// *Lenient*: Kubernetes has these libraries of cel-go in no release yet.
#[test]
fn more_libraries_are_there() {
    for rule in [
        "cel.bind(x, self.n, x > 1)",
        "self.l.sortBy(x, -x)[0] == 3",
        "math.greatest(self.n, 1) > 0",
        "self.l.distinct().size() == self.l.size()",
    ] {
        assert_eq!(refused(json!({"rule": rule})), Vec::<String>::new(), "{rule}");
    }
}

/// *Lenient*: Kubernetes' estimate knows no bound of the text of a number, though its documentation shows this message.
#[test]
fn texts_of_numbers_are_known_to_be_short() {
    let rule = json!({"rule": "self.n > 1", "messageExpression": "'n is ' + string(self.n)"});
    assert_eq!(refused(rule), Vec::<String>::new());
}

/// Kubernetes accepts longer chains of one operator.
#[test]
fn chains_are_shorter() {
    let rule = format!("1{} > 0", " + 1".repeat(300));
    assert!(refused(json!({"rule": rule}))[0].contains("expression recursion limit exceeded"));
}

/// The type of the value that a rule stands at is named with a number in Kubernetes, another each time.
#[test]
fn types_of_objects_have_plainer_names() {
    let told = refused(json!({"rule": "self == 1"}));
    assert!(
        told[0].contains("found no matching overload for '_==_' applied to '(selfType, int)'"),
        "{told:?}"
    );
}
