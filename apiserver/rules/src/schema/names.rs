//! How the names of fields are written in rules.

use crate::syntax::RESERVED;

/// A field's name as an identifier; `None` when rules cannot name it.
pub(crate) fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) || matches!(name, "true" | "false" | "null") {
        return Some(format!("__{name}__"));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/')) {
        return None;
    }
    Some(
        name.replace("__", "__underscores__")
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_escaped_as_upstream() {
        for (name, wanted) in [
            ("namespace", Some("__namespace__")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("a b", None),
        ] {
            assert_eq!(super::escape(name).as_deref(), wanted, "{name}");
        }
    }
}
