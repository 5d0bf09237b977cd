//! Loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::Machine;
use super::plan::{FoldNode, Node, StepNode};
use crate::library::{Outcome, Stop, costs};
use crate::value::{Key, Map, Value};

impl<'a> Machine<'_, 'a> {
    #[inline(never)]
    pub(super) fn fold(&mut self, fold: &'a FoldNode) -> Outcome<'a> {
        let range = self.run(&fold.range)?;
        let init = self.run(&fold.init)?;
        let depth = self.locals.len();
        self.locals.push(Ok(init));
        let looped = self.each(fold, &range, depth);
        self.locals.truncate(depth + 1);
        let result = looped.and_then(|()| self.run(&fold.result));
        self.locals.truncate(depth);
        result
    }

    fn each(&mut self, fold: &'a FoldNode, range: &Value<'a>, depth: usize) -> Result<(), Stop> {
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    let (first, second) =
                        if fold.two { (Value::Int(index as i64), Some(item)) } else { (item, None) };
                    if !self.once(fold, first, second, depth)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = if fold.two { map.get(&key) } else { None };
                    if !self.once(fold, key, value, depth)? {
                        break;
                    }
                }
                Ok(())
            }
            other => Err(Stop::Error(format!("got '{}', expected iterable type", other.type_name()))),
        }
    }

    /// One element; false when the loop is over.
    fn once(
        &mut self,
        fold: &'a FoldNode,
        first: Value<'a>,
        second: Option<Value<'a>>,
        depth: usize,
    ) -> Result<bool, Stop> {
        self.locals.truncate(depth + 1);
        self.locals.push(Ok(first));
        self.locals.extend(second.map(Ok));
        if !matches!(fold.condition, Node::Constant(Value::Bool(true)))
            && matches!(self.run(&fold.condition)?, Value::Bool(false))
        {
            return Ok(false);
        }
        self.work(1)?;
        match &fold.step {
            StepNode::Any(step) => {
                let outcome = self.run(step);
                if matches!(outcome, Err(Stop::Limit)) {
                    return Err(Stop::Limit);
                }
                // What fails may yet be absorbed by what follows.
                self.locals[depth] = outcome;
            }
            StepNode::Append { filter, item } => {
                if !self.passes(filter.as_ref())? {
                    return Ok(true);
                }
                let item = self.run(item)?;
                self.charge(costs::LIST + 2)?;
                self.grow(depth, |value| match value {
                    Value::List(list) => {
                        let mut items = list.into_made();
                        Arc::make_mut(&mut items).push(item);
                        Ok(Value::List(crate::value::List::Made { items, kind: &crate::value::ATOMIC }))
                    }
                    other => Ok(other),
                })?;
            }
            StepNode::Insert { filter, entry } => {
                if !self.passes(filter.as_ref())? {
                    return Ok(true);
                }
                let first = self.run(&entry.0)?;
                let added = match &entry.1 {
                    Some(value) => vec![(first, self.run(value)?)],
                    None => match &first {
                        Value::Map(map) => {
                            map.keys().into_iter().filter_map(|key| map.get(&key).map(|v| (key, v))).collect()
                        }
                        _ => return Err(Stop::Error("no such overload".to_owned())),
                    },
                };
                self.charge(2)?;
                self.grow(depth, |value| insert(value, added))?;
            }
        }
        Ok(true)
    }

    fn passes(&mut self, filter: Option<&'a Node>) -> Result<bool, Stop> {
        match filter {
            None => Ok(true),
            Some(filter) => match self.run(filter)? {
                Value::Bool(true) => Ok(true),
                Value::Bool(false) => {
                    // What has been made so far is named.
                    self.charge(1)?;
                    Ok(false)
                }
                _ => Err(Stop::Error("no such overload".to_owned())),
            },
        }
    }

    fn grow(&mut self, at: usize, change: impl FnOnce(Value<'a>) -> Outcome<'a>) -> Result<(), Stop> {
        let before = std::mem::replace(&mut self.locals[at], Ok(Value::Null))?;
        self.locals[at] = Ok(change(before)?);
        Ok(())
    }
}

fn insert<'a>(value: Value<'a>, added: Vec<(Value<'a>, Value<'a>)>) -> Outcome<'a> {
    let mut entries: Arc<BTreeMap<Key, Value<'a>>> = match value {
        Value::Map(Map::Made(entries)) => entries,
        other => return Ok(other),
    };
    let map = Arc::make_mut(&mut entries);
    for (key, value) in added {
        let Some(known) = Key::of(&key) else {
            return Err(Stop::Error(format!("unsupported key type: {}", key.type_name())));
        };
        if map.contains_key(&known) {
            let shown = crate::library::standard::shown(&key);
            return Err(Stop::Error(format!("insert failed: key {shown} already exists")));
        }
        map.insert(known, value);
    }
    Ok(Value::Map(Map::Made(entries)))
}
