"""Which parts of a console URL can be private: Cloud Run logs the URL and the referer of each request."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from defacer.web.console.console_app import _channel_routes

ID = re.compile("[0-9a-f]{20}|[0-9]+")  # of a job or a picture, or the number of a track
# The fixed parts of the paths, without an application, which needs settings.
WORDS = {"", "channels", "sample"}.union(*(route.path.split("/") for route in _channel_routes()))
NUMBERS = re.compile("[0-9.,:@-]*")


def find_private_part(url: str) -> str | None:
    """Return the first part that is neither fixed, nor an id, a number or the name of a channel."""
    parts = urlsplit(url)
    segments = [unquote(segment) for segment in parts.path.split("/")[1:]]
    if segments[0] == "static":
        return None
    if segments[0] == "channels":
        del segments[1:2]
    values = [value for _, value in parse_qsl(parts.query, keep_blank_values=True)]
    private = [part for part in segments if part not in WORDS and not ID.fullmatch(part)]
    private += [value for value in values if not NUMBERS.fullmatch(value)]
    return next(iter(private), None)
