"""Sign the tokens of Identity-Aware Proxy with a key of the test, and serve its public key as Google does."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt import EsSigner

from defacer.web.common import iap
from defacer_emulator.chaos.http import Request, Response
from tests.proxy import serving

AUDIENCE = "/projects/1/locations/somewhere/services/console"
ADA = "ada@example.com"


class Signer:
    """A key of Identity-Aware Proxy."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        key = self._key.public_key()
        return key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def sign(self, **claims: object) -> str:
        """Return a valid token of Ada. `claims` replace its claims, and None removes one."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        now = int(time.time())
        fields = {
            "iss": iap.ISSUER, "aud": AUDIENCE, "email": ADA, "iat": now - 10, "exp": now + 600, **claims
        }  # fmt: skip
        sent = {name: value for name, value in fields.items() if value is not None}
        return jwt.encode(EsSigner.from_string(pem, "key"), sent).decode()

    def headers(self, email: str, **claims: object) -> dict[str, str]:
        """Return the header that the proxy adds to a request of this user."""
        return {iap.HEADER: self.sign(email=email, **claims)}


@contextmanager
def trusted_signer(
    environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch, **settings: object
) -> Iterator[Signer]:
    """Serve the public key of a signer to the pages of this process, with these settings, and yield the signer."""
    signer = Signer()

    async def answer(_: Request) -> Response:
        body = json.dumps({"key": signer.public_key}).encode()
        return Response(200, (("Content-Type", "application/json"),), body)

    with serving(answer) as address:
        monkeypatch.setattr(iap, "KEYS_URL", address)
        monkeypatch.setattr(iap, "_keys", iap.KeyCache())
        environment(iap_audience=AUDIENCE, **settings)
        yield signer
