use super::RawPolicy;
use crate::config::mistakes::{Mistakes, Valid};
use crate::policy::{BindSettings, MaxSessions, NetworkBits, OnSessionLimit};

/// Parses the maximum number of sessions per subject; `None` if there is no maximum.
pub(super) fn parse_max_sessions(
    key: &str,
    raw: &mut RawPolicy,
    mistakes: &mut Mistakes,
) -> Valid<Option<MaxSessions>> {
    let on_limit_key = format!("{key}.on_session_limit");
    let Some(count) = raw.max_sessions else {
        if raw.on_session_limit.is_some() {
            mistakes.add(on_limit_key, format!("needs {key}.max_sessions"));
        }
        return Ok(None);
    };
    if !(1..=1000).contains(&count) {
        mistakes.add(format!("{key}.max_sessions"), "must be between 1 and 1000");
    }
    let word = raw
        .on_session_limit
        .get_or_insert_with(|| OnSessionLimit::Deny.as_str().to_owned());
    let on_limit = match word.as_str() {
        "deny" => Ok(OnSessionLimit::Deny),
        "end_oldest" => Ok(OnSessionLimit::EndOldest),
        _ => Err("must be `deny` or `end_oldest`"),
    };
    let on_limit = mistakes.record_error(&on_limit_key, on_limit)?;
    Ok(Some(MaxSessions { count, on_limit }))
}

/// The default number of address bits to match. Internet providers rarely change these bits during
/// a session.
const DEFAULT_BITS: NetworkBits = NetworkBits { ipv4: 24, ipv6: 64 };

/// Parses the binding: client network, user agent or both.
pub(super) fn parse_bind(
    key: &str,
    raw: &mut RawPolicy,
    mistakes: &mut Mistakes,
) -> Valid<BindSettings> {
    let (mut address, mut user_agent) = (false, false);
    for word in &raw.bind.0 {
        match word.as_str() {
            "address" => address = true,
            "user_agent" => user_agent = true,
            _ => mistakes.add(
                format!("{key}.bind"),
                "must be `address`, `user_agent` or both",
            ),
        }
    }
    if !address {
        for (name, bits) in [
            ("bind_ipv4_bits", raw.bind_ipv4_bits),
            ("bind_ipv6_bits", raw.bind_ipv6_bits),
        ] {
            if bits.is_some() {
                mistakes.add(
                    format!("{key}.{name}"),
                    format!("needs {key}.bind = \"address\""),
                );
            }
        }
        let network = None;
        return Ok(BindSettings {
            network,
            user_agent,
        });
    }
    let ipv4 = *raw.bind_ipv4_bits.get_or_insert(DEFAULT_BITS.ipv4);
    let ipv6 = *raw.bind_ipv6_bits.get_or_insert(DEFAULT_BITS.ipv6);
    if !(1..=32).contains(&ipv4) {
        mistakes.add(format!("{key}.bind_ipv4_bits"), "must be between 1 and 32");
    }
    if !(1..=128).contains(&ipv6) {
        mistakes.add(format!("{key}.bind_ipv6_bits"), "must be between 1 and 128");
    }
    Ok(BindSettings {
        network: Some(NetworkBits { ipv4, ipv6 }),
        user_agent,
    })
}
