"""Take the console's screenshot for the README: `python -m tests.console.picture`."""

import tempfile
from pathlib import Path

from playwright.sync_api import expect

from defacer.pipeline.storage import object_names
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.console.browser import PIPELINE_TIMEOUT_MS, launch_browser
from tests.drawn_clip import make_drawn_clip, write_drawn_target_picture
from tests.servers import ROOT

PICTURE = ROOT / "local_emulator" / "console.png"
CHANNEL = "vlog"
VIDEOS = "[...document.querySelectorAll('video')]"


def main() -> None:
    """Review a video of two drawn people, because the repository has no picture of a real person."""
    with tempfile.TemporaryDirectory() as temporary, launch_browser() as browser:
        folder = Path(temporary)
        make_drawn_clip(folder / "street.mp4", seconds=8)
        write_drawn_target_picture(folder / "robin.png")
        with Emulator(EmulatorOptions(folder / "state", "builtin", console=True)) as emulator:
            intake = emulator.storage_client().bucket(emulator.intake)
            for name, file in (
                (f"{object_names.targets_prefix(CHANNEL)}Robin/1.png", "robin.png"),
                (f"{object_names.videos_prefix(CHANNEL)}street.mp4", "street.mp4"),
            ):
                intake.blob(name).upload_from_filename(str(folder / file))
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"{emulator.state.console_url}/channels/{CHANNEL}/jobs")
            page.get_by_role("link", name="Review").click(timeout=PIPELINE_TIMEOUT_MS)
            page.wait_for_function(f"() => {VIDEOS}.every((video) => video.readyState >= 2)")
            page.locator("#position").fill("2")
            page.locator(".person.hidden").first.locator(".go").click()
            expect(page.locator(".box.selected")).to_have_count(2)
            page.locator("#position").fill("2.2")
            expect(page.locator(".person .face").last).to_be_visible()
            page.mouse.move(0, 0)
            page.evaluate("() => scrollTo(0, 0)")
            page.wait_for_function(
                f"() => {VIDEOS}.every((video) => !video.seeking && video.readyState >= 2)"
            )
            page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            page.screenshot(path=PICTURE)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
