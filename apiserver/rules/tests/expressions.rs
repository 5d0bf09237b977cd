//! Expressions whose results the specification of CEL and the documentation of Kubernetes state: `expressions/*.txt`.

use kplane_rules::Budget;
use kplane_rules::admission::{Answers, Expression, Failure, Inputs, Scope, Wanted};
use serde_json::Value;

const SCOPE: Scope = Scope { params: false, authorizer: true };

fn evaluate(source: &str) -> Result<Value, String> {
    let expression = Expression::compile(source, SCOPE, Wanted::Bool);
    let inputs = Inputs {
        object: &Value::Null,
        old_object: &Value::Null,
        request: &Value::Null,
        params: &Value::Null,
        namespace_object: &Value::Null,
        answers: &Answers::default(),
    };
    match expression.evaluate(&inputs, &mut Budget::new(u64::MAX)) {
        Ok(value) => Ok(value),
        Err(Failure::Error(told)) => Err(told),
        Err(other) => Err(format!("{other:?}")),
    }
}

/// What a line says of its expression that does not hold.
fn disagreement(line: &str) -> Option<String> {
    for (mark, prefix) in [(" !! ", "expression '"), (" ?? ", "compilation error: ")] {
        let Some((source, wanted)) = line.split_once(mark) else { continue };
        return match evaluate(source) {
            Err(told) if told.starts_with(prefix) && told.contains(wanted) => None,
            other => Some(format!("{source}\n  wanted {wanted}\n  found {other:?}")),
        };
    }
    match evaluate(line) {
        Ok(Value::Bool(true)) => None,
        other => Some(format!("{line}\n  found {other:?}")),
    }
}

#[test]
fn all_agree() {
    let tables = [
        include_str!("expressions/language.txt"),
        include_str!("expressions/macros.txt"),
        include_str!("expressions/strings.txt"),
        include_str!("expressions/kubernetes.txt"),
        include_str!("expressions/numbers_and_times.txt"),
    ];
    let lines: Vec<&str> =
        tables.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() > 400, "{}", lines.len());
    let wrong: Vec<String> = lines.into_iter().filter_map(disagreement).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
