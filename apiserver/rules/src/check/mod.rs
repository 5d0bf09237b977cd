//! The type checker: cel-go's, over our declarations.

mod environment;
mod literals;
mod types;

pub(crate) use environment::Environment;
pub(crate) use types::{Bindings, Type};

use std::collections::HashMap;
use std::sync::Arc;

use crate::library::{Overload, functions};
use crate::schema::Object;
use crate::syntax::ast::{Call, Comprehension, Expr, Id, Kind, List, Literal, MapEntry, Struct, operator};
use crate::syntax::{Issue, Parsed};
use types::most_general;

/// An expression whose types are known.
pub(crate) struct Checked {
    pub expr: Expr,
    /// By the id of the node.
    pub types: HashMap<Id, Type>,
    /// Of calls: the overloads that may be meant.
    pub overloads: HashMap<Id, Vec<&'static Overload>>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(&expr.id).unwrap_or(&Type::Dyn)
    }
}

/// Checks an expression against what may be named in it.
pub(crate) fn check(parsed: Parsed, environment: &Environment) -> Result<Checked, Vec<Issue>> {
    let Parsed { mut expr, places } = parsed;
    let mut checker = Checker {
        environment,
        places: &places,
        issues: Vec::new(),
        bindings: Bindings::default(),
        types: HashMap::new(),
        overloads: HashMap::new(),
        scope: Vec::new(),
        fresh: 0,
    };
    checker.check(&mut expr);
    literals::check(&expr, &mut |id, told| {
        checker.issues.push(Issue::at(places.get(id as usize).copied().unwrap_or(0), told));
    });
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker { bindings, types, overloads, .. } = checker;
    let types = types.into_iter().map(|(id, of)| (id, bindings.substitute(&of, true))).collect();
    Ok(Checked { expr, types, overloads })
}

struct Checker<'e> {
    environment: &'e Environment,
    places: &'e [u32],
    issues: Vec<Issue>,
    bindings: Bindings,
    types: HashMap<Id, Type>,
    overloads: HashMap<Id, Vec<&'static Overload>>,
    scope: Vec<(Arc<str>, Type)>,
    fresh: usize,
}

impl Checker<'_> {
    fn issue(&mut self, id: Id, told: String) -> Type {
        let at = self.places.get(id as usize).copied().unwrap_or(0);
        self.issues.push(Issue::at(at, told));
        Type::Error
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn mismatch(&mut self, id: Id, wanted: &Type, found: &Type) -> Type {
        let (wanted, found) =
            (self.bindings.substitute(wanted, false).shown(), self.bindings.substitute(found, false).shown());
        self.issue(id, format!("expected type '{wanted}' but found '{found}'"))
    }

    fn parameter(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(format!("_var{}", self.fresh).into())
    }

    fn known(&self, id: Id) -> Type {
        self.types.get(&id).cloned().unwrap_or(Type::Error)
    }

    fn identifier(&self, name: &str) -> Option<Type> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if plain == name
            && let Some((_, found)) = self.scope.iter().rev().find(|(known, _)| &**known == name)
        {
            return Some(found.clone());
        }
        self.environment.identifier(plain)
    }

    fn check(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let found = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => {
                let name = name.clone();
                self.identifier(&name).unwrap_or_else(|| self.undeclared(id, name.trim_start_matches('.')))
            }
            Kind::Select(_) => self.select(expr),
            Kind::Call(_) => self.call(expr),
            Kind::List(list) => self.list(list),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(made) => self.object(id, made),
            Kind::Comprehension(inner) => self.comprehension(id, inner),
        };
        self.types.insert(id, found.clone());
        found
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        if let Some(name) = expr.qualified_name()
            && !self.scope.iter().any(|(known, _)| name.split('.').next() == Some(&**known))
            && let Some(found) = self.environment.identifier(&name)
        {
            expr.kind = Kind::Ident(name.into());
            return found;
        }
        let Kind::Select(select) = &mut expr.kind else { return Type::Error };
        let field = select.field.clone();
        let found = self.field(id, &mut select.operand, &field, false);
        if select.test { Type::Bool } else { self.bindings.substitute(&found, false) }
    }

    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let from = self.check(operand);
        let from = self.bindings.substitute(&from, false);
        let (target, was_optional) = from.unwrapped();
        let found = match &target {
            Type::Map(of) => of.1.clone(),
            Type::Object(object) => match (object.field(field), object.open) {
                (Some(found), _) => found.decl.of_type(),
                (None, true) => Type::Dyn,
                (None, false) => self.issue(id, format!("undefined field '{field}'")),
            },
            Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let shown = shown(other);
                self.issue(id, format!("type '{shown}' does not support field selection"));
                Type::Dyn
            }
        };
        if was_optional || optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else { return Type::Error };
        if &*call.function == operator::OPTIONAL_SELECT {
            let Some((operand, rest)) = call.args.split_first_mut() else { return Type::Error };
            return match rest.first().map(|field| &field.kind) {
                Some(Kind::Literal(Literal::String(name))) => {
                    let name = name.clone();
                    let found = self.field(id, operand, &name, true);
                    self.bindings.substitute(&found, false)
                }
                _ => self.issue(id, "unsupported optional field selection".to_owned()),
            };
        }
        for arg in &mut call.args {
            self.check(arg);
        }
        let Some(target) = &mut call.target else {
            let name = call.function.strip_prefix('.').unwrap_or(&call.function).to_owned();
            if functions().get(&name).is_none() {
                return self.undeclared(id, &name);
            }
            call.function = name.into();
            return self.resolve(id, call);
        };
        if let Some(prefix) = target.qualified_name() {
            let name = format!("{prefix}.{}", call.function);
            if functions().get(&name).is_some() {
                call.function = name.into();
                call.target = None;
                return self.resolve(id, call);
            }
        }
        self.check(target);
        if functions().get(&call.function).is_none() {
            let name = call.function.clone();
            return self.undeclared(id, &name);
        }
        self.resolve(id, call)
    }

    /// The overloads a call may mean, and its type.
    fn resolve(&mut self, id: Id, call: &Call) -> Type {
        let Some(function) = functions().get(&call.function) else { return Type::Error };
        let given: Vec<Type> = call.target.iter().chain(&call.args).map(|arg| self.known(arg.id)).collect();
        if matches!(function.name, operator::AND | operator::OR) {
            let mut wrong = false;
            for (arg, found) in call.args.iter().zip(&given) {
                if !self.bindings.assignable(found, &Type::Bool) {
                    self.mismatch(arg.id, &Type::Bool, found);
                    wrong = true;
                }
            }
            self.overloads.insert(id, function.overloads.iter().collect());
            return if wrong { Type::Error } else { Type::Bool };
        }
        let mut result: Option<Type> = None;
        let mut meant = Vec::new();
        for overload in function.overloads.iter().filter(|o| o.member == call.target.is_some()) {
            let mut parameters = HashMap::new();
            let wanted: Vec<Type> =
                overload.args.iter().map(|of| self.instance(of, &mut parameters)).collect();
            let gives = self.instance(&overload.result, &mut parameters);
            if self.bindings.all_assignable(&given, &wanted) {
                meant.push(overload);
                let gives = self.bindings.substitute(&gives, false);
                result = Some(match result {
                    None => gives,
                    Some(Type::Dyn) => Type::Dyn,
                    Some(before) if before.same(&gives) => before,
                    Some(_) => Type::Dyn,
                });
            }
        }
        if let Some(result) = result {
            self.overloads.insert(id, meant);
            return result;
        }
        let mut shown: Vec<String> =
            given.iter().map(|of| shown(&self.bindings.substitute(of, true))).collect();
        let signature = if call.target.is_some() {
            let target = shown.remove(0);
            format!("{target}.({})", shown.join(", "))
        } else {
            format!("({})", shown.join(", "))
        };
        self.issue(id, format!("found no matching overload for '{}' applied to '{signature}'", function.name))
    }

    /// A declared type with parameters of its own.
    fn instance(&mut self, of: &Type, parameters: &mut HashMap<Arc<str>, Type>) -> Type {
        match of {
            Type::Param(name) => {
                if let Some(known) = parameters.get(name) {
                    return known.clone();
                }
                let fresh = self.parameter();
                parameters.insert(name.clone(), fresh.clone());
                fresh
            }
            _ => of.rebuild(&mut |inner| self.instance(inner, parameters)),
        }
    }

    fn join(&mut self, id: Id, before: Option<Type>, found: Type) -> Type {
        match before {
            None => found,
            Some(before) if self.bindings.assignable(&before, &found) => most_general(&before, &found),
            Some(before) => self.mismatch(id, &before, &found),
        }
    }

    /// The type that an optional element or entry holds.
    fn held(&mut self, expr: &Expr, found: Type, optional: bool) -> Type {
        if !optional {
            return found;
        }
        let (held, was_optional) = found.unwrapped();
        if !was_optional && !matches!(held, Type::Dyn) {
            self.mismatch(expr.id, &Type::optional(held.clone()), &held);
        }
        held
    }

    fn list(&mut self, list: &mut List) -> Type {
        let mut of = None;
        for (index, element) in list.elements.iter_mut().enumerate() {
            let found = self.check(element);
            let found = self.held(element, found, list.optional.contains(&index));
            of = Some(self.join(element.id, of, found));
        }
        Type::list(of.unwrap_or_else(|| self.parameter()))
    }

    fn map(&mut self, entries: &mut [MapEntry]) -> Type {
        let (mut key_type, mut value_type) = (None, None);
        for entry in entries {
            let key = self.check(&mut entry.key);
            key_type = Some(self.join(entry.key.id, key_type, key));
            let value = self.check(&mut entry.value);
            let value = self.held(&entry.value, value, entry.optional);
            value_type = Some(self.join(entry.value.id, value_type, value));
        }
        let key = key_type.unwrap_or_else(|| self.parameter());
        let value = value_type.unwrap_or_else(|| self.parameter());
        Type::map(key, value)
    }

    fn object(&mut self, id: Id, made: &mut Struct) -> Type {
        let name = made.name.trim_start_matches('.').to_owned();
        let Some(object) = self.environment.constructible(&name) else {
            return match self.environment.identifier(&name) {
                Some(Type::Type(_)) => self.issue(id, format!("'{name}' is not a message type")),
                Some(_) => self.issue(id, format!("'{name}' is not a type")),
                None => self.undeclared(id, &name),
            };
        };
        for field in &mut made.fields {
            let found = self.check(&mut field.value);
            let found = self.held(&field.value, found, field.optional);
            let wanted = self.declared(&object, field.id, &field.name);
            if !self.bindings.assignable(&wanted, &found) {
                let (wanted, found) = (shown(&wanted), shown(&found));
                self.issue(
                    field.id,
                    format!(
                        "expected type of field '{}' is '{wanted}' but provided type is '{found}'",
                        field.name
                    ),
                );
            }
        }
        Type::Object(object)
    }

    fn declared(&mut self, object: &Object, id: Id, field: &str) -> Type {
        match object.field(field) {
            Some(found) => found.decl.of_type(),
            None if object.open => Type::Dyn,
            None => self.issue(id, format!("undefined field '{field}'")),
        }
    }

    fn comprehension(&mut self, id: Id, inner: &mut Comprehension) -> Type {
        let range = self.check(&mut inner.range);
        let start = self.check(&mut inner.init);
        let range = self.bindings.substitute(&range, false);
        let (first, second) = match &range {
            Type::List(of) if inner.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(of) => (of.0.clone(), of.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let shown = shown(other);
                let told = format!(
                    "expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                let at = inner.range.id;
                self.issue(at, told);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scope.len();
        self.scope.push((inner.accumulator.clone(), start.clone()));
        let body = self.scope.len();
        self.scope.push((inner.var.clone(), first));
        if let Some(name) = &inner.second {
            self.scope.push((name.clone(), second));
        }
        let condition = self.check(&mut inner.condition);
        self.wants(&inner.condition, &Type::Bool, &condition);
        let step = self.check(&mut inner.step);
        self.wants(&inner.step, &start, &step);
        self.scope.truncate(body);
        let result = self.check(&mut inner.result);
        self.scope.truncate(depth);
        let _ = id;
        self.bindings.substitute(&result, false)
    }

    fn wants(&mut self, expr: &Expr, wanted: &Type, found: &Type) {
        if !self.bindings.assignable(found, wanted) {
            self.mismatch(expr.id, wanted, found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// As errors show a type: well-known ones by their short names.
fn shown(of: &Type) -> String {
    match of {
        Type::Duration => "duration".to_owned(),
        Type::Timestamp => "timestamp".to_owned(),
        Type::List(of) => format!("list({})", shown(of)),
        Type::Map(of) => format!("map({}, {})", shown(&of.0), shown(&of.1)),
        Type::Optional(of) => format!("optional_type({})", shown(of)),
        other => other.shown(),
    }
}
