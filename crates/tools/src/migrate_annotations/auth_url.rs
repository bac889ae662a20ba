//! The address of a check: the service behind it, and the groups in its query.

/// The service that answers the checks of an Ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Authelia, at one of its authorization endpoints.
    Authelia,
    /// oauth2-proxy, at its endpoint `auth`.
    Oauth2Proxy,
    /// Another service, or a service whose address is not in the Ingress.
    Unknown,
}

/// The content of the address of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AuthUrl {
    pub(super) service: Service,
    /// The groups of which a person needs one; empty if none is required.
    pub(super) groups: Vec<String>,
    /// The parameters that are not taken over.
    pub(super) notes: Vec<String>,
}

/// The most groups of a SessionPolicy.
const MAX_GROUPS: usize = 64;
/// The longest name of a group in a SessionPolicy, in characters.
const MAX_GROUP_CHARACTERS: usize = 256;
/// The parameters with which oauth2-proxy restricts access, and for which a SessionPolicy has no field.
const EMAIL_PARAMETERS: [&str; 2] = ["allowed_emails", "allowed_email_domains"];

impl AuthUrl {
    /// Parses an address, such as `http://oauth2-proxy.auth.svc:4180/oauth2/auth?allowed_groups=a,b`.
    pub(super) fn parse(url: &str) -> Self {
        let url = url.split('#').next().unwrap_or_default().trim();
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let after_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
        let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
        let path = path.trim_end_matches('/');
        let parameters: Vec<Parameter> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(Parameter::parse)
            .collect();
        let service = service(path, &parameters);
        let mut parsed = Self {
            service,
            groups: Vec::new(),
            notes: Vec::new(),
        };
        parsed.read_query(&parameters);
        if path.ends_with("/basic") || parameters.iter().any(|it| it.is("auth", "basic")) {
            let message = "the check accepts passwords (basic authentication); Curfew accepts none";
            parsed.notes.push(message.to_owned());
        }
        parsed
    }

    fn read_query(&mut self, parameters: &[Parameter]) {
        let is_oauth2_proxy = self.service == Service::Oauth2Proxy;
        let mut lists_groups = false;
        let mut lost_groups = 0;
        for parameter in parameters {
            let name = parameter.name.as_str();
            if is_oauth2_proxy && name == "allowed_groups" {
                let Some(value) = &parameter.value else {
                    lists_groups = true;
                    lost_groups += 1;
                    continue;
                };
                for group in value.split(',').filter(|group| !group.is_empty()) {
                    lists_groups = true;
                    let is_too_long = group.chars().count() > MAX_GROUP_CHARACTERS;
                    if self.groups.iter().any(|known| known == group) {
                        continue;
                    }
                    if is_too_long || self.groups.len() == MAX_GROUPS {
                        lost_groups += 1;
                    } else {
                        self.groups.push(group.to_owned());
                    }
                }
            } else if is_oauth2_proxy && EMAIL_PARAMETERS.contains(&name) {
                self.notes.push(format!(
                    "{name} in the auth-url is not taken over: a SessionPolicy has no such field, so people with other \
                     addresses get access"
                ));
            } else {
                self.notes.push(format!(
                    "the parameter {name} of the auth-url is not taken over"
                ));
            }
        }
        if lost_groups > 0 {
            let limits = format!(
                "a group has at most {MAX_GROUP_CHARACTERS} characters, a SessionPolicy has at most {MAX_GROUPS} groups, \
                 and a variable of the proxy is unreadable"
            );
            self.notes.push(format!(
                "{lost_groups} of the allowed_groups are not taken over: {limits}"
            ));
        }
        if lists_groups && self.groups.is_empty() {
            let message = "requireGroups is missing: people of every group get access";
            self.notes.push(message.to_owned());
        }
    }
}

fn service(path: &str, parameters: &[Parameter]) -> Service {
    let restricts = |it: &Parameter| it.name.starts_with("allowed_");
    if path.contains("/api/authz/") || path.ends_with("/api/verify") {
        Service::Authelia
    } else if path.ends_with("/oauth2/auth")
        // oauth2-proxy with another prefix.
        || (path.ends_with("/auth") && parameters.iter().any(restricts))
    {
        Service::Oauth2Proxy
    } else {
        Service::Unknown
    }
}

/// A parameter of a query.
struct Parameter {
    name: String,
    /// `None` if the value is not valid, or contains a variable of the proxy.
    value: Option<String>,
}

impl Parameter {
    fn parse(pair: &str) -> Self {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // The proxy replaces `$name` by the value of a variable. oauth2-proxy drops a pair with a semicolon.
        let is_readable = !value.contains(['$', ';']);
        Self {
            name: decode(name).unwrap_or_else(|| name.to_owned()),
            value: decode(value).filter(|_| is_readable),
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.name == name && self.value.as_deref() == Some(value)
    }
}

/// Decodes a part of a query. `None` for a malformed escape and for text that is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_service() {
        for (url, service) in [
            (
                "http://authelia.auth.svc/api/authz/auth-request",
                Service::Authelia,
            ),
            (
                "http://authelia.auth.svc:9091/api/authz/forward-auth/",
                Service::Authelia,
            ),
            (
                "https://auth.example.com/authelia/api/authz/ext-authz/",
                Service::Authelia,
            ),
            (
                "http://authelia.auth.svc/api/authz/custom?authelia_url=x",
                Service::Authelia,
            ),
            (
                "http://authelia.auth.svc/api/verify?rd=https://a.com/oauth2/auth",
                Service::Authelia,
            ),
            ("https://$host/oauth2/auth", Service::Oauth2Proxy),
            (
                "svc://auth/oauth2-proxy:4180/oauth2/auth",
                Service::Oauth2Proxy,
            ),
            ("http://sso/x/auth?allowed_groups=a", Service::Oauth2Proxy),
            ("http://sso/x/auth", Service::Unknown),
            (
                "http://curfew.curfew.svc.cluster.local:9180/forward-auth",
                Service::Unknown,
            ),
            ("http://api/verify", Service::Unknown),
            ("", Service::Unknown),
        ] {
            assert_eq!(AuthUrl::parse(url).service, service, "{url}");
        }
    }

    #[test]
    fn groups_are_decoded_and_the_rest_of_the_query_is_noted() {
        let long = "x".repeat(257);
        let many: Vec<String> = (0..70).map(|number| format!("g{number}")).collect();
        let many = many.join(",");
        for (query, groups, notes) in [
            ("", &[][..], 0),
            ("allowed_groups=", &[], 0),
            (
                "allowed_groups=a,b&allowed_groups=c,,a",
                &["a", "b", "c"],
                0,
            ),
            ("allowed_groups=a%2Cb+c%3a", &["a", "b c:"], 0),
            ("allowed_groups=%C3%A9t%C3%A9", &["été"], 0),
            ("allowed%5Fgroups=a", &["a"], 0),
            ("allowed_groups=a&allowed_emails=x%40y.com", &["a"], 1),
            ("allowed_email_domains=y.com&x=1", &[], 2),
            ("allowed_groups=a%2&allowed_groups=b", &["b"], 1),
            ("allowed_groups=%ff", &[], 2),
            ("allowed_groups=$group", &[], 2),
            ("allowed_groups=%24group", &["$group"], 0),
            (&*format!("allowed_groups={long},a"), &["a"], 1),
        ] {
            let url = format!("http://oauth2-proxy/oauth2/auth?{query}");
            let parsed = AuthUrl::parse(&url);
            assert_eq!(parsed.groups, groups, "{query}");
            assert_eq!(parsed.notes.len(), notes, "{query}: {:?}", parsed.notes);
        }
        let parsed = AuthUrl::parse(&format!("http://o/oauth2/auth?allowed_groups={many}"));
        assert_eq!(parsed.groups.len(), MAX_GROUPS);
        assert!(
            parsed.notes[0].starts_with("6 of the allowed_groups"),
            "{:?}",
            parsed.notes
        );
        // The parameters of oauth2-proxy mean nothing to another service.
        let parsed = AuthUrl::parse("http://sso/check?allowed_groups=a");
        assert_eq!((parsed.groups.len(), parsed.notes.len()), (0, 1));
        let parsed = AuthUrl::parse("http://a/api/verify?auth=basic");
        assert_eq!(parsed.notes.len(), 2);
    }
}
