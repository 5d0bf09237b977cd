//! What literal arguments must be: durations, times and patterns that hold.

use kplane_machinery::time::{Duration, Time};

use crate::library::regex;
use crate::syntax::ast::{Call, Expr, Id, Kind, Literal};

/// Looks through an expression that has been checked.
pub(crate) fn check(expr: &Expr, tell: &mut dyn FnMut(Id, String)) {
    if let Kind::Call(call) = &expr.kind {
        one(call, tell);
    }
    for inner in expr.below() {
        check(inner, tell);
    }
}

fn one(call: &Call, tell: &mut dyn FnMut(Id, String)) {
    let at = match (&*call.function, call.target.is_some()) {
        ("duration" | "timestamp" | "matches", _) if call.args.len() == 1 => 0,
        ("matches", false) if call.args.len() == 2 => 1,
        _ => return,
    };
    let Some(Expr { id, kind: Kind::Literal(Literal::String(text)) }) = call.args.get(at) else { return };
    let holds = match &*call.function {
        "duration" => Duration::parse(text).is_ok(),
        "timestamp" => Time::parse(text).is_ok(),
        _ => regex::compile(text).is_ok(),
    };
    if !holds {
        tell(*id, format!("invalid {} argument", call.function));
    }
}
