"""Write the capacity page: `python -m infra.capacity`."""

from pathlib import Path

from infra.capacity.page import render_capacity_page

PAGE = Path(__file__).resolve().parent.parent / "CAPACITY.md"

if __name__ == "__main__":
    PAGE.write_text(render_capacity_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
