//! The functions of rules: those of `cel` and `kube-cel`, and ours where theirs are missing, count otherwise than
//! Kubernetes, or could hold or end the server.

use std::sync::Arc;

use chrono::{Duration, SecondsFormat};
use kube_cel::KubeCelExt;
use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::objects::{Key, OptionalValue};
use kube_cel::cel::{Context, ExecutionError, FunctionContext, ResolveResult, Value};

use super::{budget, meter};

/// What is built in one step, in bytes, for a step of the budget.
const BYTES_A_STEP: u64 = 16;
/// No function makes more than this at once.
const LARGEST: usize = 4 << 20;

thread_local! {
    static CONTEXT: Context<'static> = context();
}

/// With all functions, no variables.
pub(crate) fn with_context<T>(run: impl FnOnce(&Context<'static>) -> T) -> T {
    CONTEXT.with(run)
}

fn context() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function(meter::TICK, tick);
    context.add_function(meter::CHARGE, |value: Value| -> ResolveResult { charged(value) });
    context.add_function(meter::ADD, add);
    context.add_function(meter::SUBTRACT, subtract);
    context.add_function(meter::NEGATE, negate);
    context.add_function(meter::SELECT, optional_select);
    context.add_function(meter::PLAIN, |value: Value| -> ResolveResult { Ok(plain(value)) });
    context.add_function("dyn", |value: Value| -> ResolveResult { Ok(value) });
    context.add_function("bool", to_bool);
    context.add_function("size", size);
    context.add_function("contains", contains);
    context.add_function("replace", replace);
    context.add_function("join", join);
    context.add_function("lists.range", range);
    context.add_function("duration", duration);
    context
}

fn failed(message: &str) -> ExecutionError {
    ExecutionError::function_error("", message)
}

fn spent() -> ExecutionError {
    failed("operation cancelled: actual cost limit exceeded")
}

fn tick() -> Result<bool, ExecutionError> {
    if budget::charge(1) { Ok(true) } else { Err(spent()) }
}

/// Charges at least a step, and by size what is large.
fn charged(value: Value) -> ResolveResult {
    if budget::charge(1 + weight(&value)) { Ok(value) } else { Err(spent()) }
}

fn weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64 / BYTES_A_STEP,
        Value::Bytes(bytes) => bytes.len() as u64 / BYTES_A_STEP,
        Value::List(items) => items.iter().map(|item| 1 + weight(item)).sum(),
        Value::Map(map) => map.map.values().map(|value| 1 + weight(value)).sum(),
        _ => 0,
    }
}

fn no_overload() -> ExecutionError {
    ExecutionError::NoSuchOverload
}

fn overflow<T>(result: Option<T>, wrap: fn(T) -> Value, of: &str) -> ResolveResult {
    result.map(wrap).ok_or_else(|| failed(&format!("{of} overflow")))
}

fn add(left: Value, right: Value) -> ResolveResult {
    let result = match (left, right) {
        (Value::Int(a), Value::Int(b)) => return overflow(a.checked_add(b), Value::Int, "integer"),
        (Value::UInt(a), Value::UInt(b)) => {
            return overflow(a.checked_add(b), Value::UInt, "unsigned integer");
        }
        (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
        (Value::String(a), Value::String(b)) => Value::String(Arc::new(format!("{a}{b}"))),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes(Arc::new([a.as_slice(), b.as_slice()].concat())),
        (Value::List(a), Value::List(b)) => {
            Value::List(Arc::new(a.iter().chain(b.iter()).cloned().collect()))
        }
        (Value::Duration(a), Value::Duration(b)) => {
            return overflow(a.checked_add(&b), Value::Duration, "duration");
        }
        (Value::Timestamp(a), Value::Duration(b)) | (Value::Duration(b), Value::Timestamp(a)) => {
            return overflow(a.checked_add_signed(b), Value::Timestamp, "timestamp");
        }
        _ => return Err(no_overload()),
    };
    charged(result)
}

fn subtract(left: Value, right: Value) -> ResolveResult {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_sub(b), Value::Int, "integer"),
        (Value::UInt(a), Value::UInt(b)) => overflow(a.checked_sub(b), Value::UInt, "unsigned integer"),
        (Value::Float(a), Value::Float(b)) => Ok(Value::Float(a - b)),
        (Value::Duration(a), Value::Duration(b)) => overflow(a.checked_sub(&b), Value::Duration, "duration"),
        (Value::Timestamp(a), Value::Duration(b)) => {
            overflow(a.checked_sub_signed(b), Value::Timestamp, "timestamp")
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(Value::Duration(a.signed_duration_since(b))),
        _ => Err(no_overload()),
    }
}

fn negate(value: Value) -> ResolveResult {
    match value {
        Value::Int(value) => overflow(value.checked_neg(), Value::Int, "integer"),
        Value::Float(value) => Ok(Value::Float(-value)),
        Value::Duration(value) => overflow(Duration::zero().checked_sub(&value), Value::Duration, "duration"),
        _ => Err(no_overload()),
    }
}

/// Durations are written in seconds, times in UTC with a `Z`.
fn plain(value: Value) -> Value {
    match value {
        Value::Duration(span) => {
            let (whole, part) = (span.num_seconds(), span.subsec_nanos().unsigned_abs());
            let sign = if whole == 0 && span < Duration::zero() { "-" } else { "" };
            let fraction = if part == 0 {
                String::new()
            } else {
                format!(".{}", format!("{part:09}").trim_end_matches('0'))
            };
            Value::String(Arc::new(format!("{sign}{whole}{fraction}s")))
        }
        Value::Timestamp(time) => {
            Value::String(Arc::new(time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        other => other,
    }
}

fn optional_select(value: Value, field: Arc<String>) -> ResolveResult {
    let inner = match &value {
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => optional.value().cloned(),
            None => return Err(no_overload()),
        },
        other => Some(other.clone()),
    };
    let selected = match inner {
        None => None,
        Some(Value::Map(map)) => map.map.get(&Key::String(field)).cloned(),
        Some(_) => return Err(no_overload()),
    };
    Ok(Value::Opaque(Arc::new(selected.map_or_else(OptionalValue::none, OptionalValue::of))))
}

fn to_bool(value: Value) -> ResolveResult {
    match &value {
        Value::Bool(_) => Ok(value),
        Value::String(text) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(failed("type conversion error from 'string' to 'bool'")),
        },
        _ => Err(no_overload()),
    }
}

/// Texts count by characters.
fn size(This(this): This<Value>) -> ResolveResult {
    let size = match this {
        Value::List(items) => items.len(),
        Value::Map(map) => map.map.len(),
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        _ => return Err(no_overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn contains(This(this): This<Value>, wanted: Value) -> ResolveResult {
    match (&this, &wanted) {
        (Value::String(text), Value::String(part)) => Ok(Value::Bool(text.contains(part.as_str()))),
        _ => Err(no_overload()),
    }
}

/// Refuses before it builds what is too large.
fn fits(size: Option<usize>) -> Result<(), ExecutionError> {
    match size {
        Some(size) if size <= LARGEST && budget::charge(size as u64 / BYTES_A_STEP) => Ok(()),
        _ => {
            budget::charge(u64::MAX);
            Err(spent())
        }
    }
}

fn replace(This(this): This<Arc<String>>, Arguments(args): Arguments) -> ResolveResult {
    let (from, to, times) = match args.as_slice() {
        [Value::String(from), Value::String(to)] => (from, to, usize::MAX),
        // A negative number replaces all.
        [Value::String(from), Value::String(to), Value::Int(times)] => {
            (from, to, usize::try_from(*times).unwrap_or(usize::MAX))
        }
        _ => return Err(no_overload()),
    };
    let found = this.matches(from.as_str()).count().min(times);
    fits(found.checked_mul(to.len()).and_then(|grown| grown.checked_add(this.len())))?;
    Ok(Value::String(Arc::new(this.replacen(from.as_str(), to, times))))
}

fn join(This(this): This<Arc<Vec<Value>>>, Arguments(args): Arguments) -> ResolveResult {
    let separator = match args.as_slice() {
        [] => "",
        [Value::String(separator)] => separator.as_str(),
        _ => return Err(no_overload()),
    };
    let mut texts = Vec::with_capacity(this.len());
    for item in this.iter() {
        match item {
            Value::String(text) => texts.push(text.as_str()),
            _ => return Err(no_overload()),
        }
    }
    let own: usize = texts.iter().map(|text| text.len()).sum();
    fits(separator.len().checked_mul(texts.len()).and_then(|size| size.checked_add(own)))?;
    Ok(Value::String(Arc::new(texts.join(separator))))
}

fn range(count: i64) -> ResolveResult {
    let count = usize::try_from(count).map_err(|_| failed("lists.range: invalid range"))?;
    fits(count.checked_mul(BYTES_A_STEP as usize))?;
    Ok(Value::List(Arc::new((0..).take(count).map(Value::Int).collect())))
}

fn duration(context: &FunctionContext<'_, '_>, value: Value) -> ResolveResult {
    match value {
        Value::Duration(_) => Ok(value),
        Value::String(text) => parse_duration(&text).map(Value::Duration).ok_or_else(|| {
            context.error(format!("time: invalid duration {}", kplane_machinery::field::go_quote(&text)))
        }),
        _ => Err(no_overload()),
    }
}

/// Go's `time.ParseDuration`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::zero());
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in part.bytes() {
            scale /= 10;
            nanos += i128::from(digit - b'0') * scale;
        }
        rest = tail;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(Duration::nanoseconds(nanos))
}

/// An error of the interpreter in the words of cel-go.
pub(crate) fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedUnaryOperator(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedMapIndex(_)
        | ExecutionError::UnsupportedListIndex(_)
        | ExecutionError::UnsupportedIndex(..) => "no such overload".to_owned(),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(_, Value::UInt(_), _) => "unsigned integer overflow".to_owned(),
        ExecutionError::Overflow(_, Value::Timestamp(_), _) => "timestamp overflow".to_owned(),
        ExecutionError::Overflow(_, Value::Duration(_), _) => "duration overflow".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(Value::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// What the functions return, where that is one type; of the others nothing is told.
pub(crate) const RESULTS: &[(&str, &str)] = &[
    ("size", "int"),
    ("int", "int"),
    ("indexOf", "int"),
    ("lastIndexOf", "int"),
    ("matches", "bool"),
    ("startsWith", "bool"),
    ("endsWith", "bool"),
    ("bool", "bool"),
    ("isQuantity", "bool"),
    ("isURL", "bool"),
    ("isIP", "bool"),
    ("isCIDR", "bool"),
    ("isSemver", "bool"),
    ("isSorted", "bool"),
    ("hasValue", "bool"),
    ("string", "string"),
    ("lowerAscii", "string"),
    ("upperAscii", "string"),
    ("trim", "string"),
    ("replace", "string"),
    ("substring", "string"),
    ("charAt", "string"),
    ("join", "string"),
    ("find", "string"),
    ("double", "double"),
    ("uint", "uint"),
    ("bytes", "bytes"),
    ("duration", "duration"),
    ("timestamp", "timestamp"),
];

const NAMESPACES: [&str; 12] = [
    "optional",
    "sets",
    "lists",
    "math",
    "strings",
    "format",
    "base64",
    "jsonpatch",
    "cel",
    "ip",
    "cidr",
    "semver",
];

const OTHERS: &[&str] = &[
    "add",
    "asApproximateFloat",
    "asInteger",
    "cidr",
    "compareTo",
    "contains",
    "containsCIDR",
    "containsIP",
    "distinct",
    "dyn",
    "family",
    "findAll",
    "first",
    "flatten",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "ip",
    "isGlobalUnicast",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isUnspecified",
    "last",
    "major",
    "masked",
    "max",
    "min",
    "minor",
    "or",
    "orValue",
    "patch",
    "prefixLength",
    "quantity",
    "reverse",
    "semver",
    "sign",
    "slice",
    "sort",
    "split",
    "sub",
    "sum",
    "url",
    "validate",
    "value",
];

const QUALIFIED: &[&str] = &[
    "base64.decode",
    "base64.encode",
    "cel.bind",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "ip.isCanonical",
    "jsonpatch.escapeKey",
    "lists.range",
    "math.abs",
    "math.bitAnd",
    "math.bitNot",
    "math.bitOr",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "math.bitXor",
    "math.ceil",
    "math.floor",
    "math.greatest",
    "math.isFinite",
    "math.isInf",
    "math.isNaN",
    "math.least",
    "math.round",
    "math.sign",
    "math.sqrt",
    "math.trunc",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "strings.quote",
];

/// Whether there is such a function: by its bare name, or `namespace.name`.
pub(crate) fn known(name: &str) -> bool {
    if name.contains('.') {
        return QUALIFIED.contains(&name);
    }
    OTHERS.contains(&name) || RESULTS.iter().any(|(known, _)| *known == name)
}

/// Whether functions are named under it.
pub(crate) fn is_namespace(name: &str) -> bool {
    NAMESPACES.contains(&name)
}
