"""Render the console's pages, with filters that format URLs, times and sizes."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse

from defacer.pipeline.settings import settings
from defacer.plurals import about, percent
from defacer.web.common import page_templates

HERE = Path(__file__).parent
THOUSAND, MAX_WITH_DECIMAL = 1000, 10


def channel_url(channel: str, *parts: str) -> str:
    """Return the path of a channel's page. Each part becomes one path segment, whatever it contains."""
    return "/".join(("/channels", *(quote(part, safe="") for part in (channel, *parts))))


def format_clock(seconds: float | None) -> str:
    """Return a time in a video, such as `1:05` or `1:02:03`."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_size(count: float) -> str:
    """Return a number of bytes with a unit, such as `1.5 MB`."""
    units = ("bytes", "kB", "MB", "GB")
    step = 0
    while count >= THOUSAND and step < len(units) - 1:
        count, step = count / THOUSAND, step + 1
    return f"{count:.1f} {units[step]}" if step and count < MAX_WITH_DECIMAL else f"{count:.0f} {units[step]}"


environment = page_templates.make_environment(HERE)
environment.filters.update(
    url=channel_url, clock=format_clock, about=about, percent=percent, size=format_size
)


def render_fragment(template: str, **values: Any) -> str:
    """Render a part of a page."""
    return environment.get_template(template).render(**values)


def render_console_page(
    request: Request,
    template: str,
    status: int = 200,
    channel: str | None = None,
    tab: str = "",
    **values: Any,
) -> HTMLResponse:
    """Render a page. With a channel it has that channel's tabs, and `tab` is the current one."""
    return page_templates.render_page(
        environment, request, template, status, channel=channel, tab=tab, live=settings().live_link, **values
    )
