"""The pages in a browser with the width of a phone."""

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from onebasin_studies.report.studies.files import report_files
from onebasin_studies.report.studies.pages import index_page, runs_page
from tests.studies.report.studies.collected import EMPTY, FOUND

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium"
)
WIDTH, SMALL = 375, 1280
PROBE = """<!doctype html><body><iframe width="WIDTH" height="800"></iframe><pre></pre><script>
const frame = document.querySelector("iframe"), errors = [];
frame.srcdoc = PAGE;
frame.onload = async () => {
  const inside = frame.contentDocument, top = inside.documentElement;
  frame.contentWindow.onerror = (message) => errors.push(message);
  const images = [...inside.images];
  await Promise.all(images.map((image) => image.decode().catch((e) => errors.push(String(e)))));
  const wide = [...inside.body.querySelectorAll("*")].filter((element) =>
    element.getBoundingClientRect().right > WIDTH + .5 && !element.closest(".scroll, pre"));
  document.querySelector("pre").textContent = JSON.stringify({
    width: top.clientWidth, scroll: top.scrollWidth, errors,
    images: images.map((image) => image.naturalWidth),
    wide: wide.map((element) => element.outerHTML.slice(0, 80)),
    moved: [...inside.querySelectorAll(".scroll")].map((box) => box.scrollWidth - box.clientWidth),
    left: [...inside.querySelectorAll(".scroll")].map((box) => box.getBoundingClientRect().left),
    title: inside.title,
  });
};
</script></body>"""


def look_at(html: str, folder: Path, width: int = WIDTH) -> dict:
    """Return what a browser reports about a page, by default as wide as a phone."""
    probe = folder / "probe.html"
    source = json.dumps(html).replace("</", "<\\/")
    frame = PROBE.replace("WIDTH", str(width)).replace("PAGE", source)
    probe.write_text(frame, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--window-size=1600,900",
        "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        probe.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = done.stdout.partition("<pre>")[2].partition("</pre>")[0]
    assert found, done.stderr[-2000:]
    return json.loads(unescape(found))


PAGES = {
    "study": lambda: report_files(FOUND)["width.html"].decode(),
    "empty": lambda: report_files(EMPTY)["width.html"].decode(),
    "index": lambda: index_page([FOUND, EMPTY]),
    "runs": lambda: runs_page({"a-run-with-a-long-name": [FOUND], "b": [EMPTY]}),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(name, tmp_path):
    found = look_at(PAGES[name](), tmp_path)
    assert found["width"] == WIDTH
    assert (found["scroll"], found["wide"]) == (WIDTH, [])
    assert found["errors"] == []
    assert len(found["images"]) == (1 if name == "study" else 0)
    assert all(width > 0 for width in found["images"])


def test_table_uses_the_width_of_a_desktop(tmp_path):
    """Twelve columns do not fit the lines of a text, but do fit the window."""
    found = look_at(PAGES["study"](), tmp_path, SMALL)
    assert (found["scroll"], found["wide"], found["moved"]) == (SMALL, [], [0])
    assert found["left"][0] > 0
    assert look_at(PAGES["study"](), tmp_path)["moved"][0] > 0, "it is wide on a phone"


def test_probe_detects_overflow(tmp_path):
    page = PAGES["study"]().replace("base64,", "base64,AAAA", 1)
    wide = page.replace("<h2>", '<p style="width: 600px">too wide</p><h2>', 1)
    found = look_at(wide, tmp_path)
    assert found["scroll"] > WIDTH
    assert any("too wide" in element for element in found["wide"])
    assert len(found["errors"]) == 1
