//! Whether a policy's expressions fit the types they are about: [`type_check`].

use kplane_machinery::schema::Schema;
use kplane_machinery::{GroupVersionKind, object};
use serde_json::Value;

use super::{Compiler, Scope, Wanted};

/// The most kinds a policy is checked against.
pub const MOST_KINDS: usize = 10;

/// What does not fit in the expressions of a ValidatingAdmissionPolicy: the field and what is wrong, for each kind that its
/// rules name. Unlike an expression that does not compile at all, this keeps no policy from being stored.
pub fn type_check(
    spec: &Value,
    kinds: &[(GroupVersionKind, &Schema)],
    params: Option<(&str, &Schema)>,
) -> Vec<(String, String)> {
    let list = |field: &str| spec.get(field).and_then(Value::as_array).into_iter().flatten();
    // Parameters of a kind that is not known are not there.
    let scope = Scope { params: params.is_some(), authorizer: true };
    let compilers: Vec<(String, Compiler)> = (kinds.iter().take(MOST_KINDS))
        .map(|(kind, schema)| {
            let mut compiler = Compiler::typed(scope, (&kind.kind, schema), params);
            for variable in list("variables") {
                compiler
                    .variable(object::str_at(variable, &["name"]), object::str_at(variable, &["expression"]));
            }
            let group = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
            let group = if group.is_empty() { "/".to_owned() } else { group };
            (format!("{group}{}, Kind={}", kind.version, kind.kind), compiler)
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in list("validations").enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = object::str_at(validation, &[field]).trim();
            if source.is_empty() {
                continue;
            }
            let told: Vec<String> = (compilers.iter())
                .filter_map(|(kind, compiler)| {
                    let told = compiler.check(source, Wanted::Anything).err()?;
                    Some(format!("{kind}: {}\n", told.trim_start_matches("compilation failed: ")))
                })
                .collect();
            if !told.is_empty() {
                warnings.push((format!("spec.validations[{index}].{field}"), told.join("\n")));
            }
        }
    }
    warnings
}
