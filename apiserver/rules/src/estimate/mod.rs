//! What an expression may cost at most, told before it ever runs: cel-go's estimate with Kubernetes' costs of functions.

mod calls;
mod range;

pub(crate) use range::Range;

use std::collections::HashMap;
use std::sync::Arc;

use crate::check::{Checked, Type};
use crate::library::costs::{LIST, MAP, STRUCT};
use crate::schema::{Decl, Shape};
use crate::syntax::ast::{Call, Comprehension, Expr, Id, Kind, Literal, RESULT, operator};

/// The range of an expression's cost. `root` declares `self` and `oldSelf`.
pub(crate) fn estimate(checked: &Checked, root: &Decl) -> Range {
    let mut estimator = Estimator {
        checked,
        root,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(&checked.expr)
}

type Path = Vec<Arc<str>>;

/// The sizes of the keys and values of what is looped over.
#[derive(Clone, Copy)]
struct Entry {
    list: bool,
    key: Range,
    value: Range,
}

impl Entry {
    fn union(self, other: Self) -> Self {
        Self { list: self.list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Range>,
    entry: Option<Entry>,
}

/// A part of an expression, as costs of functions see it.
struct Part<'e> {
    expr: Option<&'e Expr>,
    path: Path,
    of: Type,
    size: Option<Range>,
}

struct Estimator<'c> {
    checked: &'c Checked,
    root: &'c Decl,
    paths: HashMap<Id, Path>,
    sizes: HashMap<Id, Range>,
    entries: HashMap<Id, Entry>,
    locals: Vec<Local>,
}

impl Estimator<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::ZERO,
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.clone()],
                };
                self.paths.insert(expr.id, path);
                Range::fixed(1)
            }
            Kind::Select(select) => {
                let cost = self.cost(&select.operand);
                if select.test {
                    return cost;
                }
                let operand = self.checked.type_of(&select.operand);
                let own = matches!(operand, Type::Map(_) | Type::Object(_) | Type::Named(_) | Type::Param(_));
                let mut path = self.path(&select.operand);
                path.push(select.field.clone());
                self.paths.insert(expr.id, path);
                if own { cost.add(Range::fixed(1)) } else { cost }
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(list) => {
                let mut sum = Range::ZERO;
                let mut item = Range::nothing(list.elements.is_empty());
                for element in &list.elements {
                    sum = sum.add(self.cost(element));
                    item = item.union(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, Entry { list: true, key: Range::fixed(1), value: item });
                sum.add(Range::fixed(LIST))
            }
            Kind::Map(entries) => {
                let mut sum = Range::ZERO;
                let (mut keys, mut values) =
                    (Range::nothing(entries.is_empty()), Range::nothing(entries.is_empty()));
                for entry in entries {
                    sum = sum.add(self.cost(&entry.key)).add(self.cost(&entry.value));
                    keys = keys.union(self.size_or_unknown(&entry.key));
                    values = values.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entry { list: false, key: keys, value: values });
                sum.add(Range::fixed(MAP))
            }
            Kind::Struct(made) => {
                let fields =
                    made.fields.iter().fold(Range::ZERO, |sum, field| sum.add(self.cost(&field.value)));
                fields.add(Range::fixed(STRUCT))
            }
            Kind::Comprehension(inner) if &*inner.var == "#unused" => self.bind(expr, inner),
            Kind::Comprehension(inner) => self.fold(expr, inner),
        }
    }

    fn bind(&mut self, expr: &Expr, inner: &Comprehension) -> Range {
        let mut sum = self.cost(&inner.range).add(self.cost(&inner.init));
        let local = Local {
            name: inner.accumulator.clone(),
            path: self.path(&inner.init),
            size: self.size(&inner.init),
            entry: self.entry(&inner.init),
        };
        self.locals.push(local);
        sum = sum.add(self.cost(&inner.result));
        self.copy_sizes(expr, &inner.result);
        self.locals.pop();
        sum
    }

    fn fold(&mut self, expr: &Expr, inner: &Comprehension) -> Range {
        let mut sum = self.cost(&inner.range).add(self.cost(&inner.init));
        let depth = self.locals.len();
        let accumulator = Local {
            name: inner.accumulator.clone(),
            path: self.path(&inner.init),
            size: self.size(&inner.init),
            entry: self.entry(&inner.init),
        };
        self.locals.push(accumulator);
        let entry = self.entry(&inner.range);
        let list =
            entry.map_or(matches!(self.checked.type_of(&inner.range), Type::List(_)), |entry| entry.list);
        let below = |path: &Path, step: &str| {
            let mut path = path.clone();
            path.push(step.into());
            path
        };
        let path = self.path(&inner.range);
        let (keys, values) = (entry.map(|entry| entry.key), entry.map(|entry| entry.value));
        let (key_step, value_step) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
        let mut push = |name: &Arc<str>, step: &str, size: Option<Range>| {
            self.locals.push(Local { name: name.clone(), path: below(&path, step), size, entry: None });
        };
        match &inner.second {
            Some(second) => {
                push(&inner.var, key_step, keys);
                push(second, value_step, values);
            }
            None if list => push(&inner.var, value_step, values),
            None => push(&inner.var, key_step, keys),
        }
        let condition = self.cost(&inner.condition);
        let step = self.cost(&inner.step);
        self.locals.truncate(depth + 1);
        sum = sum.add(self.cost(&inner.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&inner.range);
        sum = sum.add(count.multiply(step.add(condition)));
        match &inner.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&inner.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entry) = self.entry(&inner.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Range {
        if &*call.function == "dyn" {
            let Some(arg) = call.args.first() else { return Range::ZERO };
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.add(Range::fixed(1));
        }
        if &*call.function == operator::OPTIONAL_SELECT {
            return self.optional_select(expr, call);
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let Some(overloads) = self.checked.overloads.get(&expr.id).filter(|found| !found.is_empty()) else {
            return Range::ZERO;
        };
        let mut sum = Range::ZERO;
        if let Some(target) = &call.target {
            sum = sum.add(self.cost(target));
        }
        let target = call.target.as_ref().map(|target| self.part(target));
        let args: Vec<Part<'_>> = call.args.iter().map(|arg| self.part(arg)).collect();
        let mut cost = Range::nothing(false);
        let mut result: Option<Range> = None;
        for overload in overloads {
            let (own, size) = self.overload(expr, call, overload.id, target.as_ref(), &args, &costs);
            cost = cost.union(own);
            result = match (result, size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            let step = match overload.id {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(step), Some(from)) = (step, call.args.first()) {
                result = self.entry(from).map(|entry| entry.value);
                let mut path = self.path(from);
                path.push(step.into());
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.add(cost)
    }

    fn optional_select(&mut self, expr: &Expr, call: &Call) -> Range {
        let Some(operand) = call.args.first() else { return Range::ZERO };
        let cost = self.cost(operand);
        let mut path = self.path(operand);
        if let Some(Kind::Literal(Literal::String(field))) = call.args.get(1).map(|arg| &arg.kind) {
            path.push(field.clone());
        }
        self.paths.insert(expr.id, path);
        cost.add(Range::fixed(1))
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn part<'e>(&mut self, expr: &'e Expr) -> Part<'e> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|root| &**root == RESULT) {
            path.clear();
        }
        Part { expr: Some(expr), path, of: self.checked.type_of(expr).clone(), size: self.size(expr) }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entry) = self.entry(from) {
            self.entries.insert(to.id, entry);
        }
    }

    fn entry(&self, expr: &Expr) -> Option<Entry> {
        if let Some(found) = self.entries.get(&expr.id) {
            return Some(*found);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entry),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(found) = self.sizes.get(&expr.id) {
            return Some(*found);
        }
        let own = match &expr.kind {
            Kind::Literal(Literal::String(text)) => Some(text.chars().count() as u64),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
            Kind::Literal(_) => Some(1),
            Kind::List(list) => Some(list.elements.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(own) = own {
            return Some(Range::fixed(own));
        }
        if let Some(declared) = self.declared(&self.path(expr)) {
            self.sizes.insert(expr.id, declared);
            return Some(declared);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    /// The size that the schema gives to what is at a path.
    fn declared(&self, path: &[Arc<str>]) -> Option<Range> {
        let (_, steps) = path.split_first()?;
        let mut at = self.root;
        for step in steps {
            at = match (&**step, &at.shape) {
                ("@items" | "@values", Shape::List(of, _) | Shape::Map(of)) => of,
                ("@keys", Shape::Map(_)) => return Some(Range { min: 0, max: 0 }),
                (name, Shape::Object(object)) => &object.field(name)?.decl,
                _ => return None,
            };
        }
        Some(Range { min: 0, max: at.max })
    }
}

fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
