"""Pages of templates, in which everything is escaped, and the files that go with them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from defacer.web.common.security import keep_token, token_of

HERE = Path(__file__).parent


def environment_of(folder: Path) -> Environment:
    """A service's templates, in its folder; `base.html` is here, for all."""
    return Environment(
        loader=FileSystemLoader([folder / "templates", HERE / "templates"]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def static_of(folder: Path) -> Mount:
    """`/static`: a service's own files, in its folder, and those of all."""
    return Mount("/static", StaticFiles(directory=folder / "static", packages=[(__package__, "static")]))


def page_of(
    environment: Environment, request: Request, template: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page, which knows this browser's token as `csrf`."""
    text = environment.get_template(template).render(csrf=token_of(request), **values)
    answer = HTMLResponse(text, status_code=status)
    keep_token(request, answer.headers)
    return answer
