//! What an expression's parts are, as far as the schema tells.
//!
//! Not the checker of cel-go: it finds fields that the schema does not have, names that nothing declares, and operators
//! on scalars they do not take. Of what it does not know ([`Type::Any`]) it says nothing.

use std::sync::Arc;

use kplane_machinery::schema::{Schema, SchemaLink, SchemaType};
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use crate::cel::{RESULTS, is_namespace, known};
use crate::names::escape;

/// The type of a value.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// Not known here.
    Any,
    /// `bool`, `int`, `uint`, `double`, `string`, `bytes`, `duration`, `timestamp`, `null_type`.
    Scalar(&'static str),
    List(Box<Type>),
    /// By texts.
    Map(Box<Type>),
    /// With the fields of a schema; the flag is of a whole object with metadata.
    Object(Arc<Schema>, bool),
    /// An object's metadata, of which rules see the name.
    Metadata,
}

/// The name nothing else may take for an accumulator.
const RESULT: &str = "@result";

fn linked(link: &SchemaLink) -> Arc<Schema> {
    match link {
        SchemaLink::Direct(schema) => schema.clone(),
        SchemaLink::Named(named) => named.cell.get().cloned().unwrap_or_default(),
    }
}

/// The type of a schema's values; `None` when rules cannot see them.
pub(crate) fn of_schema(schema: &Arc<Schema>, whole_object: bool) -> Option<Type> {
    if schema.int_or_string {
        return Some(Type::Any);
    }
    Some(match schema.schema_type {
        SchemaType::Any => return None,
        SchemaType::Boolean => Type::Scalar("bool"),
        SchemaType::Integer => Type::Scalar("int"),
        SchemaType::Number => Type::Scalar("double"),
        SchemaType::String => Type::Scalar(match schema.format.as_deref() {
            Some("byte") => "bytes",
            Some("duration") => "duration",
            Some("date" | "date-time") => "timestamp",
            _ => "string",
        }),
        SchemaType::Array => Type::List(Box::new(of_schema(&linked(schema.items.as_ref()?), false)?)),
        SchemaType::Object => match &schema.additional {
            Some(of) => Type::Map(Box::new(of_schema(&linked(of), false)?)),
            None => Type::Object(schema.clone(), whole_object || schema.embedded_resource),
        },
    })
}

/// A field of an object as a rule names it.
fn field(schema: &Schema, whole_object: bool, name: &str) -> Option<Type> {
    if whole_object {
        match name {
            "apiVersion" | "kind" => return Some(Type::Scalar("string")),
            "metadata" => return Some(Type::Metadata),
            _ => {}
        }
    }
    let property = schema.properties.iter().find(|p| escape(&p.name).as_deref() == Some(name))?;
    of_schema(&linked(&property.schema), false)
}

impl Type {
    fn name(&self) -> String {
        match self {
            Self::Any => "dyn".to_owned(),
            Self::Scalar(name) => (*name).to_owned(),
            Self::List(of) => format!("list({})", of.name()),
            Self::Map(of) => format!("map(string, {})", of.name()),
            Self::Object(..) | Self::Metadata => "object".to_owned(),
        }
    }

    fn is(&self, name: &str) -> bool {
        matches!(self, Self::Any) || matches!(self, Self::Scalar(own) if *own == name)
    }

    pub(crate) fn may_be(&self, name: &str) -> bool {
        self.is(name)
    }

    pub(crate) fn may_be_bool(&self) -> bool {
        self.is("bool")
    }

    pub(crate) fn may_be_text(&self) -> bool {
        self.is("string")
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.or(*b))),
            (Self::Scalar(a), Self::Scalar(b)) if a == b => Self::Scalar(a),
            (Self::List(a), Self::Any) | (Self::Any, Self::List(a)) => Self::List(a),
            (a @ Self::Object(..), Self::Object(..)) => a,
            _ => Self::Any,
        }
    }
}

/// Where in the text an error is.
pub(crate) enum Place {
    /// At the dot of a selection, given with what is selected from as far as that is a path.
    Selection(String),
    /// At a name.
    Name(String),
    /// At an operator.
    Operator(&'static str),
}

/// What the checker found.
pub(crate) struct Problem {
    place: Place,
    message: String,
}

impl Problem {
    /// In the form of cel-go.
    pub(crate) fn told(&self, source: &str) -> String {
        let (line, column) = self.place.find(source);
        crate::cel::at(source, line, column, &self.message)
    }
}

impl Place {
    fn find(&self, source: &str) -> (usize, usize) {
        let code = without_texts(source);
        let found = match self {
            Self::Selection(path) => {
                let field = path.rsplit('.').next().unwrap_or(path);
                whole(&code, path)
                    .map(|at| at + path.len() - field.len() - 1)
                    .or_else(|| whole(&code, &format!(".{field}")))
            }
            Self::Name(name) => whole(&code, name),
            Self::Operator(operator) => code.find(operator),
        };
        let before = &code[..found.unwrap_or(0)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// The same length in characters of one byte where a literal stands, so that nothing is found in it.
fn without_texts(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut quote = None;
    let mut escaped = false;
    for c in source.chars() {
        match quote {
            Some(open) => {
                if !escaped && c == open {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
                out.push(if c == '\n' { '\n' } else { ' ' });
            }
            None => {
                if matches!(c, '\'' | '"') {
                    quote = Some(c);
                    out.push(' ');
                } else {
                    out.push(if c.is_ascii() { c } else { ' ' });
                }
            }
        }
    }
    out
}

fn whole(code: &str, wanted: &str) -> Option<usize> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let own_start = wanted.starts_with('.');
    code.match_indices(wanted).map(|(at, _)| at).find(|at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + wanted.len()..].chars().next();
        (own_start || !before.is_some_and(|c| part(c) || c == '.')) && !after.is_some_and(part)
    })
}

/// The variables in scope, and what is wrong.
pub(crate) struct Checker {
    scope: Vec<(String, Type)>,
    pub(crate) problems: Vec<Problem>,
}

impl Checker {
    pub(crate) fn new(this: Type, old: Type) -> Self {
        Self::of(vec![("self".to_owned(), this), ("oldSelf".to_owned(), old)])
    }

    /// With these variables.
    pub(crate) fn of(scope: Vec<(String, Type)>) -> Self {
        Self { scope, problems: Vec::new() }
    }

    fn problem(&mut self, place: Place, message: String) -> Type {
        self.problems.push(Problem { place, message });
        Type::Any
    }

    /// The type of an expression.
    pub(crate) fn check(&mut self, expr: &IdedExpr) -> Type {
        match &expr.expr {
            Expr::Unspecified => Type::Any,
            Expr::Literal(value) => Type::Scalar(match value {
                LiteralValue::Boolean(_) => "bool",
                LiteralValue::Bytes(_) => "bytes",
                LiteralValue::Double(_) => "double",
                LiteralValue::Int(_) => "int",
                LiteralValue::Null => "null_type",
                LiteralValue::String(_) => "string",
                LiteralValue::UInt(_) => "uint",
            }),
            Expr::Ident(name) => match self.scope.iter().rev().find(|(known, _)| known == name) {
                Some((_, found)) => found.clone(),
                None => self.undeclared(name),
            },
            Expr::Select(select) => {
                let from = self.check(&select.operand);
                let found = self.select(&select.operand, from, &select.field);
                if select.test { Type::Scalar("bool") } else { found }
            }
            Expr::List(list) => {
                let mut of: Option<Type> = None;
                for element in &list.elements {
                    let found = self.check(element);
                    of = Some(match of {
                        Some(of) => of.or(found),
                        None => found,
                    });
                }
                Type::List(Box::new(of.unwrap_or(Type::Any)))
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.check(&entry.key);
                        self.check(&entry.value);
                    }
                }
                Type::Any
            }
            Expr::Struct(made) => self.undeclared(&made.type_name),
            Expr::Comprehension(inner) => self.comprehension(inner),
            Expr::Call(call) => self.call(call),
        }
    }

    fn undeclared(&mut self, name: &str) -> Type {
        let message = format!("undeclared reference to '{name}' (in container '')");
        self.problem(Place::Name(name.to_owned()), message)
    }

    fn select(&mut self, operand: &IdedExpr, from: Type, name: &str) -> Type {
        let found = match &from {
            Type::Any => return Type::Any,
            Type::Map(of) => return (**of).clone(),
            Type::Metadata if matches!(name, "name" | "generateName") => return Type::Scalar("string"),
            Type::Metadata => None,
            Type::Object(schema, whole_object) => field(schema, *whole_object, name),
            Type::Scalar(_) | Type::List(_) => {
                let message = format!("type '{}' does not support field selection", from.name());
                return self.problem(selection(operand, name), message);
            }
        };
        match found {
            Some(found) => found,
            None => self.problem(selection(operand, name), format!("undefined field '{name}'")),
        }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> Type {
        let over = match self.check(&inner.iter_range) {
            Type::List(of) => *of,
            Type::Map(_) => Type::Scalar("string"),
            Type::Any | Type::Object(..) | Type::Metadata => Type::Any,
            scalar @ Type::Scalar(_) => {
                let message = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    scalar.name()
                );
                self.problem(place_of(&inner.iter_range), message)
            }
        };
        let start = self.check(&inner.accu_init);
        let depth = self.scope.len();
        self.scope.push((inner.accu_var.clone(), start));
        self.scope.push((inner.iter_var.clone(), over));
        if let Some(second) = &inner.iter_var2 {
            self.scope.push((second.clone(), Type::Any));
        }
        self.check(&inner.loop_cond);
        let step = self.check(&inner.loop_step);
        self.scope.truncate(depth);
        self.scope.push((inner.accu_var.clone(), step));
        let result = self.check(&inner.result);
        self.scope.truncate(depth);
        result
    }

    fn bind(&mut self, call: &CallExpr) -> Type {
        let [name, value, body] = call.args.as_slice() else { return Type::Any };
        let Expr::Ident(name) = &name.expr else {
            return self.problem(
                Place::Name("bind".to_owned()),
                "cel.bind() variable names must be simple identifiers".to_owned(),
            );
        };
        let value = self.check(value);
        self.scope.push((name.clone(), value));
        let result = self.check(body);
        self.scope.pop();
        result
    }

    fn call(&mut self, call: &CallExpr) -> Type {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            if let Expr::Ident(space) = &target.expr
                && is_namespace(space)
                && !self.scope.iter().any(|(known, _)| known == space)
            {
                let full = format!("{space}.{name}");
                if !known(&full) {
                    return self.undeclared_function(&full, name);
                }
                if full == "cel.bind" {
                    return self.bind(call);
                }
                call.args.iter().for_each(|arg| {
                    self.check(arg);
                });
                return if space == "sets" { Type::Scalar("bool") } else { Type::Any };
            }
            let on = self.check(target);
            let args: Vec<Type> = call.args.iter().map(|arg| self.check(arg)).collect();
            return self.method(name, &on, &args);
        }
        if name == operators::OPT_SELECT {
            if let Some(target) = call.args.first() {
                self.check(target);
            }
            return Type::Any;
        }
        let args: Vec<Type> = call.args.iter().map(|arg| self.check(arg)).collect();
        self.operator(call, name, &args)
    }

    fn undeclared_function(&mut self, full: &str, name: &str) -> Type {
        self.problem(
            Place::Name(name.to_owned()),
            format!("undeclared reference to '{full}' (in container '')"),
        )
    }

    fn method(&mut self, name: &str, on: &Type, args: &[Type]) -> Type {
        if !known(name) {
            let message = format!("undeclared reference to '{name}' (in container '')");
            return self.problem(Place::Selection(format!(".{name}")), message);
        }
        let texts = [
            "matches",
            "startsWith",
            "endsWith",
            "contains",
            "lowerAscii",
            "upperAscii",
            "trim",
            "substring",
        ];
        if texts.contains(&name) {
            let named: Vec<String> = args.iter().map(Type::name).collect();
            let wrong =
                matches!(on, Type::Scalar(scalar) if *scalar != "string") || matches!(on, Type::List(_));
            let wrong_arg = name != "substring"
                && args.iter().any(|arg| matches!(arg, Type::Scalar(s) if *s != "string"));
            if wrong || wrong_arg {
                let message = format!(
                    "found no matching overload for '{name}' applied to '{}.({})'",
                    on.name(),
                    named.join(", ")
                );
                return self.problem(Place::Selection(format!(".{name}")), message);
            }
        }
        if name == "split" {
            return Type::List(Box::new(Type::Scalar("string")));
        }
        // Quantities and lists have functions of the same names.
        result_of(name)
    }

    fn operator(&mut self, call: &CallExpr, name: &str, args: &[Type]) -> Type {
        let sign = match name {
            operators::LOGICAL_AND => "&&",
            operators::LOGICAL_OR => "||",
            operators::LOGICAL_NOT => "!",
            operators::LESS => "<",
            operators::LESS_EQUALS => "<=",
            operators::GREATER => ">",
            operators::GREATER_EQUALS => ">=",
            operators::EQUALS => "==",
            operators::NOT_EQUALS => "!=",
            operators::ADD => "+",
            operators::SUBSTRACT | operators::NEGATE => "-",
            operators::MULTIPLY => "*",
            operators::DIVIDE => "/",
            operators::MODULO => "%",
            operators::IN => " in ",
            operators::CONDITIONAL => "?",
            _ => "",
        };
        let result = match (name, args) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                condition.may_be_bool().then(|| yes.clone().or(no.clone()))
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) | (operators::LOGICAL_NOT, _) => {
                args.iter().all(Type::may_be_bool).then_some(Type::Scalar("bool"))
            }
            (operators::NOT_STRICTLY_FALSE, _) => Some(Type::Scalar("bool")),
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                equal(a, b).then_some(Type::Scalar("bool"))
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [a, b],
            ) => ordered(a, b).then_some(Type::Scalar("bool")),
            (operators::IN, [a, b]) => within(a, b).then_some(Type::Scalar("bool")),
            (operators::ADD, [a, b]) => {
                let accumulates =
                    matches!(call.args.first().map(|a| &a.expr), Some(Expr::Ident(n)) if n == RESULT);
                if accumulates { Some(b.clone()) } else { sum(a, b, true) }
            }
            (operators::SUBSTRACT, [a, b]) => sum(a, b, false),
            (operators::MULTIPLY | operators::DIVIDE, [a, b]) => number(a, b, &["int", "uint", "double"]),
            (operators::MODULO, [a, b]) => number(a, b, &["int", "uint"]),
            (operators::NEGATE, [a]) => {
                (a.is("int") || a.is("double") || a.is("duration")).then(|| a.clone())
            }
            (operators::INDEX, [Type::List(of), _]) => Some((**of).clone()),
            (operators::INDEX, [Type::Map(of), _]) => Some((**of).clone()),
            (operators::INDEX | operators::OPT_INDEX, _) => Some(Type::Any),
            ("size", [Type::Scalar("int" | "bool" | "double" | "uint" | "duration" | "timestamp")]) => None,
            _ if known(name) => Some(result_of(name)),
            _ => return self.undeclared(name),
        };
        match result {
            Some(result) => result,
            None => {
                let named: Vec<String> = args.iter().map(Type::name).collect();
                let message =
                    format!("found no matching overload for '{name}' applied to '({})'", named.join(", "));
                let place =
                    if sign.is_empty() { Place::Name(name.to_owned()) } else { Place::Operator(sign) };
                self.problem(place, message)
            }
        }
    }
}

fn result_of(name: &str) -> Type {
    RESULTS.iter().find(|(known, _)| *known == name).map_or(Type::Any, |(_, of)| Type::Scalar(of))
}

fn selection(operand: &IdedExpr, name: &str) -> Place {
    Place::Selection(match path(operand) {
        Some(path) => format!("{path}.{name}"),
        None => format!(".{name}"),
    })
}

fn place_of(expr: &IdedExpr) -> Place {
    match &expr.expr {
        Expr::Select(select) => selection(&select.operand, &select.field),
        Expr::Ident(name) => Place::Name(name.clone()),
        _ => Place::Name(String::new()),
    }
}

fn path(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        _ => None,
    }
}

const NUMBERS: [&str; 3] = ["int", "uint", "double"];

fn equal(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Scalar("null_type"), _) | (_, Type::Scalar("null_type")) => true,
        (Type::Scalar(a), Type::Scalar(b)) => a == b,
        (Type::Scalar(_), Type::List(_)) | (Type::List(_), Type::Scalar(_)) => false,
        _ => true,
    }
}

fn ordered(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Scalar(a), Type::Scalar(b)) => {
            (a == b && *a != "null_type") || (NUMBERS.contains(a) && NUMBERS.contains(b))
        }
        (Type::Any, _) | (_, Type::Any) => true,
        _ => false,
    }
}

fn within(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (a, Type::List(of)) => equal(a, of),
        (a, Type::Map(_)) => a.is("string"),
        (_, Type::Scalar(_)) => false,
        _ => true,
    }
}

fn sum(a: &Type, b: &Type, add: bool) -> Option<Type> {
    match (a, b) {
        (Type::Scalar("timestamp"), Type::Scalar("timestamp")) if !add => Some(Type::Scalar("duration")),
        (Type::Scalar("timestamp"), Type::Scalar("duration")) => Some(Type::Scalar("timestamp")),
        (Type::Scalar("duration"), Type::Scalar("timestamp")) if add => Some(Type::Scalar("timestamp")),
        (Type::Scalar(a), Type::Scalar(b)) => {
            let texts = matches!(*a, "string" | "bytes");
            let fits = a == b && (NUMBERS.contains(a) || *a == "duration" || (texts && add));
            fits.then_some(Type::Scalar(a))
        }
        (Type::List(_), Type::List(_)) if add => Some(a.clone().or(b.clone())),
        (Type::Any, _) | (_, Type::Any) => Some(Type::Any),
        _ => None,
    }
}

fn number(a: &Type, b: &Type, of: &[&str]) -> Option<Type> {
    match (a, b) {
        (Type::Scalar(a), Type::Scalar(b)) => (a == b && of.contains(a)).then_some(Type::Scalar(a)),
        (Type::Any, Type::Scalar(s)) | (Type::Scalar(s), Type::Any) => of.contains(s).then_some(Type::Any),
        (Type::Any, Type::Any) => Some(Type::Any),
        _ => None,
    }
}

/// Whether a variable is used.
pub(crate) fn uses(expr: &IdedExpr, name: &str) -> bool {
    match &expr.expr {
        Expr::Ident(own) => own == name,
        Expr::Select(select) => uses(&select.operand, name),
        Expr::Call(call) => call.args.iter().chain(call.target.as_deref()).any(|e| uses(e, name)),
        Expr::List(list) => list.elements.iter().any(|e| uses(e, name)),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => uses(&entry.key, name) || uses(&entry.value, name),
            EntryExpr::StructField(_) => false,
        }),
        Expr::Comprehension(inner) => {
            [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
                .into_iter()
                .any(|e| uses(e, name))
        }
        Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => false,
    }
}
