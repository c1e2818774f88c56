"""Identity-Aware Proxy's word for who asks: a signed token in a header of every request that it lets through.

https://cloud.google.com/iap/docs/signed-headers-howto
"""

import threading
import time
from http import HTTPStatus
from typing import Any

import urllib3
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError
from urllib3.exceptions import HTTPError

from defacer.pipeline import log

HEADER = "x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"
KEYS = "https://www.gstatic.com/iap/verify/public_key"
KEYS_SECONDS, AGAIN_SECONDS = 3600.0, 60.0
REFUSED = "Identity-Aware Proxy did not send you. Open this page at its own address."


class _Keys:
    """Google's public keys, fetched once an hour, and kept for as long as newer ones can't be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._keys: dict[str, Any] = {}

    def get(self, address: str) -> dict[str, Any]:
        with self._lock:
            if time.monotonic() > self._until:
                try:
                    self._keys = _fetched(address)
                    self._until = time.monotonic() + KEYS_SECONDS
                except HTTPError:
                    if not self._keys:
                        raise
                    self._until = time.monotonic() + AGAIN_SECONDS  # the old ones are good for long after
            return self._keys


def _fetched(address: str) -> dict[str, Any]:
    """The keys by their ids. Raises HTTPError for any other answer than keys."""
    with urllib3.PoolManager(timeout=5.0, retries=1) as pool:
        answer = pool.request("GET", address)
    try:
        keys = answer.json() if answer.status == HTTPStatus.OK else None
    except ValueError:
        keys = None
    if not isinstance(keys, dict) or not keys:
        raise HTTPError(f"answered {answer.status}, and no keys")
    return keys


_keys = _Keys()


def problem(token: str | None, audience: str) -> str | None:
    """Why this request is not one that Identity-Aware Proxy let through; None if it is."""
    if not token:
        return REFUSED
    try:
        claims = jwt.decode(token, certs=_keys.get(KEYS), audience=audience)  # type: ignore[no-untyped-call]
    except (GoogleAuthError, ValueError, KeyError) as error:
        log.warning("a token of Identity-Aware Proxy was refused", error)
        return REFUSED
    except HTTPError as error:
        log.error("the keys of Identity-Aware Proxy could not be fetched", error)
        return "Google's keys could not be fetched. Try again in a minute."
    return None if claims.get("iss") == ISSUER else REFUSED
