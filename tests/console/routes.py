"""List all routes of a page's application."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles


class Endpoint(NamedTuple):
    """A path with its parameters in braces, and a method that it accepts."""

    method: str
    path: str


def list_routes(app: Starlette) -> list[Endpoint]:
    """Return each endpoint of the application, except static files. Raise AssertionError for an unknown kind."""
    return list(_walk(app.routes, ""))


def _walk(routes: Iterable[BaseRoute], prefix: str) -> Iterator[Endpoint]:
    for route in routes:
        if isinstance(route, Route):
            methods = set(route.methods or ()) - {"HEAD"}
            yield from (Endpoint(method, prefix + route.path) for method in sorted(methods))
        elif isinstance(route, WebSocketRoute):
            yield Endpoint("WEBSOCKET", prefix + route.path)
        else:
            assert isinstance(route, Mount), route
            if not isinstance(route.app, StaticFiles):
                yield from _walk(route.routes, prefix + route.path)
