//! JSONPath as kubectl and the printer columns of custom resources use it
//! (`k8s.io/client-go/util/jsonpath`): fields, indices, slices, wildcards, unions, recursive descent and
//! filters. Absent fields give no result.

mod parse;

use serde_json::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    /// start, end, step; a lone index is the slice of one.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    /// `..`: the value and all below it.
    Recursive,
    Union(Vec<Vec<Step>>),
    Filter(Operand, Comparison, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// `@.field`, from the element.
    Path(Vec<Step>),
    Literal(Value),
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

impl JsonPath {
    /// Reads a path such as `.spec.containers[*].image`, with or without braces around it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        Ok(Self { steps: parse::steps(inner)? })
    }

    /// All that it finds.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.steps, vec![value])
    }

    /// The first that it finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    /// The names of the fields, for a path that is nothing but fields: a scale's or a selectable field's.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.steps
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// Sets the value at a path of fields, making the maps on the way. False if something else is in the way.
pub fn set(object: &mut Value, fields: &[&str], value: Value) -> bool {
    let Some((first, rest)) = fields.split_first() else {
        *object = value;
        return true;
    };
    if object.is_null() {
        *object = Value::Object(Default::default());
    }
    match object.as_object_mut() {
        Some(map) => set(map.entry(*first).or_insert(Value::Null), rest, value),
        None => false,
    }
}

/// A result as text: strings bare, maps and lists as JSON.
pub fn print(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

fn walk<'a>(steps: &[Step], start: Vec<&'a Value>) -> Vec<&'a Value> {
    steps.iter().fold(start, |found, step| found.into_iter().flat_map(|v| apply(step, v)).collect())
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn apply<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Wildcard => children(value),
        Step::Index(index) => {
            let Some(list) = value.as_array() else {
                return Vec::new();
            };
            let at = if *index < 0 { list.len() as i64 + index } else { *index };
            usize::try_from(at).ok().and_then(|i| list.get(i)).into_iter().collect()
        }
        Step::Slice(start, end, by) => {
            let Some(list) = value.as_array() else {
                return Vec::new();
            };
            let length = list.len() as i64;
            let place = |i: i64| (if i < 0 { length + i } else { i }).clamp(0, length);
            let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
            if end <= start {
                return Vec::new();
            }
            let step = usize::try_from(*by).unwrap_or(1).max(1);
            list[start as usize..end as usize].iter().step_by(step).collect()
        }
        Step::Recursive => {
            let mut out = vec![value];
            for child in children(value) {
                out.extend(apply(step, child));
            }
            out
        }
        Step::Union(paths) => paths.iter().flat_map(|path| walk(path, vec![value])).collect(),
        Step::Filter(left, comparison, right) => {
            children(value).into_iter().filter(|v| holds(left, *comparison, right, v)).collect()
        }
    }
}

fn holds(left: &Operand, comparison: Comparison, right: &Operand, element: &Value) -> bool {
    let value = |operand: &Operand| -> Option<Value> {
        match operand {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Path(steps) => walk(steps, vec![element]).into_iter().next().cloned(),
        }
    };
    if comparison == Comparison::Exists {
        return value(left).is_some();
    }
    let (Some(left), Some(right)) = (value(left), value(right)) else {
        return false;
    };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) if a == b => Some(std::cmp::Ordering::Equal),
        _ => None,
    };
    match comparison {
        Comparison::Exists => true,
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"size": 3, "items": [{"n": "a", "v": 1}, {"n": "b", "v": 2}, {"n": "c"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}
        });
        for (path, found) in [
            (".spec.size", json!([3])),
            ("{.spec.size}", json!([3])),
            (".spec.none", json!([])),
            (".metadata.annotations.a\\.b/c", json!(["x"])),
            (".metadata.annotations['a.b/c']", json!(["x"])),
            (".spec.items[0].n", json!(["a"])),
            (".spec.items[-1].n", json!(["c"])),
            (".spec.items[*].n", json!(["a", "b", "c"])),
            (".spec.items[0:2].n", json!(["a", "b"])),
            (".spec.items[0,2].n", json!(["a", "c"])),
            (".spec.items[?(@.v>1)].n", json!(["b"])),
            (".spec.items[?(@.v)].n", json!(["a", "b"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!(["False"])),
            ("..status", json!([object["status"], "True", "False"])),
        ] {
            let results: Vec<Value> =
                JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(Value::from(results), found, "{path}");
        }
        for bad in [".a[", ".a[x]", ".a[?(@.b=)]", ".a['x]", "}"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_paths_can_be_set() {
        let path = JsonPath::parse(".spec.replicas").unwrap();
        let mut object = json!({});
        assert!(set(&mut object, &path.fields().unwrap(), json!(2)));
        assert_eq!(object, json!({"spec": {"replicas": 2}}));
        assert!(!set(&mut object, &["spec", "replicas", "x"], json!(1)));
        assert_eq!(JsonPath::parse(".a[0]").unwrap().fields(), None);
    }
}
