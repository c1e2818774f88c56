"""Verify the signed token that Identity-Aware Proxy adds to each request that it lets through.

https://cloud.google.com/iap/docs/signed-headers-howto
"""

import json
import math
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import urllib3
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport import Response
from google.auth.transport.urllib3 import Request
from google.oauth2 import id_token

from defacer.pipeline import log

HEADER = "x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"
KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
# How long keys are used, old keys after a failed fetch, and no keys after a failed fetch.
KEYS_SECONDS, RETRY_SECONDS, FAILURE_SECONDS = 3600.0, 60.0, 5.0
CLOCK_SKEW_SECONDS = 30  # as Google recommends
REFUSED = "This request did not come through Identity-Aware Proxy. Open this page at its own address."


class KeyCache:
    """A transport request for `id_token` that fetches Google's public keys once an hour.

    The last keys stay in use while newer keys can't be fetched: Google publishes keys long before it signs with them.
    Without any keys, all requests fail for a few seconds after a failed fetch, so that they do not wait in a line for
    one fetch each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request = Request(urllib3.PoolManager(timeout=5.0, retries=1))  # type: ignore[no-untyped-call]
        self._expires = -math.inf
        self._response: Response | None = None
        self._error: TransportError | None = None

    def __call__(self, url: str, method: str = "GET", **_: Any) -> Response:
        """Return the response that holds the keys. Raise TransportError if no keys were ever fetched."""
        with self._lock:
            if time.monotonic() > self._expires:
                self._refresh(url, method)
            if self._response is None:
                message = f"the keys could not be fetched: {self._error}"
                raise TransportError(message) from self._error  # type: ignore[no-untyped-call]
            return self._response

    def _refresh(self, url: str, method: str) -> None:
        try:
            self._response = self._fetch(url, method)
            self._expires = time.monotonic() + KEYS_SECONDS
        except TransportError as error:
            self._error = error
            self._expires = time.monotonic() + (RETRY_SECONDS if self._response else FAILURE_SECONDS)

    def _fetch(self, url: str, method: str) -> Response:
        response: Response = self._request(url, method=method)
        try:
            keys = json.loads(response.data) if response.status == HTTPStatus.OK else None
        except ValueError:
            keys = None
        if not isinstance(keys, dict) or not keys:
            message = f"{url} answered {response.status} without keys, expected a JSON object of keys"
            raise TransportError(message)  # type: ignore[no-untyped-call]
        return response


_keys = KeyCache()


class UnverifiedError(Exception):
    """Identity-Aware Proxy did not let this request through. The message is a sentence for the user."""


@dataclass(frozen=True)
class User:
    """A user that Identity-Aware Proxy verified. `domain` is the Google Workspace domain of the account, if any."""

    email: str
    domain: str | None

    @property
    def members(self) -> frozenset[str]:
        """The members that stand for this user in the settings."""
        domain = {f"domain:{self.domain}"} if self.domain else set()
        return frozenset({f"user:{self.email}", f"serviceaccount:{self.email}", *domain})


def verify_token(token: str | None, audience: str) -> User:
    """Return the user that the token names. Raise UnverifiedError unless the proxy signed it for this audience."""
    if not token:
        raise UnverifiedError(REFUSED)
    try:
        claims = id_token.verify_token(token, _keys, audience, KEYS_URL, CLOCK_SKEW_SECONDS)  # type: ignore[arg-type]
    except TransportError as error:
        log.error("the keys of Identity-Aware Proxy could not be fetched", error)
        raise UnverifiedError("Google's public keys could not be fetched. Try again in a minute.") from error
    except (GoogleAuthError, ValueError, KeyError) as error:
        log.warning("a token of Identity-Aware Proxy was refused", error)
        raise UnverifiedError(REFUSED) from error
    email, domain = claims.get("email"), claims.get("hd")
    if claims.get("iss") != ISSUER or not email:
        raise UnverifiedError(REFUSED)
    return User(str(email).lower(), str(domain).lower() if domain else None)
