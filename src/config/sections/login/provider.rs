use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::sections::jwt::{parse_algorithms, parse_logout_scope};
use crate::config::sections::policy::parse_home_policy;
use crate::config::text::{TextList, public_url};
use crate::credential::jwt::{ClaimNames, Issuer, LogoutScope};
use crate::jwks::{FetchSettings, Freshness, IssuerSettings, JwksLocation, KeySource};
use crate::login::ProviderSettings;
use crate::policy::Policies;
use crate::secret::Secret;

/// An OpenID Connect provider that people sign in with.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvider {
    /// The issuer; OpenID Connect Discovery supplies its endpoints.
    pub issuer: String,
    /// The OAuth client ID of Curfew.
    pub client_id: String,
    /// The OAuth client secret; if omitted, Curfew is a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<Secret<String>>,
    /// A file with the OAuth client secret; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
    /// The display name on the page where people choose a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The scopes to request, in addition to `openid`.
    #[schemars(with = "schema_types::StringList")]
    pub scopes: TextList<String>,
    /// Accepted values of `alg`, the signature algorithm of ID tokens.
    #[schemars(with = "schema_types::StringList")]
    pub algorithms: TextList<String>,
    /// The clock-skew leeway for the times in a token.
    #[schemars(with = "schema_types::Duration")]
    pub leeway: String,
    /// The sessions that end after a logout notice with `sid` and `sub`: `session` for the sessions that belong to this
    /// session of the provider, `user` for all sessions of the subject.
    pub logout_scope: String,
    /// The claim with the subject.
    pub subject_claim: String,
    /// The claim with the subject's groups.
    pub groups_claim: String,
    /// The claim with the subject's email address.
    pub email_claim: String,
    /// A PEM file with the CAs to trust for this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The home policy of sessions from this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Default for RawProvider {
    fn default() -> Self {
        let texts = |texts: &[&str]| TextList(texts.iter().map(|&text| text.to_owned()).collect());
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_secret_file: None,
            title: None,
            scopes: texts(&["profile", "email"]),
            algorithms: texts(&["RS256"]),
            leeway: "30s".to_owned(),
            logout_scope: LogoutScope::default().as_str().to_owned(),
            subject_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            email_claim: "email".to_owned(),
            ca_file: None,
            policy: None,
        }
    }
}

impl RawProvider {
    pub(super) fn parse(
        &self,
        name: &str,
        timeout: Duration,
        freshness: Freshness,
        policies: Valid<&Policies>,
        mistakes: &mut Mistakes,
    ) -> Valid<ProviderSettings> {
        let provider_key = format!("login.providers.{name}");
        let key = |part: &str| format!("{provider_key}.{part}");
        let is_valid = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_valid) {
            mistakes.add(
                &provider_key,
                "a provider's name is part of a URL: use 1 to 64 characters of a-z, 0-9, `-` and `_`",
            );
        }
        if self.client_id.is_empty() {
            mistakes.add(
                key("client_id"),
                "is missing: set it to the OAuth client ID of Curfew at this provider",
            );
        }
        let address = public_url(&self.issuer).filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let issuer = mistakes.record_error(
            &key("issuer"),
            address.ok_or("not the address of an issuer such as https://id.example.com"),
        );
        let algorithms = parse_algorithms(&key("algorithms"), &self.algorithms.0, mistakes);
        let client_secret = read_client_secret(&provider_key, self, mistakes);
        let authorities = mistakes.read_optional_file(&key("ca_file"), self.ca_file.as_deref());
        let leeway =
            mistakes.parse_duration(&key("leeway"), &self.leeway, Duration::ZERO, HOUR / 6);
        let logout_scope = parse_logout_scope(&key("logout_scope"), &self.logout_scope, mistakes);
        let policy = parse_home_policy(&key("policy"), self.policy.as_deref(), policies, mistakes);
        let (issuer, authorities) = (issuer?, authorities?);
        Ok(ProviderSettings {
            issuer: IssuerSettings {
                name: name.to_owned(),
                issuer: Issuer {
                    issuer: self.issuer.clone(),
                    audiences: vec![self.client_id.clone()],
                    algorithms,
                    typ: None,
                    leeway: leeway?,
                    // This setting applies only to tokens that clients present as credentials. A sign-in checks
                    // `auth_time` itself.
                    accepts_iat: false,
                    logout_scope: logout_scope?,
                    claims: ClaimNames {
                        session: vec!["sid".to_owned()],
                        subject: self.subject_claim.clone(),
                        groups: self.groups_claim.clone(),
                        email: self.email_claim.clone(),
                    },
                },
                keys: KeySource::Fetched(FetchSettings {
                    location: JwksLocation::Discovery { issuer },
                    authorities: authorities.clone(),
                    timeout,
                    freshness,
                }),
                policy: policy?,
            },
            client_id: self.client_id.clone(),
            client_secret: client_secret?,
            scopes: self
                .scopes
                .0
                .iter()
                .filter(|it| *it != "openid")
                .cloned()
                .collect(),
            title: self.title.clone().unwrap_or_else(|| name.to_owned()),
            authorities,
            timeout,
        })
    }
}

fn read_client_secret(
    provider_key: &str,
    raw: &RawProvider,
    mistakes: &mut Mistakes,
) -> Valid<Option<Secret<String>>> {
    let key = format!("{provider_key}.client_secret_file");
    match (&raw.client_secret, &raw.client_secret_file) {
        (Some(_), Some(_)) => mistakes.reject(key, "conflicts with client_secret: set only one"),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => {
            let text = mistakes.read_text_file(&key, path)?;
            let text = text.trim();
            if text.is_empty() {
                return mistakes.reject(key, "the file is empty");
            }
            Ok(Some(Secret::new(text.to_owned())))
        }
        (None, None) => Ok(None),
    }
}
