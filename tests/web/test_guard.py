"""Only the public web is connected to, and what the operator allows."""

from __future__ import annotations

import ipaddress

import pytest

from quire.errors import AddressRefused, ConfigurationError
from quire.web.address import parse
from quire.web.guard import Guard, SystemResolver
from quire.web.networks import is_public
from tests.web.names import Names

PUBLIC = "93.184.215.14"


INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("ip", INSIDE)
async def test_what_is_not_public_is_refused_however_it_is_come_by(ip: str) -> None:
    assert not is_public(ipaddress.ip_address(ip))
    written = f"[{ip}]" if ":" in ip else ip
    guard = Guard("", Names([ip]))
    for url in (f"http://{written}/", "http://harmless.example/"):
        with pytest.raises(AddressRefused, match="no public address"):
            await guard.addresses(parse(url))


@pytest.mark.parametrize("ip", [PUBLIC, "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::200e"])
async def test_what_is_public_is_connected_to(ip: str) -> None:
    assert await Guard("", Names([ip])).addresses(parse("https://example.com/")) == [ip]


async def test_one_address_inside_among_public_ones_refuses_the_host() -> None:
    guard = Guard("", Names([PUBLIC, "10.0.0.1"]))
    with pytest.raises(AddressRefused):
        await guard.addresses(parse("http://mixed.example/"))


async def test_a_name_inside_and_a_name_that_nobody_has_are_told_alike() -> None:
    told = []
    for answer in ([], ["10.1.2.3"]):
        with pytest.raises(AddressRefused) as refused:
            await Guard("", Names(answer)).addresses(parse("http://wiki.corp.example/"))
        told.append((refused.value.message, refused.value.recovery))
    assert told[0] == told[1]
    assert "10.1.2.3" not in told[1][0]


async def test_names_are_asked_for_without_this_machines_search_list() -> None:
    names = Names([PUBLIC])
    guard = Guard("wiki", names)
    await guard.addresses(parse("http://example.com/"))
    await guard.addresses(parse("http://wiki/"))  # the operator means a name of this machine's
    assert names.asked == ["example.com.", "wiki"]
    for host in ("localhost", "app.localhost", "metadata"):
        with pytest.raises(AddressRefused, match="no public address"):
            await guard.addresses(parse(f"http://{host}/"))
    assert len(names.asked) == 2


@pytest.mark.parametrize("port", [22, 25, 110, 2375, 5432, 6379, 9200, 11211, 27017])
async def test_pages_are_not_at_other_servers_ports(port: int) -> None:
    with pytest.raises(AddressRefused, match="ports 80, 443"):
        await Guard("", Names([PUBLIC])).addresses(parse(f"http://example.com:{port}/"))


@pytest.mark.parametrize(
    ("allow", "url", "ip"),
    [
        ("wiki.local", "http://wiki.local/", "10.0.0.1"),
        ("wiki.local", "http://wiki.local:8080/", "127.0.0.1"),
        ("wiki.local:3000", "http://wiki.local:3000/", "192.168.0.1"),
        ("wiki.local:*", "http://wiki.local:3000/", "fd12::1"),
        (".intra.example", "http://a.b.intra.example/", "172.16.0.1"),
        ("other, 10.1.0.0/16", "http://10.1.2.3/", "10.1.2.3"),
        ("10.1.0.0/16", "http://wiki.example/", "10.1.2.3"),
        ("127.0.0.1:5000", "http://127.1:5000/", "127.0.0.1"),
        ("[fd12::/48]:5000", "http://[fd12::1]:5000/", "fd12::1"),
        ("fd12::/48", "http://[fd12::1]/", "fd12::1"),
        ("169.254.0.0/16", "http://169.254.1.1/", "169.254.1.1"),
        ("search.example:9200", "http://search.example:9200/", PUBLIC),
    ],
)
async def test_what_the_operator_allows_is_connected_to(allow: str, url: str, ip: str) -> None:
    assert await Guard(allow, Names([ip])).addresses(parse(url)) == [ip]


@pytest.mark.parametrize(
    ("allow", "url", "ip"),
    [
        ("wiki.local", "http://notwiki.local/", "10.0.0.1"),
        ("wiki.local", "http://wiki.local.evil.example/", "10.0.0.1"),
        (".intra.example", "http://intra.example/", "10.0.0.1"),
        (".intra.example", "http://evilintra.example/", "10.0.0.1"),
        ("wiki.local:3000", "http://wiki.local:3001/", "10.0.0.1"),
        ("wiki.local:3000", "http://wiki.local/", "10.0.0.1"),
        ("wiki.local", "http://10.0.0.1/", "10.0.0.1"),
        # Whoever has a name's zone could point it anywhere: not at the cloud's secrets.
        ("wiki.local", "http://wiki.local/", "169.254.169.254"),
        ("wiki.local", "http://wiki.local/", "fd00:ec2::254"),
        ("wiki.local", "http://wiki.local/", "0.0.0.0"),
        ("wiki.local", "http://wiki.local/", "224.0.0.1"),
        ("wiki.local", "http://wiki.local/", "::ffff:10.0.0.1"),
        ("10.1.0.0/16", "http://10.2.0.1/", "10.2.0.1"),
        ("10.1.0.0/16:5000", "http://10.1.0.1:5001/", "10.1.0.1"),
    ],
)
async def test_what_is_allowed_opens_nothing_else(allow: str, url: str, ip: str) -> None:
    with pytest.raises(AddressRefused):
        await Guard(allow, Names([ip])).addresses(parse(url))


@pytest.mark.parametrize(
    "wrong", ["http://wiki.local", "10.1.0.5/16", "wiki.local:0", "wiki.local:99999", "a b", "[::1"]
)
def test_a_wrong_list_is_told_at_the_start(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="QUIRE_WEB_ALLOW"):
        Guard(wrong, Names())


async def test_the_machine_knows_its_own_name_and_no_nonsense() -> None:
    resolver = SystemResolver()
    try:
        assert "127.0.0.1" in await resolver.addresses("localhost")
        assert list(await resolver.addresses("a" * 64 + ".example.")) == []
    finally:
        resolver.close()
