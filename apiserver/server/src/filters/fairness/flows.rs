//! What the FlowSchemas and PriorityLevelConfigurations of a control plane say, made ready for use.

use std::collections::HashMap;

use kplane_auth::UserInfo;
use kplane_auth::user::parse_service_account;
use serde_json::Value;

use crate::filters::RequestInfo;

/// The flows and levels of a control plane.
#[derive(Debug, Default)]
pub struct FlowConfig {
    /// By matching precedence.
    schemas: Vec<FlowSchema>,
    levels: Vec<Level>,
    /// The sum of the shares of the levels that are limited.
    shares: u64,
}

#[derive(Debug)]
struct FlowSchema {
    /// Where the object stands among those it was made from.
    object: usize,
    name: String,
    precedence: i64,
    level: usize,
    by: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

/// A priority level.
#[derive(Debug)]
pub struct Level {
    /// Where the object stands among those it was made from.
    pub object: usize,
    /// Its name.
    pub name: String,
    /// Its limits; an exempt one has none.
    pub limited: Option<Limited>,
}

/// The limits of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Its part of the seats, in proportion to those of the others.
    pub shares: u64,
    /// How many per cent of its seats others may use.
    pub lendable: u64,
    /// How many per cent of its own seats it may use of others; all that are lent, if it does not say.
    pub borrowing: Option<u64>,
    /// What becomes of requests for which there is no seat; without queues they are refused.
    pub queues: Option<Queues>,
}

/// The queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// How many.
    pub count: u64,
    /// Among how many of them a flow chooses.
    pub hand: u64,
    /// How many requests wait in one.
    pub length: usize,
}

#[derive(Debug, Default)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    Account(String, String),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Debug)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The FlowSchema, among the objects the configuration was made from; none if there is none that matches.
    pub schema: Option<usize>,
    /// The level, among those of the configuration; none if there is none.
    pub level: Option<usize>,
    /// What tells this flow from others of its level.
    pub distinguisher: String,
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let all = value[field].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

fn number(value: &Value, otherwise: u64) -> u64 {
    value.as_u64().unwrap_or(otherwise)
}

impl FlowConfig {
    /// Makes it from the objects. A FlowSchema whose level is not there is passed over.
    pub fn new(schemas: &[Value], levels: &[Value]) -> Self {
        let levels: Vec<Level> =
            levels.iter().enumerate().map(|(object, value)| level(object, value)).collect();
        let by_name: HashMap<&str, usize> =
            levels.iter().enumerate().map(|(index, level)| (level.name.as_str(), index)).collect();
        let mut schemas: Vec<FlowSchema> = schemas
            .iter()
            .enumerate()
            .filter_map(|(object, value)| {
                let spec = &value["spec"];
                let level = *by_name.get(text(&spec["priorityLevelConfiguration"], "name"))?;
                Some(FlowSchema {
                    object,
                    name: kplane_machinery::object::name(value).to_owned(),
                    precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
                    level,
                    by: match text(&spec["distinguisherMethod"], "type") {
                        "ByUser" => Distinguisher::User,
                        "ByNamespace" => Distinguisher::Namespace,
                        _ => Distinguisher::Nothing,
                    },
                    rules: spec["rules"].as_array().into_iter().flatten().map(rule).collect(),
                })
            })
            .collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let shares =
            levels.iter().filter_map(|level| level.limited.as_ref()).map(|limited| limited.shares).sum();
        Self { schemas, levels, shares }
    }

    /// Where a request belongs: to the first FlowSchema that matches.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Flow {
        let matching =
            self.schemas.iter().find(|schema| schema.rules.iter().any(|rule| rule.matches(user, info)));
        match matching {
            Some(schema) => Flow {
                schema: Some(schema.object),
                level: Some(schema.level),
                distinguisher: match schema.by {
                    Distinguisher::Nothing => schema.name.clone(),
                    Distinguisher::User => format!("{}/{}", schema.name, user.username),
                    Distinguisher::Namespace => format!("{}/{}", schema.name, info.namespace),
                },
            },
            None => Flow { schema: None, level: None, distinguisher: user.username.clone() },
        }
    }

    /// A level.
    pub fn level(&self, index: usize) -> Option<&Level> {
        self.levels.get(index)
    }

    /// A level by its name.
    fn named(&self, name: &str) -> Option<(&Level, &Limited)> {
        self.levels
            .iter()
            .find(|level| level.name == name)
            .and_then(|level| Some((level, level.limited.as_ref()?)))
    }

    /// The seats of a level by right, of so many in all.
    fn nominal(&self, limited: &Limited, seats: usize) -> usize {
        if self.shares == 0 {
            return 0;
        }
        let part = (seats as u64 * limited.shares).div_ceil(self.shares);
        usize::try_from(part).unwrap_or(seats)
    }

    /// The seats that a level may have now, of so many in all, given how many each of the others has taken.
    pub fn limit_of(&self, name: &str, seats: usize, taken: impl Fn(&str) -> usize) -> usize {
        // What no FlowSchema matches has as little as what the last one matches.
        let Some((_, own)) = self.named(name) else { return seats.div_ceil(20) };
        let nominal = self.nominal(own, seats);
        let mut borrowed = 0;
        for other in self.levels.iter().filter(|other| other.name != name) {
            let Some(limited) = &other.limited else { continue };
            let theirs = self.nominal(limited, seats);
            let lendable = theirs * limited.lendable.min(100) as usize / 100;
            borrowed += lendable.min(theirs.saturating_sub(taken(&other.name)));
        }
        if let Some(percent) = own.borrowing {
            borrowed = borrowed.min(nominal * usize::try_from(percent).unwrap_or(usize::MAX) / 100);
        }
        // One request at a time is always served: a level without shares must not be dead.
        (nominal + borrowed).max(1)
    }
}

fn level(object: usize, value: &Value) -> Level {
    let spec = &value["spec"];
    let limited = (text(spec, "type") != "Exempt").then(|| {
        let limited = &spec["limited"];
        let response = &limited["limitResponse"];
        let queuing = &response["queuing"];
        Limited {
            shares: number(&limited["nominalConcurrencyShares"], 30),
            lendable: number(&limited["lendablePercent"], 0),
            borrowing: limited["borrowingLimitPercent"].as_u64(),
            queues: (text(response, "type") == "Queue").then(|| Queues {
                count: number(&queuing["queues"], 64).max(1),
                hand: number(&queuing["handSize"], 8).max(1),
                length: usize::try_from(number(&queuing["queueLengthLimit"], 50)).unwrap_or(50),
            }),
        }
    });
    Level { object, name: kplane_machinery::object::name(value).to_owned(), limited }
}

fn rule(value: &Value) -> Rule {
    let all = |field: &str| value[field].as_array().into_iter().flatten();
    Rule {
        subjects: all("subjects")
            .filter_map(|subject| match text(subject, "kind") {
                "User" => Some(Subject::User(text(&subject["user"], "name").to_owned())),
                "Group" => Some(Subject::Group(text(&subject["group"], "name").to_owned())),
                "ServiceAccount" => {
                    let account = &subject["serviceAccount"];
                    Some(Subject::Account(
                        text(account, "namespace").to_owned(),
                        text(account, "name").to_owned(),
                    ))
                }
                _ => None,
            })
            .collect(),
        resources: all("resourceRules")
            .map(|rule| ResourceRule {
                verbs: texts(rule, "verbs"),
                groups: texts(rule, "apiGroups"),
                resources: texts(rule, "resources"),
                cluster_scope: rule["clusterScope"].as_bool().unwrap_or(false),
                namespaces: texts(rule, "namespaces"),
            })
            .collect(),
        paths: all("nonResourceRules")
            .map(|rule| PathRule { verbs: texts(rule, "verbs"), paths: texts(rule, "nonResourceURLs") })
            .collect(),
    }
}

fn any(all: &[String], wanted: &str) -> bool {
    all.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.is_resource {
                self.resources.iter().any(|rule| rule.matches(info))
            } else {
                self.paths.iter().any(|rule| rule.matches(info))
            }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.username,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::Account(namespace, name) => parse_service_account(&user.username)
                .is_some_and(|(ns, account)| ns == namespace && (name == "*" || account == name)),
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = if info.subresource.is_empty() {
            any(&self.resources, &info.resource)
        } else {
            any(&self.resources, &format!("{}/{}", info.resource, info.subresource))
        };
        let scope = if info.namespace.is_empty() {
            self.cluster_scope
        } else {
            any(&self.namespaces, &info.namespace)
        };
        resource && scope && any(&self.verbs, &info.verb) && any(&self.groups, &info.group)
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        any(&self.verbs, &info.verb)
            && self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(prefix) => info.path.starts_with(prefix),
                None => *path == info.path,
            })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub fn bootstrap() -> FlowConfig {
        let of = |resource: &str| -> Vec<Value> {
            let all = kplane_auth::bootstrap::objects().into_iter();
            all.filter(|object| object.resource == resource).map(|object| object.value).collect()
        };
        FlowConfig::new(&of("flowschemas"), &of("prioritylevelconfigurations"))
    }

    fn get(resource: &str, namespace: &str) -> RequestInfo {
        RequestInfo {
            is_resource: true,
            verb: "get".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            ..RequestInfo::default()
        }
    }

    fn level_of<'a>(config: &'a FlowConfig, user: &UserInfo, info: &RequestInfo) -> &'a str {
        let level = config.classify(user, info).level.expect("a level");
        &config.level(level).expect("its name").name
    }

    #[test]
    fn requests_find_their_level_as_upstream() {
        let config = bootstrap();
        let user = |name: &str, group: &str| UserInfo::new(name, [group, "system:authenticated"]);
        let pods = get("pods", "default");
        assert_eq!(level_of(&config, &user("a", "system:masters"), &pods), "exempt");
        assert_eq!(level_of(&config, &user("jane", "people"), &pods), "global-default");
        let account = user("system:serviceaccount:default:x", "system:serviceaccounts");
        assert_eq!(level_of(&config, &account, &pods), "workload-low");
        let account = user("system:serviceaccount:kube-system:x", "system:serviceaccounts");
        assert_eq!(level_of(&config, &account, &pods), "workload-high");
        assert_eq!(level_of(&config, &user("n", "system:nodes"), &get("nodes", "")), "node-high");
        assert_eq!(level_of(&config, &user("n", "system:nodes"), &pods), "system");
        let probe = RequestInfo { verb: "get".into(), path: "/readyz".into(), ..RequestInfo::default() };
        assert_eq!(level_of(&config, &UserInfo::anonymous(), &probe), "exempt");
        let other = RequestInfo { verb: "get".into(), path: "/version".into(), ..RequestInfo::default() };
        assert_eq!(level_of(&config, &UserInfo::anonymous(), &other), "global-default");
    }

    #[test]
    fn flows_are_told_apart_by_what_the_schema_says() {
        let rules = json!([{
            "subjects": [{"kind": "Group", "group": {"name": "*"}}],
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
            }],
        }]);
        let schema = |by: &str| {
            json!({"metadata": {"name": "s"}, "spec": {
                "priorityLevelConfiguration": {"name": "l"}, "distinguisherMethod": {"type": by}, "rules": rules,
            }})
        };
        let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {}}});
        let flow = |by: &str, user: &str, namespace: &str| {
            let config = FlowConfig::new(&[schema(by)], std::slice::from_ref(&level));
            config.classify(&UserInfo::new(user, ["g"]), &get("pods", namespace)).distinguisher
        };
        assert_ne!(flow("ByUser", "a", "n"), flow("ByUser", "b", "n"));
        assert_eq!(flow("ByNamespace", "a", "n"), flow("ByNamespace", "b", "n"));
        assert_ne!(flow("ByNamespace", "a", "n"), flow("ByNamespace", "a", "m"));
    }

    #[test]
    fn a_schema_without_its_level_is_passed_over() {
        let schema = json!({"metadata": {"name": "s"}, "spec": {
            "priorityLevelConfiguration": {"name": "missing"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}],
        }});
        let config = FlowConfig::new(&[schema], &[]);
        assert_eq!(config.classify(&UserInfo::new("a", ["g"]), &RequestInfo::default()).level, None);
    }

    #[test]
    fn seats_are_lent_and_borrowed() {
        let config = bootstrap();
        let idle = config.limit_of("global-default", 245, |_| 0);
        // 20 by right, and what others lend: 10 of 20 are its own to lend.
        assert_eq!(idle, 20 + 10 + 9 + 20 + 90);
        let busy =
            config.limit_of("global-default", 245, |level| if level == "workload-low" { 100 } else { 0 });
        assert_eq!(busy, idle - 90);
        // What is not lent stays.
        assert_eq!(config.limit_of("catch-all", 245, |_| 245), 5);
    }
}
