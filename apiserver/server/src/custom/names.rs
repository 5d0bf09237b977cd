//! Which of the names that a definition asks for it is given (`NamingConditionController`).

use kplane_machinery::Status;
use serde_json::{Value, json};

use super::definitions::Fact;

/// The names that a definition was given, as others of its group must not use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Plural, singular and short names.
    resources: Box<[Box<str>]>,
    /// The kind and that of its lists.
    kinds: Box<[Box<str>]>,
}

impl Names {
    /// Of `status.acceptedNames`.
    pub fn of(accepted: &Value) -> Self {
        let named = |fields: [&str; 2]| fields.map(|field| text(accepted, field)).into_iter();
        let shorts = texts(&accepted["shortNames"]);
        let some = |name: &&str| !name.is_empty();
        Self {
            resources: named(["plural", "singular"]).chain(shorts).filter(some).map(Box::from).collect(),
            kinds: named(["kind", "listKind"]).filter(some).map(Box::from).collect(),
        }
    }
}

fn text<'a>(names: &'a Value, field: &str) -> &'a str {
    names[field].as_str().unwrap_or("")
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What becomes of the names a definition asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The names it has from now on: those that are free, and of the others those it had.
    pub accepted: Value,
    /// The reason and message of a conflict, if there is one.
    pub conflict: Option<(&'static str, String)>,
}

/// Gives a definition the names that no other of its group has.
pub fn judge<'a>(crd: &Value, others: impl Iterator<Item = &'a Fact> + Clone) -> Result<Verdict, Status> {
    let asked = &crd["spec"]["names"];
    let had = &crd["status"]["acceptedNames"];
    let own = Names::of(had);
    let taken = |name: &str, kinds: bool| {
        let of = |names: &Names| {
            let names = if kinds { &names.kinds } else { &names.resources };
            names.iter().any(|known| **known == *name)
        };
        of(&own) || others.clone().any(|other| of(&other.accepted))
    };
    let mut accepted = if had.is_object() { had.clone() } else { json!({}) };
    let mut conflict = None;
    let fields =
        accepted.as_object_mut().ok_or_else(|| Status::internal("the accepted names are no object"))?;
    let in_use = |name: &str| format!("{name:?} is already in use");
    let mut one = |field: &str, reason: &'static str, kinds: bool| {
        let name = text(asked, field);
        if name != text(had, field) && taken(name, kinds) {
            conflict = Some((reason, in_use(name)));
        } else if let Some(given) = asked.get(field) {
            fields.insert(field.to_owned(), given.clone());
        } else {
            fields.remove(field);
        }
    };
    one("plural", "PluralConflict", false);
    one("singular", "SingularConflict", false);
    // The last conflict is the one that is told.
    let known: Vec<&str> = texts(&had["shortNames"]).collect();
    let mut refused: Vec<String> = Vec::new();
    for name in texts(&asked["shortNames"]).filter(|name| !known.contains(name)) {
        let why = in_use(name);
        if taken(name, false) && !refused.contains(&why) {
            refused.push(why);
        }
    }
    let shorts_refused = match refused.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    };
    one("kind", "KindConflict", true);
    one("listKind", "ListKindConflict", true);
    match shorts_refused {
        Some(why) if !matches!(conflict, Some(("KindConflict" | "ListKindConflict", _))) => {
            conflict = Some(("ShortNamesConflict", why));
        }
        Some(_) => {}
        None => keep(fields, "shortNames", asked),
    }
    keep(fields, "categories", asked);
    Ok(Verdict { accepted, conflict })
}

fn keep(fields: &mut serde_json::Map<String, Value>, field: &str, asked: &Value) {
    match asked.get(field) {
        Some(given) => drop(fields.insert(field.to_owned(), given.clone())),
        None => drop(fields.remove(field)),
    }
}

const APPROVED: &str = "api-approved.kubernetes.io";
const POLICY: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// Whether a definition in a group of the Kubernetes community says that it was approved
/// (`KubernetesAPIApprovalPolicyConformantConditionController`): status, reason and message of the condition, for those
/// groups alone.
pub fn approval(crd: &Value) -> Option<(&'static str, &'static str, String)> {
    let group = crd["spec"]["group"].as_str().unwrap_or("");
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|g| group == *g || group.ends_with(&format!(".{g}")));
    if !protected {
        return None;
    }
    let given = crd["metadata"]["annotations"][APPROVED].as_str().unwrap_or("");
    let host = given.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or("")));
    Some(if given.is_empty() {
        let message = format!("protected groups must have approval annotation {APPROVED:?}, {POLICY}");
        ("False", "MissingAnnotation", message)
    } else if given.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", format!("not approved: {given:?}"))
    } else if host.is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty()) {
        ("True", "ApprovedAnnotation", format!("approved in {given}"))
    } else {
        let message = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {POLICY}"
        );
        ("False", "InvalidAnnotation", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accepted: &Value) -> Fact {
        Fact::of_names("others.birds.test", "birds.test", accepted)
    }

    #[test]
    fn free_names_are_given_and_taken_ones_told() {
        let other = of(
            &json!({"plural": "owls", "singular": "owl", "shortNames": ["o"], "kind": "Owl", "listKind": "OwlList"}),
        );
        let crd = json!({
            "spec": {"names": {"plural": "eagles", "singular": "owl", "shortNames": ["e"], "kind": "Eagle", "listKind": "EagleList"}},
            "status": {"acceptedNames": {"plural": "", "kind": ""}},
        });
        let verdict = judge(&crd, std::iter::once(&other)).unwrap();
        assert_eq!(verdict.conflict, Some(("SingularConflict", "\"owl\" is already in use".into())));
        assert_eq!(
            verdict.accepted,
            json!({"plural": "eagles", "shortNames": ["e"], "kind": "Eagle", "listKind": "EagleList"})
        );
        let mut crd = crd;
        crd["spec"]["names"]["singular"] = "eagle".into();
        crd["spec"]["names"]["kind"] = "Owl".into();
        crd["spec"]["names"]["shortNames"] = json!(["o", "owl"]);
        let verdict = judge(&crd, std::iter::once(&other)).unwrap();
        assert_eq!(verdict.conflict, Some(("KindConflict", "\"Owl\" is already in use".into())));
        crd["spec"]["names"]["kind"] = "Eagle".into();
        let verdict = judge(&crd, std::iter::once(&other)).unwrap();
        let told = "[\"o\" is already in use, \"owl\" is already in use]";
        assert_eq!(verdict.conflict, Some(("ShortNamesConflict", told.into())));
    }

    #[test]
    fn what_a_definition_has_it_keeps() {
        let names = json!({"plural": "owls", "singular": "owl", "kind": "Owl", "listKind": "OwlList"});
        let crd = json!({"spec": {"names": names}, "status": {"acceptedNames": names}});
        let other = of(&names);
        assert_eq!(judge(&crd, std::iter::once(&other)).unwrap().conflict, None);
    }

    #[test]
    fn protected_groups_need_an_approval() {
        let crd = |group: &str, given: &str| json!({"metadata": {"annotations": {APPROVED: given}}, "spec": {"group": group}});
        assert_eq!(approval(&crd("birds.test", "")), None);
        let told = |given| approval(&crd("x.k8s.io", given)).unwrap();
        assert_eq!((told("").0, told("").1), ("False", "MissingAnnotation"));
        assert_eq!(told("unapproved, a test").2, "not approved: \"unapproved, a test\"");
        assert_eq!(told("https://github.com/x").0, "True");
        assert_eq!(told("bogus").1, "InvalidAnnotation");
    }
}
