use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::contract::CookieSettings;

/// The session cookie.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawCookie {
    /// The cookie name.
    pub name: String,
    /// The `Domain` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The `Path` attribute.
    pub path: String,
    /// The `Secure` attribute: browsers send the cookie over TLS only.
    pub secure: bool,
    /// The `SameSite` attribute: `strict`, `lax` or `none`.
    #[schemars(extend("enum" = ["strict", "lax", "none"]))]
    pub same_site: String,
    /// Whether the cookie outlives the browser process (`Max-Age`).
    pub persistent: bool,
}

impl Default for RawCookie {
    fn default() -> Self {
        Self {
            name: "__Host-session".to_owned(),
            domain: None,
            path: "/".to_owned(),
            secure: true,
            same_site: "lax".to_owned(),
            persistent: false,
        }
    }
}

impl RawCookie {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<CookieSettings> {
        let name = &self.name;
        if !is_token(name) {
            mistakes.add(
                "cookie.name",
                "must be 1 to 128 letters, digits or !#$%&'*+-.^_`|~ (RFC 6265 section 4.1.1)",
            );
        }
        let same_site = match self.same_site.to_ascii_lowercase().as_str() {
            "strict" => Ok(cookie::SameSite::Strict),
            "lax" => Ok(cookie::SameSite::Lax),
            "none" if self.secure => Ok(cookie::SameSite::None),
            "none" => {
                Err("`none` needs cookie.secure = true: otherwise browsers refuse the cookie")
            }
            _ => Err("must be `strict`, `lax` or `none`"),
        };
        let same_site = mistakes.record_error("cookie.same_site", same_site);
        if !self.path.starts_with('/') || !is_attribute_value(&self.path) {
            mistakes.add(
                "cookie.path",
                "must begin with /, and must not contain white space, control characters or any of ; , \" \\",
            );
        }
        if self
            .domain
            .as_deref()
            .is_some_and(|domain| domain.is_empty() || !is_attribute_value(domain))
        {
            mistakes.add("cookie.domain", "must be a host name such as example.com");
        }
        // Browsers compare the prefixes `__Host-` and `__Secure-` case-insensitively (RFC 6265bis section 5.6).
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("__host-")
            && (!self.secure || self.path != "/" || self.domain.is_some())
        {
            mistakes.add(
                "cookie.name",
                "a name with __Host- needs cookie.secure = true, cookie.path = \"/\" and no \
                 cookie.domain: browsers refuse the cookie otherwise. Use a name with __Secure- \
                 for a cookie of several hosts",
            );
        }
        if lower.starts_with("__secure-") && !self.secure {
            mistakes.add(
                "cookie.name",
                "a name with __Secure- needs cookie.secure = true",
            );
        }
        Ok(CookieSettings {
            name: name.clone(),
            domain: self.domain.clone(),
            path: self.path.clone(),
            secure: self.secure,
            same_site: same_site?,
            persistent: self.persistent,
        })
    }
}

impl Section for RawCookie {}

/// Whether a text is a token as defined in RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_attribute_value(text: &str) -> bool {
    text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b";,\"\\".contains(&b))
}
