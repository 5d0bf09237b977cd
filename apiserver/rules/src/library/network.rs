//! Addresses and networks.

use std::net::IpAddr;

use super::{Outcome, Registry, failed, no_overload};
use crate::value::{Special, Value};

pub(super) fn declare(d: &mut Registry) {
    d.add("ip", "string_to_ip: (string) -> IP; cidr_ip: CIDR.() -> IP", |_, args| match args {
        [Value::String(text)] => match address(text) {
            Ok(address) => Ok(made(address)),
            Err(told) => failed(format!(
                "IP Address {} parse error during conversion from string: {told}",
                kplane_machinery::field::go_quote(text)
            )),
        },
        [value] => network(value).map_or_else(no_overload, |(address, _)| Ok(made(address))),
        _ => no_overload(),
    });
    d.add("isIP", "is_ip: (string) -> bool", |_, args| match args {
        [Value::String(text)] => Ok(Value::Bool(address(text).is_ok())),
        _ => no_overload(),
    });
    d.add("ip.isCanonical", "ip_is_canonical: (string) -> bool", |_, args| match args {
        [Value::String(text)] => match address(text) {
            Ok(address) => Ok(Value::Bool(address.to_string() == **text)),
            Err(told) => failed(format!(
                "IP Address {} parse error during conversion from string: {told}",
                kplane_machinery::field::go_quote(text)
            )),
        },
        _ => no_overload(),
    });
    d.add("family", "ip_family: IP.() -> int", |_, args| match args {
        [value] => match ip(value) {
            Some(address) => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
            None => no_overload(),
        },
        _ => no_overload(),
    });
    d.add("isUnspecified", "ip_is_unspecified: IP.() -> bool", |_, args| test(args, |a| a.is_unspecified()));
    d.add("isLoopback", "ip_is_loopback: IP.() -> bool", |_, args| test(args, |a| a.is_loopback()));
    d.add("isLinkLocalMulticast", "ip_is_link_local_multicast: IP.() -> bool", |_, args| {
        test(args, local_multicast)
    });
    d.add("isLinkLocalUnicast", "ip_is_link_local_unicast: IP.() -> bool", |_, args| {
        test(args, local_unicast)
    });
    d.add("isGlobalUnicast", "ip_is_global_unicast: IP.() -> bool", |_, args| {
        test(args, |a| {
            let broadcast = matches!(a, IpAddr::V4(v4) if v4.is_broadcast());
            !(a.is_unspecified() || a.is_loopback() || a.is_multicast() || local_unicast(a) || broadcast)
        })
    });
    d.add("string", "ip_to_string: (IP) -> string; cidr_to_string: (CIDR) -> string", |_, args| match args {
        [value] => match (ip(value), network(value)) {
            (Some(address), _) => Ok(Value::from(address.to_string())),
            (_, Some((address, prefix))) => Ok(Value::from(format!("{address}/{prefix}"))),
            _ => no_overload(),
        },
        _ => no_overload(),
    });
    networks(d);
}

fn networks(d: &mut Registry) {
    d.add("cidr", "string_to_cidr: (string) -> CIDR", |_, args| match args {
        [Value::String(text)] => match parse_network(text) {
            Ok((address, prefix)) => Ok(Value::special(Special::Cidr(address, prefix))),
            Err(told) => failed(format!("network address parse error during conversion from string: {told}")),
        },
        _ => no_overload(),
    });
    d.add("isCIDR", "is_cidr: (string) -> bool", |_, args| match args {
        [Value::String(text)] => Ok(Value::Bool(parse_network(text).is_ok())),
        _ => no_overload(),
    });
    d.add(
        "containsIP",
        "cidr_contains_ip_string: CIDR.(string) -> bool; cidr_contains_ip: CIDR.(IP) -> bool",
        |_, args| {
            let [range, other] = args else { return no_overload() };
            let Some(range) = network(range) else { return no_overload() };
            let other = match other {
                Value::String(text) => match address(text) {
                    Ok(address) => address,
                    Err(told) => {
                        return failed(format!(
                            "IP address parse error during conversion from string: {told}"
                        ));
                    }
                },
                other => match ip(other) {
                    Some(address) => address,
                    None => return no_overload(),
                },
            };
            Ok(Value::Bool(contains(range, other)))
        },
    );
    d.add(
        "containsCIDR",
        "cidr_contains_cidr_string: CIDR.(string) -> bool; cidr_contains_cidr: CIDR.(CIDR) -> bool",
        |_, args| {
            let [range, other] = args else { return no_overload() };
            let Some(range) = network(range) else { return no_overload() };
            let other = match other {
                Value::String(text) => match parse_network(text) {
                    Ok(found) => found,
                    Err(told) => {
                        return failed(format!(
                            "network address parse error during conversion from string: {told}"
                        ));
                    }
                },
                other => match network(other) {
                    Some(found) => found,
                    None => return no_overload(),
                },
            };
            Ok(Value::Bool(range.1 <= other.1 && contains(range, masked(other.0, other.1))))
        },
    );
    d.add("masked", "cidr_masked: CIDR.() -> CIDR", |_, args| match args {
        [value] => match network(value) {
            Some((address, prefix)) => Ok(Value::special(Special::Cidr(masked(address, prefix), prefix))),
            None => no_overload(),
        },
        _ => no_overload(),
    });
    d.add("prefixLength", "cidr_prefix_length: CIDR.() -> int", |_, args| match args {
        [value] => network(value).map_or_else(no_overload, |(_, prefix)| Ok(Value::Int(i64::from(prefix)))),
        _ => no_overload(),
    });
}

fn made<'a>(address: IpAddr) -> Value<'a> {
    Value::special(Special::Ip(address))
}

fn ip(value: &Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Special(special) => match &**special {
            Special::Ip(address) => Some(*address),
            _ => None,
        },
        _ => None,
    }
}

fn network(value: &Value<'_>) -> Option<(IpAddr, u8)> {
    match value {
        Value::Special(special) => match &**special {
            Special::Cidr(address, prefix) => Some((*address, *prefix)),
            _ => None,
        },
        _ => None,
    }
}

fn test<'a>(args: &[Value<'a>], holds: fn(IpAddr) -> bool) -> Outcome<'a> {
    match args {
        [value] => ip(value).map_or_else(no_overload, |address| Ok(Value::Bool(holds(address)))),
        _ => no_overload(),
    }
}

fn local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// An address without a zone, and no IPv4 one in IPv6's clothes.
fn address(text: &str) -> Result<IpAddr, String> {
    let quoted = || kplane_machinery::field::go_quote(text);
    if text.contains('%') {
        return Err(format!("IP address {} with zone value is not allowed", quoted()));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {} is not allowed", quoted()))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(format!("ParseAddr({}): unable to parse IP", quoted())),
    }
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let quoted = kplane_machinery::field::go_quote(text);
    let Some((before, prefix)) = text.rsplit_once('/') else {
        return Err(format!("netip.ParsePrefix({quoted}): no '/'"));
    };
    let address = address(before).map_err(|told| format!("netip.ParsePrefix({quoted}): {told}"))?;
    let plain = !prefix.is_empty()
        && prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix.len() == 1 || !prefix.starts_with('0'));
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u8>() {
        Ok(length) if plain && length <= longest => Ok((address, length)),
        Ok(_) if plain => Err(format!("netip.ParsePrefix({quoted}): prefix length out of range")),
        _ => Err(format!(
            "netip.ParsePrefix({quoted}): bad bits after slash: {}",
            kplane_machinery::field::go_quote(prefix)
        )),
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains((range, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    range.is_ipv4() == address.is_ipv4() && masked(range, prefix) == masked(address, prefix)
}
