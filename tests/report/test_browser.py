"""Pages in a real headless Chromium: scripts work, names stay text, and it fits phones; skipped where there is none."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hostile
import pytest

import onnxsqueeze
from onnxsqueeze.pipeline.context import Silent
from onnxsqueeze.report.html import page, plot
from onnxsqueeze.report.make import Wishes, report, report_result
from onnxsqueeze.sweep import Point, Sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; on Debian: apt-get install chromium")

# Opens each page at two widths, uses it, and writes down what it finds.
FRAMES = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>{frames}<script>
const luminance = (colour) => {{
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255);
  const [r, g, b] = parts.map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}};
const contrast = (a, b) => {{
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}};
function use(frame) {{
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  const table = page.querySelector("table.sortable"), rows = () => [...table.tBodies[0].rows];
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith(frame.dataset.column));
  const head = table.tHead.rows[0].cells[column];
  const values = () => rows().map((row) => parseFloat(row.cells[column].dataset.v)).filter((x) => !isNaN(x));
  const found = {{ title: page.title, overflow: root.scrollWidth - view.innerWidth, images: page.images.length }};
  found.scripts = page.scripts.length;
  const colours = () => {{
    const style = (selector) => view.getComputedStyle(page.querySelector(selector));
    const back = style("body").backgroundColor;
    return [style("body").color, style(".muted").color, style(".maker").color].map((x) => contrast(x, back));
  }};
  found.contrast = [colours()];
  found.dark = [view.getComputedStyle(page.body).backgroundColor];
  page.getElementById("theme").click();
  found.dark.push(view.getComputedStyle(page.body).backgroundColor);
  found.contrast.push(colours());
  head.querySelector("button").click();
  found.first = values(), found.sort = [head.getAttribute("aria-sort")];
  head.querySelector("button").click();
  found.second = values(), found.sort.push(head.getAttribute("aria-sort"));
  const filter = page.getElementById("filter");
  filter.value = frame.dataset.filter;
  filter.dispatchEvent(new view.Event("input"));
  found.filtered = rows().filter((row) => !row.hidden).length, found.rows = rows().length;
  const tall = [...page.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().height > 0).length;
  found.drawn = tall > 0;
  return found;
}}
addEventListener("load", () => {{
  const found = [...document.querySelectorAll("iframe")].map((frame) => {{
    try {{ return use(frame); }} catch (error) {{ return {{ error: String(error) }}; }}
  }});
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


def browse(folder: Path, pages: dict[str, tuple[str, str, str]]) -> tuple[list[dict[str, Any]], str]:
    """What was found in each page, on a phone and on a desk, and what Chromium had to complain about."""
    frames = []
    for name, (text, column, word) in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
        frames += [
            f'<iframe src="{name}.html" width="{width}" height="800" data-column="{html.escape(column)}" '
            f'data-filter="{html.escape(word)}"></iframe>'
            for width in (360, 1200)
        ]
    (folder / "all.html").write_text(FRAMES.format(frames="".join(frames)), encoding="utf-8")
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=4000", "--dump-dom", (folder / "all.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert match and match[1], done.stderr
    complaints = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return json.loads(html.unescape(match[1])), complaints


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], str]:
    folder = tmp_path_factory.mktemp("browser")
    before, after = hostile.files(folder)
    attacked = report(str(before), str(after), Wishes(), run=False, progress=Silent())
    made = onnxsqueeze.compress(LENET, folder / "lenet.onnx", "prune{sparsity=0.7},share{bits=5},huffman")
    real = report_result(made, Wishes(), hostile.NAMES[0], Silent())
    points = tuple(Point(f"share{{bits={b}}}", 2**b * 1000, 0.5**b, 0.99, None, 1.0) for b in range(1, 9))
    swept = Sweep(hostile.NAMES[0], 10**6, "made", points, tuple(range(8)), 2, 0)
    return browse(
        folder,
        {
            "hostile": (page.page(attacked), "after", "script"),
            "real": (page.page(real), "bits", "conv"),
            "sweep": (plot.page(swept), "relative error", "knee"),
        },
    )


def test_pages_work(seen: tuple[list[dict[str, Any]], str]) -> None:
    found, complaints = seen
    assert complaints == "", complaints
    assert len(found) == 6 and not [f["error"] for f in found if "error" in f]
    for one in found:
        assert one["sort"] == ["descending", "ascending"] and len(one["first"]) > 3
        assert one["first"] == sorted(one["first"], reverse=True) and one["second"] == sorted(one["first"])
        assert 0 < one["filtered"] < one["rows"] and one["drawn"]


def test_names_do_nothing(seen: tuple[list[dict[str, Any]], str]) -> None:
    for one in seen[0]:
        assert "owned" not in (one["title"],) and one["images"] == 0 and one["scripts"] == 1


def test_pages_fit_and_can_be_read(seen: tuple[list[dict[str, Any]], str]) -> None:
    for one in seen[0]:
        assert one["overflow"] <= 0
        assert one["dark"][0] != one["dark"][1]
        assert min(min(ratios) for ratios in one["contrast"]) >= 4.5
