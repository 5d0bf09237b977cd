//! `AuthorizationConfiguration` (`apiserver.config.k8s.io/v1`): which authorizers root asks, in order.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kplane_rules::PlainExpression;
use serde::Deserialize;

use super::Link;
use super::webhook::{AccessWebhook, AccessWebhookOptions};
use crate::foreign::kubeconfig_target;
use crate::options::duration;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    authorizers: Vec<AuthorizerConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizerConfig {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    webhook: Option<WebhookConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WebhookConfig {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: String,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: String,
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    match_conditions: Vec<MatchCondition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MatchCondition {
    expression: String,
}

/// Reads the file of `--authorization-config`.
pub fn load(file: &FilePath) -> anyhow::Result<Vec<Link>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    read(&text).with_context(|| format!("in {}", file.display()))
}

/// Node, RBAC, then the webhook of a kubeconfig: `--authorization-webhook-config-file`.
pub fn with_webhook(file: &FilePath) -> anyhow::Result<Vec<Link>> {
    let options = AccessWebhookOptions {
        target: kubeconfig_target(file)?,
        timeout: Duration::from_secs(30),
        authorized_ttl: Some(Duration::from_secs(5 * 60)),
        unauthorized_ttl: Some(Duration::from_secs(30)),
        deny_on_failure: false,
        conditions: Vec::new(),
    };
    Ok(vec![Link::Node, Link::Rbac, Link::Webhook(AccessWebhook::new(options))])
}

fn read(text: &str) -> anyhow::Result<Vec<Link>> {
    let config: Configuration =
        serde_saphyr::from_str(text).context("it is no AuthorizationConfiguration")?;
    if config.kind != "AuthorizationConfiguration"
        || !matches!(&*config.api_version, "apiserver.config.k8s.io/v1" | "apiserver.config.k8s.io/v1beta1")
    {
        bail!(
            "{} {} is no AuthorizationConfiguration of apiserver.config.k8s.io/v1",
            config.api_version,
            config.kind
        );
    }
    if config.authorizers.is_empty() {
        bail!("authorizers: Required value: at least one authorization mode must be defined");
    }
    let (mut links, mut types, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (index, authorizer) in config.authorizers.into_iter().enumerate() {
        let at = format!("authorizers[{index}]");
        let kind = authorizer.kind.clone();
        if !types.insert(kind.clone()) && kind != "Webhook" {
            bail!("{at}.type: Duplicate value: {kind:?}");
        }
        if authorizer.name.is_empty() {
            bail!("{at}.name: Required value");
        }
        if !names.insert(authorizer.name.clone()) {
            bail!("{at}.name: Duplicate value: {:?}", authorizer.name);
        }
        links.push(match (&*kind, authorizer.webhook) {
            ("Webhook", Some(config)) => Link::Webhook(webhook(config, &at)?),
            ("Webhook", None) => bail!("{at}.webhook: Required value: required when type=Webhook"),
            (_, Some(_)) => bail!("{at}.webhook: Invalid value: may only be specified when type=Webhook"),
            ("Node", None) => Link::Node,
            ("RBAC", None) => Link::Rbac,
            ("AlwaysAllow", None) => Link::AlwaysAllow,
            ("AlwaysDeny", None) => Link::AlwaysDeny,
            ("", None) => bail!("{at}.type: Required value"),
            (other, None) => bail!("{at}.type: Unsupported value: {other:?}: supported values: \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\""),
        });
    }
    Ok(links)
}

fn webhook(config: WebhookConfig, at: &str) -> anyhow::Result<AccessWebhook> {
    let duration = |field: &str, text: &str| -> anyhow::Result<Duration> {
        if text.is_empty() {
            bail!("{at}.webhook.{field}: Required value");
        }
        let given = duration(text).map_err(|why| anyhow::anyhow!("{at}.webhook.{field}: {why}"))?;
        if given.is_zero() {
            bail!("{at}.webhook.{field}: Invalid value: {text:?}: must be > 0s");
        }
        Ok(given)
    };
    let timeout = duration("timeout", &config.timeout)?;
    if timeout > Duration::from_secs(30) {
        bail!("{at}.webhook.timeout: Invalid value: {:?}: must be > 0s and <= 30s", config.timeout);
    }
    if config.subject_access_review_version != "v1" {
        let given = &config.subject_access_review_version;
        bail!(
            "{at}.webhook.subjectAccessReviewVersion: Unsupported value: {given:?}: supported values: \"v1\""
        );
    }
    let version = &*config.match_condition_subject_access_review_version;
    if version != "v1" && !(version.is_empty() && config.match_conditions.is_empty()) {
        bail!(
            "{at}.webhook.matchConditionSubjectAccessReviewVersion: Unsupported value: {version:?}: supported values: \"v1\""
        );
    }
    let deny_on_failure = match &*config.failure_policy {
        "NoOpinion" => false,
        "Deny" => true,
        other => bail!(
            "{at}.webhook.failurePolicy: Unsupported value: {other:?}: supported values: \"NoOpinion\", \"Deny\""
        ),
    };
    if config.connection_info.kind != "KubeConfigFile" {
        let given = &config.connection_info.kind;
        bail!(
            "{at}.webhook.connectionInfo.type: Unsupported value: {given:?}: supported values: \"KubeConfigFile\""
        );
    }
    let file = config.connection_info.kube_config_file.filter(|file| file.is_absolute());
    let file = file.with_context(|| {
        format!("{at}.webhook.connectionInfo.kubeConfigFile: Invalid value: must be an absolute path")
    })?;
    let mut conditions = Vec::new();
    for (index, condition) in config.match_conditions.iter().enumerate() {
        let compiled = PlainExpression::compile(&condition.expression, &["request"]).map_err(|why| {
            anyhow::anyhow!("{at}.webhook.matchConditions[{index}].expression: Invalid value: {why}")
        })?;
        conditions.push(compiled);
    }
    let authorized = duration("authorizedTTL", &config.authorized_ttl)?;
    let unauthorized = duration("unauthorizedTTL", &config.unauthorized_ttl)?;
    Ok(AccessWebhook::new(AccessWebhookOptions {
        target: kubeconfig_target(&file)?,
        timeout,
        authorized_ttl: config.cache_authorized_requests.unwrap_or(true).then_some(authorized),
        unauthorized_ttl: config.cache_unauthorized_requests.unwrap_or(true).then_some(unauthorized),
        deny_on_failure,
        conditions,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        format!("{:#}", read(text).map(drop).unwrap_err())
    }

    #[test]
    fn a_chain_is_read_in_its_order() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
                    - {type: RBAC, name: rbac}\n- {type: Node, name: node}\n";
        let links = read(text).unwrap();
        assert!(matches!(links.as_slice(), [Link::Rbac, Link::Node]));
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        let begin =
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n";
        assert!(said(&begin.replace("authorizers:\n", "authorizers: []\n")).contains("at least one"));
        assert!(said(&format!("{begin}- {{type: RBAC}}\n")).contains("authorizers[0].name"));
        assert!(said(&format!("{begin}- {{type: Webhook, name: x}}\n")).contains("authorizers[0].webhook"));
        assert!(said(&format!("{begin}- {{type: Magic, name: x}}\n")).contains("Unsupported value"));
        assert!(said(&format!("{begin}- {{type: RBAC, name: x, wehbook: {{}}}}\n")).contains("unknown"));
        assert!(
            said(&format!("{begin}- {{type: RBAC, name: x}}\n- {{type: RBAC, name: y}}\n"))
                .contains("Duplicate")
        );
        let hook = "{type: Webhook, name: x, webhook: {timeout: 3s, authorizedTTL: 5m, unauthorizedTTL: 30s, \
                    subjectAccessReviewVersion: v1, failurePolicy: Sometimes}}";
        assert!(said(&format!("{begin}- {hook}\n")).contains("failurePolicy"));
    }
}
