//! Rules at work: what definitions may say, and what objects are told.

use std::sync::Arc;

use kplane_machinery::field::{ErrorList, Path};
use kplane_rules::{CelEngine, CompiledRules, RuleEngine, check_rules, validate_after};
use kplane_schema::structural;
use serde_json::{Value, json};

fn compiled(raw: &Value) -> Arc<dyn CompiledRules> {
    let mut schema = structural::from_json(raw, &Path::root()).unwrap();
    structural::add_type_and_object_meta(&mut schema);
    CelEngine.compile(&schema).unwrap()
}

fn told(errors: ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn spec(properties: Value, rules: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": properties, "x-kubernetes-validations": rules}}})
}

/// What a rule about `spec` says to an object.
fn run(properties: Value, rule: &str, given: Value) -> Vec<String> {
    let raw = spec(properties, json!([{"rule": rule}]));
    assert_eq!(told(check_rules(&raw, &Path::root())), Vec::<String>::new(), "{rule}");
    told(compiled(&raw).validate(&json!({"spec": given}), None))
}

fn refused(properties: Value, rule: &str) -> Vec<String> {
    check_rules(&spec(properties, json!([{"rule": rule}])), &Path::root())
        .into_iter()
        .map(|e| e.detail)
        .collect()
}

#[test]
fn a_failed_rule_says_its_message_and_hides_the_value() {
    let raw = spec(
        json!({"size": {"type": "integer"}, "color": {"type": "string"}}),
        json!([
            {"rule": "self.size != 7", "message": "seven is unlucky"},
            {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "message": "color is immutable"},
        ]),
    );
    let rules = compiled(&raw);
    let object = |size: i64, color: &str| json!({"spec": {"size": size, "color": color}});
    assert_eq!(told(rules.validate(&object(7, "red"), None)), ["spec: Invalid value: seven is unlucky"]);
    assert_eq!(told(rules.validate(&object(6, "red"), None)), Vec::<String>::new());
    assert_eq!(
        told(rules.validate(&object(6, "blue"), Some(&object(6, "red")))),
        ["spec: Invalid value: color is immutable"]
    );
    // What was wrong before and has not changed is not blamed again.
    assert_eq!(told(rules.validate(&object(7, "red"), Some(&object(7, "red")))), Vec::<String>::new());
}

#[test]
fn the_reason_the_path_and_the_message_are_the_rules_own() {
    let raw = spec(
        json!({"a": {"type": "integer"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}),
        json!([
            {"rule": "self.a > 0", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "no"},
            {"rule": "self.a > 1", "reason": "FieldValueRequired", "fieldPath": ".labels['x.y']", "message": "no"},
            {"rule": "self.a > 2", "messageExpression": "'a is ' + string(self.a)"},
            {"rule": "self.a > 3", "messageExpression": "' '", "message": "static"},
            {"rule": "self.a > 4"},
        ]),
    );
    assert_eq!(told(check_rules(&raw, &Path::root())), Vec::<String>::new());
    assert_eq!(
        told(compiled(&raw).validate(&json!({"spec": {"a": 0}}), None)),
        [
            "spec.a: Forbidden: no",
            "spec.labels[x.y]: Required value: no",
            "spec: Invalid value: a is 0",
            "spec: Invalid value: static",
            "spec: Invalid value: failed rule: self.a > 4",
        ]
    );
}

#[test]
fn rules_run_below_lists_and_maps() {
    let raw = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
        "map": {"type": "object", "additionalProperties": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self.size() == 2"}]}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port", "message": "fixed"}]}}}});
    let rules = compiled(&raw);
    let object = |port: i64| {
        json!({"list": [1, 0], "map": {"k": "é!", "l": "x"},
        "ports": [{"name": "b", "port": 2}, {"name": "a", "port": port}]})
    };
    assert_eq!(
        told(rules.validate(&object(1), None)),
        [
            "list[1]: Invalid value: failed rule: self > 0",
            "map[l]: Invalid value: failed rule: self.size() == 2"
        ]
    );
    let mut old = object(1);
    old["ports"].as_array_mut().unwrap().reverse();
    assert_eq!(told(rules.validate(&object(5), Some(&old))), ["ports[1]: Invalid value: fixed"]);
}

#[test]
fn old_values_may_be_optional() {
    let raw = spec(
        json!({"a": {"type": "integer"}}),
        json!([{"rule": "!oldSelf.hasValue() || self.a >= oldSelf.value().a", "optionalOldSelf": true}]),
    );
    let rules = compiled(&raw);
    assert!(rules.validate(&json!({"spec": {"a": 1}}), None).is_empty());
    assert!(rules.validate(&json!({"spec": {"a": 1}}), Some(&json!({}))).is_empty());
    assert_eq!(rules.validate(&json!({"spec": {"a": 1}}), Some(&json!({"spec": {"a": 2}}))).len(), 1);
}

#[test]
fn the_libraries_of_kubernetes_are_there() {
    let properties = || {
        json!({"s": {"type": "string"}, "l": {"type": "array", "maxItems": 100, "items": {"type": "integer"}},
            "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"},
            "port": {"x-kubernetes-int-or-string": true}, "namespace": {"type": "string"}, "a-b": {"type": "string"},
            "n": {"type": "number"}, "m": {"type": "object", "maxProperties": 10,
                "additionalProperties": {"type": "string", "maxLength": 10}}})
    };
    let given = json!({"s": "héllo", "l": [3, 1, 2], "t": "2024-01-01T00:00:00Z", "d": "1h30m", "port": 80,
        "namespace": "ns", "a-b": "x", "n": 1, "m": {"k": "v"}});
    for rule in [
        "self.s.size() == 5 && size(self.s) == 5",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 3) && self.l.exists_one(x, x == 1)",
        "self.l.map(x, x * 2) == [6, 2, 4] && self.l.filter(x, x > 1) == [3, 2]",
        "self.l.isSorted() == false && self.l.sum() == 6 && self.l.max() == 3",
        "self.t < timestamp('2025-01-01T00:00:00Z') && self.t + duration('1h') > self.t",
        "self.d == duration('90m') && duration('1.5h') == self.d",
        "type(self.port) == int || self.port == 80",
        "self.__namespace__ == 'ns' && self.a__dash__b == 'x'",
        "self.n == 1.0 && self.n + 0.5 == 1.5",
        "self.m.all(k, self.m[k] == 'v') && 'k' in self.m",
        "quantity('1Gi').isGreaterThan(quantity('1Mi')) && isQuantity('5')",
        "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "url('https://a.b/c').getHost() == 'a.b' && isURL('https://x')",
        "semver('1.2.3').isLessThan(semver('2.0.0'))",
        "'a-b-c'.split('-').size() == 3 && 'aXa'.replace('a', 'b') == 'bXb'",
        "'abc123'.find('[0-9]+') == '123' && 'abc'.matches('^[a-c]+$')",
        "sets.contains([1, 2], [1]) && math.greatest(1, 2) == 2",
        "!format.dns1123Label().validate('abc').hasValue()",
        "'%s is %d'.format([dyn('x'), 5]) == 'x is 5'",
        "cel.bind(n, self.l.size(), n > 2 && n < 4)",
        "self.?s.orValue('') == 'héllo'",
        "has(self.s) && self.s.startsWith('h') ? true : false",
    ] {
        assert_eq!(run(properties(), rule, given.clone()), Vec::<String>::new(), "{rule}");
    }
}

#[test]
fn missing_optional_fields_are_optional_values() {
    let properties = json!({"a": {"type": "object", "properties": {"b": {"type": "integer"}}}});
    let rule = "self.?a.?b.orValue(3) == 3 && !self.?a.?b.hasValue()";
    for given in [json!({}), json!({"a": {}})] {
        assert_eq!(run(properties.clone(), rule, given), Vec::<String>::new());
    }
}

#[test]
fn errors_at_run_time_name_the_rule() {
    let properties = json!({"l": {"type": "array", "items": {"type": "integer"}}, "a": {"type": "integer"}});
    let given = json!({"l": [], "a": 0});
    assert_eq!(
        run(properties.clone(), "1 / self.a == 1", given.clone()),
        ["spec: Invalid value: division by zero evaluating rule: 1 / self.a == 1"]
    );
    assert_eq!(
        run(properties.clone(), "self.l[0] == 1", given),
        ["spec: Invalid value: index out of bounds: 0 evaluating rule: self.l[0] == 1"]
    );
    assert_eq!(
        run(properties, "self.a == 1", json!({})),
        ["spec: Invalid value: no such key: a evaluating rule: self.a == 1"]
    );
}

#[test]
fn a_field_the_schema_lacks_is_refused_in_the_words_of_kubernetes() {
    let raw = spec(json!({"size": {"type": "integer"}}), json!([{"rule": "self.nope > 1"}]));
    let errors = check_rules(&raw, &Path::new("spec").child("validation").child("openAPIV3Schema"));
    assert_eq!(
        told(errors),
        [concat!(
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: ",
            r#"{"Rule":"self.nope \u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}"#,
            ": compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"
        )]
    );
}

#[test]
fn rules_that_cannot_hold_are_refused() {
    let properties = || {
        json!({"n": {"type": "integer"}, "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "object",
            "properties": {"x": {"type": "integer"}}}}})
    };
    for (rule, wanted) in [
        ("self.n >", "compilation failed: ERROR: <input>:1:"),
        ("self.n", "cel expression must evaluate to a bool"),
        ("other == 1", "undeclared reference to 'other' (in container '')"),
        ("nosuch(self.n)", "undeclared reference to 'nosuch' (in container '')"),
        ("self.s.nosuch()", "undeclared reference to 'nosuch' (in container '')"),
        ("self.s > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("self.n == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.n && true", "ERROR: <input>:1:5: expected type 'bool' but found 'int'"),
        ("self.l.all(i, i.y > 0)", "ERROR: <input>:1:16: undefined field 'y'"),
        ("self.s.x == 1", "type 'string' does not support field selection"),
        ("Message{a: 1} == 1", "undeclared reference to 'Message' (in container '')"),
    ] {
        let found = refused(properties(), rule);
        assert!(found.iter().any(|told| told.contains(wanted)), "{rule}: {found:?}");
    }
}

#[test]
fn the_form_of_rules_is_checked() {
    let cases = [
        (json!({"rule": " "}), "rule: Required value: rule is not specified"),
        (
            json!({"rule": "true", "message": " "}),
            "message: Invalid value: \" \": message must be non-empty if specified",
        ),
        (
            json!({"rule": "true\n&& true"}),
            "message: Required value: message must be specified if rule contains line breaks",
        ),
        (
            json!({"rule": "true", "reason": "Nope"}),
            "reason: Unsupported value: \"Nope\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ),
        (
            json!({"rule": "true", "fieldPath": ".nope"}),
            "fieldPath: Invalid value: \".nope\": fieldPath must be a valid path",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
        (json!({"rule": "true", "messageExpression": "1"}), "messageExpression must evaluate to a string"),
    ];
    for (rule, wanted) in cases {
        let raw = spec(json!({"a": {"type": "integer"}}), json!([rule]));
        let found = told(check_rules(&raw, &Path::root()));
        assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
    }
}

#[test]
fn items_without_keys_have_no_old_selves() {
    let raw = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
    assert_eq!(
        told(check_rules(&raw, &Path::new("s"))),
        [
            "s.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[l]"
        ]
    );
}

#[test]
fn rules_do_not_run_on_what_is_not_sound() {
    let raw = spec(json!({"size": {"type": "integer", "maximum": 10}}), json!([{"rule": "self.size != 11"}]));
    let mut schema = structural::from_json(&raw, &Path::root()).unwrap();
    structural::add_type_and_object_meta(&mut schema);
    let rules = compiled(&raw);
    let run = |object: Value| {
        told(validate_after(&*rules, &object, None, kplane_schema::validate(&schema, &object, None)))
    };
    assert_eq!(
        run(json!({"spec": {"size": "1"}})),
        [
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
        ]
    );
    assert_eq!(
        run(json!({"spec": {"size": 11}})),
        [
            "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
            "spec: Invalid value: failed rule: self.size != 11"
        ]
    );
}

#[test]
fn a_stored_rule_that_does_not_compile_fails_every_object() {
    let rules = compiled(&spec(json!({"a": {"type": "integer"}}), json!([{"rule": "self.b > 0"}])));
    let found = told(rules.validate(&json!({"spec": {"a": 1}}), None));
    assert!(
        found.len() == 1 && found[0].starts_with("spec: Invalid value: rule compile error: "),
        "{found:?}"
    );
}

#[test]
fn rules_do_not_look_at_null_but_those_around_it_do() {
    let raw = spec(
        json!({
            "limit": {"type": "integer", "nullable": true, "x-kubernetes-validations": [
                {"rule": "self == 123"}, {"rule": "self >= oldSelf"}]},
            "list": {"type": "array", "maxItems": 9, "items": {"type": "string", "nullable": true, "maxLength": 9,
                "x-kubernetes-validations": [{"rule": "self == 'a'"}]}},
        }),
        json!([{"rule": "!has(self.list) || self.list.all(each, dyn(each) == null || each == 'a')"}]),
    );
    assert_eq!(told(check_rules(&raw, &Path::root())), Vec::<String>::new());
    let rules = compiled(&raw);
    let spec = |limit: Value| json!({"spec": {"limit": limit, "list": ["a", null]}});
    assert_eq!(told(rules.validate(&spec(Value::Null), None)), Vec::<String>::new());
    assert_eq!(told(rules.validate(&spec(json!(123)), Some(&spec(Value::Null)))), Vec::<String>::new());
    assert_eq!(
        told(rules.validate(&spec(json!(5)), None)),
        ["spec.limit: Invalid value: failed rule: self == 123"]
    );
}
