//! What calls cost, by overload.

use super::{CHARACTER, Estimator, LIST, Part, Range, STRUCT};
use crate::check::Type;
use crate::library::format;
use crate::syntax::ast::{Call, Expr, Kind, Literal};

const PATTERN: f64 = 0.25;
/// The most characters of a number, a time or a duration.
const LONGEST_SCALAR: u64 = 40;

type Cost = (Range, Option<Range>);

fn one() -> Option<Cost> {
    Some((Range::fixed(1), None))
}

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
        if let Some((cost, size)) = self.library(&call.function, id, target, args) {
            return (cost.add(sum), size);
        }
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
        let (cost, size) = self.standard(expr, id, target, args).unwrap_or((Range::fixed(1), None));
        (cost.add(sum), size)
    }

    fn standard(
        &mut self,
        expr: &Expr,
        id: &str,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
    ) -> Option<Cost> {
        let traversed = |size: Range| size.times(CHARACTER);
        Some(match (id, target, args) {
            ("string_format", Some(target), _) => (traversed(known(target)), None),
            ("string_to_bytes", _, [arg]) => {
                let size = known(arg);
                let result = Range { min: size.min, max: size.max.saturating_mul(4) };
                (traversed(size), Some(result))
            }
            ("bytes_to_string", _, [arg]) => {
                let size = known(arg);
                (traversed(size), Some(Range { min: size.min / 4, max: size.max }))
            }
            ("strings_quote", _, [arg]) => {
                let size = known(arg);
                let result = Range {
                    min: size.min.saturating_add(2),
                    max: size.max.saturating_mul(2).saturating_add(2),
                };
                (traversed(size), Some(result))
            }
            // Upstream knows no bound of these.
            (
                "bool_to_string"
                | "int64_to_string"
                | "uint64_to_string"
                | "double_to_string"
                | "duration_to_string"
                | "timestamp_to_string",
                _,
                _,
            ) => (Range::fixed(1), Some(Range { min: 1, max: LONGEST_SCALAR })),
            ("starts_with_string" | "ends_with_string", _, [arg]) => (traversed(known(arg)), None),
            ("in_list", _, [_, list]) => (known(list), None),
            ("matches_string", Some(target), [pattern]) => {
                let text = known(target).add(Range::fixed(1)).times(CHARACTER);
                (text.multiply(known(pattern).times(PATTERN)), None)
            }
            ("contains_string", Some(target), [part]) => {
                (traversed(known(target)).multiply(traversed(known(part))), None)
            }
            ("add_string" | "add_bytes" | "add_list", _, [a, b]) => {
                let size = known(a).add(known(b));
                let entries = (a.expr.and_then(|e| self.entry(e)), b.expr.and_then(|e| self.entry(e)));
                if let (Some(a), Some(b)) = entries {
                    self.entries.insert(expr.id, a.union(b));
                }
                let cost = if id == "add_list" { Range::fixed(1) } else { traversed(size) };
                (cost, Some(size))
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [a, b],
            ) => {
                let max = known(a).max.min(known(b).max);
                (traversed(Range { min: u64::from(max > 0), max }), None)
            }
            _ => return None,
        })
    }

    /// Kubernetes' costs.
    fn library(
        &self,
        function: &str,
        id: &str,
        target: Option<&Part<'_>>,
        args: &[Part<'_>],
    ) -> Option<Cost> {
        let first = args.first();
        let traversed = |part: &Part<'_>, factor: f64| self.sized(part).times(factor * CHARACTER);
        match (function, target, first) {
            ("check", _, _) => Some((Range::fixed(350_000), None)),
            (
                "serviceAccount"
                | "path"
                | "group"
                | "resource"
                | "subresource"
                | "namespace"
                | "name"
                | "allowed"
                | "reason"
                | "error"
                | "errored"
                | "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery"
                | "format.named",
                _,
                _,
            ) => one(),
            ("fieldSelector" | "labelSelector", _, Some(text)) => {
                let length = self.sized(text);
                let requirements = length.times(0.5).times((LIST + STRUCT) as f64);
                Some((Range::fixed(LIST).add(length.times(CHARACTER)).add(requirements), None))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let Some(item) = item_of(target) else {
                    return Some((traversed(target, 1.0), None));
                };
                let mut each = Range::fixed(1);
                if matches!(item.of, Type::String | Type::Bytes) {
                    each = each.add(self.sized(&item).times(CHARACTER));
                }
                Some((self.sized(target).multiply(each), None))
            }
            ("url" | "jsonpatch.escapeKey", _, Some(text)) => {
                Some((traversed(text, 1.0), Some(self.sized(text))))
            }
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                Some((traversed(target, 1.0), Some(self.sized(target))))
            }
            ("replace", Some(target), _) => {
                let [from, to, ..] = args else { return None };
                let size = replaced(self.sized(target), self.sized(from), self.sized(to));
                Some((traversed(target, 2.0), Some(size)))
            }
            ("split", Some(target), _) => {
                let mut max = self.sized(target).max;
                if let Some(Kind::Literal(Literal::Int(limit))) =
                    args.get(1).and_then(|a| a.expr).map(|e| &e.kind)
                {
                    max = *limit as u64;
                }
                Some((traversed(target, 2.0), Some(Range { min: 0, max })))
            }
            ("join", Some(target), _) => {
                let list = self.sized(target);
                let mut size = item_of(target).map_or(Range::ZERO, |item| list.multiply(self.sized(&item)));
                if let Some(separator) = first {
                    let count = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    size = size.add(self.sized(separator).multiply(count));
                }
                Some((size.times(CHARACTER), Some(size)))
            }
            ("find" | "findAll", Some(target), Some(pattern)) => {
                let size = self.sized(target);
                let text = size.add(Range::fixed(1)).times(CHARACTER);
                let cost = text.multiply(self.sized(pattern).times(PATTERN));
                Some((cost, Some(Range { min: 0, max: size.max })))
            }
            ("ip", Some(_), None) => one(),
            ("containsIP" | "containsCIDR", Some(_), Some(other)) => {
                let size = Range { min: 4, max: 16 };
                let mut cost = size.add(size).times(CHARACTER);
                if function == "containsCIDR" {
                    cost = cost.add(size.times(CHARACTER)).add(Range::fixed(1));
                }
                if matches!(id, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                    cost = cost.add(traversed(other, 1.0));
                }
                Some((cost, None))
            }
            ("validate", Some(_), Some(text)) => {
                let pattern = format::LONGEST_PATTERN as f64 * PATTERN;
                Some((traversed(text, 1.0).times(pattern), None))
            }
            ("_==_", _, _) => match args {
                [a, b]
                    if a.of.same(&b.of)
                        && matches!(&a.of, Type::Named(name) if *name != "kubernetes.NamedFormat") =>
                {
                    one()
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn sized(&self, part: &Part<'_>) -> Range {
        part.size.or_else(|| self.declared(&part.path)).unwrap_or(Range::UNKNOWN)
    }
}

fn known(part: &Part<'_>) -> Range {
    part.size.unwrap_or(Range::UNKNOWN)
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
