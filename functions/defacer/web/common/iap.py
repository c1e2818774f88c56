"""Check the signed token that Identity-Aware Proxy adds to each request that it lets through.

https://cloud.google.com/iap/docs/signed-headers-howto
"""

import json
import threading
import time
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
KEYS_SECONDS, RETRY_SECONDS = 3600.0, 60.0
REFUSED = "This request did not come through Identity-Aware Proxy. Open this page at its own address."


class KeyCache:
    """A transport request for `id_token` that fetches Google's public keys once an hour.

    The last keys stay in use while newer keys can't be fetched: Google publishes keys long before it signs with them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request = Request(urllib3.PoolManager(timeout=5.0, retries=1))  # type: ignore[no-untyped-call]
        self._expires = 0.0
        self._response: Response | None = None

    def __call__(self, url: str, method: str = "GET", **_: Any) -> Response:
        """Return the response that holds the keys. Raise TransportError if no keys were ever fetched."""
        with self._lock:
            if self._response is None or time.monotonic() > self._expires:
                try:
                    self._response = self._fetch(url, method)
                    self._expires = time.monotonic() + KEYS_SECONDS
                except TransportError:
                    if self._response is None:
                        raise
                    self._expires = time.monotonic() + RETRY_SECONDS
            return self._response

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


def check_token(token: str | None, audience: str) -> str | None:
    """Return why Identity-Aware Proxy did not let this request through, as a sentence; None if it did."""
    if not token:
        return REFUSED
    try:
        claims = id_token.verify_token(token, _keys, audience, KEYS_URL)  # type: ignore[arg-type]
    except TransportError as error:
        log.error("the keys of Identity-Aware Proxy could not be fetched", error)
        return "Google's public keys could not be fetched. Try again in a minute."
    except (GoogleAuthError, ValueError, KeyError) as error:
        log.warning("a token of Identity-Aware Proxy was refused", error)
        return REFUSED
    return None if claims.get("iss") == ISSUER else REFUSED
