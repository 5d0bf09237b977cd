//! From the configuration of an issuer to one that judges claims, or all that is wrong with it
//! (`k8s.io/apiserver/pkg/apis/apiserver/validation`).

use std::collections::BTreeSet;

use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::names::is_dns1123_subdomain;
use kplane_rules::PlainExpression;

use super::config::{ClaimMappings, IssuerConfig, JwtAuthenticator, PrefixedMapping};
use super::issuer::{Issuer, Mapping, Rule};
use crate::pki::certificates_of_pem;

/// How many issuers there may be.
const MOST: usize = 64;

/// Compiles issuers; none may be one of the server's own, which `is_own` knows.
pub fn compile(
    authenticators: &[JwtAuthenticator],
    at: &Path,
    is_own: &dyn Fn(&str) -> bool,
) -> Result<Vec<Issuer>, ErrorList> {
    if authenticators.len() > MOST {
        return Err(vec![FieldError::too_many(at, authenticators.len(), MOST)]);
    }
    let mut errors = ErrorList::new();
    let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
    let mut issuers = Vec::new();
    for (index, authenticator) in authenticators.iter().enumerate() {
        let at = at.index(index);
        let mut one = Checked { errors: ErrorList::new() };
        let issuer = one.authenticator(authenticator, &at, is_own);
        errors.append(&mut one.errors);
        let config = &authenticator.issuer;
        if !urls.insert(config.url.as_str()) {
            errors.push(FieldError::duplicate(&at.child("issuer").child("url"), &config.url.as_str().into()));
        }
        if !config.discovery_url.is_empty() && !discovery_urls.insert(config.discovery_url.as_str()) {
            let at = at.child("issuer").child("discoveryURL");
            errors.push(FieldError::duplicate(&at, &config.discovery_url.as_str().into()));
        }
        issuers.push(issuer);
    }
    if errors.is_empty() { Ok(issuers) } else { Err(errors) }
}

struct Checked {
    errors: ErrorList,
}

impl Checked {
    fn invalid(&mut self, at: &Path, value: &str, why: impl Into<String>) {
        self.errors.push(FieldError::invalid_str(at, value, why.into()));
    }

    fn required(&mut self, at: &Path, why: &str) {
        self.errors.push(FieldError::required(at, why));
    }

    fn duplicate(&mut self, at: &Path, value: &str) {
        self.errors.push(FieldError::duplicate(at, &value.into()));
    }

    fn authenticator(
        &mut self,
        given: &JwtAuthenticator,
        at: &Path,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Issuer {
        let before = self.errors.len();
        self.issuer(&given.issuer, &at.child("issuer"), is_own);
        let mut required = Vec::new();
        let mut claim_rules = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, rule) in given.claim_validation_rules.iter().enumerate() {
            let at = at.child("claimValidationRules").index(index);
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (false, false) => self.invalid(&at, &rule.claim, "claim and expression can't both be set"),
                (true, true) => self.required(&at, "claim or expression is required"),
                (false, true) => {
                    if !rule.message.is_empty() {
                        self.invalid(
                            &at.child("message"),
                            &rule.message,
                            "may not be specified when claim is set",
                        );
                    }
                    if !seen.insert(("claim", rule.claim.as_str())) {
                        self.duplicate(&at.child("claim"), &rule.claim);
                    }
                    required.push((rule.claim.clone(), rule.required_value.clone()));
                }
                (true, false) => {
                    if !rule.required_value.is_empty() {
                        let why = "may not be specified when expression is set";
                        self.invalid(&at.child("requiredValue"), &rule.required_value, why);
                    }
                    if !seen.insert(("expression", rule.expression.as_str())) {
                        self.duplicate(&at.child("expression"), &rule.expression);
                        continue;
                    }
                    let compiled = self.expression(&rule.expression, "claims", &at.child("expression"));
                    claim_rules.extend(
                        compiled.map(|expression| Rule { expression, message: rule.message.clone() }),
                    );
                }
            }
        }
        let mappings = &at.child("claimMappings");
        let username = self.mapping(&given.claim_mappings.username, &mappings.child("username"), true);
        let groups = self.mapping(&given.claim_mappings.groups, &mappings.child("groups"), false);
        let uid = self.uid(&given.claim_mappings, &mappings.child("uid"));
        let extra = self.extra(&given.claim_mappings, &mappings.child("extra"));
        self.verified_email(given, mappings);
        let mut user_rules = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, rule) in given.user_validation_rules.iter().enumerate() {
            let at = at.child("userValidationRules").index(index).child("expression");
            if rule.expression.is_empty() {
                self.required(&at, "");
            } else if !seen.insert(rule.expression.as_str()) {
                self.duplicate(&at, &rule.expression);
            } else {
                let compiled = self.expression(&rule.expression, "user", &at);
                user_rules
                    .extend(compiled.map(|expression| Rule { expression, message: rule.message.clone() }));
            }
        }
        debug_assert!(username.is_some() || self.errors.len() > before, "no name, and nothing said about it");
        Issuer {
            config: given.issuer.clone(),
            required,
            claim_rules,
            username: username.unwrap_or(Mapping::Nothing),
            groups: groups.unwrap_or(Mapping::Nothing),
            uid,
            extra,
            user_rules,
        }
    }

    fn issuer(&mut self, issuer: &IssuerConfig, at: &Path, is_own: &dyn Fn(&str) -> bool) {
        let url = at.child("url");
        if issuer.url.is_empty() {
            self.required(&url, "");
        } else {
            if is_own(&issuer.url) {
                let why = "URL must not overlap with disallowed issuers: those of service accounts";
                self.invalid(&url, &issuer.url, why);
            }
            self.url(&issuer.url, &url);
        }
        let discovery = at.child("discoveryURL");
        if !issuer.discovery_url.is_empty() {
            if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
                self.invalid(&discovery, &issuer.discovery_url, "discoveryURL must be different from URL");
            }
            self.url(&issuer.discovery_url, &discovery);
        }
        let audiences = at.child("audiences");
        if issuer.audiences.is_empty() {
            self.required(&audiences, &format!("at least one {audiences} is required"));
        }
        let mut seen = BTreeSet::new();
        for (index, audience) in issuer.audiences.iter().enumerate() {
            if audience.is_empty() {
                self.required(&audiences.index(index), "");
            }
            if !seen.insert(audience) {
                self.duplicate(&audiences.index(index), audience);
            }
        }
        let policy = issuer.audience_match_policy.as_str();
        if issuer.audiences.len() > 1 && policy != "MatchAny" {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            self.invalid(&at.child("audienceMatchPolicy"), policy, why);
        }
        if issuer.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
            let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
            self.invalid(&at.child("audienceMatchPolicy"), policy, why);
        }
        if !issuer.certificate_authority.is_empty()
            && let Err(why) = certificates_of_pem(issuer.certificate_authority.as_bytes())
        {
            self.invalid(&at.child("certificateAuthority"), "<omitted>", why);
        }
        if !issuer.egress_selector_type.is_empty() {
            let why = "egress selectors are not supported; the server's egress policy holds for all issuers";
            self.invalid(&at.child("egressSelectorType"), &issuer.egress_selector_type, why);
        }
    }

    fn url(&mut self, url: &str, at: &Path) {
        let Some(rest) = url.strip_prefix("https://") else {
            return self.invalid(at, url, "URL scheme must be https");
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            self.invalid(at, url, "is not a valid URL");
        }
        if authority.contains('@') {
            self.invalid(at, url, "URL must not contain a username or password");
        }
        if url.contains('?') {
            self.invalid(at, url, "URL must not contain a query");
        }
        if url.contains('#') {
            self.invalid(at, url, "URL must not contain a fragment");
        }
    }

    fn expression(&mut self, source: &str, variable: &'static str, at: &Path) -> Option<PlainExpression> {
        match PlainExpression::compile(source, &[variable]) {
            Ok(compiled) => Some(compiled),
            Err(why) => {
                self.invalid(at, source, why);
                None
            }
        }
    }

    fn mapping(&mut self, given: &PrefixedMapping, at: &Path, needed: bool) -> Option<Mapping> {
        match (given.claim.is_empty(), given.expression.is_empty()) {
            (false, false) => self.invalid(at, "", "claim and expression can't both be set"),
            (true, true) if needed => self.required(at, "claim or expression is required"),
            (true, true) => return Some(Mapping::Nothing),
            (true, false) => {
                if let Some(prefix) = &given.prefix {
                    self.invalid(&at.child("prefix"), prefix, "may not be specified when expression is set");
                }
                return self.expression(&given.expression, "claims", &at.child("expression")).map(Mapping::Expression);
            }
            (false, true) => match &given.prefix {
                Some(prefix) => {
                    return Some(Mapping::Claim { claim: given.claim.clone(), prefix: prefix.clone() });
                }
                None => self.required(
                    &at.child("prefix"),
                    "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
                ),
            },
        }
        None
    }

    fn uid(&mut self, given: &ClaimMappings, at: &Path) -> Mapping {
        match (given.uid.claim.is_empty(), given.uid.expression.is_empty()) {
            (false, false) => self.invalid(at, "", "claim and expression can't both be set"),
            (false, true) => {
                return Mapping::Claim { claim: given.uid.claim.clone(), prefix: String::new() };
            }
            (true, false) => {
                let compiled = self.expression(&given.uid.expression, "claims", &at.child("expression"));
                return compiled.map_or(Mapping::Nothing, Mapping::Expression);
            }
            (true, true) => {}
        }
        Mapping::Nothing
    }

    fn extra(&mut self, given: &ClaimMappings, at: &Path) -> Vec<(String, PlainExpression)> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, extra) in given.extra.iter().enumerate() {
            let (at, key) = (at.index(index), extra.key.as_str());
            let (domain, path) = key.split_once('/').unwrap_or_default();
            if domain.is_empty() || path.is_empty() {
                self.invalid(
                    &at.child("key"),
                    key,
                    "must be a domain-prefixed path (such as \"acme.io/foo\")",
                );
            } else if let Some(why) = is_dns1123_subdomain(domain).into_iter().next() {
                self.invalid(&at.child("key"), key, why);
            }
            if key.chars().any(char::is_uppercase) {
                self.invalid(&at.child("key"), key, "must be lowercase");
            }
            if ["kubernetes.io", "k8s.io"]
                .iter()
                .any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
            {
                let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                self.invalid(&at.child("key"), key, why);
            }
            if !seen.insert(key) {
                self.duplicate(&at.child("key"), key);
            } else if extra.value_expression.is_empty() {
                self.required(&at.child("valueExpression"), "");
            } else {
                let compiled =
                    self.expression(&extra.value_expression, "claims", &at.child("valueExpression"));
                found.extend(compiled.map(|expression| (key.to_owned(), expression)));
            }
        }
        found
    }

    /// An address that nobody verified is no name. Told by the text: a comment or a literal errs on the safe side.
    fn verified_email(&mut self, given: &JwtAuthenticator, at: &Path) {
        let mappings = &given.claim_mappings;
        let named = |text: &str, claim: &str| {
            text.match_indices("claims.").any(|(at, _)| {
                let rest = text[at + "claims.".len()..].trim_start_matches('?');
                rest.strip_prefix(claim)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
        };
        let username = mappings.username.expression.as_str();
        if !named(username, "email") {
            return;
        }
        let mut all = std::iter::once(username)
            .chain(mappings.extra.iter().map(|extra| extra.value_expression.as_str()))
            .chain(given.claim_validation_rules.iter().map(|rule| rule.expression.as_str()));
        if !all.any(|text| named(text, "email_verified")) {
            self.invalid(
                &at.child("username").child("expression"),
                username,
                "claims.email_verified must be used in claimMappings.username.expression or \
                 claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used \
                 in claimMappings.username.expression",
            );
        }
    }
}
