//! An issuer that judges claims: what must hold of them, and whom they speak of.

use kplane_machinery::time::Time;
use kplane_rules::{Budget, PlainExpression};
use serde_json::{Map, Value, json};

use super::config::IssuerConfig;
use crate::user::UserInfo;

/// What all expressions of a token may cost, in upstream's units.
const COST: u64 = 10_000_000;
/// How far clocks may differ before a token begins.
const BEFORE: i64 = 5 * 60;

/// An issuer, compiled.
#[derive(Debug)]
pub struct Issuer {
    /// Who it is and for whom its tokens must be.
    pub config: IssuerConfig,
    pub(super) required: Vec<(String, String)>,
    pub(super) claim_rules: Vec<Rule>,
    pub(super) username: Mapping,
    pub(super) groups: Mapping,
    pub(super) uid: Mapping,
    pub(super) extra: Vec<(String, PlainExpression)>,
    pub(super) user_rules: Vec<Rule>,
}

#[derive(Debug)]
pub(super) enum Mapping {
    Nothing,
    Claim { claim: String, prefix: String },
    Expression(PlainExpression),
}

#[derive(Debug)]
pub(super) struct Rule {
    pub expression: PlainExpression,
    pub message: String,
}

impl Issuer {
    /// Who a token speaks of, whose signature was verified, by its claims; without `system:authenticated`.
    pub fn user(&self, claims: &Map<String, Value>, now: i64) -> Result<UserInfo, String> {
        self.times_and_audience(claims, now)?;
        let value = Value::Object(claims.clone());
        let mut evaluation = Evaluation { claims: &value, budget: Budget::new(COST) };
        let mut user =
            UserInfo::new(self.username(claims, &mut evaluation)?, self.groups(claims, &mut evaluation)?);
        user.uid = match &self.uid {
            Mapping::Nothing => String::new(),
            Mapping::Claim { claim, .. } => {
                text(claims, claim).map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"))?
            }
            Mapping::Expression(expression) => match evaluation.of(expression, "uid claim")? {
                Value::String(text) => text,
                _ => {
                    return Err("oidc: error evaluating uid claim expression: uid claim expression must return a string".into());
                }
            },
        };
        for (key, expression) in &self.extra {
            let value = evaluation.of(expression, "extra claim")?;
            let values = strings(value).map_err(|why| {
                format!("oidc: error evaluating extra claim expression: {}: {why}", expression.source())
            })?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        for (claim, wanted) in &self.required {
            let found = claims
                .get(claim)
                .ok_or_else(|| format!("oidc: required claim {claim} not present in ID token"))?
                .as_str()
                .ok_or_else(|| format!("oidc: parse claim {claim}: it is no text"))?;
            if found != wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        for rule in &self.claim_rules {
            let value = evaluation.of(&rule.expression, "claim validation")?;
            rule.judge(&value)
                .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        }
        if !self.user_rules.is_empty() {
            let info = json!({
                "username": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
            });
            for rule in &self.user_rules {
                let failed = |why: String| format!("oidc: error evaluating user info validation rule: {why}");
                let value =
                    rule.expression.evaluate(&[("user", &info)], &mut evaluation.budget).map_err(failed)?;
                rule.judge(&value).map_err(failed)?;
            }
        }
        Ok(user)
    }

    fn times_and_audience(&self, claims: &Map<String, Value>, now: i64) -> Result<(), String> {
        let time = |claim: &str| claims.get(claim).and_then(Value::as_f64).map(|seconds| seconds as i64);
        let shown = |unix: i64| Time::from_unix(unix, 0).to_string();
        let ends = time("exp").unwrap_or(0);
        if ends < now {
            return Err(format!(
                "oidc: verify token: oidc: token is expired (Token Expiry: {})",
                shown(ends)
            ));
        }
        if let Some(begins) = time("nbf").filter(|begins| now + BEFORE < *begins) {
            return Err(format!(
                "oidc: verify token: oidc: current time {} before the nbf (not before) time: {}",
                shown(now),
                shown(begins)
            ));
        }
        let audiences: Vec<&str> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !audiences.iter().any(|audience| self.config.audiences.iter().any(|wanted| wanted == audience)) {
            return Err(format!(
                "oidc: verify token: oidc: expected audience in {:?} got {audiences:?}",
                self.config.audiences
            ));
        }
        Ok(())
    }

    fn username(
        &self,
        claims: &Map<String, Value>,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<String, String> {
        let username = match &self.username {
            Mapping::Nothing => return Err("oidc: no claim makes the user name".into()),
            Mapping::Expression(expression) => match evaluation.of(expression, "username claim")? {
                Value::String(text) => text,
                _ => {
                    return Err("oidc: error evaluating username claim expression: username claim expression must return a string".into());
                }
            },
            Mapping::Claim { claim, prefix } => {
                let name = text(claims, claim)
                    .map_err(|why| format!("oidc: parse username claims {claim:?}: {why}"))?;
                if claim == "email"
                    && claims.get("email_verified").is_some_and(|said| said != &Value::Bool(true))
                {
                    return Err("oidc: email not verified".into());
                }
                // With nothing behind it, the prefix would be a user whom many are.
                if name.is_empty() { name } else { format!("{prefix}{name}") }
            }
        };
        // An empty name is nobody's.
        if username.is_empty() { Err("oidc: the user name is empty".into()) } else { Ok(username) }
    }

    fn groups(
        &self,
        claims: &Map<String, Value>,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<Vec<String>, String> {
        match &self.groups {
            Mapping::Nothing => Ok(Vec::new()),
            Mapping::Expression(expression) => strings(evaluation.of(expression, "group claim")?)
                .map_err(|why| format!("oidc: error evaluating group claim expression: {why}")),
            Mapping::Claim { claim, prefix } => {
                let Some(found) = claims.get(claim) else { return Ok(Vec::new()) };
                let groups: Option<Vec<&str>> = match found {
                    Value::String(one) => Some(vec![one]),
                    Value::Array(many) => many.iter().map(Value::as_str).collect(),
                    _ => None,
                };
                let groups = groups.ok_or_else(|| {
                    format!("oidc: parse groups claim {claim:?}: neither a text nor a list of them")
                })?;
                Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
        }
    }
}

struct Evaluation<'a> {
    claims: &'a Value,
    budget: Budget,
}

impl Evaluation<'_> {
    fn of(&mut self, expression: &PlainExpression, what: &str) -> Result<Value, String> {
        expression
            .evaluate(&[("claims", self.claims)], &mut self.budget)
            .map_err(|why| format!("oidc: error evaluating {what} expression: {why}"))
    }
}

impl Rule {
    fn judge(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Bool(true) => Ok(()),
            Value::Bool(false) => {
                Err(format!("validation expression '{}' failed: {}", self.expression.source(), self.message))
            }
            _ => Err("validation expression must return a boolean".into()),
        }
    }
}

fn text(claims: &Map<String, Value>, claim: &str) -> Result<String, &'static str> {
    claims.get(claim).ok_or("claim not present")?.as_str().map(str::to_owned).ok_or("it is no text")
}

/// A text or a list of them; what is empty is not there.
fn strings(value: Value) -> Result<Vec<String>, &'static str> {
    const WRONG: &str = "expression must return a string or a list of strings";
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one],
        Value::Array(many) => many
            .into_iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or(WRONG))
            .collect::<Result<_, _>>()?,
        _ => return Err(WRONG),
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}
