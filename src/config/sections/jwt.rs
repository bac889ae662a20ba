use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::parse_home_policy;
use crate::config::JwtConfig;
use crate::config::mistakes::{DAY, HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::{TextList, public_url};
use crate::credential::JwtLocations;
use crate::credential::jwt::{ClaimNames, Issuer, KeySet, LogoutScope};
use crate::jwks::{FetchSettings, Freshness, IssuerSettings, JwksLocation, KeySource};
use crate::policy::Policies;

/// JSON Web Tokens of identity providers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawJwt {
    /// Whether to accept tokens in `Authorization: Bearer`.
    pub bearer: bool,
    /// The cookie that carries tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The interval between fetches of an issuer's keys.
    #[schemars(with = "schema_types::Duration")]
    pub refresh_interval: String,
    /// How long keys stay in use after the last successful fetch.
    #[schemars(with = "schema_types::Duration")]
    pub max_key_age: String,
    /// The timeout for one request to an issuer.
    #[schemars(with = "schema_types::Duration")]
    pub timeout: String,
    /// Whether to accept OpenID Connect Front-Channel Logout, whose requests are not signed.
    pub front_channel_logout: bool,
    /// The issuers; the key is a name of your choice.
    pub issuers: BTreeMap<String, RawIssuer>,
}

/// An issuer of JSON Web Tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIssuer {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    /// Accepted values of `aud`; a token needs one of them.
    #[schemars(with = "schema_types::StringList")]
    pub audience: TextList<String>,
    /// The address of its JSON Web Key Set; if omitted, OpenID Connect Discovery finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with its keys, instead of an address: a JSON Web Key Set, or a public key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// A PEM file with the CAs to trust for this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Accepted values of `alg`, the signature algorithm.
    #[schemars(with = "schema_types::StringList")]
    pub algorithms: TextList<String>,
    /// The required value of `typ`, such as `at+jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The clock-skew leeway for the times in a token.
    #[schemars(with = "schema_types::Duration")]
    pub leeway: String,
    /// The claims that identify a session; the first claim that is present is used.
    #[schemars(with = "schema_types::StringList")]
    pub session_claims: TextList<String>,
    /// The reason why `iat` may replace `auth_time` as the start of a session. Without a reason, tokens without
    /// `auth_time` are rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_iat: Option<String>,
    /// The sessions that end after a logout notice with `sid` and `sub`: `session` for the sessions that belong to this
    /// session of the issuer, `user` for all sessions of the subject.
    pub logout_scope: String,
    /// The claim with the subject.
    pub subject_claim: String,
    /// The claim with the subject's groups.
    pub groups_claim: String,
    /// The claim with the subject's email address.
    pub email_claim: String,
    /// The home policy of sessions from this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Default for RawJwt {
    fn default() -> Self {
        Self {
            bearer: true,
            cookie: None,
            refresh_interval: "5m".to_owned(),
            max_key_age: "1d".to_owned(),
            timeout: "5s".to_owned(),
            front_channel_logout: false,
            issuers: BTreeMap::new(),
        }
    }
}

impl Default for RawIssuer {
    fn default() -> Self {
        let texts = |texts: &[&str]| TextList(texts.iter().map(|&text| text.to_owned()).collect());
        Self {
            issuer: String::new(),
            audience: texts(&[]),
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            algorithms: texts(&["RS256"]),
            typ: None,
            leeway: "30s".to_owned(),
            session_claims: texts(&["sid"]),
            accept_iat: None,
            logout_scope: LogoutScope::default().as_str().to_owned(),
            subject_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            email_claim: "email".to_owned(),
            policy: None,
        }
    }
}

impl RawJwt {
    /// Parses the issuers; `None` if none is configured.
    pub(in crate::config) fn parse(
        &self,
        freshness: Valid<Freshness>,
        policies: Valid<&Policies>,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<JwtConfig>> {
        let min = Duration::from_millis(10);
        let timeout = mistakes.parse_duration("jwt.timeout", &self.timeout, min, HOUR / 60);
        if self.issuers.is_empty() {
            if self.cookie.is_some() {
                mistakes.add("jwt.cookie", "needs an issuer in jwt.issuers");
            }
            return Ok(None);
        }
        if !self.bearer && self.cookie.is_none() {
            mistakes.add(
                "jwt.bearer",
                "is off and jwt.cookie is not set: no request could carry a token",
            );
        }
        let defaults = FetchDefaults {
            freshness: freshness?,
            timeout: timeout?,
        };
        let issuers: Vec<Valid<IssuerSettings>> = self
            .issuers
            .iter()
            .map(|(name, raw)| parse_issuer(name, raw, &defaults, policies, mistakes))
            .collect();
        let issuers: Vec<IssuerSettings> = issuers.into_iter().collect::<Valid<_>>()?;
        for (index, one) in issuers.iter().enumerate() {
            let has_same_issuer =
                |other: &&IssuerSettings| other.issuer.issuer == one.issuer.issuer;
            if let Some(other) = issuers[..index].iter().find(has_same_issuer) {
                let key = format!("jwt.issuers.{}.issuer", one.name);
                mistakes.add(
                    key,
                    format!("is also the issuer of jwt.issuers.{}", other.name),
                );
            }
        }
        Ok(Some(JwtConfig {
            locations: JwtLocations {
                cookie: self.cookie.clone(),
                bearer: self.bearer,
            },
            issuers,
        }))
    }

    /// Parses the interval between key fetches, and the maximum age of keys.
    pub(in crate::config) fn parse_freshness(&self, mistakes: &mut Mistakes) -> Valid<Freshness> {
        let second = Duration::from_secs(1);
        let refresh_interval =
            mistakes.parse_duration("jwt.refresh_interval", &self.refresh_interval, second, DAY);
        let max_age =
            mistakes.parse_duration("jwt.max_key_age", &self.max_key_age, second, DAY * 30);
        let (refresh_interval, max_age) = (refresh_interval?, max_age?);
        if max_age < refresh_interval {
            mistakes.add(
                "jwt.max_key_age",
                "must not be shorter than jwt.refresh_interval",
            );
        }
        Ok(Freshness {
            refresh_interval,
            max_age,
        })
    }
}

impl Section for RawJwt {}

/// The supported signature algorithms. All of them are asymmetric.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Parses the signature algorithms of an issuer or a provider.
pub(super) fn parse_algorithms(
    key: &str,
    texts: &[String],
    mistakes: &mut Mistakes,
) -> Vec<Algorithm> {
    if texts.is_empty() {
        mistakes.add(
            key,
            "is missing: list the signature algorithms of the issuer's tokens, such as RS256",
        );
    }
    let mut algorithms = Vec::new();
    for text in texts {
        let known = text.parse().ok().filter(|known| ALGORITHMS.contains(known));
        match known {
            Some(known) => algorithms.push(known),
            None => mistakes.add(
                key,
                "must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA: only algorithms with a \
                 public key are supported",
            ),
        }
    }
    algorithms
}

/// Parses which sessions end after a logout notice with `sid` and `sub`.
pub(super) fn parse_logout_scope(
    key: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Valid<LogoutScope> {
    let scope = match text {
        "session" => Ok(LogoutScope::Session),
        "user" => Ok(LogoutScope::User),
        _ => Err("must be `session` or `user`"),
    };
    mistakes.record_error(key, scope)
}

/// The settings for key fetches that apply to every issuer.
struct FetchDefaults {
    freshness: Freshness,
    timeout: Duration,
}

fn parse_issuer(
    name: &str,
    raw: &RawIssuer,
    defaults: &FetchDefaults,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<IssuerSettings> {
    let key = |part: &str| format!("jwt.issuers.{name}.{part}");
    let algorithms = parse_algorithms(&key("algorithms"), &raw.algorithms.0, mistakes);
    for (part, empty) in [
        ("audience", raw.audience.is_empty()),
        ("session_claims", raw.session_claims.is_empty()),
    ] {
        if empty {
            mistakes.add(
                key(part),
                "is missing: each issuer needs `audience` (values of the claim `aud` that Curfew accepts) and \
                 `session_claims` (the claims that identify a session)",
            );
        }
    }
    if raw
        .accept_iat
        .as_deref()
        .is_some_and(|why| why.trim().is_empty())
    {
        mistakes.add(
            key("accept_iat"),
            "must give the reason why each refreshed token of this issuer may start a new session",
        );
    }
    let min = Duration::ZERO;
    let leeway = mistakes.parse_duration(&key("leeway"), &raw.leeway, min, HOUR / 6);
    let logout_scope = parse_logout_scope(&key("logout_scope"), &raw.logout_scope, mistakes);
    let policy = parse_home_policy(&key("policy"), raw.policy.as_deref(), policies, mistakes);
    let keys = parse_key_source(name, raw, defaults, mistakes);
    Ok(IssuerSettings {
        name: name.to_owned(),
        issuer: Issuer {
            issuer: raw.issuer.clone(),
            audiences: raw.audience.0.clone(),
            algorithms,
            typ: raw.typ.clone(),
            leeway: leeway?,
            accepts_iat: raw.accept_iat.is_some(),
            logout_scope: logout_scope?,
            claims: ClaimNames {
                session: raw.session_claims.0.clone(),
                subject: raw.subject_claim.clone(),
                groups: raw.groups_claim.clone(),
                email: raw.email_claim.clone(),
            },
        },
        keys: keys?,
        policy: policy?,
    })
}

fn parse_key_source(
    name: &str,
    raw: &RawIssuer,
    defaults: &FetchDefaults,
    mistakes: &mut Mistakes,
) -> Valid<KeySource> {
    let key = |part: &str| format!("jwt.issuers.{name}.{part}");
    if raw.issuer.is_empty() {
        mistakes.add(
            key("issuer"),
            "is missing: set it to the value of the claim `iss` in the tokens of this issuer",
        );
    }
    if let Some(path) = &raw.jwks_file {
        if raw.jwks_url.is_some() {
            mistakes.add(key("jwks_file"), "conflicts with jwks_url: set only one");
        }
        let bytes = mistakes.read_file(&key("jwks_file"), path)?;
        let keys = mistakes.record_error(&key("jwks_file"), KeySet::from_file(&bytes));
        return keys.map(KeySource::File);
    }
    let parse_address = |text: &str| {
        let url = public_url(text);
        url.filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none())
    };
    let location = match &raw.jwks_url {
        Some(text) => {
            let url = parse_address(text).map(JwksLocation::KeySet);
            let message = "not an absolute address such as https://id.example.com/jwks";
            mistakes.record_error(&key("jwks_url"), url.ok_or(message))?
        }
        None => {
            let issuer =
                parse_address(&raw.issuer).map(|issuer| JwksLocation::Discovery { issuer });
            let message =
                "is not a URL, so its keys cannot be discovered: set jwks_url or jwks_file";
            mistakes.record_error(&key("issuer"), issuer.ok_or(message))?
        }
    };
    let authorities = mistakes.read_optional_file(&key("ca_file"), raw.ca_file.as_deref())?;
    Ok(KeySource::Fetched(FetchSettings {
        location,
        authorities,
        timeout: defaults.timeout,
        freshness: defaults.freshness,
    }))
}
