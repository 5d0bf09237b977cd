//! Where rules differ from Kubernetes, a test a difference. What fails here has been mended: then the test goes.
//!
//! "Refused" differences are told when a definition is written; none lets pass what Kubernetes would refuse but those
//! marked *lenient*.

use kplane_machinery::field::Path;
use kplane_rules::{CelEngine, RuleEngine, check_rules};
use kplane_schema::structural;
use serde_json::{Value, json};

fn schema(rule: &str) -> Value {
    json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
        "port": {"x-kubernetes-int-or-string": true},
        "s": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": rule}]})
}

fn is_refused(rule: &str) -> bool {
    !check_rules(&schema(rule), &Path::root()).is_empty()
}

fn failures(rule: &str, object: Value, old: Option<Value>) -> Vec<String> {
    let mut schema = structural::from_json(&schema(rule), &Path::root()).unwrap();
    structural::add_type_and_object_meta(&mut schema);
    let rules = CelEngine.compile(&schema).unwrap();
    rules.validate(&object, old.as_ref()).into_iter().map(|error| error.detail).collect()
}

/// Kubernetes accepts these; the interpreter has no loops over two variables.
#[test]
fn loops_over_two_variables_are_refused() {
    assert!(is_refused("self.l.all(i, v, v > i)"));
    assert!(is_refused("self.l.transformList(i, v, v * 2).size() == 3"));
    assert!(is_refused("{'a': 1}.transformMap(k, v, v * 2) == {'a': 2}"));
}

/// Kubernetes accepts it.
#[test]
fn sort_by_is_refused() {
    assert!(is_refused("self.l.sortBy(x, -x)[0] == 3"));
}

/// Kubernetes accepts it; the interpreter has no values for types.
#[test]
fn types_are_no_values() {
    assert!(is_refused("type(self.port) == int"));
}

/// Kubernetes compares lists of type set without their order.
#[test]
fn sets_are_compared_in_order() {
    let rule = "self.set == oldSelf.set";
    assert_eq!(failures(rule, json!({"set": [1, 2]}), Some(json!({"set": [2, 1]}))).len(), 1);
}

/// *Lenient*: Kubernetes refuses comparisons of what is known to be of two types; here only scalars are told apart.
#[test]
fn lists_of_different_elements_may_be_compared() {
    assert!(!is_refused("self.l == ['a']"));
}

/// *Lenient*: Kubernetes refuses a rule whose type is not known to be bool.
#[test]
fn what_may_be_bool_is_accepted_as_a_rule() {
    assert!(!is_refused("dyn(self.s)"));
    assert_eq!(
        failures("dyn(self.s)", json!({"s": "x"}), None),
        ["cel expression must evaluate to a bool: dyn(self.s)"]
    );
}

/// *Lenient*: Kubernetes estimates what a rule may cost and refuses the definition; here the budget is kept when it runs.
#[test]
fn costs_are_not_estimated() {
    assert!(!is_refused("self.l.all(a, self.l.all(b, self.l.all(c, a + b + c > 0)))"));
}

/// Kubernetes gives all errors of a rule; so do we, but those of syntax are worded by another parser.
#[test]
fn syntax_errors_are_worded_otherwise() {
    let errors = check_rules(&schema("self.s =="), &Path::root());
    assert!(errors[0].detail.starts_with("compilation failed: ERROR: <input>:1:"), "{}", errors[0].detail);
}

/// Kubernetes accepts longer and deeper ones.
#[test]
fn expressions_are_shorter() {
    assert!(is_refused(&format!("1{} > 0", " + 1".repeat(100))));
    assert!(is_refused(&format!("{}1{} > 0", "(".repeat(40), ")".repeat(40))));
}
