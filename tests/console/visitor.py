"""A client that sends the console the same requests as a browser."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests

from tests.cloud import Buckets

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}


class Visitor:
    """A client that keeps the cookie and the token of the last page."""

    def __init__(self, address: str, buckets: Buckets):
        self.address = address
        self.buckets = buckets
        self.session = requests.Session()
        self.token = ""

    def url(self, channel: str, *parts: str) -> str:
        """Return the URL of a channel's page."""
        return "/".join((self.address, "channels", *(quote(part, safe="") for part in (channel, *parts))))

    def open(self, address: str, status: int = 200) -> str:
        """Open a page and return its text."""
        answer = self.session.get(address, headers=PAGE, timeout=120)
        assert answer.status_code == status, answer.text
        found = re.search(r'name="csrf" content="([^"]+)"', answer.text)
        self.token = found[1] if found else self.token
        return answer.text

    def post(
        self, address: str, data: Any = None, headers: Mapping[str, str | bytes] | None = None
    ) -> requests.Response:
        """Send a request as the console's scripts do."""
        if not self.token:
            self.open(self.address)
        sent = {**SCRIPT, "X-CSRF-Token": self.token, "Origin": self.address, **(headers or {})}
        return self.session.post(address, data=data, headers=sent, timeout=120, allow_redirects=False)
