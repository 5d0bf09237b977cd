//! Expressions of admission, as webhooks and policies have them.

use kplane_rules::Budget;
use kplane_rules::admission::{
    Answers, Expression, Failure, Inputs, MatchConditions, POLICY_BUDGET, Scope, Verdict, Wanted,
    check_expression,
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
