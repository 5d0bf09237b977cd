//! The audit policy: `audit.k8s.io/v1` `Policy`, read from `--audit-policy-file`.

use std::path::Path;

use anyhow::{Context as _, bail};
use kplane_auth::UserInfo;
use kplane_schema::Format;
use serde_json::Value;

use crate::filters::RequestInfo;

/// How much of a request is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, and how it went.
    Metadata,
    /// The object that was sent, too.
    Request,
    /// The answer, too.
    RequestResponse,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "None" => Self::None,
            "Metadata" => Self::Metadata,
            "Request" => Self::Request,
            "RequestResponse" => Self::RequestResponse,
            _ => return None,
        })
    }

    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    /// As events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }

    fn all() -> [Self; 4] {
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic]
    }
}

/// What a policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// How much is written down.
    pub level: Level,
    /// At which stages nothing is.
    pub omitted: Vec<Stage>,
    /// Whether managed fields are left out.
    pub omit_managed_fields: bool,
}

/// A policy: the first rule that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default)]
struct Rule {
    decision: Decision,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
}

#[derive(Clone, Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let all = value[field].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn stages(value: &Value) -> anyhow::Result<Vec<Stage>> {
    texts(value, "omitStages")
        .iter()
        .map(|text| {
            let stage = Stage::all().into_iter().find(|stage| stage.as_str() == text);
            stage.with_context(|| format!("omitStages: {text:?} is no stage"))
        })
        .collect()
}

impl Policy {
    /// Without a file: everything at level Metadata, when it is done.
    pub fn metadata() -> Self {
        let decision = Decision {
            level: Level::Metadata,
            omitted: vec![Stage::RequestReceived],
            omit_managed_fields: false,
        };
        Self { rules: vec![Rule { decision, ..Rule::default() }] }
    }

    /// Reads a policy from a file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).context("it cannot be read")?;
        let value = kplane_schema::parse(&bytes, Format::Yaml).context("it is not valid YAML")?.value;
        Self::of(&value)
    }

    /// Reads a policy.
    pub fn of(value: &Value) -> anyhow::Result<Self> {
        let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
        if (version, kind) != (Some("audit.k8s.io/v1"), Some("Policy")) {
            bail!("it must be a Policy of audit.k8s.io/v1");
        }
        let omitted = stages(value)?;
        let omit_managed_fields = value["omitManagedFields"].as_bool().unwrap_or(false);
        let rules: Vec<Rule> = value["rules"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(i, rule)| {
                Self::rule(rule, &omitted, omit_managed_fields).with_context(|| format!("rules[{i}]"))
            })
            .collect::<anyhow::Result<_>>()?;
        if rules.is_empty() {
            bail!("it has no rules: a policy without rules would write down nothing");
        }
        Ok(Self { rules })
    }

    fn rule(value: &Value, omitted: &[Stage], omit_managed_fields: bool) -> anyhow::Result<Rule> {
        let text = value["level"].as_str().unwrap_or("");
        let level = Level::parse(text).with_context(|| {
            format!("level: {text:?} is none of None, Metadata, Request, RequestResponse")
        })?;
        let mut all = stages(value)?;
        all.extend_from_slice(omitted);
        let rule = Rule {
            decision: Decision {
                level,
                omitted: all,
                omit_managed_fields: value["omitManagedFields"].as_bool().unwrap_or(omit_managed_fields),
            },
            users: texts(value, "users"),
            groups: texts(value, "userGroups"),
            verbs: texts(value, "verbs"),
            resources: value["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| Resources {
                    group: one["group"].as_str().unwrap_or("").to_owned(),
                    resources: texts(one, "resources"),
                    names: texts(one, "resourceNames"),
                })
                .collect(),
            namespaces: texts(value, "namespaces"),
            paths: texts(value, "nonResourceURLs"),
        };
        let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
        if !rule.paths.is_empty() && of_resources {
            bail!("nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs");
        }
        Ok(rule)
    }

    /// What it says of a request. Without a rule that matches nothing is written down.
    pub fn decide(&self, user: Option<&UserInfo>, info: &RequestInfo) -> Decision {
        let found = self.rules.iter().find(|rule| rule.matches(user, info));
        found.map(|rule| rule.decision.clone()).unwrap_or_default()
    }
}

impl Rule {
    fn matches(&self, user: Option<&UserInfo>, info: &RequestInfo) -> bool {
        let names = |all: &[String], wanted: &str| all.iter().any(|one| one == wanted);
        if !self.users.is_empty() && !user.is_some_and(|user| names(&self.users, &user.username)) {
            return false;
        }
        let in_one = |user: &UserInfo| user.groups.iter().any(|group| names(&self.groups, group));
        if !self.groups.is_empty() && !user.is_some_and(in_one) {
            return false;
        }
        if !self.verbs.is_empty() && !names(&self.verbs, &info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || names(&self.namespaces, &info.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(info)));
        }
        if !self.paths.is_empty() {
            return !info.is_resource
                && self.paths.iter().any(|path| match path.strip_suffix('*') {
                    Some(prefix) => info.path.starts_with(prefix),
                    None => *path == info.path,
                });
        }
        true
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let combined = if info.subresource.is_empty() {
            info.resource.clone()
        } else {
            format!("{}/{}", info.resource, info.subresource)
        };
        let named = self.names.is_empty() || self.names.contains(&info.name);
        named
            && self.resources.iter().any(|one| {
                one == "*"
                    || *one == combined
                    || one.strip_prefix("*/").is_some_and(|sub| sub == info.subresource)
                    || one.strip_suffix("/*").is_some_and(|resource| resource == info.resource)
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(verb: &str, resource: &str, subresource: &str, namespace: &str) -> RequestInfo {
        RequestInfo {
            is_resource: true,
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            ..RequestInfo::default()
        }
    }

    fn policy(rules: Value) -> Policy {
        Policy::of(&json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules,
        }))
        .expect("a policy")
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(json!([
            {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"]},
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "pods/*"]}]},
            {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"], "resourceNames": ["a"]}], "namespaces": ["n"], "omitStages": ["ResponseStarted"]},
            {"level": "Request", "userGroups": ["people"], "resources": [{"group": ""}]},
            {"level": "Metadata", "nonResourceURLs": ["/api*", "/version"]},
        ]));
        let jane = UserInfo::new("jane", ["people"]);
        let level = |info: &RequestInfo| policy.decide(Some(&jane), info).level;
        assert_eq!(level(&info("get", "secrets", "", "n")), Level::Metadata);
        assert_eq!(level(&info("get", "pods", "log", "n")), Level::Metadata);
        // As upstream, `pods/*` is the pods themselves too.
        assert_eq!(level(&info("get", "pods", "", "n")), Level::Metadata);
        assert_eq!(level(&info("get", "services", "", "n")), Level::Request);
        let mut named = info("get", "configmaps", "", "n");
        named.name = "a".into();
        assert_eq!(level(&named), Level::RequestResponse);
        assert_eq!(
            policy.decide(Some(&jane), &named).omitted,
            [Stage::ResponseStarted, Stage::RequestReceived]
        );
        named.namespace = "other".into();
        assert_eq!(level(&named), Level::Request);
        let proxy = UserInfo::new("system:kube-proxy", ["people"]);
        assert_eq!(policy.decide(Some(&proxy), &info("watch", "secrets", "", "")).level, Level::None);
        // Nobody is in no group.
        assert_eq!(policy.decide(None, &info("get", "services", "", "n")).level, Level::None);
        let path =
            |path: &str| RequestInfo { path: path.into(), verb: "get".into(), ..RequestInfo::default() };
        assert_eq!(level(&path("/apis/apps")), Level::Metadata);
        assert_eq!(level(&path("/healthz")), Level::None);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said() {
        let of = |rules: Value| {
            let policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules});
            format!("{:#}", Policy::of(&policy).expect_err("refused"))
        };
        assert!(of(json!([{"level": "Everything"}])).contains("rules[0]: level: \"Everything\""));
        assert!(of(json!([])).contains("no rules"));
        assert!(of(json!([{"level": "None", "omitStages": ["Later"]}])).contains("\"Later\" is no stage"));
        assert!(
            of(json!([{"level": "None", "namespaces": ["a"], "nonResourceURLs": ["/x"]}])).contains("both")
        );
        assert!(Policy::of(&json!({"kind": "Policy"})).is_err());
    }
}
