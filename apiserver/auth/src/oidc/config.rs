//! `AuthenticationConfiguration` (`apiserver.config.k8s.io/v1`): who issues tokens, and who may come without any.

use serde::Deserialize;

/// The file of `--authentication-config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    /// `apiserver.config.k8s.io/v1`.
    pub api_version: String,
    /// `AuthenticationConfiguration`.
    pub kind: String,
    /// The issuers.
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    /// Whether requests without credentials are served, and which.
    #[serde(default)]
    pub anonymous: Option<AnonymousConfig>,
}

/// Whether requests without credentials are served.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousConfig {
    /// Whether they are.
    #[serde(default)]
    pub enabled: bool,
    /// For which paths; for all when it is empty.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// A path that is served without credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousCondition {
    /// The whole path.
    pub path: String,
}

/// An issuer of tokens, and how its claims make users.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtAuthenticator {
    /// The issuer.
    #[serde(default)]
    pub issuer: IssuerConfig,
    /// What must hold of the claims.
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// How claims make a user.
    #[serde(default)]
    pub claim_mappings: ClaimMappings,
    /// What must hold of the user.
    #[serde(default)]
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// An issuer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// As the claim `iss` has it.
    pub url: String,
    /// Where its discovery document is, when not where OpenID Connect says.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// The certificates that verify it, in PEM.
    pub certificate_authority: String,
    /// The audiences, of which a token must name one.
    pub audiences: Vec<String>,
    /// `MatchAny`.
    pub audience_match_policy: String,
    /// Not supported: the server has one way out.
    pub egress_selector_type: String,
}

/// What must hold of the claims.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct ClaimValidationRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

/// How claims make a user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct ClaimMappings {
    pub username: PrefixedMapping,
    pub groups: PrefixedMapping,
    pub uid: PlainMapping,
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct PrefixedMapping {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct PlainMapping {
    pub claim: String,
    pub expression: String,
}

/// An extra attribute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct ExtraMapping {
    pub key: String,
    pub value_expression: String,
}

/// What must hold of the user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of the configuration")]
pub struct UserValidationRule {
    pub expression: String,
    pub message: String,
}
