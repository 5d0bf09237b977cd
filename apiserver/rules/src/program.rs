//! From a text to what runs, and running it.

use crate::check::{Checked, Environment, Type, check};
use crate::eval::{Activation, Machine, Node, plan};
use crate::library::{Outcome, Stop};
use crate::syntax;
use crate::syntax::ast::{Expr, Kind};

/// What one evaluation may cost.
pub(crate) const PER_CALL: u64 = 1_000_000;
/// What is said when it costs more.
pub(crate) const LIMIT_EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";
/// What is said when all that belong together have cost too much.
pub(crate) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What is left for evaluations that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// So much, in units of upstream's costs.
    pub fn new(cost: u64) -> Self {
        Self { left: cost }
    }

    /// Takes what something has cost; false when that was more than there was.
    pub(crate) fn spend(&mut self, cost: u64) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                false
            }
        }
    }
}

/// An expression, ready to run.
pub(crate) struct Program {
    node: Node,
    /// Its type.
    pub result: Type,
    /// It loops, or looks for patterns.
    pub may_take_long: bool,
}

/// More brackets and conditions within each other than this are read on a stack of their own.
const SHALLOW: usize = 20;
const STACK: usize = 64 << 20;

/// Parses and checks an expression; the error is as cel-go shows it.
pub(crate) fn checked(source: &str, environment: &Environment) -> Result<Checked, String> {
    let run = || {
        let parsed = syntax::parse(source).map_err(|issues| syntax::show(source, issues))?;
        check(parsed, environment).map_err(|issues| syntax::show(source, issues))
    };
    if nesting(source) <= SHALLOW {
        return run();
    }
    let deep = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, run) {
            Ok(running) => running.join().map_err(|_| "internal error".to_owned()),
            Err(error) => Err(format!("internal error: {error}")),
        }
    });
    deep.and_then(|found| found)
}

/// Whether it does more than it has words.
fn loops(expr: &Expr) -> bool {
    let own = match &expr.kind {
        Kind::Comprehension(inner) => &*inner.var != "#unused",
        Kind::Call(call) => matches!(&*call.function, "matches" | "find" | "findAll"),
        _ => false,
    };
    own || expr.below().into_iter().any(loops)
}

/// How deep an expression may go, by its brackets and conditions; those in texts count, too.
fn nesting(source: &str) -> usize {
    let (mut now, mut deepest, mut conditions) = (0_usize, 0, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => now += 1,
            b')' | b']' | b'}' => now = now.saturating_sub(1),
            b'?' => conditions += 1,
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest + conditions
}

impl Program {
    pub(crate) fn new(checked: &Checked) -> Self {
        Self {
            node: plan(checked),
            result: checked.type_of(&checked.expr).clone(),
            may_take_long: loops(&checked.expr),
        }
    }

    pub(crate) fn compile(source: &str, environment: &Environment) -> Result<Self, String> {
        checked(source, environment).map(|checked| Self::new(&checked))
    }

    /// The value, and what it cost.
    pub(crate) fn run<'a>(&'a self, activation: &Activation<'_, 'a>) -> (Outcome<'a>, u64) {
        let mut machine = Machine::new(activation, PER_CALL);
        let outcome = machine.run(&self.node);
        let cost = machine.cost;
        (outcome, cost)
    }
}

impl Stop {
    /// In the words of cel-go.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Error(told) => told,
            Self::Limit => LIMIT_EXCEEDED,
            Self::Ask(_) => "the authorizer has not been asked",
        }
    }
}
