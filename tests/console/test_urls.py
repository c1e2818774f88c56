"""No URL that Cloud Run logs by itself has the name of a person, the id of a stream or a search text."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote_plus

import pytest
from playwright.sync_api import Browser, expect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from defacer.web.console.console_app import build_console
from defacer.web.live.live_app import build_live_page
from tests.clips import astronaut, encode_picture
from tests.cloud_run import cloud_run_proxy
from tests.console.browser import Window, launch_browser
from tests.console.routes import list_routes
from tests.console.urls import find_private_part
from tests.console.visitor import Visitor
from tests.servers import free_port

PRIVATE = ("Ada", "Lovelace", "Bea", "sea walk")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.mark.usefixtures("visitor")
def test_only_the_url_for_obs_has_the_id_of_a_stream() -> None:
    """Terraform excludes the requests to that URL from the logs (infra/pages.tf)."""
    paths = [route.path for route in list_routes(build_console())]
    assert {name for path in paths for name in re.findall(r"{(\w+)", path)} == {
        "channel",
        "job",
        "picture",
        "track",
    }
    assert [path for _, path in list_routes(build_live_page()) if "{" in path] == ["/mjpeg/{stream}"]


@pytest.mark.usefixtures("visitor")
@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("/channels/street/people/pictures?person=Ada", "Ada"),
        ("/channels/street/people/Ada%20L", "Ada L"),
        ("/channels/street/jobs?search=sea", "sea"),
        ("/channels/street/jobs/0123456789abcdef0123/crops?tracks=1,2&tracks=%401.5,0,0,9,9", None),
        ("/channels/street/jobs?most=80", None),
        ("/static/api.js", None),
        ("/", None),
    ],
)
def test_private_parts_of_urls_are_found(url: str, part: str | None) -> None:
    assert find_private_part(url) == part


@pytest.mark.usefixtures("published")
def test_browser_sends_no_name_and_no_search_text_in_a_url(
    browser: Browser, visitor: Visitor, server: Any, environment: Callable[..., None]
) -> None:
    buckets, port = visitor.buckets, free_port()
    address = f"http://localhost:{port}"
    buckets.put(
        buckets.intake, "channels/street/targets/Ada Lovelace/1.jpg", encode_picture(astronaut(), ".jpg")
    )
    environment(console_origins=address)
    server.app.state.proxies = 1
    server.app = ProxyHeadersMiddleware(server.app, trusted_hosts="*")
    with cloud_run_proxy(visitor.address, port) as urls:
        window = Window(browser.new_page())
        page = window.page
        page.goto(f"{address}/channels/street/people")
        page.wait_for_function("() => document.querySelector('[alt^=\"Ada Lovelace\"]').naturalWidth > 0")
        page.get_by_role("button", name="Forget Ada Lovelace").click()
        expect(page.get_by_role("heading", name="Forget Ada Lovelace?")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_label("Add pictures of Ada Lovelace").set_input_files(
            {"name": "Ada.png", "mimeType": "image/png", "buffer": b"not a picture"}
        )
        expect(page.get_by_text("Ada.png: not added")).to_be_visible()
        page.get_by_role("button", name="Rename Ada Lovelace").click()
        page.get_by_label("New name").fill("Bea")
        page.locator("#dialog-confirm").click()
        expect(page.get_by_role("heading", name="Bea", exact=True)).to_be_visible()

        page.get_by_role("link", name="Jobs").click()
        page.get_by_label("Search by name").fill("sea walk")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_text("The channel has no video with “sea walk” in its name.")).to_be_visible()
        page.get_by_role("link", name="Show all jobs.").click()
        page.get_by_role("link", name="Review").click()
        expect(page.locator(".person").first).to_be_visible()
        page.close()
    assert window.errors == []
    assert {"/channels/street/people/rename", "/channels/street/jobs/live"} <= set(urls)
    assert [url for url in urls if find_private_part(url)] == []
    assert [url for url in urls if any(word in unquote_plus(url) for word in PRIVATE)] == []
