"""Render HTML pages from templates that escape all values, and serve the static files that belong to them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from defacer.web.common.security import get_csrf_token, set_csrf_cookie

HERE = Path(__file__).parent


def make_environment(folder: Path) -> Environment:
    """Return the templates of a service's folder, with the shared `base.html`."""
    return Environment(
        loader=FileSystemLoader([folder / "templates", HERE / "templates"]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def mount_static(folder: Path) -> Mount:
    """Serve the static files of a service's folder, and the shared ones, at `/static`."""
    return Mount("/static", StaticFiles(directory=folder / "static", packages=[(__package__, "static")]))


def render_page(
    environment: Environment, request: Request, template: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """Render a whole page. The template gets this browser's token as `csrf`."""
    text = environment.get_template(template).render(csrf=get_csrf_token(request), **values)
    response = HTMLResponse(text, status_code=status)
    set_csrf_cookie(request, response.headers)
    return response
