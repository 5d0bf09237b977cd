//! A tenant's rule neither holds the server nor ends it.

use std::time::{Duration, Instant};

use kplane_machinery::field::Path;
use kplane_rules::{CelEngine, RuleEngine, check_rules};
use kplane_schema::structural;
use serde_json::{Value, json};

/// The rule cost too much, and none after it ran.
fn ran_out(told: &[String]) -> bool {
    let [told] = told else { return false };
    told.starts_with(
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run",
    )
}

fn run(rule: &str, given: Value) -> Vec<String> {
    let raw = json!({"type": "object", "properties": {
        "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "integer"}},
        "t": {"type": "string", "format": "date-time"}},
        "x-kubernetes-validations": [{"rule": rule}, {"rule": "false"}]});
    let mut schema = structural::from_json(&raw, &Path::root()).unwrap();
    structural::add_type_and_object_meta(&mut schema);
    let rules = CelEngine.compile(&schema).unwrap();
    let started = Instant::now();
    let errors = rules.validate(&given, None);
    assert!(started.elapsed() < Duration::from_secs(20), "{rule}: {:?}", started.elapsed());
    errors.into_iter().map(|error| error.detail).collect()
}

#[test]
fn loops_run_out_of_budget() {
    let list: Vec<i64> = (0..1000).collect();
    let rule = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))";
    assert!(ran_out(&run(rule, json!({"l": list}))));
    // An error that would be absorbed is none.
    let rule = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0))) || true";
    assert!(ran_out(&run(rule, json!({"l": list}))));
}

#[test]
fn texts_do_not_grow_without_bound() {
    let given = || json!({"s": "x".repeat(10_000)});
    let mut rule = "[self.s]".to_owned();
    for _ in 0..12 {
        rule.push_str(".map(a, a + a + a + a + a + a + a + a)");
    }
    assert!(ran_out(&run(&format!("{rule}.size() == 1"), given())));
    assert!(ran_out(&run("self.s.replace('', self.s).size() > 0", given())));
    assert!(ran_out(&run("lists.range(1000000000000).size() > 0", given())));
    let doubled = "[[self.s, self.s, self.s, self.s, self.s, self.s, self.s, self.s]]";
    let nested = format!("{doubled}{}.size() == 1", ".map(a, [a, a, a, a, a, a, a, a, a, a])".repeat(10));
    // What is only named many times is there once, until it is looked at.
    assert_eq!(run(&nested, given()), ["failed rule: false"]);
    assert!(ran_out(&run(
        &format!("{nested} && cel.bind(v, {}, v == v)", nested.trim_end_matches(".size() == 1")),
        given()
    )));
}

#[test]
fn what_ends_the_interpreter_ends_one_rule_at_most() {
    let given = || json!({"s": "a", "l": [], "t": "9999-12-31T23:59:59Z"});
    for rule in [
        "self.t + duration('2000000h') > self.t",
        "-(-9223372036854775807 - 1) > 0",
        "9223372036854775807 + 1 > 0",
        "9223372036854775807 * 2 > 0",
        "(-9223372036854775807 - 1) / -1 > 0",
        "(-9223372036854775807 - 1) % -1 > 0",
        "dyn(b'abc').contains(b'')",
        "'héllo'.substring(1, 2) == 'x'",
        "'héllo'.charAt(100) == 'x'",
        "'%d'.format(['x']) == ''",
        "'%'.format([]) == ''",
        "self.l[-1] == 1",
        "'a'.matches('(((a{1000}){1000}){1000}){1000}')",
        "math.abs(-9223372036854775807 - 1) > 0",
        "math.bitShiftLeft(1, 100) > 5",
        "duration('9223372036s') + duration('9223372036s') > duration('1s')",
        "timestamp('2024-01-01T00:00:00Z').getHours('Nowhere') == 1",
        "quantity('9223372036854775807').add(9223372036854775807).isGreaterThan(quantity('1'))",
        "int('99999999999999999999') == 1",
        "int(1e300) == 1",
        "cidr('10.0.0.0/8').containsIP('x')",
        "'abc'.substring(2, 1) == ''",
        "[1, 2].slice(1, 0) == []",
        "'a'.split('', -5).size() == 1",
    ] {
        // Whatever it says, it says something, and the next rule runs.
        assert_eq!(run(rule, given()).last().map(String::as_str), Some("failed rule: false"), "{rule}");
    }
}

#[test]
fn deep_and_long_expressions_are_refused() {
    for rule in [
        format!("{}1{} == 1", "(".repeat(5000), ")".repeat(5000)),
        format!("1{} > 0", " + 1".repeat(3000)),
        format!("self{} == 1", ".a".repeat(5000)),
        format!("{}1{} == [1]", "[".repeat(5000), "]".repeat(5000)),
        format!("{}true", "true ? true : ".repeat(1000)),
        format!("{}true", "true || ".repeat(20_000)),
    ] {
        let raw = json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]});
        let errors = check_rules(&raw, &Path::root());
        assert_eq!(errors.len(), 1, "{}…", &rule[..20]);
    }
    // The parser folds these.
    for rule in [
        format!("{}true", "!".repeat(10_000)),
        format!("{}1 == 1", "-".repeat(10_000)),
        format!("{}true", "true || ".repeat(5_000)),
    ] {
        let raw = json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]});
        assert_eq!(check_rules(&raw, &Path::root()), Vec::new());
    }
}

#[test]
fn what_is_allowed_does_not_exhaust_the_stack() {
    let rule = format!("1{} > 0", " + 1".repeat(50));
    assert_eq!(run(&rule, json!({})), ["failed rule: false"]);
    let rule = format!("{}1{} > 0", "(1 + ".repeat(30), ")".repeat(30));
    assert_eq!(run(&rule, json!({})), ["failed rule: false"]);
}
