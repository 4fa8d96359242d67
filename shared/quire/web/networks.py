"""Networks: which IP addresses are the public internet, and which are somebody's inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The registries of special-purpose addresses (RFC 6890 and its successors), written out: what
# `ipaddress` counts as global differs between versions of Python.
_SPECIAL = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; some clouds' metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's inside, though its range is public
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # Teredo, ORCHID and their like
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
# All that is global unicast today. Outside of it are IPv4 addresses in disguise (mapped,
# compatible, NAT64), link-local, unique local, site-local and multicast addresses.
_GLOBAL_6 = IPv6Network("2000::/3")

# Where people's own servers are. Link-local is not among it: there is the clouds' metadata.
_PRIVATE = [
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
]
# Unique local addresses that clouds have put their metadata at.
_METADATA = [ip_network("fd00:ec2::/32"), ip_network("fd20:ce::254/128")]


def is_public(ip: Ip) -> bool:
    """The address is one of the public internet, and nothing in disguise."""
    if isinstance(ip, IPv6Address) and (ip.scope_id is not None or ip not in _GLOBAL_6):
        return False
    return ip.is_global and not any(ip in network for network in _SPECIAL)


def is_private(ip: Ip) -> bool:
    """The address is one that people give their own servers."""
    return any(ip in network for network in _PRIVATE) and not any(ip in n for n in _METADATA)
