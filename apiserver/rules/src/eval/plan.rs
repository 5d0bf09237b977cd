//! Expressions made ready to run: names resolved, constants folded as cel-go does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admission::Answers;
use crate::check::{Checked, Type};
use crate::library::{Cx, Function, functions};
use crate::syntax::ast::{Call, Comprehension, Expr, Kind, Literal, operator};
use crate::value::{Key, List, Text, Value};

/// A step of an evaluation.
#[derive(Debug)]
pub(crate) enum Node {
    Constant(Value<'static>),
    /// A variable of the environment.
    Global(Arc<str>),
    /// A variable of a loop or a binding, by its place.
    Local(usize),
    Select(Box<SelectNode>),
    Index(Box<IndexNode>),
    Call(Box<CallNode>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Conditional(Box<(Node, Node, Node)>),
    NotStrictlyFalse(Box<Node>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Struct(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    Fold(Box<FoldNode>),
    /// `cel.bind`: the value and what sees it.
    Bind(Box<(Node, Node)>),
}

#[derive(Debug)]
pub(crate) struct SelectNode {
    pub operand: Node,
    pub field: Text<'static>,
    pub test: bool,
    pub optional: bool,
    pub cost: u64,
}

#[derive(Debug)]
pub(crate) struct IndexNode {
    pub operand: Node,
    pub key: Node,
    pub optional: bool,
    pub cost: u64,
}

pub(crate) struct CallNode {
    pub function: &'static Function,
    /// The one overload that can be meant, if there is one.
    pub overload: &'static str,
    pub args: Vec<Node>,
    /// Costs nothing: a look-up in what is constant.
    pub free: bool,
}

impl std::fmt::Debug for CallNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?})", self.function.name, self.args)
    }
}

#[derive(Debug)]
pub(crate) struct FoldNode {
    pub range: Node,
    /// The second variable, beside the first.
    pub two: bool,
    pub init: Node,
    pub condition: Node,
    pub step: StepNode,
    pub result: Node,
}

/// What a loop does with each element. Growing what has been made so far is known, so that it is not copied.
#[derive(Debug)]
pub(crate) enum StepNode {
    Any(Node),
    Append { filter: Option<Node>, item: Node },
    Insert { filter: Option<Node>, entry: (Node, Option<Node>) },
}

/// Makes an expression ready.
pub(crate) fn plan(checked: &Checked) -> Node {
    Planner { checked, scope: Vec::new() }.node(&checked.expr)
}

struct Planner<'c> {
    checked: &'c Checked,
    scope: Vec<Arc<str>>,
}

pub(crate) fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Own(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

/// A selection behind a variable costs one; behind anything else the attribute that it makes does, too.
fn attribute_cost(operand: &Node) -> u64 {
    match operand {
        Node::Global(_) | Node::Local(_) | Node::Index(_) => 1,
        Node::Select(select) if !select.test => 1,
        _ => 2,
    }
}

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Node {
        match &expr.kind {
            Kind::Literal(literal) => Node::Constant(constant(literal)),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select(select) => {
                let operand = self.node(&select.operand);
                let cost = if select.test { 0 } else { attribute_cost(&operand) };
                Node::Select(Box::new(SelectNode {
                    operand,
                    field: Text::Own(select.field.clone()),
                    test: select.test,
                    optional: false,
                    cost,
                }))
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(list) => {
                let items: Vec<(Node, bool)> = (list.elements.iter().enumerate())
                    .map(|(index, element)| (self.node(element), list.optional.contains(&index)))
                    .collect();
                folded_list(items)
            }
            Kind::Map(entries) => {
                let entries: Vec<(Node, Node, bool)> = (entries.iter())
                    .map(|entry| (self.node(&entry.key), self.node(&entry.value), entry.optional))
                    .collect();
                folded_map(entries)
            }
            Kind::Struct(made) => {
                let fields = made.fields.iter();
                let fields = fields
                    .map(|field| (field.name.clone(), self.node(&field.value), field.optional))
                    .collect();
                Node::Struct(made.name.trim_start_matches('.').into(), fields)
            }
            Kind::Comprehension(inner) => self.comprehension(inner),
        }
    }

    fn ident(&self, expr: &Expr, name: &Arc<str>) -> Node {
        if let Some(at) = self.scope.iter().rposition(|known| known == name) {
            return Node::Local(at);
        }
        if let Type::Type(Some(of)) = self.checked.type_of(expr) {
            return Node::Constant(Value::Type(of.name().into()));
        }
        match (self.checked.type_of(expr), &**name) {
            (Type::Type(None), name) => Node::Constant(Value::Type(name.into())),
            _ => Node::Global(name.trim_start_matches('.').into()),
        }
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Node {
        let mut args: Vec<Node> = call.target.iter().chain(&call.args).map(|arg| self.node(arg)).collect();
        let mut pop = || args.pop().unwrap_or(Node::Constant(Value::Null));
        match &*call.function {
            operator::AND => {
                let (b, a) = (pop(), pop());
                return Node::And(Box::new((a, b)));
            }
            operator::OR => {
                let (b, a) = (pop(), pop());
                return Node::Or(Box::new((a, b)));
            }
            operator::CONDITIONAL => {
                let (c, b, a) = (pop(), pop(), pop());
                return Node::Conditional(Box::new((a, b, c)));
            }
            operator::NOT_STRICTLY_FALSE => return Node::NotStrictlyFalse(Box::new(pop())),
            operator::INDEX | operator::OPTIONAL_INDEX => {
                let (key, operand) = (pop(), pop());
                let cost = attribute_cost(&operand);
                let optional = &*call.function == operator::OPTIONAL_INDEX;
                return Node::Index(Box::new(IndexNode { operand, key, optional, cost }));
            }
            operator::OPTIONAL_SELECT => {
                let (field, operand) = (pop(), pop());
                if let Node::Constant(Value::String(field)) = field {
                    let cost = attribute_cost(&operand);
                    return Node::Select(Box::new(SelectNode {
                        operand,
                        field,
                        test: false,
                        optional: true,
                        cost,
                    }));
                }
                return Node::Constant(Value::Null);
            }
            _ => {}
        }
        let Some(function) = functions().get(&call.function) else { return Node::Constant(Value::Null) };
        let overload = match self.checked.overloads.get(&expr.id).map(Vec::as_slice) {
            Some([one]) => one.id,
            _ => "",
        };
        if let Some(value) = converted(function, &args) {
            return Node::Constant(value);
        }
        let free =
            function.name == "@in" && matches!(args.last(), Some(Node::Constant(list)) if is_plain_set(list));
        Node::Call(Box::new(CallNode { function, overload, args, free }))
    }

    fn comprehension(&mut self, inner: &Comprehension) -> Node {
        let init = self.node(&inner.init);
        if &*inner.var == "#unused" {
            self.scope.push(inner.accumulator.clone());
            let result = self.node(&inner.result);
            self.scope.pop();
            return Node::Bind(Box::new((init, result)));
        }
        let range = self.node(&inner.range);
        let depth = self.scope.len();
        self.scope.push(inner.accumulator.clone());
        self.scope.push(inner.var.clone());
        self.scope.extend(inner.second.clone());
        let condition = self.node(&inner.condition);
        let step = self.step(inner);
        self.scope.truncate(depth + 1);
        let result = self.node(&inner.result);
        self.scope.truncate(depth);
        Node::Fold(Box::new(FoldNode { range, two: inner.second.is_some(), init, condition, step, result }))
    }

    fn step(&mut self, inner: &Comprehension) -> StepNode {
        let (filter, body) = match as_call(&inner.step, operator::CONDITIONAL, 3) {
            Some([filter, body, same]) if is_ident(same, &inner.accumulator) => (Some(filter), body),
            _ => (None, &inner.step),
        };
        if let Some([before, added]) = as_call(body, operator::ADD, 2)
            && is_ident(before, &inner.accumulator)
            && let Kind::List(list) = &added.kind
            && let ([item], []) = (list.elements.as_slice(), list.optional.as_slice())
        {
            let filter = filter.map(|filter| self.node(filter));
            return StepNode::Append { filter, item: self.node(item) };
        }
        if let Some(args) = as_call(body, operator::MAP_INSERT, 0)
            && let Some((before, entry)) = args.split_first()
            && is_ident(before, &inner.accumulator)
        {
            let filter = filter.map(|filter| self.node(filter));
            let entry = match entry {
                [key, value] => (self.node(key), Some(self.node(value))),
                [entry] => (self.node(entry), None),
                _ => return StepNode::Any(self.node(&inner.step)),
            };
            return StepNode::Insert { filter, entry };
        }
        StepNode::Any(self.node(&inner.step))
    }
}

fn as_call<'e>(expr: &'e Expr, function: &str, count: usize) -> Option<&'e [Expr]> {
    match &expr.kind {
        Kind::Call(call) if &*call.function == function && (count == 0 || call.args.len() == count) => {
            Some(&call.args)
        }
        _ => None,
    }
}

fn is_ident(expr: &Expr, name: &str) -> bool {
    matches!(&expr.kind, Kind::Ident(own) if &**own == name)
}

fn folded_list(items: Vec<(Node, bool)>) -> Node {
    let all: Option<Vec<Value<'static>>> = (items.iter())
        .map(|item| match item {
            (Node::Constant(value), false) => Some(value.clone()),
            _ => None,
        })
        .collect();
    match all {
        Some(values) => Node::Constant(Value::list(values)),
        None => Node::List(items),
    }
}

fn folded_map(entries: Vec<(Node, Node, bool)>) -> Node {
    let all: Option<BTreeMap<Key, Value<'static>>> = (entries.iter())
        .map(|entry| match entry {
            (Node::Constant(key), Node::Constant(value), false) => Some((Key::of(key)?, value.clone())),
            _ => None,
        })
        .collect();
    match all {
        // One key twice is an error when it runs.
        Some(all) if all.len() == entries.len() => Node::Constant(Value::map(all)),
        _ => Node::Map(entries),
    }
}

/// A conversion of what is constant, if it holds.
fn converted(function: &Function, args: &[Node]) -> Option<Value<'static>> {
    let [Node::Constant(value)] = args else { return None };
    let conversions =
        ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];
    if !conversions.contains(&function.name) {
        return None;
    }
    let answers = Answers::default();
    function.run(&Cx { answers: &answers }, std::slice::from_ref(value)).ok()
}

fn is_plain_set(value: &Value<'_>) -> bool {
    let Value::List(List::Made { items, .. }) = value else { return false };
    items.iter().all(|item| {
        matches!(item, Value::Bool(_) | Value::Double(_) | Value::Int(_) | Value::String(_) | Value::Uint(_))
    })
}
