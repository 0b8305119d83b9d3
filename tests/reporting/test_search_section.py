"""The section of a search: what it shows of few trials and of many, of failed ones, and on a narrow screen."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from components.files import write_json
from components.reporting.page import SECTIONS, page, render
from components.reporting.run import load
from components.reporting.sections.search import search
from components.spec.schema import TuneSpec
from components.spec.space import parse_space
from flows.search.results import trials
from flows.search.summary import summarize

RATE = {"optimizer": {"lr": {"log_uniform": [1e-4, 1e-1]}}}
SPACE = {**RATE, "model": {"width": {"integer": [16, 512]}}, "trainer": {"precision": {"choice": ["float32", "bfloat16"]}}}
LONG = {
    "model": {"encoder": {"blocks": {"attention": {"relative_position": {"number_of_buckets_of_the_bias_table": {"log_integer": [8, 256]}}}}}},
    "optimizer": {"_target_": {"choice": ["components.optim.adamw.AdamW", "components.optim.lion.Lion", "components.optim.muon.Muon"]}},
    "seed": {"choice": list(range(40))},
}


def journal(count: int, space: dict[str, Any], end: str = "end", value: float | None = 1.0) -> list[dict[str, Any]]:
    """Trials one after another: each runs 2 s a validation, two of them; the i-th ends with `value` + i; every fourth is stopped at the half."""
    generator = random.Random(0)
    events: list[dict[str, Any]] = []
    for i in range(count):
        values = {key: span.draw(generator) for key, span in parse_space(space).items()}
        common = {"trial": f"t{i}", "values": values}
        clock = 1000.0 + 4 * i
        events.append({"kind": "begin", "at": clock, **common})
        for half in (1, 2)[: 1 if i % 4 == 3 else 2]:
            told = None if value is None else value + i + 2 - half
            events.append({"kind": "result", "at": clock + 2 * half, "step": 10 * half, "percent": 50.0 * half, "value": told, **common})
        reason = {"reason": "RunError: <no number>"} if end == "error" else {}
        events += [] if end == "nothing" else [{"kind": end, "at": events[-1]["at"], **common, **reason}]
    return events


def found(events: list[dict[str, Any]], space: dict[str, Any] = SPACE, mode: str = "min", gpus: float = 0.0) -> dict[str, Any]:
    return summarize(TuneSpec("asha", space), "validation/loss", mode, trials(events), gpus)


def run_of(directory: Path, summary: dict[str, Any]) -> Any:
    write_json(directory / "run.json", {"run_id": "search"})
    write_json(directory / "trials.json", summary)
    return load(directory)


def texts(chart: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def test_only_a_search_has_it_and_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    run = run_of(tmp_path, found(journal(8, SPACE)))
    first = page(run)
    assert search in SECTIONS and first == page(run) and 'id="search"' in first
    (tmp_path / "trials.json").unlink()
    assert search(load(tmp_path)) is None


def test_trials_stand_best_first_and_the_cost_is_told_to_its_last_second(tmp_path: Path) -> None:
    events = journal(8, SPACE)
    events += [
        {"kind": "begin", "at": 2000.0, "trial": "t0", "values": events[0]["values"]},  # killed once, it makes its last validation again
        {"kind": "result", "at": 2002.0, "trial": "t0", "values": events[0]["values"], "step": 20, "percent": 100.0, "value": 1.0},
        {"kind": "end", "at": 2002.0, "trial": "t0", "values": events[0]["values"]},
        {"kind": "begin", "at": 3000.0, "trial": "t9", "values": events[0]["values"]},
        {"kind": "error", "at": 3004.0, "trial": "t9", "values": events[0]["values"], "reason": "RunError: <no number>"},
    ]
    section = search(run_of(tmp_path, found(events, gpus=2.0)))
    assert section is not None
    shown, failures, cost = section.context["tables"]
    assert [row[0] for row in shown["rows"]] == ["t0 (chosen)", *(f"t{i}" for i in (1, 2, 3, 4, 5, 6, 7, 9))]
    assert [row[1] for row in shown["rows"]].count("stopped\u00a0early") == 2 and shown["rows"][0][2:5] == [1.0, "100 %", "6.00\u00a0s"]
    assert shown["rows"][-1][1:5] == ["failed", "–", "nothing", "4.00\u00a0s"]
    assert failures["rows"] == [["RunError: <no number>", 1, "t9"]]
    # Six of 4 s, two of 2 s, 2 s made again, 4 s that failed: 34 s, on two GPUs each.
    spent = [[row[0], *row[2:3], row[4]] for row in cost["rows"]]
    assert spent == [
        ["trials finished", "24.0\u00a0s", "71%"],
        ["trials stopped early", "4.00\u00a0s", "12%"],
        ["trials failed (wasted)", "4.00\u00a0s", "12%"],
        ["steps made again after a trial was cut off (wasted)", "2.00\u00a0s", "6%"],
    ]
    assert sum(row[3] for row in cost["rows"]) == pytest.approx(34 * 2 / 3600)
    assert "9 trials by asha for the lowest validation/loss: 6 finished, 2 stopped early, 1 failed." in section.context["intro"]
    assert "6.00 s of it (18%) was wasted" in section.context["intro"] and "0.01889 GPU-hours" in section.context["intro"]
    assert "&lt;no number&gt;" in page(load(tmp_path))


def test_values_can_be_read_from_the_charts(tmp_path: Path) -> None:
    section = search(run_of(tmp_path, found(journal(12, SPACE))))
    assert section is not None
    parallel, curves, importance, best = section.context["charts"]  # one trial at a time: the clock tells nothing new
    assert {"0.0001", "0.003162", "0.1", "16", "264", "512", "float32", "bfloat16", "best 1", "worst 13", "chosen"} <= set(texts(parallel))
    assert "optimizer.lr (log)" in texts(parallel) and "model.width" in texts(parallel)
    assert re.search(r'aria-label="Parallel coordinates of 12 trials. The chosen one has optimizer.lr 0\.\d+, model.width \d+, ', parallel)
    assert "stopped early" in texts(curves) and "Ended before the end: 3 stopped early." in curves and "failed" not in texts(curves)
    assert [float(text) for text in texts(importance) if re.fullmatch(r"[01]\.\d\d", text)] == sorted(
        (float(share) for share in re.findall(r" ([01]\.\d\d)[;.]", importance)), reverse=True
    )
    assert "2 at 2; 1 at 4. In all 42." in best


def test_each_way_to_end_has_a_shape_of_its_own(tmp_path: Path) -> None:
    events = journal(4, RATE)
    events[-1] |= {"kind": "error", "reason": "no number"}
    (last,) = {event["trial"] for event in events[-1:]}
    events += [{**event, "trial": "open"} for event in events if event["trial"] == last and event["kind"] != "error"]
    taken = {"kind": "exploit", "trial": "t1", "values": {"optimizer.lr": 0.01}, "at": 1007.0, "from": "t0", "step": 10}
    events[events.index(next(e for e in events if e["trial"] == "t1" and e.get("step") == 20)) : 0] = [taken]
    summary = found(events, RATE)
    section = search(run_of(tmp_path, summary))
    assert section is not None
    curves = section.context["charts"][1]
    assert {"failed", "end unknown", "took over another's weights"} <= set(texts(curves)) and "stopped early" not in texts(curves)
    assert any(row[0].startswith("t1 (from t0 at step 10)") for row in section.context["tables"][0]["rows"])
    assert not any(table["title"].startswith("How the chosen") for table in section.context["tables"])  # t0 never changed
    summary = {**summary, "winner": "t1", "schedule": [{"step": 0, "values": {"optimizer.lr": 0.1}}, {"step": 10, "values": {"optimizer.lr": 0.01}}]}
    section = search(run_of(tmp_path, summary))
    assert section is not None and section.context["tables"][0]["rows"] == [[0, "0.1"], [10, "0.01"]]


@pytest.mark.parametrize(
    ("events", "space", "charts", "told"),
    [
        (journal(1, RATE), RATE, 3, "1 trial by asha"),
        (journal(50, SPACE), SPACE, 4, "50 trials by asha"),
        (journal(12, LONG), LONG, 4, "12 trials by asha"),
        (journal(6, RATE, end="nothing"), RATE, 3, "6 without an end. None was trained to its end, so none was chosen."),
        (journal(3, SPACE, end="error"), SPACE, 2, "3 failed. None was trained to its end"),
        (journal(3, SPACE, end="error", value=None), SPACE, 0, "3 failed. No trial gave a value, so there is nothing to draw."),
        (journal(3, SPACE, value=0.0), SPACE, 3, "3 finished. Chosen was t0 with 0,"),
    ],
    ids=["one", "many", "long keys", "no end", "all failed", "no value", "zeros"],
)
def test_few_and_many_and_none(tmp_path: Path, events: list[dict[str, Any]], space: dict[str, Any], charts: int, told: str) -> None:
    section = search(run_of(tmp_path, found(events, space)))
    assert section is not None and len(section.context["charts"]) == charts and told in section.context["intro"]
    rows = section.context["tables"][0]["rows"]
    assert len(rows) == min(len({event["trial"] for event in events}), 30) and all(len(row) == 5 + len(parse_space(space)) for row in rows)
    shown = {text for chart in section.context["charts"] for text in texts(chart)}
    assert not shown & {"nan", "None"} and not any("$" in text for text in shown)


def test_values_far_apart_are_drawn_on_a_logarithm(tmp_path: Path) -> None:
    events = journal(6, RATE)
    for event in events:
        if event["trial"] == "t5" and event["kind"] == "result":
            event["value"] *= 1e5
    section = search(run_of(tmp_path, found(events, RATE)))
    assert section is not None and {"10", "1\u202f000"} <= set(texts(section.context["charts"][1]))


def test_on_a_narrow_screen_no_label_covers_another(browser: Browser, tmp_path: Path) -> None:
    run_of(tmp_path, found(journal(8, LONG), LONG))
    render(tmp_path, tmp_path / "report.html")
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    for chart in ("[aria-label^='Parallel']", "[aria-label^='Importance']"):
        boxes = tab.evaluate(
            """chart => [...document.querySelectorAll(`${chart} text`)]
                .map(e => e.getBoundingClientRect()).map(b => [b.left, b.right, b.top, b.bottom])""",
            chart,
        )
        assert len(boxes) > 5
        overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if _overlap(a[:2], b[:2]) > 1 and _overlap(a[2:], b[2:]) > 3]
        assert overlaps == []
        inside = tab.locator(f"{chart}").bounding_box()
        assert inside is not None and all(inside["x"] - 1 <= box[0] and box[1] <= inside["x"] + inside["width"] + 1 for box in boxes)
    tab.close()


def _overlap(a: list[float], b: list[float]) -> float:
    return min(a[1], b[1]) - max(a[0], b[0])
