use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network and the user agent that a session is bound to, fixed at sign-in. Curfew denies a request from another
/// network or user agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The client's network; `None` if the session is valid from any network.
    pub network: Option<Network>,
    /// The hash of the client's `User-Agent`; `None` if the session is valid with any user agent.
    pub user_agent: Option<UserAgentHash>,
}

impl Binding {
    /// Whether the session is valid from any network and with any user agent.
    #[must_use]
    pub const fn is_unbound(&self) -> bool {
        self.network.is_none() && self.user_agent.is_none()
    }
}

/// A network in CIDR form: an address prefix and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The network of an address: the first `bits` bits of the address. If the address has fewer bits, the network
    /// contains only this address. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr, bits: u8) -> Self {
        let address = address.to_canonical();
        let bits = bits.min(address_bits(address));
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, bits }
    }

    /// Whether an address belongs to this network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::of(address, self.bits) == self
    }

    /// The first address of the network.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The number of bits in an address.
const fn address_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first bytes of the SHA-256 hash of a `User-Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAgentHash([u8; Self::LEN]);

impl UserAgentHash {
    /// The length of the hash in bytes: enough to distinguish clients.
    pub const LEN: usize = 8;

    /// Restores a hash from the bytes in the store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash, for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_keeps_only_its_prefix() {
        for (address, bits, expected) in [
            ("203.0.113.77", 24, "203.0.113.0/24"),
            ("203.0.113.77", 32, "203.0.113.77/32"),
            ("203.0.113.77", 64, "203.0.113.77/32"),
            ("203.0.113.77", 1, "128.0.0.0/1"),
            ("203.0.113.77", 0, "0.0.0.0/0"),
            ("::ffff:203.0.113.77", 24, "203.0.113.0/24"),
            ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3::4", 0, "::/0"),
            ("2001:db8::1", 255, "2001:db8::1/128"),
        ] {
            assert_eq!(Network::of(ip(address), bits).to_string(), expected);
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let office = Network::of(ip("203.0.113.77"), 24);
        for (address, inside) in [
            ("203.0.113.1", true),
            ("::ffff:203.0.113.1", true),
            ("203.0.114.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(office.contains(ip(address)), inside, "{address}");
        }
        assert!(!Network::of(ip("0.0.0.0"), 0).contains(ip("::1")));
    }
}
