"""An issuer of tokens for tests: keys, a JWKS, and an endpoint on loopback that serves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    """The RSA key of that name; the same one each time."""
    return _rsa_key(name, bits)


def ec_key(name: str = "one", curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    """The elliptic-curve key of that name; the same one each time."""
    return _ec_key(name, curve)


@lru_cache
def _rsa_key(name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@lru_cache
def _ec_key(name: str, curve: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1() if curve == "P-256" else ec.SECP384R1())


def jwk(key: PrivateKey, kid: str | None, **more: Any) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        members = RSAAlgorithm.to_jwk(public, as_dict=True)
    else:
        members = ECAlgorithm.to_jwk(public, as_dict=True)
    members.pop("key_ops", None)
    return {**members, **({} if kid is None else {"kid": kid}), **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign(claims: Mapping[str, Any], key: PrivateKey, algorithm: str, kid: str | None = "k1") -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(dict(claims), key, algorithm=algorithm, headers=headers)


@dataclass
class Endpoint:
    """A JWKS endpoint; change `body`, `status` or `delay` to have it answer otherwise."""

    body: bytes
    url: str = ""
    status: int = 200
    delay: float = 0.0
    hits: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.hits += 1
            await asyncio.sleep(self.delay)
            head = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            writer.write(f"HTTP/1.1 {self.status} X\r\n{lines}\r\n".encode() + self.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()


@asynccontextmanager
async def serving(endpoint: Endpoint, port: int = 0) -> AsyncIterator[Endpoint]:
    server = await asyncio.start_server(endpoint.answer, "127.0.0.1", port)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield endpoint
    finally:
        server.close()
        await server.wait_closed()
