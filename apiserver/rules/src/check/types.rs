//! The types of expressions, and which may stand for which.

use std::collections::HashMap;
use std::sync::Arc;

use crate::schema::Object;

/// The type of a value.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// Known when it is evaluated.
    Dyn,
    /// What is wrong already.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// With the fields of a schema.
    Object(Arc<Object>),
    /// A type of a library.
    Named(&'static str),
    /// The type of types; of which, when it is known.
    #[expect(clippy::enum_variant_names, reason = "it is the language's word")]
    Type(Option<Arc<Type>>),
    /// Yet to be found.
    Param(Arc<str>),
}

impl Type {
    pub(crate) fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub(crate) fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub(crate) fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// As cel-go shows it in errors.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Dyn => "dyn".to_owned(),
            Self::Error => "!error!".to_owned(),
            Self::Null => "null".to_owned(),
            Self::List(of) => format!("list({})", of.shown()),
            Self::Map(of) => format!("map({}, {})", of.0.shown(), of.1.shown()),
            Self::Optional(of) => format!("optional_type({})", of.shown()),
            Self::Type(None) => "type".to_owned(),
            Self::Type(Some(of)) => format!("type({})", of.shown()),
            Self::Param(name) => name.to_string(),
            other => other.name().to_owned(),
        }
    }

    /// Its own name, without parameters.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Error => "!error!",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Object(object) => &object.name,
            Self::Named(name) => name,
            Self::Type(_) => "type",
            Self::Param(name) => name,
        }
    }

    /// As errors about results show it.
    pub(crate) fn written(&self) -> String {
        match self {
            Self::Null => "null_type".to_owned(),
            other => other.shown(),
        }
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The same, parameters and all.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.same(b),
            (Self::Map(a), Self::Map(b)) => a.0.same(&b.0) && a.1.same(&b.1),
            (Self::Type(Some(a)), Self::Type(Some(b))) => a.same(b),
            (Self::Type(None), Self::Type(None)) => true,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Named(a), Self::Named(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other) && self.parameters().is_empty()
            }
        }
    }

    fn parameters(&self) -> Vec<&Self> {
        match self {
            Self::List(of) | Self::Optional(of) => vec![of],
            Self::Map(of) => vec![&of.0, &of.1],
            Self::Type(Some(of)) => vec![of],
            Self::Object(_) | Self::Named(_) => vec![self],
            _ => Vec::new(),
        }
    }

    /// The type with its parameters made of others.
    pub(crate) fn rebuild(&self, each: &mut dyn FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(of) => Self::list(each(of)),
            Self::Optional(of) => Self::optional(each(of)),
            Self::Map(of) => Self::map(each(&of.0), each(&of.1)),
            Self::Type(Some(of)) => Self::Type(Some(Arc::new(each(of)))),
            other => other.clone(),
        }
    }

    /// What an optional value holds, or itself.
    pub(crate) fn unwrapped(&self) -> (Self, bool) {
        match self {
            Self::Optional(of) => ((**of).clone(), true),
            other => (other.clone(), false),
        }
    }
}

/// What parameters have been found to stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings(HashMap<Arc<str>, Type>);

impl Bindings {
    /// A type with what is known put in; unknown parameters become `dyn` on demand.
    pub(crate) fn substitute(&self, of: &Type, to_dyn: bool) -> Type {
        match of {
            Type::Param(name) => match self.0.get(name) {
                Some(found) => self.substitute(found, to_dyn),
                None if to_dyn => Type::Dyn,
                None => of.clone(),
            },
            _ => of.rebuild(&mut |inner| self.substitute(inner, to_dyn)),
        }
    }

    /// Whether a value of one type may be used where the other is wanted; keeps what that says about parameters.
    pub(crate) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.all_assignable(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    pub(crate) fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        if from.len() != to.len() {
            return false;
        }
        let mut tried = self.clone();
        let fits = from.iter().zip(to).all(|(from, to)| tried.fits(from, to));
        if fits {
            *self = tried;
        }
        fits
    }

    fn fits(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(_) = to {
            let (valid, known) = self.stands_for(from, to);
            if valid {
                return true;
            }
            if known {
                return false;
            }
        }
        if let Type::Param(_) = from {
            return self.stands_for(to, from).0;
        }
        if from.is_dyn_or_error() || to.is_dyn_or_error() {
            return true;
        }
        match (from, to) {
            (
                Type::Null,
                Type::Null | Type::Object(_) | Type::Named(_) | Type::Duration | Type::Timestamp,
            )
            | (Type::Null, Type::Optional(_))
            | (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            _ => from.same(to),
        }
    }

    /// Whether a parameter may stand for a type, and whether it stands for something already.
    fn stands_for(&mut self, of: &Type, param: &Type) -> (bool, bool) {
        let Type::Param(name) = param else { return (false, false) };
        if of.same(param) {
            return (true, true);
        }
        if let Some(found) = self.0.get(name).cloned() {
            if of.same(&found) {
                return (true, true);
            }
            if self.fits(of, &found) {
                let general = most_general(of, &found);
                if !self.occurs(name, &general) {
                    self.0.insert(name.clone(), general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.occurs(name, of) {
            return (false, false);
        }
        self.0.insert(name.clone(), of.clone());
        (true, false)
    }

    fn occurs(&self, name: &Arc<str>, within: &Type) -> bool {
        match within {
            Type::Param(other) => {
                other == name || self.0.get(other).is_some_and(|found| self.occurs(name, found))
            }
            Type::List(of) | Type::Optional(of) => self.occurs(name, of),
            Type::Map(of) => self.occurs(name, &of.0) || self.occurs(name, &of.1),
            _ => false,
        }
    }
}

/// Of two types that fit, the one that says less.
pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if less_specific(a, b) { a.clone() } else { b.clone() }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => less_specific(&a.0, &b.0) && less_specific(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => a.same(b),
    }
}
