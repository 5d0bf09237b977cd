//! From text to an expression: cel-go's grammar, macros and wording of errors, with the place of every part.

pub(crate) mod ast;
mod lexer;
mod macros;
mod parser;
mod source;

pub(crate) use source::{Issue, show};

use ast::Expr;

/// Words of the language that name nothing, beside the literals `true`, `false` and `null`.
pub(crate) const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// The most characters an expression may have, as upstream.
const LENGTH: usize = 100_000;
/// How deep expressions may nest. Upstream's limit is of its parser; ours also bounds the stack of whatever walks one.
pub(crate) const DEPTH: usize = 250;

/// An expression and the places of its nodes.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub expr: Expr,
    /// By the id of the node: the offset in characters.
    pub places: Vec<u32>,
}

/// Parses a text.
pub(crate) fn parse(text: &str) -> Result<Parsed, Vec<Issue>> {
    let size = text.chars().count();
    if size > LENGTH {
        let message = format!("expression code point size exceeds limit: size: {size}, limit {LENGTH}");
        return Err(vec![Issue { at: None, message }]);
    }
    parser::parse(text)
}
