//! Macros: calls that become loops, bindings and tests when they are parsed.

use std::sync::Arc;

use super::ast::{Call, Comprehension, Expr, Id, Kind, List, Literal, RESULT, Select, operator};
use super::parser::{Parser, Stop};
use super::source::Issue;

/// The call, or what it stands for.
pub(super) fn expand(parser: &mut Parser, id: Id, call: Call) -> Result<Expr, Stop> {
    let at = parser.place(id);
    let mut make = Make { parser, at };
    let namespace = match call.target.as_ref().map(|target| &target.kind) {
        Some(Kind::Ident(name)) => Some(name.clone()),
        _ => None,
    };
    let space = namespace.as_deref();
    let count = call.args.len();
    let member = call.target.is_some();
    match (&*call.function, count) {
        ("has", 1) if !member => return Ok(make.has(call)),
        ("bind", 3) if space == Some("cel") => return Ok(make.bind_macro(call)),
        ("greatest" | "least", 1..) if space == Some("math") => return Ok(make.extreme(call)),
        ("optMap" | "optFlatMap", 2) if member => return Ok(make.opt_map(call)),
        ("sortBy", 2) if member => return Ok(make.sort_by(call)),
        ("all" | "exists" | "exists_one" | "existsOne" | "filter", 2) | ("map", 2 | 3) if member => {
            return Ok(make.fold(call, 1));
        }
        ("all" | "exists" | "exists_one" | "existsOne", 3)
        | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4)
            if member =>
        {
            return Ok(make.fold(call, 2));
        }
        _ => {}
    }
    Ok(Expr { id, kind: Kind::Call(Box::new(call)) })
}

struct Make<'a> {
    parser: &'a mut Parser,
    at: u32,
}

impl Make<'_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.node(self.at, kind)
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: None, function: function.into(), args })))
    }

    fn method(&mut self, target: Expr, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: Some(target), function: function.into(), args })))
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        self.node(Kind::List(List { elements, optional: Vec::new() }))
    }

    fn refuse(&mut self, id: Id, message: &str) -> Expr {
        let at = self.parser.place(id);
        self.parser.issues.push(Issue::at(at, message));
        self.literal(Literal::Null)
    }

    fn has(&mut self, mut call: Call) -> Expr {
        let Some(arg) = call.args.pop() else { return self.literal(Literal::Null) };
        match arg.kind {
            Kind::Select(select) if !select.test => {
                self.node(Kind::Select(Box::new(Select { test: true, ..*select })))
            }
            _ => self.refuse(arg.id, "invalid argument to has() macro"),
        }
    }

    fn name(&mut self, arg: &Expr, message: &str) -> Option<Arc<str>> {
        match &arg.kind {
            Kind::Ident(name) if !name.starts_with('.') => Some(name.clone()),
            _ => {
                self.refuse(arg.id, message);
                None
            }
        }
    }

    fn bind(&mut self, name: Arc<str>, init: Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(false));
        let step = self.ident(&name);
        self.node(Kind::Comprehension(Box::new(Comprehension {
            range,
            var: "#unused".into(),
            second: None,
            accumulator: name,
            init,
            condition,
            step,
            result,
        })))
    }

    fn bind_macro(&mut self, call: Call) -> Expr {
        let mut args = call.args.into_iter();
        let (Some(name), Some(init), Some(body)) = (args.next(), args.next(), args.next()) else {
            return self.literal(Literal::Null);
        };
        match self.name(&name, "cel.bind() variable names must be simple identifiers") {
            Some(name) => self.bind(name, init, body),
            None => self.literal(Literal::Null),
        }
    }

    fn extreme(&mut self, mut call: Call) -> Expr {
        let function = if &*call.function == "greatest" { "math.@max" } else { "math.@min" };
        for arg in &call.args {
            let number = !matches!(
                &arg.kind,
                Kind::Literal(Literal::String(_) | Literal::Bytes(_) | Literal::Bool(_) | Literal::Null)
                    | Kind::Struct(_)
                    | Kind::Map(_)
            );
            let list = matches!(arg.kind, Kind::List(_));
            if !number || (list && call.args.len() > 1) {
                let message = format!(
                    "math.{}() {}",
                    call.function,
                    if call.args.len() == 1 {
                        "invalid single argument value"
                    } else {
                        "simple literal arguments must be numeric"
                    }
                );
                return self.refuse(arg.id, &message);
            }
        }
        match call.args.len() {
            1 | 2 => self.call(function, call.args),
            _ => {
                let args = std::mem::take(&mut call.args);
                let list = self.list(args);
                self.call(function, vec![list])
            }
        }
    }

    fn opt_map(&mut self, call: Call) -> Expr {
        let flat = &*call.function == "optFlatMap";
        let mut args = call.args.into_iter();
        let (Some(target), Some(name), Some(body)) = (call.target, args.next(), args.next()) else {
            return self.literal(Literal::Null);
        };
        let message = format!("{}() variable name must be a simple identifier", call.function);
        let Some(name) = self.name(&name, &message) else { return self.literal(Literal::Null) };
        let there = self.method(target.clone(), "hasValue", Vec::new());
        let value = self.method(target, "value", Vec::new());
        let bound = self.bind(name, value, body);
        let some = if flat { bound } else { self.call("optional.of", vec![bound]) };
        let none = self.call("optional.none", Vec::new());
        self.call(operator::CONDITIONAL, vec![there, some, none])
    }

    fn sort_by(&mut self, call: Call) -> Expr {
        const INPUT: &str = "@__sortBy_input__";
        let Some(target) = call.target else { return self.literal(Literal::Null) };
        let input = self.ident(INPUT);
        let map = Call { target: Some(input), function: "map".into(), args: call.args };
        let keys = self.fold(map, 1);
        let list = self.ident(INPUT);
        let sorted = self.method(list, "@sortByAssociatedKeys", vec![keys]);
        self.bind(INPUT.into(), target, sorted)
    }

    /// The loops, over one variable or two.
    fn fold(&mut self, call: Call, variables: usize) -> Expr {
        let mut args: std::collections::VecDeque<Expr> = call.args.into();
        let mut names = Vec::new();
        for _ in 0..variables {
            let Some(arg) = args.pop_front() else { return self.literal(Literal::Null) };
            let Some(name) = self.name(&arg, "argument must be a simple name") else {
                return self.literal(Literal::Null);
            };
            if &*name == RESULT || &*name == "__result__" {
                return self.refuse(arg.id, "iteration variable overwrites accumulator variable");
            }
            if names.contains(&name) {
                return self.refuse(arg.id, &format!("duplicate variable name: {name}"));
            }
            names.push(name);
        }
        let (Some(range), Some(first)) = (call.target, args.pop_front()) else {
            return self.literal(Literal::Null);
        };
        let second = args.pop_front();
        let (init, condition, step, result) = match &*call.function {
            "all" => {
                let init = self.literal(Literal::Bool(true));
                let result = self.ident(RESULT);
                let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![result]);
                let before = self.ident(RESULT);
                let step = self.call(operator::AND, vec![before, first]);
                (init, condition, step, self.ident(RESULT))
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false));
                let before = self.ident(RESULT);
                let not = self.call(operator::NOT, vec![before]);
                let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![not]);
                let before = self.ident(RESULT);
                let step = self.call(operator::OR, vec![before, first]);
                (init, condition, step, self.ident(RESULT))
            }
            "exists_one" | "existsOne" => {
                let init = self.literal(Literal::Int(0));
                let condition = self.literal(Literal::Bool(true));
                let (before, one) = (self.ident(RESULT), self.literal(Literal::Int(1)));
                let more = self.call(operator::ADD, vec![before, one]);
                let same = self.ident(RESULT);
                let step = self.call(operator::CONDITIONAL, vec![first, more, same]);
                let (count, one) = (self.ident(RESULT), self.literal(Literal::Int(1)));
                (init, condition, step, self.call(operator::EQUALS, vec![count, one]))
            }
            "transformMap" | "transformMapEntry" => {
                let init = self.node(Kind::Map(Vec::new()));
                let condition = self.literal(Literal::Bool(true));
                let (filter, value) = match second {
                    Some(value) => (Some(first), value),
                    None => (None, first),
                };
                let before = self.ident(RESULT);
                let args = if &*call.function == "transformMap" {
                    let key = self.ident(&names[0]);
                    vec![before, key, value]
                } else {
                    vec![before, value]
                };
                let inserted = self.call(operator::MAP_INSERT, args);
                (init, condition, self.filtered(filter, inserted), self.ident(RESULT))
            }
            function => {
                let init = self.list(Vec::new());
                let condition = self.literal(Literal::Bool(true));
                let (filter, value) = match (function, second) {
                    ("filter", _) => (Some(first), self.ident(&names[0])),
                    (_, Some(value)) => (Some(first), value),
                    (_, None) => (None, first),
                };
                let item = self.list(vec![value]);
                let before = self.ident(RESULT);
                let longer = self.call(operator::ADD, vec![before, item]);
                (init, condition, self.filtered(filter, longer), self.ident(RESULT))
            }
        };
        let mut names = names.into_iter();
        let var = names.next().unwrap_or_else(|| "#unused".into());
        self.node(Kind::Comprehension(Box::new(Comprehension {
            range,
            var,
            second: names.next(),
            accumulator: RESULT.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn filtered(&mut self, filter: Option<Expr>, step: Expr) -> Expr {
        match filter {
            Some(filter) => {
                let same = self.ident(RESULT);
                self.call(operator::CONDITIONAL, vec![filter, step, same])
            }
            None => step,
        }
    }
}
