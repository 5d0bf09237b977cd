//! The issuers of tokens: `jwt` of an `AuthenticationConfiguration` (`apiserver.config.k8s.io/v1`), field for field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An issuer of JSON web tokens, and how its claims make users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtAuthenticator {
    /// The issuer, and the audiences its tokens must be for.
    pub issuer: JwtIssuer,
    /// What must hold of the claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// How claims make a user.
    pub claim_mappings: ClaimMappings,
    /// What must hold of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtIssuer {
    /// The issuer, as the claim iss has it: a URL of https.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Where its discovery document is, when not at <url>/.well-known/openid-configuration.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// The certificates, in PEM, by which it is verified; those of the machine when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// The audiences of which a token must name one.
    #[schemars(length(min = 1, max = 64))]
    pub audiences: Vec<String>,
    /// MatchAny, and to be set when there are several audiences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience_match_policy: Option<String>,
}

/// What must hold of the claims: a claim and its value, or a CEL expression over claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimValidationRule {
    /// The claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_value: Option<String>,
    /// The expression: true when the token is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// What to say when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How claims make a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimMappings {
    /// The name.
    pub username: PrefixedMapping,
    /// The groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<PrefixedMapping>,
    /// The uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<PlainMapping>,
    /// What else is known of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix before its value, or a CEL expression over claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefixedMapping {
    /// The claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// What stands before its value; to be set, if only to nothing, when claim is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// A claim, or a CEL expression over claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlainMapping {
    /// The claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// An extra attribute of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraMapping {
    /// The key: a domain and a path.
    #[schemars(length(min = 1, max = 510))]
    pub key: String,
    /// A CEL expression over claims: a string or a list of them.
    #[schemars(length(min = 1))]
    pub value_expression: String,
}

/// What must hold of the user: a CEL expression over user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserValidationRule {
    /// The expression: true when the user is good.
    #[schemars(length(min = 1))]
    pub expression: String,
    /// What to say when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
