//! Expressions of admission, as webhooks and policies have them.

use kplane_rules::Budget;
use kplane_rules::admission::{
    Answers, Expression, Failure, Inputs, MatchConditions, POLICY_BUDGET, Scope, Verdict, Wanted,
    check_expression, type_check,
};
use serde_json::{Value, json};

const SCOPE: Scope = Scope { params: false, authorizer: true };

fn with<T>(object: &Value, run: impl FnOnce(&Inputs<'_>) -> T) -> T {
    run(&Inputs {
        object,
        old_object: &Value::Null,
        request: &json!({"operation": "CREATE", "userInfo": {"username": "u"}}),
        params: &Value::Null,
        namespace_object: &Value::Null,
        answers: &Answers::default(),
    })
}

#[test]
fn conditions_decide_what_is_meant() {
    let conditions = json!([
        {"name": "create", "expression": "request.operation == 'CREATE'"},
        {"name": "named", "expression": "object.metadata.name.startsWith('a')"},
    ]);
    let conditions = MatchConditions::compile(&conditions, SCOPE);
    let verdict = |object: Value| with(&object, |inputs| conditions.matches(inputs).unwrap());
    assert_eq!(verdict(json!({"metadata": {"name": "ab"}})), Verdict::Matches);
    assert_eq!(verdict(json!({"metadata": {"name": "b"}})), Verdict::Excluded("named".to_owned()));
    assert_eq!(
        verdict(json!({"metadata": {}})),
        Verdict::Failed(
            "expression 'object.metadata.name.startsWith('a')' resulted in error: no such key: name"
                .to_owned()
        )
    );
}

#[test]
fn errors_are_upstreams() {
    assert_eq!(check_expression("object.x == 1", SCOPE, Wanted::Bool), Ok(()));
    assert_eq!(
        check_expression("params.x == 1", SCOPE, Wanted::Bool),
        Err(concat!(
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n",
            " | params.x == 1\n | ^"
        )
        .to_owned())
    );
    assert_eq!(check_expression("'x'", SCOPE, Wanted::Bool), Err("must evaluate to bool".to_owned()));
}

#[test]
fn costs_are_bounded() {
    let list: Vec<i64> = (0..1000).collect();
    let source = "object.l.all(a, object.l.all(b, object.l.all(c, a + b + c >= 0)))";
    let expression = Expression::compile(source, SCOPE, Wanted::Bool);
    let found =
        with(&json!({"l": list}), |inputs| expression.evaluate(inputs, &mut Budget::new(POLICY_BUDGET)));
    let Err(Failure::Error(told)) = found else { panic!("{found:?}") };
    assert!(told.ends_with("operation cancelled: actual cost limit exceeded"), "{told}");
    // Evaluations that belong together are paid from one budget.
    let source = "object.l.all(a, a >= 0)";
    let expression = Expression::compile(source, SCOPE, Wanted::Bool);
    let mut budget = Budget::new(10_000);
    let mut run = || with(&json!({"l": list}), |inputs| expression.evaluate(inputs, &mut budget));
    assert!(matches!(run(), Ok(Value::Bool(true))));
    assert!(matches!(run(), Err(Failure::OutOfBudget)));
}

#[test]
fn policies_are_checked_against_the_types_they_are_about() {
    use kplane_machinery::GroupVersionKind;
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let schema = kplane_schema::builtin().for_gvk(&kind).unwrap();
    let spec = json!({
        "variables": [{"name": "spec", "expression": "object.spec"}],
        "validations": [
            {"expression": "variables.spec.replicas > 1 && object.metadata.labels.all(k, k != '')",
                "messageExpression": "'got ' + object.spec.replicas"},
            {"expression": "object.foo == 'x'"},
            {"expression": "object.spec.template.spec.containers.all(c, c.image.startsWith('a'))"},
        ],
    });
    assert_eq!(
        type_check(&spec, &[(kind, &schema)], None),
        [
            (
                "spec.validations[0].messageExpression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'\n | 'got ' + object.spec.replicas\n | .......^\n".to_owned()
            ),
            (
                "spec.validations[1].expression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo == 'x'\n | ......^\n".to_owned()
            ),
        ]
    );
}
