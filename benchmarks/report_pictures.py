"""Draw the pictures of docs/report.md and docs/watching.md: pages of real trainings, as a browser shows them.

    grmrewards demo --family ipgrm --output demo-output
    python benchmarks/report_pictures.py --record demo-output/record.jsonl

The hacked one is that of `python benchmarks/hacking.py --flaws praise --seeds 0`; it takes about a minute.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import hacking
from browser import chromium

import grmrewards.report

LARGEST = 250_000  # bytes of a picture
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 375, "height": 760}


def main() -> None:
    """Make the page, and a picture of each of its faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, default=Path("demo-output/record.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / "docs" / "pictures")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        page = grmrewards.report.write(given.record, Path(scratch) / "report.html", title="IP-GRM demo")
        hacking.run("praise", 0, Path(scratch))
        title = "A policy that praises itself"
        hacked = grmrewards.report.write(Path(scratch) / "record.jsonl", Path(scratch) / "hacked.html", title=title)
        for name, size, scheme, row in (
            ("report", DESKTOP, "light", None),
            ("report-dark", DESKTOP, "dark", None),
            ("report-phone", PHONE, "light", None),
            ("report-side-by-side", DESKTOP, "light", _telling_row),
        ):
            _draw(browser, page, given.folder / f"{name}.png", size, scheme, row)
        _draw(browser, hacked, given.folder / "report-hacked.png", DESKTOP, "light", None)


def _draw(browser: Any, page: Path, target: Path, size: dict[str, int], scheme: str, row: Any) -> None:
    tab = browser.new_page(viewport=size, color_scheme=scheme)
    tab.goto(page.as_uri())
    tab.wait_for_selector("#lines tr")
    if row is not None:
        row(tab)
    tab.screenshot(path=target)
    tab.close()
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes; at most {LARGEST} are for a picture.")
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def _telling_row(tab: Any) -> None:
    """Open the first row of the group that is furthest apart."""
    tab.select_option("#sort", "spread down")
    tab.wait_for_timeout(500)
    tab.click("#lines tr:first-child a")
    tab.wait_for_selector("#detail[open] .beside")


if __name__ == "__main__":
    main()
