"""The report of the tiny study in a real browser: `chromium`, as Debian packages it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.browser

# The page looks at the report in a frame of a given width and writes what it finds into itself.
LOOK = """<!DOCTYPE html><html><body><iframe id="frame" width="{width}" height="900" src="{url}">
</iframe><pre id="found"></pre><script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const top = page.querySelector("#verdict strong").getBoundingClientRect();
  document.getElementById("found").textContent = JSON.stringify({{
    title: page.title,
    width: view.innerWidth,
    needed: page.documentElement.scrollWidth,
    images: page.images.length,
    broken: [...page.images].filter(image => !image.naturalWidth).map(image => image.alt),
    unnamed: [...page.images].filter(image => !image.alt).length,
    verdict: page.querySelector("#verdict strong").textContent,
    bottom: top.bottom, height: top.height,
    fetched: view.performance.getEntriesByType("resource").map(entry => entry.name),
    links: [...page.querySelectorAll("nav a")].filter(
      link => !page.getElementById(link.hash.slice(1))).length,
  }});
}};
</script></body></html>
"""


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser without a screen, a network, or anything of the user's."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser is not None, "this test needs chromium: apt-get install chromium"
    return subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder}/profile"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def console_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def look_at(report: Path, folder: Path, *, width: int) -> tuple[dict[str, Any], list[str]]:
    """What a page of a given width shows, and what the browser has to say about it."""
    look = folder / "look.html"
    look.write_text(LOOK.format(width=width, url=report.as_uri()))
    # Only to let one local file look into another; the report itself needs no permission.
    options = ("--allow-file-access-from-files", "--virtual-time-budget=60000", "--dump-dom")
    done = browse(folder, *options, look.as_uri())
    text = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert text is not None, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(unescape(text[1])), console_of(done)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_opens_whole_at_any_width(tiny: Checkout, tmp_path: Path, width: int) -> None:
    found, console = look_at(tiny.folder / "results" / "report.html", tmp_path, width=width)
    assert console == []
    assert found["title"] == "tiny: likelihood networks"
    assert (found["width"], found["needed"] <= width) == (width, True)
    assert found["images"] == 11  # of the data one, of two networks a curve and four figures
    assert (found["broken"], found["unnamed"], found["links"]) == ([], 0, 0)
    assert found["fetched"] == []
    # Honest: a network of a minute does not pass, and the top of the page says so.
    assert found["verdict"] == "No network passed its gates (0 of 2)."
    assert 0 < found["height"] < found["bottom"] < 900


def test_the_look_sees_what_is_wrong_with_a_page(tiny: Checkout, tmp_path: Path) -> None:
    text = (tiny.folder / "results" / "report.html").read_text()
    wrong = '<img src="https://example.com/a.png" alt="far"><div style="width:900px">wide</div>'
    report = tmp_path / "report.html"
    report.write_text(text.replace("</main>", f"{wrong}</main>"))
    found, console = look_at(report, tmp_path, width=400)
    assert found["needed"] > 400
    assert found["broken"] == ["far"]
    assert found["fetched"] == ["https://example.com/a.png"]
    assert "Content Security Policy" in "".join(console)


def test_the_report_opens_from_a_file_alone_without_an_error(
    tiny: Checkout, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere" / "report.html"
    alone.parent.mkdir()
    shutil.copy(tiny.folder / "results" / "report.html", alone)
    picture = tmp_path / "report.png"
    done = browse(tmp_path, f"--screenshot={picture}", "--window-size=1280,900", alone.as_uri())
    assert console_of(done) == []
    assert picture.stat().st_size > 50_000
    assert alone.stat().st_size < 5_000_000
