"""Addresses are read as browsers read them; what is odd about one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import AddressRefused
from quire.web.address import parse


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://Example.COM", "http://example.com/"),
        ("HTTPS://example.com:443/a", "https://example.com/a"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("http://example.com./", "http://example.com/"),
        ("http://example.com/a/./b/../c#part", "http://example.com/a/c"),
        ("http://example.com/a/%2e%2E/b", "http://example.com/b"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com/a b".replace(" ", "%20"), "http://example.com/a%20b"),
        ("http://example.com/käse?q=ü", "http://example.com/k%C3%A4se?q=%C3%BC"),
        ("http://example.com?", "http://example.com/?"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("  http://example.com/  ", "http://example.com/"),
        ("http://[2606:4700::0:1111]:8080/", "http://[2606:4700::1111]:8080/"),
        # The same loopback address, in all the ways that browsers know.
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x7f000001/", "http://127.0.0.1/"),
        ("http://0X7F.1/", "http://127.0.0.1/"),
        ("http://017700000001/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://127.0.1./", "http://127.0.0.1/"),
        ("http://127.0.0.0x1/", "http://127.0.0.1/"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("http://0/", "http://0.0.0.0/"),
    ],
)
def test_an_address_has_one_form(written: str, meant: str) -> None:
    address = parse(written)
    assert str(address) == meant
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://example.com@127.0.0.1/",
        "http://@example.com/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com\\.evil.example/",
        "http://exam ple.com/",
        "http://example.com/\r\nHost: inside",
        "http://exa\tmple.com/",
        "http://example.com\x00.evil.example/",
        "http://%31%32%37.0.0.1/",
        "http://example%2ecom/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1/",
        "http://[1.2.3.4]/",
        "http://[v1.fe]/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://1.2.3.08/",
        "http://0x100000000/",
        "http://4294967296/",
        "http://1..1/",
        "http://example.com../",
        "http://-example.com/",
        "http://exa$mple.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:port/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
        "http://example.com/" + "a" * 4_000,
        "http://\ud800.example/",
        "http://a\u200d.example/",
    ],
)
def test_what_is_odd_is_refused(odd: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse(odd)
    assert "secret" not in refused.value.message


@given(st.text(max_size=60))
def test_whatever_is_written_it_is_read_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com/{text}"):
        try:
            address = parse(url)
        except AddressRefused:
            continue
        assert parse(str(address)) == address
        assert str(address).isascii()


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("/b", "https://example.com/b"),
        ("c?d", "https://example.com/a/c?d"),
        ("../c", "https://example.com/c"),
        ("//other.example/x", "https://other.example/x"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("?page=2", "https://example.com/a/b?page=2"),
    ],
)
def test_references_are_resolved(reference: str, meant: str) -> None:
    assert str(parse("https://example.com/a/b").joined(reference)) == meant
