use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a session is bound to, fixed at sign-in: a request from elsewhere is not taken for the
/// session's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The network that the client is in; `None` where it may be anywhere.
    pub network: Option<Network>,
    /// What the client says it is, hashed; `None` where it may be anything.
    pub user_agent: Option<UserAgentHash>,
}

impl Binding {
    /// Whether the session may be used from anywhere.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.network.is_none() && self.user_agent.is_none()
    }
}

/// The network of an address: its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The network that an address is in, of its first `bits`; of all of them where it has fewer.
    /// An IPv4 address that is written as IPv6 is an IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr, bits: u8) -> Self {
        let address = address.to_canonical();
        let bits = bits.min(width(address));
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

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::of(address, self.bits) == self
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of an address it fixes.
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

/// How many bits an address has.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first bytes of a hash of the text with which a client describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAgentHash([u8; Self::LEN]);

impl UserAgentHash {
    /// How many bytes of the hash are kept: enough to tell clients apart, and no secret.
    pub const LEN: usize = 8;

    /// These bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
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
    fn networks() {
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
    fn what_is_in_a_network() {
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
