//! Field selectors: `metadata.name=x,status.phase!=Running` (`k8s.io/apimachinery/pkg/fields`).

use std::fmt;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field, such as `metadata.name`.
    pub field: String,
    /// The value, unescaped.
    pub value: String,
    /// `!=`, and not `=` or `==`.
    pub negated: bool,
}

/// A field selector: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

/// A value as it must be written in a selector.
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{next}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            // The rune is shown as its number: upstream prints it with %v.
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// The field, the operator and the value; the first operator counts.
fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    for (i, _) in term.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(value) = term[i..].strip_prefix(operator) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

impl Selector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the text form. The error is what upstream answers with 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let Some((field, operator, value)) = split_term(part) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            terms.push(Term { field: field.to_owned(), value: unescape(value)?, negated: operator == "!=" });
        }
        Ok(Self { terms })
    }

    /// `field=value`.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { terms: vec![Term { field: field.to_owned(), value: value.to_owned(), negated: false }] }
    }

    /// Both selectors must hold.
    pub fn and(mut self, other: Self) -> Self {
        self.terms.extend(other.terms);
        self
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Its terms.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The one value a field must have, if the selector says so.
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| !t.negated && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether the fields, looked up by name, satisfy it; an absent field is the empty text.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|t| (get(&t.field) == t.value) != t.negated)
    }

    /// Passes every term through a conversion to the field's name and value in the stored form.
    pub fn transform<E>(
        mut self,
        convert: impl Fn(&str, &str) -> Result<(String, String), E>,
    ) -> Result<Self, E> {
        for term in &mut self.terms {
            (term.field, term.value) = convert(&term.field, &term.value)?;
        }
        Ok(self)
    }

    /// Refuses fields that are not among those supported: `field label not supported: x`.
    pub fn check_supported(&self, supported: &[&str]) -> Result<(), String> {
        match self.terms.iter().find(|t| !supported.contains(&t.field.as_str())) {
            Some(term) => Err(format!("field label not supported: {}", term.field)),
            None => Ok(()),
        }
    }

    /// Refuses fields other than name and namespace, in the words used for kinds that have no others.
    pub fn check_metadata_only(&self) -> Result<(), String> {
        match self.terms.iter().find(|t| !matches!(t.field.as_str(), "metadata.name" | "metadata.namespace"))
        {
            Some(term) => Err(format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                crate::field::go_quote(&term.field)
            )),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_and_print() {
        let s = Selector::parse("metadata.name=a\\,b,status.phase!=Running").unwrap();
        assert_eq!(s.requires("metadata.name"), Some("a,b"));
        assert_eq!(s.requires("status.phase"), None);
        assert_eq!(s.to_string(), "metadata.name=a\\,b,status.phase!=Running");
        assert!(s.matches(|f| if f == "metadata.name" { "a,b" } else { "" }));
        assert!(!s.matches(|_| "Running"));
    }

    #[test]
    fn errors_read_as_upstream() {
        assert_eq!(Selector::parse("a").unwrap_err(), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(
            Selector::parse("a=b=c").unwrap_err(),
            "invalid field selector: unescaped character in value: 61"
        );
        assert_eq!(
            Selector::parse("x=y").unwrap().check_supported(&["metadata.name"]).unwrap_err(),
            "field label not supported: x"
        );
    }
}
