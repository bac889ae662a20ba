use std::net::IpAddr;

use http::HeaderMap;
use http::header::USER_AGENT;
use sha2::{Digest, Sha256};

use crate::session::{Binding, Network, UserAgentHash};

/// The client properties that a policy's sessions are bound to at sign-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindSettings {
    /// The size of the client's network; `None` if sessions are not bound to a network.
    pub network: Option<NetworkBits>,
    /// Whether sessions are bound to the client's `User-Agent`.
    pub user_agent: bool,
}

/// The prefix lengths that define the network of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkBits {
    /// The prefix length for IPv4, 1 to 32.
    pub ipv4: u8,
    /// The prefix length for IPv6, 1 to 128.
    pub ipv6: u8,
}

/// The known properties of the client that signs in or sends a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The client's address; `None` if the proxy does not send the address.
    pub address: Option<IpAddr>,
    /// The hash of the client's `User-Agent`; `None` if the header is missing or repeated.
    pub user_agent: Option<UserAgentHash>,
}

/// The client property that a binding requires, but that the request does not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownClientProperty {
    /// The address of the client.
    Address,
    /// The `User-Agent` of the client.
    UserAgent,
}

/// The reason why a request does not match the session's binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingMismatch {
    /// The request comes from another network.
    Address,
    /// The request comes from another user agent.
    UserAgent,
    /// The proxy does not send the client's address.
    AddressUnknown,
}

impl BindingMismatch {
    /// The word for this mismatch in audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::UserAgent => "user_agent",
            Self::AddressUnknown => "address_unknown",
        }
    }
}

impl BindSettings {
    /// Creates the binding of a session to its client.
    ///
    /// # Errors
    /// [`UnknownClientProperty`] if the policy binds sessions to a property of the client that Curfew does not know.
    pub fn binding_for(self, client: Client) -> Result<Binding, UnknownClientProperty> {
        let network = match self.network {
            None => None,
            Some(bits) => {
                let address = client
                    .address
                    .ok_or(UnknownClientProperty::Address)?
                    .to_canonical();
                let bits = match address {
                    IpAddr::V4(_) => bits.ipv4,
                    IpAddr::V6(_) => bits.ipv6,
                };
                Some(Network::of(address, bits))
            }
        };
        let user_agent = if self.user_agent {
            Some(client.user_agent.ok_or(UnknownClientProperty::UserAgent)?)
        } else {
            None
        };
        Ok(Binding {
            network,
            user_agent,
        })
    }
}

impl Client {
    /// A client with this address and the `User-Agent` of these headers.
    #[must_use]
    pub fn new(address: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(USER_AGENT).into_iter();
        let user_agent = match (lines.next(), lines.next()) {
            (Some(line), None) => Some(Self::hash_user_agent(line.as_bytes())),
            _ => None,
        };
        Self {
            address,
            user_agent,
        }
    }

    /// Checks whether this client matches the binding of a session.
    ///
    /// # Errors
    /// The first property that does not match.
    pub fn check_binding(self, binding: &Binding) -> Result<(), BindingMismatch> {
        if let Some(network) = binding.network {
            let address = self.address.ok_or(BindingMismatch::AddressUnknown)?;
            if !network.contains(address) {
                return Err(BindingMismatch::Address);
            }
        }
        // A client that stops sending its user agent does not match.
        if binding.user_agent.is_some() && binding.user_agent != self.user_agent {
            return Err(BindingMismatch::UserAgent);
        }
        Ok(())
    }

    /// The first bytes of the SHA-256 hash of a `User-Agent`.
    #[must_use]
    pub fn hash_user_agent(user_agent: &[u8]) -> UserAgentHash {
        let digest = Sha256::digest(user_agent);
        let mut first = [0; UserAgentHash::LEN];
        first.copy_from_slice(&digest[..UserAgentHash::LEN]);
        UserAgentHash::from_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: NetworkBits = NetworkBits { ipv4: 24, ipv6: 64 };

    fn client(address: &str, user_agent: &str) -> Client {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, user_agent.parse().unwrap());
        Client::new(address.parse().ok(), &headers)
    }

    #[test]
    fn a_session_is_valid_only_for_clients_that_match_its_binding() {
        let alice = client("203.0.113.7", "Firefox");
        let both = BindSettings {
            network: Some(BITS),
            user_agent: true,
        };
        let bound = both.binding_for(alice).unwrap();
        for (other, expected) in [
            (alice, Ok(())),
            (client("203.0.113.99", "Firefox"), Ok(())),
            (client("::ffff:203.0.113.99", "Firefox"), Ok(())),
            (
                client("203.0.114.7", "Firefox"),
                Err(BindingMismatch::Address),
            ),
            (
                client("2001:db8::7", "Firefox"),
                Err(BindingMismatch::Address),
            ),
            (
                client("203.0.113.7", "firefox"),
                Err(BindingMismatch::UserAgent),
            ),
            (client("", "Firefox"), Err(BindingMismatch::AddressUnknown)),
            (Client::default(), Err(BindingMismatch::AddressUnknown)),
        ] {
            assert_eq!(other.check_binding(&bound), expected, "{other:?}");
        }
        let network = BindSettings {
            user_agent: false,
            ..both
        };
        let bound = network.binding_for(alice).unwrap();
        assert_eq!(client("203.0.113.8", "curl").check_binding(&bound), Ok(()));
        let anywhere = BindSettings::default()
            .binding_for(Client::default())
            .unwrap();
        assert!(anywhere.is_unbound());
        assert_eq!(Client::default().check_binding(&anywhere), Ok(()));
    }

    #[test]
    fn an_unknown_property_cannot_be_bound() {
        let network = BindSettings {
            network: Some(BITS),
            user_agent: false,
        };
        assert_eq!(
            network.binding_for(client("", "x")),
            Err(UnknownClientProperty::Address)
        );
        let user_agent = BindSettings {
            network: None,
            user_agent: true,
        };
        let silent = Client::default();
        assert_eq!(
            user_agent.binding_for(silent),
            Err(UnknownClientProperty::UserAgent)
        );
        let mut twice = HeaderMap::new();
        twice.append(USER_AGENT, "a".parse().unwrap());
        twice.append(USER_AGENT, "b".parse().unwrap());
        assert_eq!(Client::new(None, &twice).user_agent, None);
    }
}
