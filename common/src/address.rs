//! One form for IPv4 and IPv6 addresses in the kernel maps.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2): four words in network byte order,
/// as the kernel's contexts give them. One form for both means that an IPv4-mapped socket needs no case of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address {
    words: [u32; 4],
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya takes map keys and values only of types that promise what zerocopy proved")]
// SAFETY: IntoBytes and FromBytes prove a layout without padding in which any bits are valid; it is Copy and has no
// lifetime.
unsafe impl aya::Pod for Address {}

/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// From an IPv4 address in network byte order, as the kernel's contexts give it.
    #[inline(always)]
    pub const fn from_ipv4_be(address: u32) -> Self {
        Self { words: [0, 0, MAPPED, address] }
    }

    /// From the four words of an IPv6 address in network byte order, as the kernel's contexts give them.
    #[inline(always)]
    pub const fn from_ipv6_be(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The four words in network byte order.
    #[inline(always)]
    pub const fn ipv6_be(&self) -> [u32; 4] {
        self.words
    }

    /// The IPv4 address in network byte order, if it is one.
    #[inline(always)]
    pub const fn ipv4_be(&self) -> Option<u32> {
        if self.is_ipv4() { Some(self.words[3]) } else { None }
    }

    /// Whether it stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_ipv4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_ipv4() {
            return u32::from_be(self.words[3]) >> 24 == 127;
        }
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 1_u32.to_be()
    }

    /// 0.0.0.0 or ::, which connect(2) takes for "this host".
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && (self.words[2] == 0 || self.words[2] == MAPPED)
            && self.words[3] == 0
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut result = Self::default();
        for (word, bytes) in result.words.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        result
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if let Some(v4) = address.ipv4_be() {
            return Self::V4(Ipv4Addr::from(v4.to_ne_bytes()));
        }
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(address.words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Self::V6(Ipv6Addr::from(octets))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_address_survives_the_round_trip(address: IpAddr) {
            prop_assert_eq!(IpAddr::from(Address::from(address)), address.to_canonical());
        }

        #[test]
        fn classes_agree_with_the_standard_library(address: IpAddr) {
            let ours = Address::from(address);
            let canonical = address.to_canonical();
            prop_assert_eq!(ours.is_ipv4(), canonical.is_ipv4());
            prop_assert_eq!(ours.is_loopback(), canonical.is_loopback());
            prop_assert_eq!(ours.is_unspecified(), canonical.is_unspecified());
        }
    }

    #[test]
    fn edges_of_the_classes() {
        for (text, loopback, unspecified) in [
            ("127.0.0.1", true, false),
            ("127.255.255.255", true, false),
            ("126.255.255.255", false, false),
            ("128.0.0.0", false, false),
            ("::1", true, false),
            ("::2", false, false),
            ("1::1", false, false),
            ("::", false, true),
            ("0.0.0.0", false, true),
            ("::ffff:127.0.0.1", true, false),
            ("::ffff:0.0.0.0", false, true),
        ] {
            let address = Address::from(text.parse::<IpAddr>().unwrap());
            assert_eq!(address.is_loopback(), loopback, "{text}");
            assert_eq!(address.is_unspecified(), unspecified, "{text}");
        }
    }
}
