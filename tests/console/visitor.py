"""What a browser sends, without one."""

import re
from typing import Any
from urllib.parse import quote

import requests

from tests.cloud import Buckets

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}


class Visitor:
    """Keeps the cookie, and knows the token of the page that it read last."""

    def __init__(self, address: str, buckets: Buckets):
        self.address = address
        self.buckets = buckets
        self.session = requests.Session()
        self.token = ""

    def at(self, channel: str, *parts: str) -> str:
        return "/".join((self.address, "channels", *(quote(part, safe="") for part in (channel, *parts))))

    def open(self, address: str, status: int = 200) -> str:
        """A page's text."""
        answer = self.session.get(address, headers=PAGE, timeout=60)
        assert answer.status_code == status, answer.text
        found = re.search(r'name="csrf" content="([^"]+)"', answer.text)
        self.token = found[1] if found else self.token
        return answer.text

    def post(
        self, address: str, data: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """As one of the console's scripts does it."""
        if not self.token:
            self.open(self.address)
        sent = {**SCRIPT, "X-CSRF-Token": self.token, "Origin": self.address, **(headers or {})}
        return self.session.post(address, data=data, headers=sent, timeout=120, allow_redirects=False)
