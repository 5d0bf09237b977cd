//! Who may reach which addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use ipnet::IpNet;

/// On whose word a call is made.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The operator's, by a flag or a file of the server: nothing is refused.
    Operator,
    /// An object of root, which is its administrators' word: bound by what the plane denies.
    Root,
    /// An object of a tenant.
    Tenant {
        /// The identity of the control plane, which no other has. Its connections are its own.
        id: Arc<str>,
        /// What it may reach besides, by its class or its `VirtualCluster`.
        allowed: Arc<[IpNet]>,
    },
}

impl Caller {
    /// What tells its connections from those of others.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Operator => "operator",
            Self::Root => "root",
            Self::Tenant { id, .. } => id,
        }
    }
}

/// What the plane allows and denies.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `--egress-denied-cidrs`: such as the pod, service and node ranges of the host cluster.
    pub denied: Vec<IpNet>,
    /// `--egress-allowed-cidrs`: exceptions from all that is denied.
    pub allowed: Vec<IpNet>,
    /// Where the server itself and its store listen. No exception holds for these.
    pub own: Vec<SocketAddr>,
}

/// Reads ranges of addresses; an address alone is a range of one.
pub fn parse_ranges<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<IpNet>, String> {
    let read = |text: &str| {
        let text = text.trim();
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(|net| net.trunc())
            .map_err(|_| format!("{text:?} is no range of addresses; write one as 10.0.0.0/8 or fd00::/8"))
    };
    texts.into_iter().map(read).collect()
}

fn within(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

impl Policy {
    /// Whether a caller may reach an address: `Err` says what the address is.
    pub fn check(&self, caller: &Caller, address: SocketAddr) -> Result<(), &'static str> {
        let forms = forms(address.ip());
        let any = |test: &dyn Fn(IpAddr) -> bool| forms.iter().flatten().any(|ip| test(*ip));
        let denied = || any(&|ip| within(&self.denied, ip));
        match caller {
            Caller::Operator => Ok(()),
            Caller::Root => {
                if denied() && !any(&|ip| within(&self.allowed, ip)) {
                    return Err("in a range that the plane denies (--egress-denied-cidrs)");
                }
                Ok(())
            }
            Caller::Tenant { allowed, .. } => {
                if any(&|ip| self.is_own(SocketAddr::new(ip, address.port()))) {
                    return Err("an address of the shared API server");
                }
                // All that the address stands for must be allowed, so that an exception for a range of IPv6 is none for
                // the IPv4 address inside.
                let excepted = |ip: &IpAddr| within(&self.allowed, *ip) || within(allowed, *ip);
                for ip in forms.iter().flatten().filter(|ip| !excepted(ip)) {
                    if let Some(why) = special(*ip) {
                        return Err(why);
                    }
                    if within(&self.denied, *ip) {
                        return Err("in a range that the plane denies (--egress-denied-cidrs)");
                    }
                    if is_local(*ip) {
                        return Err("an address of the machine of the shared API server");
                    }
                }
                Ok(())
            }
        }
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == address.port()
                && match own.ip().to_canonical() {
                    ip if ip.is_unspecified() => {
                        address.ip().is_unspecified() || address.ip().is_loopback() || is_local(address.ip())
                    }
                    // The unspecified address is this machine, whatever is listened on.
                    ip => ip == address.ip() || address.ip().is_unspecified(),
                }
        })
    }
}

/// An address as it is judged: in its plain form, and the IPv4 address that an IPv6 one carries inside, for a translator
/// on the way would dial that.
fn forms(address: IpAddr) -> [Option<IpAddr>; 2] {
    let plain = address.to_canonical();
    let IpAddr::V6(v6) = plain else { return [Some(plain), None] };
    let segments = v6.segments();
    let tail = || Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7]));
    let inner = match segments {
        // The loopback and unspecified addresses are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible, and what translators put IPv4 addresses into.
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(tail()),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(tail()),
        // 6to4.
        [0x2002, high, low, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        // Teredo, whose clients' addresses are inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!u32::from(tail()))),
        _ => None,
    };
    [Some(plain), inner.map(IpAddr::V4)]
}

/// What no tenant reaches unless it is allowed.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let why = match address.octets() {
        [0, ..] => "an unspecified address",
        [127, ..] => "a loopback address",
        [169, 254, ..] => "a link-local address",
        [224..=239, ..] => "a multicast address",
        [240..=255, ..] => "a reserved address",
        // Where some clouds serve the credentials of the machine, outside of what is link-local.
        [100, 100, 100, 200] | [192, 0, 0, _] => "an address of the machine's cloud",
        _ => return None,
    };
    Some(why)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let why = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a site-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => "an address of the machine's cloud",
        _ => return None,
    };
    Some(why)
}

/// Whether the address is one of this machine's: only to those can a socket be bound.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(allowed: &[&str]) -> Caller {
        let allowed = parse_ranges(allowed.iter().copied()).unwrap();
        Caller::Tenant { id: "a".into(), allowed: allowed.into() }
    }

    fn check(policy: &Policy, caller: &Caller, address: &str) -> Result<(), &'static str> {
        policy.check(caller, SocketAddr::new(address.parse().unwrap(), 443))
    }

    #[test]
    fn what_is_special_is_refused_in_every_disguise() {
        let policy = Policy::default();
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:80ff:fffe",
        ] {
            assert!(check(&policy, &tenant(&[]), address).is_err(), "{address}");
        }
        for address in ["203.0.113.7", "10.1.2.3", "2001:db8::1", "2002:cb00:7107::1", "64:ff9b::203.0.113.7"]
        {
            assert_eq!(check(&policy, &tenant(&[]), address), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_exception_is_for_the_address_that_is_dialled() {
        let policy = Policy::default();
        assert_eq!(check(&policy, &tenant(&["127.0.0.0/8"]), "127.0.0.1"), Ok(()));
        assert_eq!(check(&policy, &tenant(&["127.0.0.0/8"]), "::ffff:127.0.0.1"), Ok(()));
        assert!(check(&policy, &tenant(&["127.0.0.0/8"]), "::1").is_err());
        assert!(check(&policy, &tenant(&["::/0"]), "64:ff9b::127.0.0.1").is_err());
        assert_eq!(check(&policy, &tenant(&["::/0", "0.0.0.0/0"]), "64:ff9b::127.0.0.1"), Ok(()));
    }

    #[test]
    fn what_the_plane_denies_binds_root_too() {
        let policy = Policy {
            denied: parse_ranges(["10.0.0.0/8"]).unwrap(),
            allowed: parse_ranges(["10.9.0.0/16"]).unwrap(),
            own: Vec::new(),
        };
        for (caller, address, passes) in [
            (Caller::Root, "10.1.2.3", false),
            (Caller::Root, "10.9.2.3", true),
            (Caller::Root, "127.0.0.1", true),
            (Caller::Operator, "10.1.2.3", true),
            (tenant(&[]), "10.1.2.3", false),
            (tenant(&[]), "10.9.2.3", true),
            (tenant(&["10.1.0.0/16"]), "10.1.2.3", true),
        ] {
            assert_eq!(check(&policy, &caller, address).is_ok(), passes, "{caller:?} {address}");
        }
    }

    #[test]
    fn no_exception_leads_to_the_server_itself() {
        let own = |at: &str| Policy { own: vec![at.parse().unwrap()], ..Policy::default() };
        let all = tenant(&["0.0.0.0/0", "::/0"]);
        assert!(check(&own("127.0.0.1:443"), &all, "127.0.0.1").is_err());
        assert!(check(&own("127.0.0.1:443"), &all, "0.0.0.0").is_err());
        assert!(check(&own("127.0.0.1:443"), &all, "::ffff:127.0.0.1").is_err());
        assert_eq!(check(&own("127.0.0.1:444"), &all, "127.0.0.1"), Ok(()));
        assert!(check(&own("0.0.0.0:443"), &all, "127.0.0.2").is_err());
        assert!(check(&own("[::]:443"), &all, "::1").is_err());
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_ranges(["10.1.2.3/8"]).unwrap()[0].to_string(), "10.0.0.0/8");
        assert_eq!(parse_ranges(["10.1.2.3"]).unwrap()[0].to_string(), "10.1.2.3/32");
        assert!(parse_ranges(["ten"]).unwrap_err().contains("is no range"));
    }
}
