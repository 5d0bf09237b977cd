//! The evaluator: [`Machine`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cost;
use super::plan::{CallNode, IndexNode, Node, SelectNode};
use crate::admission::Answers;
use crate::library::{Cx, Outcome, Stop, costs, standard};
use crate::value::{Key, List, Map, Value};

/// Gives the variables of a policy.
pub(crate) trait Lookup<'a> {
    /// The value of a variable; `None` when there is none of that name.
    fn get(&self, name: &str) -> Option<Outcome<'a>>;
}

/// What an evaluation sees.
pub(crate) struct Activation<'m, 'a> {
    pub globals: &'m [(&'static str, Value<'a>)],
    pub answers: &'m Answers,
    pub variables: Option<&'m dyn Lookup<'a>>,
}

/// So many values may be looked at in ways that costs do not count.
pub(super) const WORK: u64 = 20_000_000;

/// One evaluation.
pub(crate) struct Machine<'m, 'a> {
    activation: &'m Activation<'m, 'a>,
    /// Of loops and bindings; a value that failed fails whoever asks for it.
    pub(super) locals: Vec<Outcome<'a>>,
    /// What it has cost.
    pub cost: u64,
    limit: u64,
    work: u64,
}

impl<'m, 'a> Machine<'m, 'a> {
    pub(crate) fn new(activation: &'m Activation<'m, 'a>, limit: u64) -> Self {
        Self { activation, locals: Vec::new(), cost: 0, limit, work: 0 }
    }

    pub(super) fn charge(&mut self, cost: u64) -> Result<(), Stop> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Stop::Limit) } else { Ok(()) }
    }

    pub(super) fn work(&mut self, work: u64) -> Result<(), Stop> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK { Err(Stop::Limit) } else { Ok(()) }
    }

    pub(crate) fn run(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Global(name) => {
                self.charge(1)?;
                match self.activation.globals.iter().find(|(known, _)| *known == &**name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => Err(Stop::Error(format!("no such attribute(s): {name}"))),
                }
            }
            Node::Local(at) => {
                self.charge(1)?;
                self.locals
                    .get(*at)
                    .cloned()
                    .unwrap_or_else(|| Err(Stop::Error("no such attribute".to_owned())))
            }
            Node::Select(select) => self.select(select),
            Node::Index(index) => self.index(index),
            Node::Call(call) => self.call(call),
            Node::And(pair) => self.both(pair, false),
            Node::Or(pair) => self.both(pair, true),
            Node::Conditional(parts) => match self.run(&parts.0)? {
                Value::Bool(true) => self.run(&parts.1),
                Value::Bool(false) => self.run(&parts.2),
                _ => Err(Stop::Error("no such overload".to_owned())),
            },
            Node::NotStrictlyFalse(inner) => self.not_strictly_false(inner),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct(name, fields) => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => self.bind(parts),
        }
    }

    #[inline(never)]
    fn select(&mut self, select: &'a SelectNode) -> Outcome<'a> {
        let operand = self.run(&select.operand)?;
        self.charge(select.cost)?;
        if let (Value::Variables, Some(variables)) = (&operand, self.activation.variables) {
            let found = variables.get(&select.field);
            return match (found, select.test) {
                (found, true) => Ok(Value::Bool(found.is_some())),
                (Some(found), false) => found,
                (None, false) => Err(Stop::Error(format!("no such key: {}", &*select.field))),
            };
        }
        if select.test {
            standard::has(&operand, &select.field)
        } else if select.optional {
            standard::optional_select(&operand, &select.field)
        } else {
            standard::select(&operand, &select.field)
        }
    }

    #[inline(never)]
    fn index(&mut self, index: &'a IndexNode) -> Outcome<'a> {
        let operand = self.run(&index.operand)?;
        let key = self.run(&index.key)?;
        self.charge(index.cost)?;
        if index.optional {
            standard::optional_index(&operand, &key)
        } else {
            standard::index(&operand, &key)
        }
    }

    #[inline(never)]
    fn call(&mut self, call: &'a CallNode) -> Outcome<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.run(arg)?);
        }
        self.work(cost::work(call.function.name, &args))?;
        let cx = Cx { answers: self.activation.answers };
        let result = call.function.run(&cx, &args);
        if !call.free {
            let shown = result.as_ref().unwrap_or(&Value::Null);
            self.charge(cost::of_call(call.function.name, call.overload, &args, shown))?;
        }
        result
    }

    /// `&&` and `||`: what one side decides, the other cannot spoil.
    #[inline(never)]
    fn both(&mut self, pair: &'a (Node, Node), decisive: bool) -> Outcome<'a> {
        let left = self.attempt(&pair.0)?;
        if matches!(left, Ok(Value::Bool(value)) if value == decisive) {
            return left;
        }
        let right = self.attempt(&pair.1)?;
        if matches!(right, Ok(Value::Bool(value)) if value == decisive) {
            return right;
        }
        match (left, right) {
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decisive)),
            (Err(stop), _) | (_, Err(stop)) => Err(stop),
            _ => Err(Stop::Error("no such overload".to_owned())),
        }
    }

    /// The outcome, or that it costs too much, which nothing absorbs.
    fn attempt(&mut self, node: &'a Node) -> Result<Outcome<'a>, Stop> {
        let depth = self.locals.len();
        let outcome = self.run(node);
        self.locals.truncate(depth);
        match outcome {
            Err(Stop::Limit) => Err(Stop::Limit),
            other => Ok(other),
        }
    }

    #[inline(never)]
    fn not_strictly_false(&mut self, inner: &'a Node) -> Outcome<'a> {
        let outcome = self.attempt(inner)?;
        self.charge(1)?;
        Ok(Value::Bool(!matches!(outcome, Ok(Value::Bool(false)))))
    }

    #[inline(never)]
    fn list(&mut self, items: &'a [(Node, bool)]) -> Outcome<'a> {
        let mut out = Vec::with_capacity(items.len());
        for (node, optional) in items {
            match (self.run(node)?, optional) {
                (Value::Optional(Some(inner)), true) => out.push((*inner).clone()),
                (Value::Optional(None), true) => {}
                (_, true) => {
                    return Err(Stop::Error(
                        "cannot initialize optional list element from non-optional value".to_owned(),
                    ));
                }
                (value, false) => out.push(value),
            }
        }
        self.charge(costs::LIST)?;
        Ok(Value::list(out))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Outcome<'a> {
        let mut out = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.run(key)?;
            let value = self.run(value)?;
            let Some(key) = Key::of(&key) else {
                return Err(Stop::Error(format!("unsupported key type: {}", key.type_name())));
            };
            let value = match (value, optional) {
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (Value::Optional(None), true) => {
                    out.remove(&key);
                    continue;
                }
                (_, true) => {
                    return Err(Stop::Error(
                        "cannot initialize optional entry from non-optional value".to_owned(),
                    ));
                }
                (value, false) => value,
            };
            if out.contains_key(&key) {
                let shown = standard::shown(&key.value());
                return Err(Stop::Error(format!("insert failed: key {shown} already exists")));
            }
            out.insert(key, value);
        }
        self.charge(costs::MAP)?;
        Ok(Value::map(out))
    }

    #[inline(never)]
    fn object(&mut self, name: &Arc<str>, fields: &'a [(Arc<str>, Node, bool)]) -> Outcome<'a> {
        let mut out = BTreeMap::new();
        for (field, node, optional) in fields {
            let value = match (self.run(node)?, optional) {
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => {
                    return Err(Stop::Error(
                        "cannot initialize optional entry from non-optional value".to_owned(),
                    ));
                }
                (value, false) => value,
            };
            out.insert(field.clone(), value);
        }
        self.charge(costs::STRUCT)?;
        Ok(Value::Map(Map::Struct { name: name.clone(), fields: Arc::new(out) }))
    }

    #[inline(never)]
    fn bind(&mut self, parts: &'a (Node, Node)) -> Outcome<'a> {
        // It fails only if it is asked for.
        let value = self.attempt(&parts.0)?;
        let depth = self.locals.len();
        self.locals.push(value);
        let result = self.run(&parts.1);
        self.locals.truncate(depth);
        result
    }
}

impl<'a> List<'a> {
    /// The items, to be changed; copied if others see them.
    pub(super) fn into_made(self) -> Arc<Vec<Value<'a>>> {
        match self {
            Self::Made { items, .. } => items,
            other => Arc::new(other.to_vec()),
        }
    }
}
