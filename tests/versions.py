"""A proxy that deletes a single version of an object, as Cloud Storage does.

fake-gcs-server v1.54 deletes the live version whatever generation it is asked to, and keeps what it deletes of a
bucket with object versioning.
"""

import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from defacer_emulator.chaos.http import Request, Response
from tests.proxy import Proxy

LISTING = re.compile(r"/storage/v1/b/[^/]+/o")
GONE = Response(404, body=b"no such version")


class Versions(Proxy):
    """A proxy that remembers `deleted` generations. They are unique across the test's objects."""

    def __init__(self, upstream: str):
        super().__init__(upstream)
        self.deleted: set[str] = set()

    async def pass_on(self, request: Request) -> Response:
        """Forward only the requests that the server handles correctly."""
        url = urlsplit(request.target)
        generation = parse_qs(url.query).get("generation", [""])[0]
        if generation in self.deleted:
            return GONE
        if request.method == "DELETE" and generation:
            self.deleted.add(generation)
            live = await super().pass_on(replace(request, method="GET", target=url.path, body=b""))
            is_live = live.status == 200 and json.loads(live.body)["generation"] == generation
            return await super().pass_on(request) if is_live else Response(204)
        answer = await super().pass_on(request)
        if request.method == "GET" and LISTING.fullmatch(url.path) and answer.status == 200:
            listed = json.loads(answer.body)
            there = [item for item in listed.get("items", ()) if item["generation"] not in self.deleted]
            return replace(answer, body=json.dumps({**listed, "items": there}).encode())
        return answer
