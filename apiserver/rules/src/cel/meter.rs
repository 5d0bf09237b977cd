//! Puts charges into an expression.
//!
//! The interpreter has no notion of cost. So every step of a loop asks first whether it may run, and every value that
//! is built (the result of a function or of `+`, an element of a list) is charged by its size before anything can be
//! built on it; growth is thereby bounded, whatever an expression repeats.

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators,
};

/// Whether a loop may go on.
pub(crate) const TICK: &str = "@tick";
/// Its argument, charged.
pub(crate) const CHARGE: &str = "@charge";
/// `_+_`, charged and without overflow.
pub(crate) const ADD: &str = "@add";
/// `_-_` without overflow.
pub(crate) const SUBTRACT: &str = "@subtract";
/// `-_` without overflow.
pub(crate) const NEGATE: &str = "@negate";
/// `_?._`, of a field that may be missing.
pub(crate) const SELECT: &str = "@optional_select";
/// What `string()` writes otherwise than cel-go, written.
pub(crate) const PLAIN: &str = "@plain";
const RESULT: &str = "@result";

fn of(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    of(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn charged(expr: IdedExpr) -> IdedExpr {
    match expr.expr {
        Expr::Literal(_) => expr,
        Expr::Call(ref inner)
            if inner.target.is_none() && (inner.func_name == CHARGE || inner.func_name == ADD) =>
        {
            expr
        }
        _ => call(CHARGE, vec![expr]),
    }
}

/// The same expression, metered.
pub(crate) fn meter(expr: IdedExpr) -> IdedExpr {
    let id = expr.id;
    let out = match expr.expr {
        Expr::Call(inner) => return calls(id, inner),
        Expr::Comprehension(inner) => return loops(id, *inner),
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(|e| charged(meter(e))).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            map.entries = map.entries.into_iter().map(entry).collect();
            Expr::Map(map)
        }
        Expr::Select(mut select) => {
            select.operand = Box::new(meter(*select.operand));
            Expr::Select(select)
        }
        other => other,
    };
    IdedExpr { id, expr: out }
}

fn entry(mut entry: IdedEntryExpr) -> IdedEntryExpr {
    if let EntryExpr::MapEntry(inner) = &mut entry.expr {
        inner.key = meter(std::mem::take(&mut inner.key));
        inner.value = charged(meter(std::mem::take(&mut inner.value)));
    }
    entry
}

fn is_operator(name: &str) -> bool {
    name.starts_with('@') || name.contains('_') && !name.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn calls(id: u64, mut inner: CallExpr) -> IdedExpr {
    let bind = inner.func_name == "bind"
        && inner.args.len() == 3
        && inner.target.as_ref().is_some_and(|t| t.expr == Expr::Ident("cel".to_owned()));
    inner.target = inner.target.map(|target| Box::new(meter(*target)));
    inner.args = inner.args.into_iter().map(meter).collect();
    if bind {
        return bound(id, inner);
    }
    // The accumulator of map and filter grows by elements that are charged themselves.
    let accumulates =
        matches!(inner.args.first().map(|a| &a.expr), Some(Expr::Ident(name)) if name == RESULT);
    if inner.func_name == "string" && inner.target.is_none() {
        inner.args = inner.args.into_iter().map(|arg| call(PLAIN, vec![arg])).collect();
    }
    if inner.target.is_some() || !is_operator(&inner.func_name) {
        return call(CHARGE, vec![IdedExpr { id, expr: Expr::Call(inner) }]);
    }
    let renamed = match (inner.func_name.as_str(), inner.args.len()) {
        (operators::ADD, 2) if !accumulates => ADD,
        (operators::SUBSTRACT, 2) => SUBTRACT,
        (operators::NEGATE, 1) => NEGATE,
        (operators::OPT_SELECT, 2) => SELECT,
        _ => return IdedExpr { id, expr: Expr::Call(inner) },
    };
    inner.func_name = renamed.to_owned();
    IdedExpr { id, expr: Expr::Call(inner) }
}

/// `cel.bind(name, value, body)`, as cel-go expands it: a loop over nothing whose accumulator is the name.
fn bound(id: u64, inner: CallExpr) -> IdedExpr {
    let mut args = inner.args.into_iter();
    let (name, value, body) = (args.next(), args.next(), args.next());
    let (Some(IdedExpr { expr: Expr::Ident(name), .. }), Some(value), Some(body)) = (name, value, body)
    else {
        return IdedExpr { id, expr: Expr::Unspecified };
    };
    let expr = Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: of(Expr::List(Default::default())),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.clone(),
        accu_init: charged(value),
        loop_cond: of(Expr::Literal(LiteralValue::Boolean(false.into()))),
        loop_step: of(Expr::Ident(name)),
        result: body,
    }));
    IdedExpr { id, expr }
}

fn loops(id: u64, mut inner: ComprehensionExpr) -> IdedExpr {
    inner.iter_range = meter(inner.iter_range);
    inner.accu_init = meter(inner.accu_init);
    inner.loop_step = meter(inner.loop_step);
    inner.result = meter(inner.result);
    let never = of(Expr::Literal(LiteralValue::Boolean(false.into())));
    inner.loop_cond =
        call(operators::CONDITIONAL, vec![call(TICK, Vec::new()), meter(inner.loop_cond), never]);
    IdedExpr { id, expr: Expr::Comprehension(Box::new(inner)) }
}
