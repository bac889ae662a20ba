use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{TextList, shape};

/// The admin API.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// The tokens that open it: SHA-256 hashes in hexadecimal, each alone or with a name and rights.
    #[schemars(with = "shape::AdminTokens")]
    pub token_hashes: AdminTokenList,
    /// A file with more of them, one a line: a hash, or a hash, a name and rights; `#` begins a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_hashes_file: Option<String>,
    /// Kubernetes, whose roles say who may use the API.
    pub kubernetes: RawKubernetes,
    /// Whether sessions may be aged.
    pub allow_ageing: bool,
    /// What limits an operator's session in the console.
    pub console: RawConsole,
    /// How many proxies in front of the listener add to `client_address.header`; with 0 the address of the connection
    /// is the client's.
    pub proxies: usize,
    /// Groups whose members may use the console, signed in by one of `login.providers`.
    #[schemars(with = "shape::Texts")]
    pub groups: TextList<String>,
    /// Where browsers find the console; with `https://` its cookie is for TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What limits an operator's session in the console.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConsole {
    /// The longest time without a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub idle: Option<String>,
    /// The longest time since the sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// A standard whose limits are not exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Why a limit is above the preset all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_reason: Option<String>,
}

/// Admin tokens: a list, or one text with commas or white space between the hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AdminTokenList(pub Vec<RawAdminToken>);

/// An admin token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RawAdminToken {
    /// Its hash.
    Unnamed(String),
    /// Its hash with a name and rights.
    Named(RawNamedToken),
}

/// An admin token with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawNamedToken {
    /// The name in audit events.
    pub name: String,
    /// Its SHA-256 hash in hexadecimal.
    pub hash: String,
    /// What it may do: `read`, `revoke`, `create`.
    #[schemars(with = "shape::Texts")]
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

            // A hash without letters can look like a number.
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
                f.write_str("a list of admin tokens, or one text with commas between their hashes")
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

/// Kubernetes, asked who may use the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetes {
    /// Whether it is asked.
    pub enabled: bool,
    /// The API server.
    pub url: String,
    /// The token that Curfew shows it.
    pub token_file: String,
    /// PEM certificates of the authorities to trust.
    pub ca_file: String,
    /// For whom a token must be made.
    #[schemars(with = "shape::Texts")]
    pub audiences: TextList<String>,
    /// How long an answer is gone by.
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
