"""The page in a real browser, and the promises that it makes about the run directory."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page

from components.errors import UserError
from components.files import read_json, write_json
from components.reporting.page import render

from .conftest import SECRET, edit_json

HOSTILE = "<script>alert(1)</script>$\\frac{$"


def _draw(run_directory: Path) -> Path:
    output = run_directory.parent / "report.html"
    render(run_directory, output)
    return output


def _open(tab: Page, report: Path) -> list[str]:
    """Open a page and return what went wrong: console messages, errors, dialogs, requests for anything but the page."""
    faults: list[str] = []
    requests: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("dialog", dismiss)
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    return faults + [url for url in requests if not url.startswith((report.as_uri(), "data:"))]


def _sections(tab: Page) -> list[str]:
    return tab.locator("main > section > h2").all_text_contents()


def test_the_page_renders_whole_and_asks_for_nothing(tab: Page, report: Path) -> None:
    assert _open(tab, report) == []
    titles = ["Scores", "What ran", "Curves", "Classes", "Calibration", "Sample predictions", "Data", "Where the time went"]
    assert _sections(tab) == titles
    assert tab.locator("nav a").all_text_contents() == titles
    assert tab.locator("h1").inner_text() == "linear-softmax-3f9ac07b12de4586"
    assert tab.locator(".verdict").inner_text() == "✓ 2 of 2 expectations met"
    assert (tab.locator("#curves svg").first.get_attribute("aria-label") or "").startswith("Loss over steps. each step ends at ")
    assert tab.locator("img:not([alt])").count() == 0
    assert tab.locator("svg:not([aria-label])").count() == 0


def test_every_id_is_unique_and_every_picture_loaded(tab: Page, digits_run: Path, report: Path) -> None:
    _open(tab, report)
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)) > 50
    pictures = tab.evaluate("[...document.images].map(i => i.naturalWidth)")
    assert len(pictures) == 1 + len(np.load(digits_run / "samples.npz")["sample_id"])
    assert min(pictures) == 8


def test_the_confusion_matrix_on_the_page_is_the_one_in_the_file(tab: Page, digits_run: Path, report: Path) -> None:
    _open(tab, report)
    shown = [[int(text) for text in row.locator("td").all_text_contents()] for row in tab.locator("table.confusion tbody tr").all()]
    assert shown == read_json(digits_run / "metrics.json")["test"]["confusion"]


def test_a_click_sorts_and_a_second_click_turns(tab: Page, digits_run: Path, report: Path) -> None:
    _open(tab, report)
    recall = sorted(row["recall"] for row in read_json(digits_run / "metrics.json")["test"]["per_class"])
    assert recall[0] < recall[-1]
    cells = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => Number(row.cells[2].dataset.value))"
    button = tab.get_by_role("button", name="recall")
    button.click()
    assert tab.evaluate(cells) == recall
    assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    button.click()
    assert tab.evaluate(cells) == recall[::-1]
    tab.get_by_role("button", name="class").click()
    assert tab.locator("table.sortable tbody th").all_text_contents() == [str(digit) for digit in range(10)]


def test_samples_are_grouped_worst_first(tab: Page, digits_run: Path, report: Path) -> None:
    _open(tab, report)
    losses = np.sort(np.load(digits_run / "samples.npz")["losses"])[::-1]
    worst = tab.locator("#predictions .samples >> nth=0").locator("> li")
    assert worst.count() == 12
    assert worst.first.locator("p.quiet").inner_text().startswith(f"loss {losses[0]:.2g}")
    assert worst.first.get_attribute("class") == "wrong"
    assert tab.locator("#predictions h3", has_text="Right").count() == 1


def test_hostile_names_are_shown_as_text(tab: Page, run_directory: Path) -> None:
    edit_json(run_directory / "run.json", {"run_id": HOSTILE, "experiment": HOSTILE})
    metrics = read_json(run_directory / "metrics.json")
    metrics["test"]["per_class"][3]["class"] = HOSTILE
    metrics["test"][HOSTILE] = 0.5
    write_json(run_directory / "metrics.json", metrics)
    with open(run_directory / "metrics.jsonl", "a") as journal:
        journal.write(json.dumps({"kind": "epoch", "step": 999, f"{HOSTILE}/loss": 1.0, f"validation/{HOSTILE}": 2.0}) + "\n")
    assert _open(tab, _draw(run_directory)) == []
    assert tab.locator("h1").inner_text() == HOSTILE
    assert tab.locator("table.confusion thead th").nth(3).inner_text() == HOSTILE
    assert tab.locator("script").count() == 1


def test_the_policy_stops_a_script_that_got_in(tab: Page, report: Path) -> None:
    _open(tab, report)
    tab.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s); }")
    assert tab.evaluate("window.broken === undefined")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chart_text_can_be_read_in_both_schemes_and_nothing_overflows(browser: Browser, report: Path, scheme: str) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark" if scheme == "dark" else "light")
    _open(tab, report)
    colours = tab.evaluate(
        """() => [getComputedStyle(document.querySelector('#curves svg text')).fill,
                  getComputedStyle(document.querySelector('#curves')).backgroundColor]"""
    )
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.close()
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.1 AA
    assert (_luminance(colours[1]) > 0.5) == (scheme == "light")


def test_a_copy_of_the_directory_gives_the_same_bytes(run_directory: Path, tmp_path: Path) -> None:
    render(run_directory, tmp_path / "one.html")
    elsewhere = Path(shutil.copytree(run_directory, tmp_path / "far" / "away"))
    render(elsewhere, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_no_secret_and_no_address_is_on_the_page(run_directory: Path, tmp_path: Path) -> None:
    assert SECRET in (run_directory / "run.json").read_text()
    render(run_directory, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert SECRET not in text
    assert "e8d20917c3ab56f4" in text  # the key of a stage is an address in the store, no secret
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", text) == ["https://archive.ics.uci.edu/dataset/80"]


@pytest.mark.parametrize(
    ("file", "section"),
    [
        ("samples.npz", "Sample predictions"),
        ("metrics.jsonl", "Curves"),
        ("sheet.png", None),
        ("card.json", None),
        ("check.json", None),
        ("summary.json", None),
        ("metrics.json", "Classes"),
    ],
)
def test_a_missing_file_drops_its_section_with_a_sentence(tab: Page, run_directory: Path, file: str, section: str | None) -> None:
    (run_directory / file).unlink()
    assert _open(tab, _draw(run_directory)) == []
    assert section not in _sections(tab)
    assert f"the run directory has no {file}." in tab.locator("#left-out").inner_text()


def test_a_run_record_alone_still_gives_a_page(tab: Page, run_directory: Path) -> None:
    for path in run_directory.iterdir():
        if path.name != "run.json":
            path.unlink()
    write_json(run_directory / "run.json", {"run_id": "failed-early", "stages": {"data": {"status": "failed", "seconds": None}}})
    assert _open(tab, _draw(run_directory)) == []
    assert tab.locator(".verdict").inner_text() == "✗ Failed in stage data"


def test_a_torn_last_line_is_tolerated_and_told(tab: Page, run_directory: Path) -> None:
    journal = run_directory / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    assert _open(tab, _draw(run_directory)) == []
    assert "1 line of metrics.jsonl could not be read" in tab.locator("#curves").inner_text()


def test_a_large_confusion_matrix_is_a_picture(tab: Page, run_directory: Path) -> None:
    metrics = read_json(run_directory / "metrics.json")
    confusion = [[90 if i == j else 10 if j == (i + 1) % 100 else 0 for j in range(100)] for i in range(100)]
    row = {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 100}
    metrics["test"].update(confusion=confusion, per_class=[{"class": f"class {k}", **row} for k in range(100)])
    write_json(run_directory / "metrics.json", metrics)
    assert _open(tab, _draw(run_directory)) == []
    assert tab.locator("table.confusion").count() == 0
    assert tab.evaluate("document.querySelector('.heat img').naturalWidth") == 100
    assert tab.locator("table.sortable tbody tr").count() == 100


def test_other_tasks_have_a_page_without_classes(tab: Page, run_directory: Path) -> None:
    write_json(run_directory / "metrics.json", {"test": {"mean_average_precision": 0.41, "by_size": [0.2, 0.5]}})
    (run_directory / "samples.npz").unlink()
    np.savez(run_directory / "samples.npz", inputs=np.zeros((2, 3, 16, 16), dtype=np.uint8), sample_id=np.arange(2))
    assert _open(tab, _draw(run_directory)) == []
    assert not {"Classes", "Calibration", "Sample predictions"} & set(_sections(tab))
    assert "0.4100" in tab.locator("#scores").inner_text()


def test_a_missing_run_record_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json is missing"):
        render(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b"{"),
        ("card.json", b"[1]"),
        ("metrics.json", b"\xff\xfe"),
        ("samples.npz", b"PK\x03\x04 cut off"),
        ("sheet.png", b"<svg/>"),
    ],
)
def test_an_unreadable_file_is_named(run_directory: Path, tmp_path: Path, file: str, content: bytes) -> None:
    (run_directory / file).write_bytes(content)
    with pytest.raises(UserError, match=f"^{file} of the run cannot be read"):
        render(run_directory, tmp_path / "report.html")


def test_pickled_samples_are_refused(run_directory: Path, tmp_path: Path) -> None:
    np.savez(run_directory / "samples.npz", inputs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"samples\.npz of the run cannot be read"):
        render(run_directory, tmp_path / "report.html")


def _luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)` (WCAG 2.1)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
