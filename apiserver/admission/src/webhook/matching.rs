//! Which webhooks a write is shown to (`generic.Webhook.ShouldCallHook`).

use kplane_machinery::{GroupResource, Status, object};
use kplane_rules::admission::{Answers, Decision, Inputs, Question, Verdict};
use serde_json::Value;

use super::hook::{Hook, Rule};
use super::review;
use crate::apart::in_turn;
use crate::{AccessCheck, Attributes, Configuration, Operation};

/// Objects that no webhook sees: a webhook that refuses all would never be removed again.
const EXEMPT: [&str; 6] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// Whether a write is shown to no webhook.
pub(super) fn is_exempt(attributes: &Attributes<'_>) -> bool {
    &*attributes.def.group == Configuration::GROUP && EXEMPT.contains(&&*attributes.def.kind)
}

/// As what a webhook sees a write: in the version that one of its rules names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub version: String,
}

/// How a webhook looks at a write.
pub(super) enum Matched {
    /// Not at all.
    No,
    /// As this.
    Seen(Seen),
    /// That is not known, and the webhook says that then nothing is refused.
    Ignored(String),
}

/// Whether a webhook is to be asked. `object` is the object as it is now; for a deletion there is none.
pub(super) async fn matches(
    hook: &Hook,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<Matched, Status> {
    let in_namespace = match &hook.namespace_selector {
        Ok(selector) if selector.is_empty() => Ok(true),
        Ok(selector) => match namespace_labels(attributes, object).await {
            Ok(None) => Ok(true),
            Ok(Some(namespace)) => Ok(selector.matches_object(&namespace)),
            Err(status) => Err(status),
        },
        Err(why) => Err(Status::internal(why)),
    };
    if matches!(in_namespace, Ok(false)) {
        return Ok(Matched::No);
    }
    let by_labels = match &hook.object_selector {
        Ok(selector) if selector.is_empty() => Ok(true),
        Ok(selector) => {
            Ok([object, attributes.old].into_iter().flatten().any(|object| selector.matches_object(object)))
        }
        Err(why) => Err(Status::internal(why)),
    };
    if matches!(by_labels, Ok(false)) {
        return Ok(Matched::No);
    }
    let Some(seen) = by_rules(&hook.rules, hook.equivalent, attributes) else { return Ok(Matched::No) };
    // What cannot be told matters only to those whose rules match.
    in_namespace?;
    by_labels?;
    if hook.conditions.is_empty() {
        return Ok(Matched::Seen(seen));
    }
    let object = converted(attributes, object, &seen).await?;
    let old = converted(attributes, attributes.old, &seen).await?;
    let request = review::request(attributes, "", &seen.version);
    let mut answers = Answers::default();
    let verdict = loop {
        let inputs = Inputs {
            object: object.as_ref().unwrap_or(&Value::Null),
            old_object: old.as_ref().unwrap_or(&Value::Null),
            request: &request,
            params: &Value::Null,
            namespace_object: &Value::Null,
            answers: &answers,
        };
        let long = hook.conditions.may_take_long();
        match in_turn(attributes.reader, long, || hook.conditions.matches(&inputs)).await {
            Ok(verdict) => break verdict,
            Err(question) => {
                let decision = ask(attributes, &question).await?;
                answers.insert(*question, decision);
            }
        }
    };
    match verdict {
        Verdict::Matches => Ok(Matched::Seen(seen)),
        Verdict::Excluded(_) => Ok(Matched::No),
        Verdict::Failed(why) if hook.fails_closed => {
            Err(attributes.forbidden(object.as_ref().or(old.as_ref()).unwrap_or(&Value::Null), why))
        }
        Verdict::Failed(why) => Ok(Matched::Ignored(why)),
    }
}

/// What the authorizer says to an expression's question.
pub(crate) async fn ask(attributes: &Attributes<'_>, question: &Question) -> Result<Decision, Status> {
    let account = question.service_account.as_ref();
    let user = match account {
        Some((namespace, name)) => format!("system:serviceaccount:{namespace}:{name}"),
        None => attributes.user.to_owned(),
    };
    let groups = match account {
        Some((namespace, _)) => {
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
        }
        None => attributes.groups.to_vec(),
    };
    let check = AccessCheck {
        user: &user,
        groups: &groups,
        uid: if account.is_some() { "" } else { attributes.user_uid },
        extra: account.is_none().then_some(attributes.extra),
        verb: &question.verb,
        path: question.path.as_deref(),
        group: &question.group,
        resource: &question.resource,
        subresource: &question.subresource,
        namespace: &question.namespace,
        name: &question.name,
        field_selector: &question.field_selector,
        label_selector: &question.label_selector,
    };
    // That the authorizer cannot be asked is for the expression to judge: `errored()`.
    Ok(attributes
        .reader
        .authorize(&check)
        .await
        .unwrap_or_else(|status| Decision { error: Some(status.message), ..Decision::default() }))
}

/// An object in the version that a webhook sees.
pub(crate) async fn converted(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    seen: &Seen,
) -> Result<Option<Value>, Status> {
    let Some(object) = object else { return Ok(None) };
    if seen.version == attributes.version || attributes.own_kind().is_some() {
        return Ok(Some(attributes.seen(object)));
    }
    attributes
        .reader
        .convert(attributes.def, object.clone(), attributes.version, &seen.version)
        .await
        .map(Some)
}

/// The namespace whose labels count; `None` for what is in none.
pub(crate) async fn namespace_labels(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<Option<Value>, Status> {
    let namespaces = GroupResource::new("", "namespaces");
    let of_itself = attributes.def.group.is_empty() && &*attributes.def.plural == "namespaces";
    if of_itself
        && attributes.subresource.is_empty()
        && matches!(attributes.operation, Operation::Create | Operation::Update)
    {
        return Ok(object.cloned());
    }
    let name = if of_itself { attributes.name } else { attributes.namespace };
    if name.is_empty() {
        return Ok(None);
    }
    let found = attributes.reader.get(&namespaces, "", name).await?;
    found.map(Some).ok_or_else(|| Status::not_found(&namespaces, name))
}

/// The version that the rules match a write in: its own if they match that, else another that is the same.
pub(crate) fn by_rules(rules: &[Rule], equivalent: bool, attributes: &Attributes<'_>) -> Option<Seen> {
    let matching = |version: &str| rules.iter().any(|rule| rule.matches(attributes, version));
    if matching(attributes.version) {
        return Some(Seen { version: attributes.version.to_owned() });
    }
    if !equivalent {
        return None;
    }
    let others = attributes.def.versions.iter().filter(|v| v.served && &*v.name != attributes.version);
    others.map(|v| &*v.name).find(|version| matching(version)).map(|v| Seen { version: v.to_owned() })
}

fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|given| given == "*" || given == wanted)
}

impl Rule {
    fn matches(&self, attributes: &Attributes<'_>, version: &str) -> bool {
        self.matches_scope(attributes)
            && any(&self.operations, attributes.operation.as_str())
            && any(&self.groups, &attributes.def.group)
            && any(&self.versions, version)
            && (self.names.is_empty() || self.names.iter().any(|name| name == attributes.name))
            && self.resources.iter().any(|pattern| {
                let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
                let is = |pattern: &str, given: &str| pattern == "*" || pattern == given;
                is(resource, &attributes.def.plural) && is(subresource, attributes.subresource)
            })
    }

    fn matches_scope(&self, attributes: &Attributes<'_>) -> bool {
        match self.scope.as_str() {
            "Namespaced" => attributes.def.namespaced(),
            "Cluster" => !attributes.def.namespaced(),
            _ => true,
        }
    }
}

/// What a status says of an object that is not there, for errors.
pub(super) fn name_of<'a>(attributes: &Attributes<'a>, object: Option<&'a Value>) -> &'a str {
    if attributes.name.is_empty() {
        object.map_or("", |object| object::name(object))
    } else {
        attributes.name
    }
}
