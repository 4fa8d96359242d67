"""What a bearer token must be to be believed, and what each other one is told."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from quire.access import tokens
from quire.access.keys import FileSource, Keys
from quire.access.principal import Principal, Scope
from quire.access.tokens import TokenVerifier, create_token
from quire.errors import ConfigurationError, Forbidden, InvalidInput, Unauthenticated
from quire.settings import AuthSettings
from tests.access.issuer import ec_key, jwk, jwks, pem, rsa_key, sign

SECRET = "a-secret-of-at-least-thirty-two-bytes"
OTHER = "another-secret-of-at-least-thirty-two-bytes"
NOW = 1_800_000_000.0


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def auth(**more: Any) -> AuthSettings:
    return AuthSettings(secret=SecretStr(SECRET), **more)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed; a change to None takes the claim away."""
    whole = {"sub": "ada", "scope": "read", "exp": NOW + 60, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def hs256(secret: str = SECRET, **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm="HS256")


def raw(header: Any, payload: Any, signature: bytes = b"") -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return ".".join(
        [part(json.dumps(header).encode()), part(json.dumps(payload).encode()), part(signature)]
    )


async def refused(verifier: TokenVerifier, token: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    error = caught.value
    assert error.message
    assert error.recovery
    shown = f"{error.message} {error.recovery} {error.details}"
    assert SECRET not in shown
    assert len(token) < 20 or token not in shown
    return error


async def reason(verifier: TokenVerifier, token: str) -> Any:
    return (await refused(verifier, token)).details["reason"]


class TestWhoCalls:
    async def test_subject_groups_and_scope_make_the_principal(self, clock: Clock) -> None:
        verifier = await TokenVerifier.open(auth(), clock=clock)
        token = hs256(groups=["red", "blue"], scope="openid write")
        assert await verifier.verify(token) == Principal(
            "ada", frozenset({"red", "blue"}), Scope.WRITE
        )
        await verifier.close()

    @pytest.mark.parametrize(
        ("given_scope", "expected"),
        [
            ({"scope": "read"}, Scope.READ),
            ({"scope": "read admin write"}, Scope.ADMIN),
            ({"scope": None, "scopes": ["write", "profile"]}, Scope.WRITE),
            ({"scope": "read", "scopes": ["write"]}, Scope.WRITE),
        ],
    )
    async def test_the_widest_scope_counts(
        self, clock: Clock, given_scope: dict[str, Any], expected: Scope
    ) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        assert (await verifier.verify(hs256(**given_scope))).scope is expected

    @pytest.mark.parametrize(
        "given_scope", [{"scope": None}, {"scope": "Read superuser"}, {"scopes": [], "scope": ""}]
    )
    async def test_no_known_scope_is_forbidden_and_names_the_valid_ones(
        self, clock: Clock, given_scope: dict[str, Any]
    ) -> None:
        with pytest.raises(Forbidden, match="read, write, admin"):
            await TokenVerifier(auth(), clock=clock).verify(hs256(**given_scope))

    @pytest.mark.parametrize(
        "bad",
        [
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
            {"sub": "x" * 257},
            {"sub": "ada\x00"},
            {"sub": "ada\nbob"},
            {"sub": "\ud800"},
            {"groups": "red"},
            {"groups": {"red": 1}},
            {"groups": [1]},
            {"groups": [""]},
            {"groups": ["a\x1b"]},
            {"scope": ["read"]},
            {"scopes": "read"},
            {"scopes": [1]},
            {"aud": 5},
            {"aud": [5]},
        ],
    )
    async def test_claims_of_the_wrong_shape_are_malformed(
        self, clock: Clock, bad: dict[str, Any]
    ) -> None:
        assert await reason(TokenVerifier(auth(), clock=clock), hs256(**bad)) == "malformed"

    async def test_a_subject_of_256_characters_is_accepted(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        assert (await verifier.verify(hs256(sub="é" * 256))).subject == "é" * 256


class TestForgery:
    async def test_another_secret_is_forged(self, clock: Clock) -> None:
        assert await reason(TokenVerifier(auth(), clock=clock), hs256(OTHER)) == "forged"

    async def test_changed_claims_are_forged(self, clock: Clock) -> None:
        head, _, signature = hs256().split(".")
        _, payload, _ = hs256(sub="eve", scope="admin").split(".")
        token = f"{head}.{payload}.{signature}"
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "forged"

    async def test_a_forged_token_learns_nothing_of_its_claims(self, clock: Clock) -> None:
        token = hs256(OTHER, exp=1, sub=None)
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "forged"

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["HS256"]])
    async def test_alg_none_is_refused_in_every_spelling(self, clock: Clock, alg: Any) -> None:
        token = raw({"alg": alg, "typ": "JWT"}, claims())
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "algorithm"

    async def test_a_missing_alg_is_refused(self, clock: Clock) -> None:
        token = raw({"typ": "JWT"}, claims())
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "algorithm"

    async def test_a_right_signature_removed_is_forged(self, clock: Clock) -> None:
        token = hs256().rsplit(".", 1)[0] + "."
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "forged"

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    @pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
    async def test_the_right_secret_with_another_algorithm_is_refused(
        self, clock: Clock, algorithm: str
    ) -> None:
        token = jwt.encode(claims(), SECRET, algorithm=algorithm)
        error = await refused(TokenVerifier(auth(), clock=clock), token)
        assert error.details["reason"] == "algorithm"
        assert "HS256" in error.message

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    async def test_a_secret_never_meets_a_public_key_algorithm(
        self, clock: Clock, algorithm: str
    ) -> None:
        token = sign(claims(), rsa_key() if algorithm == "RS256" else ec_key(), algorithm)
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "algorithm"

    async def test_critical_extensions_are_not_ignored(self, clock: Clock) -> None:
        token = jwt.encode(claims(), SECRET, algorithm="HS256", headers={"crit": ["x"], "x": 1})
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "malformed"


class TestShape:
    @pytest.mark.parametrize(
        "token",
        ["", ".", "..", "...", "abc", "a.b.c", "Bearer x", "e30.e30.", "W10.W10.W10", "\x00" * 9],
    )
    async def test_what_is_no_jwt_is_malformed(self, clock: Clock, token: str) -> None:
        assert await reason(TokenVerifier(auth(), clock=clock), token) in ("malformed", "algorithm")

    async def test_claims_must_be_an_object(self, clock: Clock) -> None:
        token = jwt.PyJWS().encode(b"[1]", SECRET.encode(), "HS256")
        assert await reason(TokenVerifier(auth(), clock=clock), token) == "malformed"

    async def test_claims_must_be_json(self, clock: Clock) -> None:
        for payload in (b"\xff", b"{", b"[" * 5000, b'{"exp": ' + b"9" * 5000 + b"}"):
            token = jwt.PyJWS().encode(payload, SECRET.encode(), "HS256")
            assert await reason(TokenVerifier(auth(), clock=clock), token) == "malformed"

    async def test_a_token_of_8_kb_is_read_and_a_longer_one_is_not(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        # Three bytes of claims make four of token, so sizes come in steps; find the last one below.
        fitting = max(size for size in range(5800, 6200) if len(hs256(jti="x" * size)) <= 8 * 1024)
        assert (await verifier.verify(hs256(jti="x" * fitting))).subject == "ada"
        assert await reason(verifier, hs256(jti="x" * (fitting + 1))) == "oversize"

    async def test_non_ascii_is_malformed(self, clock: Clock) -> None:
        for token in ("é" + hs256(), hs256() + "\u200b", "\ud800", hs256().replace(".", "\uff0e")):
            assert await reason(TokenVerifier(auth(), clock=clock), token) == "malformed"


class TestTimes:
    async def test_expiry_is_required(self, clock: Clock) -> None:
        error = await refused(TokenVerifier(auth(), clock=clock), hs256(exp=None))
        assert "exp" in error.message

    @pytest.mark.parametrize("leeway", [0.0, 30.0, 120.0])
    async def test_expiry_holds_to_the_leeway_and_not_beyond(
        self, clock: Clock, leeway: float
    ) -> None:
        verifier = TokenVerifier(auth(leeway_seconds=leeway), clock=clock)
        token = hs256(exp=NOW)
        clock.now = NOW + leeway - 0.001
        assert await verifier.verify(token)
        clock.now = NOW + leeway
        error = await refused(verifier, token)
        assert error.details["reason"] == "expired"
        assert "2027-01-15" in error.message
        assert "new token" in error.recovery

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    async def test_a_token_from_the_future_waits_for_the_leeway(
        self, clock: Clock, claim: str
    ) -> None:
        verifier = TokenVerifier(auth(leeway_seconds=30), clock=clock)
        times: dict[str, Any] = {"exp": NOW + 3600, claim: NOW + 100}
        token = hs256(**times)
        clock.now = NOW + 69.9
        assert await reason(verifier, token) == "not_yet_valid"
        clock.now = NOW + 70
        assert await verifier.verify(token)

    def test_the_leeway_is_bounded(self) -> None:
        for leeway in (-1, 121, float("nan")):
            with pytest.raises(ValueError):
                auth(leeway_seconds=leeway)

    @pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
    @pytest.mark.parametrize("value", ["soon", "1900000000", True, [], float("inf"), 10**400])
    async def test_times_must_be_numbers(self, clock: Clock, claim: str, value: Any) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        assert await reason(verifier, hs256_unchecked(**{claim: value})) == "malformed"

    async def test_absurd_times_are_shown_without_failing(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        assert await reason(verifier, hs256(exp=-1e300)) == "expired"
        assert await reason(verifier, hs256(nbf=1e300)) == "not_yet_valid"


def hs256_unchecked(**changes: Any) -> str:
    payload = json.dumps(claims(**changes)).encode()
    return jwt.PyJWS().encode(payload, SECRET.encode(), "HS256")


class TestAudienceAndIssuer:
    @pytest.mark.parametrize("audience", ["quire", ["other", "quire"]])
    async def test_the_configured_audience_is_accepted(self, clock: Clock, audience: Any) -> None:
        verifier = TokenVerifier(auth(audience="quire"), clock=clock)
        assert await verifier.verify(hs256(aud=audience))

    @pytest.mark.parametrize("audience", [None, "other", [], ["other"]])
    async def test_another_audience_is_refused(self, clock: Clock, audience: Any) -> None:
        verifier = TokenVerifier(auth(audience="quire"), clock=clock)
        assert await reason(verifier, hs256(aud=audience)) == "audience"

    async def test_a_token_for_others_is_refused_where_no_audience_is_set(
        self, clock: Clock
    ) -> None:
        error = await refused(TokenVerifier(auth(), clock=clock), hs256(aud="billing"))
        assert "QUIRE_AUTH_AUDIENCE" in error.recovery

    async def test_the_configured_issuer_is_required(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(issuer="https://id.example"), clock=clock)
        assert await verifier.verify(hs256(iss="https://id.example"))
        for issuer in (None, "https://id.example/", "https://evil.example", ["https://id.example"]):
            token = hs256_unchecked(iss=issuer)
            assert await reason(verifier, token) == "issuer"


class TestCache:
    async def test_a_token_seen_before_is_not_checked_again(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        token = hs256()
        first = await verifier.verify(token)
        monkeypatch.setattr(verifier, "_signed_claims", None)
        assert await verifier.verify(token) is first

    async def test_expiry_is_exact_on_a_cached_token(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(leeway_seconds=5), clock=clock)
        token = hs256(exp=NOW + 10)
        await verifier.verify(token)
        clock.now = NOW + 14.999
        await verifier.verify(token)
        clock.now = NOW + 15
        assert await reason(verifier, token) == "expired"
        assert len(verifier._cache) == 0

    async def test_a_clock_set_back_does_not_stretch_a_cached_token(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(leeway_seconds=0), clock=clock)
        token = hs256(nbf=NOW)
        await verifier.verify(token)
        clock.now = NOW - 1
        assert await reason(verifier, token) == "not_yet_valid"

    async def test_it_is_bounded_and_forgets_the_longest_unused(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens, "CACHED_TOKENS", 3)
        verifier = TokenVerifier(auth(), clock=clock)
        kept = hs256(sub="kept")
        first = await verifier.verify(kept)
        for number in range(10):
            await verifier.verify(hs256(sub=f"user {number}"))
            assert await verifier.verify(kept) is first
        assert len(verifier._cache) == 3

    async def test_refused_tokens_take_no_room(self, clock: Clock) -> None:
        verifier = TokenVerifier(auth(), clock=clock)
        for token in (hs256(OTHER), hs256(exp=1), "abc"):
            await refused(verifier, token)
        assert not verifier._cache

    async def test_with_a_jwks_a_token_is_believed_for_a_minute_at_most(
        self, clock: Clock, tmp_path: Any
    ) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(jwk(ec_key(), "k1")))
        keys = Keys(FileSource(str(path)))
        await keys._refresh()
        verifier = TokenVerifier(AuthSettings(jwks=str(path)), keys, clock=clock)
        await verifier.verify(sign(claims(exp=NOW + 3600), ec_key(), "ES256"))
        [entry] = verifier._cache.values()
        assert entry.until == NOW + 60
        await verifier.close()

    async def test_a_cached_token_costs_microseconds(self) -> None:
        verifier = TokenVerifier(auth())
        token = create_token(SecretStr(SECRET), "ada")
        await verifier.verify(token)
        started = time.perf_counter()
        for _ in range(1000):
            await verifier.verify(token)
        assert (time.perf_counter() - started) / 1000 < 100e-6


class TestKeysOfAJwks:
    """A JWKS verifies RS256 and ES256 alone, each with its own type of key."""

    @staticmethod
    async def open(tmp_path: Any, clock: Callable[[], float], *keys: dict[str, Any]) -> Any:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(*keys))
        return await TokenVerifier.open(AuthSettings(jwks=str(path)), clock=clock)

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    async def test_both_algorithms_are_verified(
        self, tmp_path: Any, clock: Clock, algorithm: str
    ) -> None:
        key = rsa_key() if algorithm == "RS256" else ec_key()
        verifier = await self.open(tmp_path, clock, jwk(key, "k1"))
        assert (await verifier.verify(sign(claims(), key, algorithm))).subject == "ada"
        other = rsa_key("two") if algorithm == "RS256" else ec_key("two")
        assert await reason(verifier, sign(claims(), other, algorithm)) == "forged"
        await verifier.close()

    async def test_hs256_with_the_public_key_as_its_secret_is_refused(
        self, tmp_path: Any, clock: Clock
    ) -> None:
        verifier = await self.open(tmp_path, clock, jwk(rsa_key(), "k1"))
        for public in (pem(rsa_key()), pem(rsa_key()).strip(), json.dumps(jwk(rsa_key(), "k1"))):
            token = forged_hs256(claims(), public if isinstance(public, bytes) else public.encode())
            assert await reason(verifier, token) == "algorithm"
        await verifier.close()

    async def test_the_key_must_be_of_the_algorithms_type(
        self, tmp_path: Any, clock: Clock
    ) -> None:
        verifier = await self.open(tmp_path, clock, jwk(rsa_key(), "k1"), jwk(ec_key(), "k2"))
        crossed = sign(claims(), ec_key(), "ES256", kid="k1")
        assert await reason(verifier, crossed) == "unknown_key"
        crossed = sign(claims(), rsa_key(), "RS256", kid="k2")
        assert await reason(verifier, crossed) == "unknown_key"
        await verifier.close()

    @pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
    async def test_other_algorithms_are_refused(
        self, tmp_path: Any, clock: Clock, algorithm: str
    ) -> None:
        verifier = await self.open(tmp_path, clock, jwk(rsa_key(), "k1"))
        assert await reason(verifier, sign(claims(), rsa_key(), algorithm)) == "algorithm"
        await verifier.close()

    async def test_alg_none_is_refused(self, tmp_path: Any, clock: Clock) -> None:
        verifier = await self.open(tmp_path, clock, jwk(rsa_key(), "k1"))
        assert await reason(verifier, raw({"alg": "none", "kid": "k1"}, claims())) == "algorithm"
        await verifier.close()

    async def test_without_kid_the_only_fitting_key_is_taken(
        self, tmp_path: Any, clock: Clock
    ) -> None:
        verifier = await self.open(tmp_path, clock, jwk(rsa_key(), "k1"), jwk(ec_key(), None))
        assert await verifier.verify(sign(claims(), rsa_key(), "RS256", kid=None))
        assert await verifier.verify(sign(claims(), ec_key(), "ES256", kid=None))
        await verifier.close()

    async def test_without_kid_two_fitting_keys_are_one_too_many(
        self, tmp_path: Any, clock: Clock
    ) -> None:
        verifier = await self.open(tmp_path, clock, jwk(ec_key(), "k1"), jwk(ec_key("two"), "k2"))
        error = await refused(verifier, sign(claims(), ec_key(), "ES256", kid=None))
        assert "kid" in error.message
        await verifier.close()

    async def test_an_embedded_key_is_not_trusted(self, tmp_path: Any, clock: Clock) -> None:
        verifier = await self.open(tmp_path, clock, jwk(ec_key(), "k1"))
        evil = ec_key("evil")
        for header in ({"jwk": jwk(evil, "k1")}, {"jku": "https://evil.example/jwks"}):
            token = jwt.encode(claims(), evil, algorithm="ES256", headers={"kid": "k1", **header})
            assert await reason(verifier, token) == "forged"
        await verifier.close()


def forged_hs256(payload: Mapping[str, Any], key: bytes) -> str:
    """As an attacker would sign it: PyJWT itself refuses to use a public key so."""
    import hashlib
    import hmac

    unsigned = raw({"alg": "HS256", "kid": "k1"}, payload).rsplit(".", 1)[0]
    signature = hmac.new(key, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


class TestConfiguration:
    async def test_nothing_configured_is_an_error_that_names_the_variables(self) -> None:
        with pytest.raises(ConfigurationError, match="QUIRE_AUTH_SECRET or QUIRE_AUTH_JWKS"):
            await TokenVerifier.open(AuthSettings())

    async def test_a_public_key_is_no_secret(self) -> None:
        with pytest.raises(ConfigurationError, match="public key"):
            await TokenVerifier.open(AuthSettings(secret=SecretStr(pem(rsa_key()).decode())))


class TestCreating:
    async def test_a_created_token_is_accepted_by_a_server_with_the_same_settings(
        self, clock: Clock
    ) -> None:
        token = create_token(
            SecretStr(SECRET),
            "ada",
            ["red", "blue", "red"],
            Scope.ADMIN,
            timedelta(hours=1),
            audience="quire",
            issuer="me",
            clock=clock,
        )
        verifier = TokenVerifier(auth(audience="quire", issuer="me", leeway_seconds=0), clock=clock)
        assert await verifier.verify(token) == Principal(
            "ada", frozenset({"red", "blue"}), Scope.ADMIN
        )
        clock.now += 3600
        assert await reason(verifier, token) == "expired"

    @pytest.mark.parametrize(
        ("arguments", "field"),
        [
            ({"subject": ""}, "subject"),
            ({"subject": "a\nb"}, "subject"),
            ({"subject": "x" * 257}, "subject"),
            ({"subject": "ada", "groups": [""]}, "groups"),
            ({"subject": "ada", "groups": [f"{n:0200}" for n in range(99)]}, "groups"),
            ({"subject": "ada", "lifetime": timedelta(0)}, "lifetime"),
            ({"subject": "ada", "lifetime": timedelta(days=-1)}, "lifetime"),
        ],
    )
    def test_what_no_server_would_accept_is_not_made(
        self, arguments: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            create_token(SecretStr(SECRET), **arguments)
        assert caught.value.field == field

    def test_a_short_secret_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="32 bytes"):
            create_token(SecretStr("short"), "ada")


class TestFuzz:
    """Whatever is sent, the answer is a 401: nothing else is ever raised."""

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
        ),
        max_leaves=12,
    )
    CLAIM_NAMES = st.sampled_from(
        ["sub", "exp", "nbf", "iat", "aud", "iss", "groups", "scope", "scopes", "jti"]
    )
    HEADER_NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c", "zip"])

    @staticmethod
    async def only_401(token: str, expected: tuple[type[Exception], ...]) -> None:
        try:
            await TokenVerifier(auth(audience="quire"), clock=Clock()).verify(token)
        except expected:
            return
        pytest.fail("it was accepted")

    @given(st.text(max_size=300) | st.text("eyJ.-_=AZaz09", max_size=300))
    @settings(max_examples=300, deadline=None)
    async def test_random_text(self, token: str) -> None:
        await self.only_401(token, (Unauthenticated,))

    @given(st.integers(0, 200), st.text(max_size=4), st.integers(0, 4))
    @settings(max_examples=300, deadline=None)
    async def test_a_good_token_garbled(self, place: int, put: str, cut: int) -> None:
        good = hs256(aud="quire")
        token = good[:place] + put + good[place + cut :]
        # Padding that base64 allows does not change what is signed.
        if token.replace("=", "") != good:
            await self.only_401(token, (Unauthenticated,))

    @given(st.dictionaries(HEADER_NAMES, JSON, max_size=4), JSON, st.binary(max_size=80))
    @settings(max_examples=300, deadline=None)
    async def test_any_header_and_payload_unsigned(
        self, header: dict[str, Any], payload: Any, signature: bytes
    ) -> None:
        await self.only_401(raw(header, payload, signature), (Unauthenticated,))

    @given(st.dictionaries(HEADER_NAMES, JSON, max_size=3), JSON, st.binary(max_size=80))
    @settings(max_examples=200, deadline=None)
    async def test_any_header_against_a_jwks(
        self, header: dict[str, Any], payload: Any, signature: bytes
    ) -> None:
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            file.write(jwks(jwk(rsa_key(), "k1"), jwk(ec_key(), "k2")))
            file.flush()
            verifier = await TokenVerifier.open(AuthSettings(jwks=file.name))
            for alg, kid in (("RS256", "k1"), ("ES256", "k2"), ("ES256", None)):
                head = {**header, "alg": alg, **({} if kid is None else {"kid": kid})}
                await refused(verifier, raw(head, payload, signature))
            await verifier.close()

    @given(st.dictionaries(CLAIM_NAMES, JSON, max_size=8))
    @settings(max_examples=300, deadline=None)
    async def test_any_claims_rightly_signed(self, changes: dict[str, Any]) -> None:
        payload = json.dumps({**claims(aud="quire"), **changes}).encode()
        token = jwt.PyJWS().encode(payload, SECRET.encode(), "HS256")
        try:
            principal = await TokenVerifier(auth(audience="quire"), clock=Clock()).verify(token)
        except (Unauthenticated, Forbidden):
            return
        assert principal.subject
        principal.subject.encode()
