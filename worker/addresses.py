"""Which internet addresses are everybody's, so that asking one opens no door of our own."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Beyond what Python's `is_global` refuses, whose tables grow with its versions.
# IANA's registries of special-purpose addresses, and what no registry lists.
REFUSED_4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # the relays of 6to4, withdrawn by RFC 7526
    IPv4Network("168.63.129.16/32"),  # Azure's host, which every virtual machine there can ask
)
# The unicast addresses that are given out at all (RFC 4291, section 2.4), and the parts of them
# that lead elsewhere.
GLOBAL_6 = IPv6Network("2000::/3")
REFUSED_6 = (
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address of any kind is inside
    IPv6Network("3fff::/20"),  # documentation
)
# Translated to the IPv4 address that its last 32 bits are (RFC 6052).
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether the address, an IPv4 or IPv6 one as `getaddrinfo` writes it, is a public one.

    An IPv6 address that stands for an IPv4 one is judged by that.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    embedded = _embedded(address)
    if embedded is not None:
        return _is_public_4(embedded)
    return (
        address in GLOBAL_6
        and address.is_global
        and not any(address in network for network in REFUSED_6)
    )


def _is_public_4(address: IPv4Address) -> bool:
    refused = address.is_multicast or any(address in network for network in REFUSED_4)
    return address.is_global and not refused


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped
