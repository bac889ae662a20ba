//! The configured ways to sign in, and the information that Curfew has about each authentication. The compliance report
//! uses them.

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::sections::{RawConfig, login};
use crate::policy::{Authentication, SignInSource};

/// Returns every configured way to sign in. Does not read secrets or contact servers.
pub(super) fn parse(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<Vec<SignInSource>> {
    let mut sources = Vec::new();
    if !raw.login.providers.is_empty() {
        let max_age = login::parse_max_age("login.max_age", &raw.login.max_age, mistakes)?;
        let keys = raw.login.providers.keys();
        sources.extend(keys.map(|name| SignInSource {
            key: format!("login.providers.{name}"),
            authentication: Authentication::TimeKnown {
                max_age,
                is_requested_by_curfew: true,
            },
        }));
    }
    for (name, issuer) in &raw.jwt.issuers {
        sources.push(SignInSource {
            key: format!("jwt.issuers.{name}"),
            authentication: match issuer.accept_iat {
                None => Authentication::InSessionId,
                Some(_) => Authentication::Unknown {
                    missing: "`auth_time` in its tokens, and no `accept_iat`",
                },
            },
        });
    }
    for (name, service) in &raw.delegated.services {
        let key = format!("delegated.services.{name}");
        let max_age = service.parse_max_age(&format!("{key}.max_age"), mistakes)?;
        sources.push(SignInSource {
            authentication: match service.reports_auth_time() {
                true => Authentication::TimeKnown {
                    max_age,
                    is_requested_by_curfew: false,
                },
                false => Authentication::Unknown {
                    missing: "`token_header` or `auth_time_header`",
                },
            },
            key,
        });
    }
    Ok(sources)
}
