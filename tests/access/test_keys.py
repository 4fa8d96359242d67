"""Keys of a JWKS: what is taken in, how it is kept fresh, and what happens while it cannot be."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from quire.access.keys import MAX_JWKS_BYTES, KeyRing, Keys, UrlSource
from quire.access.principal import Principal
from quire.access.tokens import TokenVerifier
from quire.errors import ConfigurationError, Unauthenticated, Unavailable
from quire.settings import AuthSettings
from tests.access.issuer import Endpoint, ec_key, jwk, jwks, rsa_key, serving, sign


def token(name: str = "one", kid: str = "k1") -> str:
    claims = {"sub": "ada", "scope": "read", "exp": time.time() + 600}
    return sign(claims, ec_key(name), "ES256", kid)


def endpoint(name: str = "one", kid: str = "k1") -> Endpoint:
    return Endpoint(jwks(jwk(ec_key(name), kid)))


async def open_url(
    url: str, *, refresh: float = 300.0, cooldown: float = 10.0
) -> tuple[TokenVerifier, Keys]:
    source = UrlSource(url, refresh)
    source.cooldown_seconds = cooldown
    keys = Keys(source)
    await keys.start()
    return TokenVerifier(AuthSettings(jwks=url), keys), keys


async def eventually(verifier: TokenVerifier, good: str, seconds: float = 8.0) -> Principal:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await verifier.verify(good)
        except (Unauthenticated, Unavailable):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def eventually_refused(verifier: TokenVerifier, good: str, seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            await verifier.verify(good)
        except Unauthenticated:
            return
        await asyncio.sleep(0.05)
    pytest.fail("it is still accepted")


class TestKeyRing:
    def test_only_keys_that_may_verify_our_algorithms_are_taken(self) -> None:
        good = [jwk(rsa_key(), "rsa"), jwk(ec_key(), "ec", use="sig", alg="ES256")]
        bad: list[Any] = [
            {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "okp"},
            jwk(ec_key(curve="P-384"), "p384"),
            jwk(rsa_key(), "enc", use="enc"),
            jwk(rsa_key(), "ops", key_ops=["encrypt"]),
            jwk(rsa_key(), "ops2", key_ops=5),
            jwk(rsa_key(), "pss", alg="PS256"),
            jwk(rsa_key(), "crossed", alg="ES256"),
            jwk(rsa_key(bits=1024), "short"),
            {**jwk(rsa_key(), None), "kid": 5},
            {**jwk(rsa_key(), "broken"), "n": "!"},
            {**jwk(ec_key(), "off the curve"), "x": "AAAA"},
            {"kty": "RSA", "kid": "empty"},
            {"kty": ["RSA"]},
            "text",
            None,
        ]
        ring = KeyRing.parse(jwks(*bad, *good))
        assert len(ring) == 2
        assert ring.find("rsa", "RS256")
        assert ring.find("ec", "ES256")
        assert not ring.find("rsa", "ES256")

    def test_a_private_half_is_not_taken_in(self) -> None:
        from jwt.algorithms import ECAlgorithm

        private = {**ECAlgorithm.to_jwk(ec_key(), as_dict=True), "kid": "k1"}
        private.pop("key_ops", None)
        key = KeyRing.parse(jwks(private)).find("k1", "ES256")
        assert key is not None
        assert not hasattr(key.key, "sign")

    @pytest.mark.parametrize(
        "data",
        [b"", b"{}", b"[]", b"null", b'{"keys": {}}', b'{"keys": []}', b"\xff\xfe", b"[" * 100_000],
    )
    def test_what_is_no_jwks_is_a_value_error(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            KeyRing.parse(data)


class TestFile:
    async def test_it_is_read_again_when_it_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(jwk(ec_key(), "k1")))
        verifier = await TokenVerifier.open(AuthSettings(jwks=str(path)))
        assert await verifier.verify(token())
        replacement = tmp_path / "new"
        replacement.write_bytes(jwks(jwk(ec_key("two"), "k2")))
        os.replace(replacement, path)
        # An unknown key has the file looked at without waiting for the next round.
        assert await verifier.verify(token("two", "k2"))
        # The old key is gone, and with it what was remembered of its tokens.
        with pytest.raises(Unauthenticated):
            await verifier.verify(token())
        await verifier.close()

    async def test_a_removed_key_stops_working_without_any_new_token(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(jwk(ec_key(), "k1"), jwk(ec_key("two"), "k2")))
        verifier = await TokenVerifier.open(AuthSettings(jwks=str(path)))
        good = token()
        await verifier.verify(good)
        path.write_bytes(jwks(jwk(ec_key("two"), "k2")))
        await eventually_refused(verifier, good)
        await verifier.close()

    async def test_a_file_broken_or_gone_later_leaves_the_keys(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(jwk(ec_key(), "k1")))
        verifier = await TokenVerifier.open(AuthSettings(jwks=str(path)))
        keys = verifier._keys
        assert keys is not None
        path.write_bytes(b"{")
        await keys._refresh()
        assert await verifier.verify(token())
        path.unlink()
        await keys._refresh()
        assert await verifier.verify(token())
        await verifier.close()

    @pytest.mark.parametrize("content", [None, b"{", b'{"keys":[]}', b" " * (MAX_JWKS_BYTES + 1)])
    async def test_a_file_wrong_from_the_start_is_a_configuration_error(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "jwks.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"QUIRE_AUTH_JWKS.*jwks\.json"):
            await TokenVerifier.open(AuthSettings(jwks=str(path)))


class TestUrl:
    @pytest.mark.parametrize(
        "url", ["http://id.example/jwks", "http://10.0.0.1/jwks", "ftp://x/jwks", "http://[::1/x"]
    )
    async def test_plain_http_is_for_loopback_alone(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="QUIRE_AUTH_JWKS"):
            await TokenVerifier.open(AuthSettings(jwks=url))

    async def test_a_rotated_key_works_at_once(self) -> None:
        async with serving(endpoint()) as issuer:
            verifier = await TokenVerifier.open(AuthSettings(jwks=issuer.url))
            assert await verifier.verify(token())
            issuer.body = jwks(jwk(ec_key(), "k1"), jwk(ec_key("two"), "k2"))
            assert await verifier.verify(token("two", "k2"))
            assert issuer.hits == 2
            await verifier.close()

    async def test_keys_are_refreshed_in_the_background(self) -> None:
        async with serving(endpoint()) as issuer:
            verifier = await TokenVerifier.open(
                AuthSettings(jwks=issuer.url, jwks_refresh_seconds=1)
            )
            good = token()
            await verifier.verify(good)
            issuer.body = jwks(jwk(ec_key("two"), "k2"))
            await eventually_refused(verifier, good)
            await verifier.close()

    async def test_garbage_cannot_hammer_the_endpoint(self) -> None:
        async with serving(endpoint()) as issuer:
            verifier = await TokenVerifier.open(AuthSettings(jwks=issuer.url))
            results = await asyncio.gather(
                *(verifier.verify(token(kid=f"unknown {n}")) for n in range(50)),
                return_exceptions=True,
            )
            for n in range(50):
                with pytest.raises(Unauthenticated):
                    await verifier.verify(token(kid=f"unknown {n}"))
            assert all(isinstance(result, Unauthenticated) for result in results)
            assert issuer.hits == 2
            await verifier.close()

    async def test_many_wait_for_one_refresh(self) -> None:
        async with serving(endpoint()) as issuer:
            verifier = await TokenVerifier.open(AuthSettings(jwks=issuer.url))
            issuer.body = jwks(jwk(ec_key("two"), "k2"))
            issuer.delay = 0.2
            good = token("two", "k2")
            await asyncio.gather(*(verifier.verify(good) for _ in range(20)))
            assert issuer.hits == 2
            await verifier.close()

    async def test_a_caller_who_leaves_does_not_take_the_refresh_along(self) -> None:
        async with serving(endpoint()) as issuer:
            verifier = await TokenVerifier.open(AuthSettings(jwks=issuer.url))
            issuer.body = jwks(jwk(ec_key("two"), "k2"))
            issuer.delay = 0.2
            leaving = asyncio.create_task(verifier.verify(token("two", "k2")))
            staying = asyncio.create_task(verifier.verify(token("two", "k2")))
            await asyncio.sleep(0.05)
            leaving.cancel()
            assert await staying
            await verifier.close()

    async def test_down_at_start_is_unavailable_and_recovers_by_itself(self) -> None:
        issuer = endpoint()
        async with serving(issuer):
            port = int(issuer.url.split(":")[2].split("/")[0])
        verifier = await TokenVerifier.open(AuthSettings(jwks=issuer.url))
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                await verifier.verify(token())
            assert caught.value.retry_after
        async with serving(issuer, port):
            assert await eventually(verifier, token())
        await verifier.close()

    async def test_down_later_keeps_the_old_keys(self) -> None:
        issuer = endpoint()
        async with serving(issuer):
            verifier, keys = await open_url(issuer.url, cooldown=0.0)
        await keys._refresh()
        assert await verifier.verify(token())
        # Whether this key exists cannot be known now, so its holder is not sent away for good.
        with pytest.raises(Unavailable):
            await verifier.verify(token("two", "k2"))
        await verifier.close()

    @pytest.mark.parametrize(
        "broken",
        [
            {"status": 500},
            {"body": b"<html>"},
            {"body": b'{"keys": []}'},
            {"body": b" " * (MAX_JWKS_BYTES + 1)},
            {"headers": {"Content-Encoding": "gzip"}, "body": b"\x1f\x8b..."},
        ],
    )
    async def test_a_wrong_answer_is_unavailable_until_it_is_right(
        self, broken: dict[str, Any]
    ) -> None:
        issuer = endpoint()
        right = issuer.body
        for name, value in broken.items():
            setattr(issuer, name, value)
        async with serving(issuer):
            verifier, _ = await open_url(issuer.url, cooldown=0.0)
            with pytest.raises(Unavailable):
                await verifier.verify(token())
            issuer.status, issuer.headers, issuer.body = 200, {}, right
            assert await verifier.verify(token())
            await verifier.close()

    async def test_a_redirect_is_not_followed(self) -> None:
        async with serving(endpoint()) as elsewhere, serving(endpoint()) as issuer:
            issuer.status, issuer.headers = 302, {"Location": elsewhere.url}
            verifier, _ = await open_url(issuer.url)
            with pytest.raises(Unavailable):
                await verifier.verify(token())
            assert elsewhere.hits == 0
            await verifier.close()

    async def test_an_endpoint_that_hangs_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quire.access.keys.FETCH_SECONDS", 0.2)
        issuer = endpoint()
        issuer.delay = 3.0
        async with serving(issuer):
            started = time.monotonic()
            verifier, _ = await open_url(issuer.url)
            with pytest.raises(Unavailable):
                await verifier.verify(token())
            assert time.monotonic() - started < 1.5
            await verifier.close()

    async def test_closing_ends_a_refresh_under_way(self) -> None:
        issuer = endpoint()
        async with serving(issuer):
            verifier, _ = await open_url(issuer.url)
            issuer.delay = 3.0
            waiting = asyncio.create_task(verifier.verify(token(kid="k9")))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            await verifier.close()
            assert time.monotonic() - started < 1
            await asyncio.gather(waiting, return_exceptions=True)
