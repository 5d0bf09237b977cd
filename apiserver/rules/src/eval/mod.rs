//! Evaluation of checked expressions, with the costs that upstream counts.

mod cost;
mod fold;
mod machine;
mod plan;

pub(crate) use cost::weight;
pub(crate) use machine::{Activation, Lookup, Machine};
pub(crate) use plan::{Node, plan};
