//! What the rules of a definition may cost together.

use kplane_machinery::field::{ErrorList, FieldError, Path};

/// The most one expression may cost, all the times it may run for an object.
const PER_EXPRESSION: u64 = 10_000_000;
/// The most all expressions of a schema may cost.
const TOTAL: u64 = 100_000_000;
/// How many of the most expensive are named.
const NAMED: usize = 4;
const REQUEST: u64 = 3 * 1024 * 1024;

/// The sum so far.
#[derive(Default)]
pub(super) struct Costs {
    total: u64,
    most_expensive: Vec<(Path, u64)>,
}

/// How often a value may be there in one object: known from the limits around it, or what a request can hold.
pub(super) fn executions(known: Option<u64>, min_size: u64) -> u64 {
    known.unwrap_or(REQUEST / (min_size + 1))
}

impl Costs {
    /// Counts an expression; the error says that it alone costs too much.
    pub(super) fn count(&mut self, path: &Path, what: &str, cost: u64, errors: &mut ErrorList) {
        if cost > PER_EXPRESSION {
            errors.push(FieldError::forbidden(path, exceeded(what, cost, PER_EXPRESSION)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= TOTAL / 100 {
            self.most_expensive.push((path.clone(), cost));
            self.most_expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.most_expensive.truncate(NAMED);
        }
    }

    /// What is wrong with the sum.
    pub(super) fn settle(self, schema: &Path, errors: &mut ErrorList) {
        if self.total <= TOTAL {
            return;
        }
        for (path, _) in &self.most_expensive {
            let told = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, told));
        }
        let what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(schema, exceeded(what, self.total, TOTAL)));
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule(s), or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
