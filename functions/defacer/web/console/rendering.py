"""The console's pages, and the words that they say things with."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse

from defacer.plurals import about, percent
from defacer.web.common.page_templates import environment_of, page_of

HERE = Path(__file__).parent
THOUSAND, EXACT_BELOW = 1000, 10


def at(channel: str, *parts: str) -> str:
    """The address of a channel's page; each part becomes one piece of the path, whatever it holds."""
    return "/".join(("/channels", *(quote(part, safe="") for part in (channel, *parts))))


def clock(seconds: float | None) -> str:
    """A place in a video: `1:05`, `1:02:03`."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """A number of bytes, as people say it."""
    units = ("bytes", "kB", "MB", "GB")
    step = 0
    while count >= THOUSAND and step < len(units) - 1:
        count, step = count / THOUSAND, step + 1
    return f"{count:.1f} {units[step]}" if step and count < EXACT_BELOW else f"{count:.0f} {units[step]}"


environment = environment_of(HERE)
environment.filters.update(at=at, clock=clock, about=about, percent=percent, size=size)


def fragment(template: str, **values: Any) -> str:
    """A piece of a page."""
    return environment.get_template(template).render(**values)


def page(
    request: Request,
    template: str,
    status: int = 200,
    channel: str | None = None,
    tab: str = "",
    **values: Any,
) -> HTMLResponse:
    """A whole page of a channel, or of none."""
    return page_of(environment, request, template, status, channel=channel, tab=tab, **values)
