"""Reading a run: torn journals, secrets, numbers as text, the verdict, the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.files import read_json
from components.reporting.__main__ import main
from components.reporting.journal import points, read_journal, thinned
from components.reporting.masking import MASK, mask, mask_command
from components.reporting.run import load
from components.reporting.summary import summary_markdown
from components.reporting.text import duration, flatten, number, score
from components.reporting.verdict import judge

from .conftest import SECRET, edit_json


def _journal(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_a_resumed_run_counts_its_later_records(tmp_path: Path) -> None:
    records = [{"kind": "step", "step": step, "loss": loss} for step, loss in ((1, 9.0), (2, 8.0), (3, 7.0), (2, 0.8), (3, 0.7), (4, 0.6))]
    journal = read_journal(_journal(tmp_path / "metrics.jsonl", *map(json.dumps, records)))
    assert points(journal.steps, "loss") == ([1.0, 2.0, 3.0, 4.0], [9.0, 0.8, 0.7, 0.6])
    assert journal.skipped == 0


def test_torn_lines_are_counted_wherever_they_stand(tmp_path: Path) -> None:
    whole = '{"kind": "step", "step": 1, "loss": 2.0}'
    path = _journal(tmp_path / "metrics.jsonl", whole[:20] + whole, "", "[]", '{"kind": "step"}', whole, whole[:-5])
    journal = read_journal(path)
    assert (len(journal.steps), journal.skipped) == (1, 4)


def test_values_that_are_not_finite_leave_a_gap(tmp_path: Path) -> None:
    lines = ['{"kind": "step", "step": 1, "loss": NaN}', '{"kind": "step", "step": 2}', '{"kind": "step", "step": 3, "loss": 1}']
    assert points(read_journal(_journal(tmp_path / "metrics.jsonl", *lines)).steps, "loss") == ([3.0], [1.0])


def test_long_curves_are_thinned_to_means() -> None:
    x = [float(i) for i in range(1000)]
    thin_x, thin_y = thinned(x, [2 * value for value in x], most=100)
    assert (len(thin_x), thin_x[0], thin_y[-1]) == (100, 4.5, 2 * 994.5)
    assert thinned(x, x, most=1000) == (x, x)


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("api_key", "abc", True),
        ("WANDB_API_KEY", "abc", True),
        ("apiKey", "abc", True),
        ("accesstoken", "abc", True),
        ("password", 12345, True),
        ("secrets", {"deep": ["abc"]}, True),
        ("AWS_ACCESS_KEY_ID", "abc", True),
        ("key_dim", 64, False),
        ("max_tokens", 512, False),
        ("tokenizer", "bpe", False),
        ("keypoints", "coco", False),
        ("api_key", None, False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: Any, masked: bool) -> None:
    text = json.dumps(mask({name: value}), ensure_ascii=False)
    assert (MASK in text) == masked
    assert ("abc" in text) == ("abc" in json.dumps(value) and not masked)


def test_masking_leaves_its_input_alone() -> None:
    value = {"token": "abc", "url": "https://me:word@host/x", "lr": 0.1}
    assert mask(value) == {"token": MASK, "url": f"https://{MASK}@host/x", "lr": 0.1}
    assert value["token"] == "abc"


@pytest.mark.parametrize(
    ("command", "masked"),
    [
        ("modelyard run tracking.api_key=abc trainer.duration=5ep", f"modelyard run tracking.api_key={MASK} trainer.duration=5ep"),
        ("modelyard run '+a.token=a b' x=1", f"modelyard run +a.token={MASK} x=1"),
        ("modelyard run +a.token='a b' x='c d'", f"modelyard run +a.token={MASK} 'x=c d'"),
        ("modelyard run --api-key abc --json", f"modelyard run --api-key {MASK} --json"),
        ("make key demo", "make key demo"),
        ("modelyard run 'tracking={api_key: abc, name: x}'", f"modelyard run tracking={MASK}"),
        ("""modelyard run 'a={"b": {"secrets": {"c": "abc"}}}'""", f"modelyard run a={MASK}"),
        ("modelyard run url=https://me:abc@host/x it's", f"""modelyard run url=https://{MASK}@host/x 'it'"'"'s'"""),
    ],
)
def test_secrets_in_a_command(command: str, masked: str) -> None:
    assert mask_command(command) == masked


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (61706, "61\u202f706"), (0.00012345, "0.0001234"), (3084.2, "3\u202f084"), (True, "True"), (math.inf, "inf"), (2.0, "2")],
)
def test_numbers(value: Any, text: str) -> None:
    assert number(value) == text


def test_scores_and_durations() -> None:
    assert [score(value) for value in (0.9, 1.0, 0.00001234, 42)] == ["0.9000", "1.0000", "1.234e-05", "42"]
    assert [duration(value) for value in (0.424, 9.996, 59.96, 200, 7500, None)] == [
        "0.42 s", "10.0 s", "1 min 00 s", "3 min 20 s", "2 h 05 min", "–",
    ]  # fmt: skip


def test_settings_become_dotted_keys() -> None:
    nested = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": "x"}], "f": {}, "g": None}
    assert flatten(nested) == [("a.b", "1"), ("a.c", "[1, 2]"), ("d.0.e", "x"), ("f", "{}"), ("g", "null")]


@pytest.mark.parametrize(
    ("expect", "state"),
    [
        ([], "open"),
        ([{"metric": "test/accuracy", "minimum": 0.5}], "met"),
        ([{"metric": "test/accuracy", "minimum": 0.5, "maximum": 0.6}], "missed"),
        ([{"metric": "test/loss", "maximum": 0.0}], "missed"),
        ([{"metric": "test/nothing", "minimum": 0.0}], "missed"),
        ([{"metric": "test/accuracy", "minimum": 0.5}, {"metric": "train/accuracy", "minimum": 0.5}], "missed"),
    ],
)
def test_the_verdict(run_directory: Path, expect: list[dict[str, Any]], state: str) -> None:
    edit_json(run_directory / "run.json", {"spec": {"expect": expect}})
    verdict = judge(load(run_directory))
    assert (verdict.state, len(verdict.expectations)) == (state, len(expect))


def test_a_failed_stage_outweighs_the_expectations(run_directory: Path) -> None:
    edit_json(run_directory / "run.json", {"stages": {"data": {"status": "ran"}, "report": {"status": "failed"}}})
    assert judge(load(run_directory)).sentence == "Failed in stage report"


def test_the_summary(run_directory: Path) -> None:
    edit_json(run_directory / "run.json", {"run_id": "a|b\n<script>"})
    text = summary_markdown(run_directory)
    accuracy = {split: scores["accuracy"] for split, scores in read_json(run_directory / "metrics.json").items()}
    assert text.startswith("# a\\|b &lt;script&gt;\n\n**2 of 2 expectations met**\n\n| expected | bound | measured | met |\n| --- |")
    assert f"| accuracy | {accuracy['validation']:.4f} | {accuracy['test']:.4f} |" in text
    assert "| data | reused | 0.02 s |" in text
    assert SECRET not in text


def test_the_command_line(run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_directory)]) == 0
    assert capsys.readouterr().out == f"{run_directory / 'report.html'}\n"
    assert main([str(run_directory), "--output", str(tmp_path / "deep" / "page.html")]) == 0
    assert (tmp_path / "deep" / "page.html").read_bytes() == (run_directory / "report.html").read_bytes()
    assert main([str(tmp_path)]) == 2
    assert "run.json is missing" in capsys.readouterr().err


def test_drawing_imports_no_torch(run_directory: Path) -> None:
    code = f"import sys; from components.reporting.__main__ import main; main([{str(run_directory)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
