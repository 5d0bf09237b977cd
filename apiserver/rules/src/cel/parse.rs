//! From text to an expression, within limits.

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use kube_cel::cel::parser::{Expression, ParseErrors, Parser};

/// The longest expression. Those in use have at most a few thousand characters.
const LENGTH: usize = 16 * 1024;
/// How deep an expression may nest, so that no evaluation exhausts a thread's stack.
const DEPTH: usize = 64;
/// How deep brackets may nest.
const NESTING: usize = 32;
/// The generated parser recurses through a dozen rules a level.
const STACK: usize = 64 << 20;

/// Parses an expression; the error is worded as cel-go does.
pub(crate) fn parse(source: &str) -> Result<Expression, String> {
    if source.len() > LENGTH {
        return Err(format!(
            "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {}, limit {LENGTH}",
            source.chars().count()
        ));
    }
    // Before the parser sees it, which takes long over brackets that go deep.
    if nesting(source) > NESTING {
        return Err(format!("ERROR: <input>:-1:0: expression recursion limit exceeded: {NESTING}"));
    }
    let owned = source.to_owned();
    // On a stack of its own, where what is too deep is also taken apart.
    let parsed = std::thread::Builder::new()
        .name("rules".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let parsed =
                Parser::new().enable_optional_syntax(true).parse(&owned).map_err(|e| words(&owned, &e))?;
            if depth(&parsed) > DEPTH {
                return Err(format!("ERROR: <input>:-1:0: expression recursion limit exceeded: {DEPTH}"));
            }
            Ok(parsed)
        })
        .map_err(|error| format!("internal error: {error}"))?
        .join();
    match parsed {
        Ok(parsed) => parsed,
        Err(_) => Err("internal error".to_owned()),
    }
}

/// The deepest that brackets go; those in texts count too.
fn nesting(source: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => now += 1,
            b')' | b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

fn words(source: &str, errors: &ParseErrors) -> String {
    let told: Vec<String> = errors
        .errors
        .iter()
        .map(|error| {
            let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
            let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
            at(
                source,
                line,
                column,
                &format!("Syntax error: {}", error.msg.trim_start_matches("Syntax error: ")),
            )
        })
        .collect();
    told.join("\n")
}

/// An error with its place shown, as cel-go formats it.
pub(crate) fn at(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source.lines().nth(line - 1).unwrap_or("");
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {}^", ".".repeat(column - 1))
}

fn depth(expr: &IdedExpr) -> usize {
    let deepest = |inner: &mut dyn Iterator<Item = &IdedExpr>| inner.map(depth).max().unwrap_or(0);
    1 + match &expr.expr {
        Expr::Call(call) => deepest(&mut call.args.iter().chain(call.target.as_deref())),
        Expr::Comprehension(inner) => deepest(
            &mut [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
                .into_iter(),
        ),
        Expr::List(list) => deepest(&mut list.elements.iter()),
        Expr::Select(select) => depth(&select.operand),
        Expr::Map(map) => map.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        Expr::Struct(inner) => inner.entries.iter().map(|entry| entry_depth(&entry.expr)).max().unwrap_or(0),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
    }
}

fn entry_depth(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        EntryExpr::StructField(field) => depth(&field.value),
    }
}
