//! What rules may cost: the estimates upstream gives, and the counts at run time.

use kplane_machinery::field::Path;
use kplane_rules::admission::{Answers, Expression, Failure, Inputs, Scope, Wanted};
use kplane_rules::{Budget, check_rules};
use serde_json::{Value, json};

/// What is said of the costs of a rule about `self` with these properties.
fn estimated(properties: Value, rule: &str) -> Vec<String> {
    let raw =
        json!({"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": rule}]});
    check_rules(&raw, &Path::new("s")).iter().map(ToString::to_string).collect()
}

/// Cases of a list of at most twenty, as somebody measured it on kube-apiserver 1.36.
fn cases(expectation: u64) -> Value {
    json!({"type": "object", "properties": {"cases": {"type": "array", "maxItems": 20, "items": {
        "type": "object",
        "properties": {
            "message": {"type": "string", "maxLength": 4096},
            "expect": {"type": "object", "properties": {"contains": {"type": "string", "maxLength": expectation}}},
        },
        "x-kubernetes-validations": [{"rule": "!self.message.contains(self.expect.contains)"}]}}}})
}

const HINT: &str = "(try simplifying the rule(s), or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";

#[test]
fn estimates_are_upstreams() {
    assert_eq!(
        check_rules(&cases(4096), &Path::new("s")).iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "s.properties[cases].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 5.4x {HINT}"
        )]
    );
    assert_eq!(check_rules(&cases(512), &Path::new("s")), Vec::new());
}

#[test]
fn what_has_no_limits_costs_too_much() {
    let list = |limit: Option<u64>| {
        let mut list = json!({"type": "array", "items": {"type": "integer"}});
        if let Some(limit) = limit {
            list["maxItems"] = limit.into();
        }
        json!({"l": list})
    };
    let nested = "self.l.all(a, self.l.all(b, a == b || true))";
    let told = estimated(list(None), nested);
    assert!(
        told[0]
            == format!(
                "s.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}"
            ),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        "s.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
    );
    assert_eq!(
        told[2],
        format!(
            "s: Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {HINT}"
        )
    );
    assert_eq!(estimated(list(Some(100)), nested), Vec::<String>::new());
    // One loop over as many numbers as a request holds is allowed.
    assert_eq!(estimated(list(None), "self.l.all(a, a > 0)"), Vec::<String>::new());
}

/// The cost of evaluating an expression about an object: the smallest budget that suffices.
fn cost(source: &str, object: &Value) -> u64 {
    let expression = Expression::compile(source, Scope::default(), Wanted::Bool);
    let inputs = Inputs {
        object,
        old_object: &Value::Null,
        request: &Value::Null,
        params: &Value::Null,
        namespace_object: &Value::Null,
        answers: &Answers::default(),
    };
    let suffices = |budget: u64| {
        let result = expression.evaluate(&inputs, &mut Budget::new(budget));
        !matches!(result, Err(Failure::OutOfBudget))
    };
    let (mut low, mut high) = (0, 1_000_000);
    while low < high {
        let middle = (low + high) / 2;
        if suffices(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[test]
fn costs_at_run_time_are_upstreams() {
    let object = json!({"a": {"b": 1}, "l": [1, 2, 3], "s": "x".repeat(100), "t": "abc"});
    for (source, wanted) in [
        // Constants cost nothing, a variable and each selection one; whether a field is there, nothing.
        ("true", 0),
        ("object.a.b == 1", 4),
        ("has(object.a.b)", 2),
        ("object.l[0] == 1", 4),
        // A comparison costs a tenth of the smaller side.
        ("object.s == object.s", 14),
        ("object.s != 'abc'", 3),
        // A loop: its range, then the condition and the step for each, then the result.
        ("object.l.all(x, x > 0)", 18),
        ("object.l.exists(x, x == 3)", 21),
        // Neither side of a decision that is not needed.
        ("true || object.a.b == 1", 0),
        ("false && object.a.b == 1", 0),
        ("true ? true : object.a.b == 1", 0),
        // What is constant is folded; a look-up in it is free.
        ("object.t in ['abc', 'def']", 2),
        ("object.l == [1, 2, 3]", 3),
        // Lists and maps that are made.
        ("object.l == [1, 2, object.a.b]", 16),
        ("{'k': object.a.b}.k == 1", 36),
        // Texts by their length, patterns by both.
        ("object.t.startsWith('a')", 3),
        ("object.s.contains('xx')", 12),
        ("object.s.matches('^x+$')", 13),
        ("object.s.lowerAscii() != ''", 12),
        ("object.s.split('').size() == 100", 24),
    ] {
        assert_eq!(cost(source, &object), wanted, "{source}");
    }
}
