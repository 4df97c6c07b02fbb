//! Names are looked up by the node's own resolver, which may well listen on the node itself.

use std::{fs, net::Ipv4Addr};

/// Where a container asks, whichever helper it has.
pub(crate) const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whom a helper asks in turn: the first that the node asks, of those that have an IPv4 address.
pub(super) fn of_node() -> Option<Ipv4Addr> {
    // A node without the file resolves nothing, and its replicas do not either.
    first(&fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn first(text: &str) -> Option<Ipv4Addr> {
    let words = |line: &'_ str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().find_map(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_version_4_is_asked() {
        let text = "# comment\nsearch lan\nnameserver fe80::1%eth0\nnameserver\t127.0.0.53 \nnameserver 9.9.9.9\n";
        assert_eq!(first(text), Some(Ipv4Addr::new(127, 0, 0, 53)));
        assert_eq!(first("nameserver\nnameservers 1.2.3.4\n"), None);
    }
}
