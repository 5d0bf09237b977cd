//! What calls cost at least and at most.

use super::{Estimator, Part, Range};
use crate::check::Type;
use crate::library::costs::{self, CHARACTER, CHECK, LIST, PATTERN, STRUCT, Work};
use crate::library::format;
use crate::syntax::ast::{Call, Expr, Kind, Literal};

/// The most characters of a number, a time or a duration.
const LONGEST_SCALAR: u64 = 40;

/// What a call costs, and the size of its result where it has one.
type Cost = (Range, Option<Range>);

const ONE: Cost = (Range::fixed(1), None);

impl Estimator<'_> {
    /// The cost of a call with that of its arguments, and the size of its result where it has one.
    pub(super) fn overload(
        &mut self,
        expr: &Expr,
        call: &Call,
        id: &str,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
        costs: &[Range],
    ) -> Cost {
        let sum = costs.iter().fold(Range::ZERO, |sum, cost| sum.add(*cost));
        match (id, costs) {
            ("logical_and" | "logical_or", [left, right]) => {
                return (Range { min: left.min, max: left.max.saturating_add(right.max) }, None);
            }
            ("conditional", [condition, yes, no]) => {
                let [_, a, b] = args else { return (sum, None) };
                let size = known(a).union(known(b));
                let entries = match (a.expr.and_then(|e| self.entry(e)), b.expr.and_then(|e| self.entry(e))) {
                    (Some(a), Some(b)) => Some(a.union(b)),
                    _ => None,
                };
                if let Some(entry) = entries {
                    self.entries.insert(expr.id, entry);
                }
                return (condition.add(yes.union(*no)), Some(size));
            }
            _ => {}
        }
        let (cost, size) =
            self.worked(expr, call, costs::of(&call.function, id), target, args).unwrap_or(ONE);
        (cost.add(sum), size)
    }

    fn worked(
        &mut self,
        expr: &Expr,
        call: &Call,
        work: Work,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
    ) -> Option<Cost> {
        let cost = match work {
            Work::Little | Work::Parse(_) => ONE,
            Work::Check => (Range::fixed(CHECK), None),
            Work::Selector => {
                let length = self.sized(args.first()?);
                let requirements = length.times(0.5).times((LIST + STRUCT) as f64);
                (Range::fixed(LIST).add(traversed(length)).add(requirements), None)
            }
            Work::Items => (self.items(target?), None),
            Work::Text => {
                let size = self.sized(target.or(args.first())?);
                (traversed(size), Some(size))
            }
            Work::Replace => {
                let ([from, to, ..], text) = (args, self.sized(target?)) else { return None };
                (twice_traversed(text), Some(replaced(text, self.sized(from), self.sized(to))))
            }
            Work::Split => {
                let text = self.sized(target?);
                let max = limit(args).unwrap_or(text.max);
                (twice_traversed(text), Some(Range { min: 0, max }))
            }
            Work::Join => {
                let size = self.joined(target?, args.first());
                (traversed(size), Some(size))
            }
            Work::Find => {
                let size = self.sized(target?);
                (searched(size, self.sized(args.first()?)), Some(Range { min: 0, max: size.max }))
            }
            Work::ContainsIp { text } | Work::ContainsCidr { text } => {
                let (size, other) = (Range { min: 4, max: 16 }, args.first()?);
                let mut cost = traversed(size.add(size));
                if matches!(work, Work::ContainsCidr { .. }) {
                    cost = cost.add(traversed(size)).add(Range::fixed(1));
                }
                (if text { cost.add(traversed(self.sized(other))) } else { cost }, None)
            }
            Work::Validate => {
                let pattern = format::LONGEST_PATTERN as f64 * PATTERN;
                (traversed(self.sized(args.first()?)).times(pattern), None)
            }
            Work::Format => (traversed(known(target?)), None),
            Work::StartsWith => (traversed(known(args.first()?)), None),
            Work::ToBytes => {
                let size = known(args.first()?);
                (traversed(size), Some(Range { min: size.min, max: size.max.saturating_mul(4) }))
            }
            Work::FromBytes => {
                let size = known(args.first()?);
                (traversed(size), Some(Range { min: size.min / 4, max: size.max }))
            }
            Work::Quote => {
                let size = known(args.first()?);
                let (min, max) = (size.min.saturating_add(2), size.max.saturating_mul(2).saturating_add(2));
                (traversed(size), Some(Range { min, max }))
            }
            // Upstream knows no bound of these.
            Work::ScalarToText => (Range::fixed(1), Some(Range { min: 1, max: LONGEST_SCALAR })),
            Work::InList => (known(args.get(1)?), None),
            Work::Matches => (searched(known(target?), known(args.first()?)), None),
            Work::Contains => (traversed(known(target?)).multiply(traversed(known(args.first()?))), None),
            Work::AddText | Work::AddList => {
                let [a, b] = args else { return None };
                let size = known(a).add(known(b));
                let entries = (a.expr.and_then(|e| self.entry(e)), b.expr.and_then(|e| self.entry(e)));
                if let (Some(a), Some(b)) = entries {
                    self.entries.insert(expr.id, a.union(b));
                }
                (if work == Work::AddList { Range::fixed(1) } else { traversed(size) }, Some(size))
            }
            Work::Compare => {
                let [a, b] = args else { return None };
                if &*call.function == "_==_" && a.of.same(&b.of) && is_special(&a.of) {
                    return Some(ONE);
                }
                let max = known(a).max.min(known(b).max);
                (traversed(Range { min: u64::from(max > 0), max }), None)
            }
        };
        Some(cost)
    }

    /// The cost of comparing all items of a list, or all characters of a text.
    fn items(&self, of: &Part<'_>) -> Range {
        let size = self.sized(of);
        let Some(item) = item_of(of) else { return traversed(size) };
        let mut each = Range::fixed(1);
        if matches!(item.of, Type::String | Type::Bytes) {
            each = each.add(traversed(self.sized(&item)));
        }
        size.multiply(each)
    }

    /// How long a text is that is made of the items of a list.
    fn joined(&self, list: &Part<'_>, separator: Option<&Part<'_>>) -> Range {
        let count = self.sized(list);
        let size = item_of(list).map_or(Range::ZERO, |item| count.multiply(self.sized(&item)));
        let Some(separator) = separator else { return size };
        let between = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
        size.add(self.sized(separator).multiply(between))
    }

    fn sized(&self, part: &Part<'_>) -> Range {
        part.size.or_else(|| self.declared(&part.path)).unwrap_or(Range::UNKNOWN)
    }
}

fn known(part: &Part<'_>) -> Range {
    part.size.unwrap_or(Range::UNKNOWN)
}

/// Kubernetes' own types are compared at once.
fn is_special(of: &Type) -> bool {
    matches!(of, Type::Named(name) if *name != "kubernetes.NamedFormat")
}

fn traversed(size: Range) -> Range {
    size.times(CHARACTER)
}

fn twice_traversed(size: Range) -> Range {
    size.times(2.0 * CHARACTER)
}

fn searched(text: Range, pattern: Range) -> Range {
    traversed(text.add(Range::fixed(1))).multiply(pattern.times(PATTERN))
}

/// The most pieces that a text is split into, where that is said in so many words.
fn limit(args: &[Part<'_>]) -> Option<u64> {
    match args.get(1)?.expr.map(|expr| &expr.kind) {
        Some(Kind::Literal(Literal::Int(limit))) => Some(*limit as u64),
        _ => None,
    }
}

/// The items of a list.
fn item_of(list: &Part<'_>) -> Option<Part<'static>> {
    let Type::List(of) = &list.of else { return None };
    let mut path = list.path.clone();
    if !path.is_empty() {
        path.push("@items".into());
    }
    Some(Part { expr: None, path, of: (**of).clone(), size: None })
}

/// How long a text is after replacements.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let times = |size: u64, by: u64| (size as f64 / by as f64).ceil() as u64;
    let max = if from.min == 0 {
        text.max.saturating_add(1).saturating_mul(to.max).saturating_add(text.max)
    } else if to.max <= from.min {
        text.max
    } else {
        times(text.max, from.min).saturating_mul(to.max)
    };
    let min = if from.max == 0 {
        text.min.saturating_add(1).saturating_mul(to.min).saturating_add(text.min)
    } else if from.max <= to.min {
        text.min
    } else {
        times(text.min, from.max).saturating_mul(to.min)
    };
    Range { min, max }
}
