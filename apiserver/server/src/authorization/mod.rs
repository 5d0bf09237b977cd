//! What an identity may do in a control plane: `system:masters`, then one authorizer after the other until one says yes
//! or no.

mod config;
mod webhook;

use std::sync::Arc;

use kplane_auth::UserInfo;
use kplane_auth::authz::node::{self, NodePods};
use kplane_auth::authz::{Attributes, Authorizer, Decision, PolicyRule, RbacIndex, Verdict};
use kplane_auth::user::{MASTERS, UNAUTHENTICATED};
use kplane_machinery::Status;
use kplane_registry::Vcp;

use crate::app::App;
use crate::endpoints::reader::VcpReader;
use crate::identity::Identities;
use crate::options::Options;

pub use self::config::load;
use self::webhook::AccessWebhook;

/// One link of the chain.
#[derive(Clone, Debug)]
pub enum Link {
    /// What nodes may.
    Node,
    /// Roles and bindings.
    Rbac,
    /// A webhook of the operator's.
    Webhook(AccessWebhook),
    /// Everybody may everything.
    AlwaysAllow,
    /// Nobody may anything that another does not allow.
    AlwaysDeny,
}

/// The chain of every virtual control plane, and of root unless the operator says otherwise.
pub const USUAL: [Link; 2] = [Link::Node, Link::Rbac];

/// The chain of root.
pub fn of_root(options: &Options) -> anyhow::Result<Vec<Link>> {
    match (&options.authorization_config, &options.authorization_webhook_config_file) {
        (Some(file), _) => config::load(file),
        (None, Some(file)) => config::with_webhook(file),
        (None, None) => Ok(USUAL.to_vec()),
    }
}

impl Identities {
    /// What the authorizers of a control plane say, as of now. Without a control plane: of one that holds the bootstrap
    /// policy alone.
    pub async fn decide(
        &self,
        app: &App,
        vcp: Option<&Vcp>,
        attributes: &Attributes<'_>,
    ) -> Result<Verdict, Status> {
        if attributes.user.in_group(MASTERS) {
            return Ok(Verdict::allow(""));
        }
        let mut reasons: Vec<String> = Vec::new();
        for link in self.links(vcp).iter() {
            let verdict = match link {
                Link::Node => match vcp {
                    Some(vcp) if node::identity(attributes.user).is_some() => {
                        node::authorize(attributes, &VcpReader::new(app, vcp) as &dyn NodePods).await?
                    }
                    _ => continue,
                },
                Link::Rbac => self.rbac(app, vcp, attributes.user).await?.authorize(attributes),
                Link::Webhook(webhook) => webhook.authorize(&app.egress, attributes).await,
                Link::AlwaysAllow => Verdict::allow(""),
                Link::AlwaysDeny => Verdict::no_opinion("Everything is forbidden."),
            };
            if verdict.decision != Decision::NoOpinion {
                return Ok(verdict);
            }
            if !verdict.reason.is_empty() {
                reasons.push(verdict.reason);
            }
        }
        Ok(Verdict::no_opinion(reasons.join("\n")))
    }

    /// 403 unless the user may do it; the reason why it may.
    pub async fn require(
        &self,
        app: &App,
        vcp: Option<&Arc<Vcp>>,
        attributes: &Attributes<'_>,
    ) -> Result<String, Status> {
        let verdict = self.decide(app, vcp.map(|vcp| &**vcp), attributes).await?;
        if verdict.allowed() { Ok(verdict.reason) } else { Err(attributes.forbidden(&verdict.reason)) }
    }

    /// The rules of a user in a namespace, and what could not be told: for a `SelfSubjectRulesReview`.
    pub async fn rules_for(
        &self,
        app: &App,
        vcp: &Vcp,
        user: &UserInfo,
        namespace: &str,
    ) -> Result<(Vec<PolicyRule>, Vec<String>), Status> {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for link in self.links(Some(vcp)).iter() {
            match link {
                Link::Node if node::identity(user).is_some() => {
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                }
                Link::Rbac => {
                    let rbac = self.rbac(app, Some(vcp), user).await?;
                    let (found, missing) = Authorizer::new(&rbac).rules_for(user, namespace);
                    rules.extend(found);
                    errors.extend(missing);
                }
                Link::Webhook(_) => {
                    errors.push("webhook authorizer does not support user rule resolution".to_owned())
                }
                Link::AlwaysAllow => rules.extend(PolicyRule::everything()),
                Link::Node | Link::AlwaysDeny => {}
            }
        }
        Ok((rules, errors))
    }

    fn links(&self, vcp: Option<&Vcp>) -> Arc<[Link]> {
        if vcp.is_some_and(Vcp::is_root) { self.root_links() } else { self.usual_links() }
    }

    /// RBAC as it stands. For somebody nobody knows nothing is loaded.
    async fn rbac(&self, app: &App, vcp: Option<&Vcp>, user: &UserInfo) -> Result<Arc<RbacIndex>, Status> {
        match vcp {
            Some(vcp) if !user.in_group(UNAUTHENTICATED) => self.policies().index_of(app, vcp).await,
            vcp => self.policies().index_for_stranger(app, vcp).await,
        }
    }
}
