//! `fieldPath` of a rule: the field, below the one the rule stands at, that is blamed.

use kplane_machinery::field::Path;
use kplane_machinery::schema::Schema;

/// A step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Field(String),
    Key(String),
}

/// The steps of a path such as `.spec.labels['a.b']`; `None` when it is malformed or leads nowhere in the schema.
pub(crate) fn parse(path: &str, schema: &Schema) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut at = schema;
    let mut rest = path.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let name;
        if let Some(inner) = rest.strip_prefix("['") {
            let (text, tail) = quoted(inner)?;
            (name, rest) = (text, tail);
        } else {
            let inner = rest.strip_prefix('.')?;
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            name = inner[..end].to_owned();
            rest = &inner[end..];
            if name.is_empty() {
                return None;
            }
        }
        let next: &Schema;
        if let Some(property) = at.property(&name) {
            next = &property.schema;
            steps.push(Step::Field(name));
        } else if let Some(additional) = &at.additional {
            next = additional;
            steps.push(Step::Key(name));
        } else {
            return None;
        }
        at = next;
    }
    Some(steps)
}

/// The text up to the closing `']`, and what follows.
fn quoted(inner: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?.1),
            '\'' => return Some((text, inner[at..].strip_prefix("']")?)),
            c => text.push(c),
        }
    }
    None
}

/// The path with the steps behind it.
pub(crate) fn extend(path: &Path, steps: &[Step]) -> Path {
    steps.iter().fold(path.clone(), |path, step| match step {
        Step::Field(name) => path.child(name),
        Step::Key(key) => path.key(key),
    })
}
