use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::shape;
use crate::config::text::TextList;

/// The admin API and the console.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// The admin tokens: SHA-256 hashes in hexadecimal, each alone or with a name and rights.
    #[schemars(with = "shape::AdminTokens")]
    pub token_hashes: AdminTokenList,
    /// A file with more admin tokens, one per line: a hash, or a hash, a name and rights; `#` starts a
    /// comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_hashes_file: Option<String>,
    /// Authorization of Kubernetes users with RBAC.
    pub kubernetes: RawKubernetes,
    /// Whether the API may age sessions, for tests.
    pub allow_ageing: bool,
    /// The limits of an operator's session in the console.
    pub console: RawConsole,
    /// The number of trusted proxies in front of the listener that append to `client_address.header`; with 0, the
    /// client address is the address of the connection.
    pub trusted_proxies: usize,
    /// Groups whose members may use the console after sign-in with a provider of `login.providers`.
    #[schemars(with = "shape::StringList")]
    pub groups: TextList<String>,
    /// The public address of the console; with `https://`, its cookie is `Secure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The limits of an operator's session in the console.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConsole {
    /// The idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub idle: Option<String>,
    /// The absolute limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// The preset of a standard; its limits are not exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The reason why a limit exceeds the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_reason: Option<String>,
}

/// Admin tokens: a list, or one string with hashes separated by commas or white space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AdminTokenList(pub Vec<RawAdminToken>);

/// An admin token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RawAdminToken {
    /// A hash alone: all rights, and no name of its own.
    Unnamed(String),
    /// A hash with a name and rights.
    Named(RawNamedToken),
}

/// An admin token with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawNamedToken {
    /// The name in audit events.
    pub name: String,
    /// The SHA-256 hash of the token, in hexadecimal.
    pub hash: String,
    /// The rights of the token: `read`, `revoke`, `create`.
    #[schemars(with = "shape::StringList")]
    pub allow: TextList<String>,
}

impl<'de> Deserialize<'de> for RawAdminToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokenVisitor;

        impl<'de> Visitor<'de> for TokenVisitor {
            type Value = RawAdminToken;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hash, or a name, a hash and rights")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(text.to_owned()))
            }

            // YAML reads a hash of digits only as a number.
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let named = RawNamedToken::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawAdminToken::Named(named))
            }
        }

        deserializer.deserialize_any(TokenVisitor)
    }
}

impl<'de> Deserialize<'de> for AdminTokenList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Vec<RawAdminToken>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of admin tokens, or one string with hashes separated by commas")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                let hashes = text.split([',', ' ', '\t', '\n']);
                let hashes = hashes.filter(|hash| !hash.is_empty()).map(str::to_owned);
                Ok(hashes.map(RawAdminToken::Unnamed).collect())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = seq.next_element()? {
                    tokens.push(token);
                }
                Ok(tokens)
            }
        }

        deserializer.deserialize_any(ListVisitor).map(Self)
    }
}

/// Authorization of Kubernetes users for the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetes {
    /// Whether Curfew accepts Kubernetes tokens.
    pub enabled: bool,
    /// The address of the API server.
    pub url: String,
    /// The file with Curfew's own service account token.
    pub token_file: String,
    /// A file with PEM certificates of the CAs to trust for the API server.
    pub ca_file: String,
    /// The accepted audiences of a Kubernetes token.
    #[schemars(with = "shape::StringList")]
    pub audiences: TextList<String>,
    /// How long Curfew caches an answer of the API server.
    #[schemars(with = "shape::Duration")]
    pub cache: String,
}

impl Default for RawKubernetes {
    fn default() -> Self {
        let mounted = |name| format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}");
        Self {
            enabled: false,
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: mounted("token"),
            ca_file: mounted("ca.crt"),
            audiences: TextList(vec!["curfew".to_owned()]),
            cache: "10s".to_owned(),
        }
    }
}
