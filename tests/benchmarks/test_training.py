"""The comparison is fair: every contender makes the same steps. And the figures are what their names say."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import record
from benchmarks.training import __main__ as comparison
from benchmarks.training import by_hand, contender, gate, ours
from benchmarks.training.gate import anonymous_gib, peak_anonymous_gib
from benchmarks.training.log import Entry, Log, samples_per_second
from benchmarks.training.recipe import Batches, Recipe
from benchmarks.training.systems import SYSTEMS, plain_spec, write_data
from components.data.card import load_card
from components.errors import UserError
from components.spec.parse import parse_spec
from components.training import journal
from components.training.inputs import Inputs
from components.training.session import LocalSession
from tests.benchmarks.conftest import STEPS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def our_losses(small, tmp_path_factory):
    """The losses of our steps, system by system."""
    found = {}

    def losses(name):
        if name not in found:
            log, (system, data) = Log(1), small(name)
            ours.train(system, data, STEPS, log, tmp_path_factory.mktemp(name) / "run")
            found[name] = [e.loss for e in log.entries]
        return found[name]

    return losses


@pytest.mark.parametrize("name", SYSTEMS)
def test_by_hand_makes_the_same_steps(name, small, our_losses):
    log = Log(1)
    by_hand.train(*small(name), STEPS, log)
    assert [e.step for e in log.entries] == list(range(1, STEPS + 1))
    assert [e.loss for e in log.entries] == pytest.approx(our_losses(name), abs=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("peer", ["lightning", "accelerate"])
def test_peers_make_the_same_steps(peer, name, small, our_losses):
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"needs {peer}, which is not installed (pip install .[bench])")
    log = Log(1)
    importlib.import_module(f"benchmarks.training.by_{peer}").train(*small(name), STEPS, log)
    assert [e.step for e in log.entries] == list(range(1, STEPS + 1))
    assert [e.loss for e in log.entries] == pytest.approx(our_losses(name), abs=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_loss_is_that_of_the_untrained_model_on_the_first_batch(name, small, our_losses):
    system, data = small(name)
    recipe = Recipe(system, data, STEPS, CPU)
    inputs, targets = next(iter(recipe.batches))
    found = recipe.model(inputs)
    logits = found[0] if isinstance(found, tuple) else found
    chosen = F.log_softmax(logits, dim=-1).gather(-1, targets[..., None])
    assert our_losses(name)[0] == pytest.approx(-chosen.mean().item(), abs=1e-5)


@pytest.mark.parametrize("change", ["clip_norm", "transforms", "state"])
def test_a_difference_in_the_recipe_shows_in_the_losses(change, small, our_losses, monkeypatch):
    """Else equal losses would prove nothing: what is compared must matter within these steps."""
    name = "lenet5" if change == "transforms" else "lstm"
    system, data = small(name)
    if change == "state":
        monkeypatch.setattr(Recipe, "state", property(lambda self: None, lambda self, value: None), raising=False)
    else:
        others = {"clip_norm": 1e-7, "transforms": ({"_target_": "none", "size": 33},)}
        system = replace(system, **{change: others[change]})
    log = Log(1)
    by_hand.train(system, data, STEPS, log)
    apart = max(abs(e.loss - loss) for e, loss in zip(log.entries, our_losses(name), strict=True))
    assert apart > 1e-4


def test_batches_follow_the_streams_and_start_anew(small):
    system, data = small("lstm")
    rows = torch.from_numpy(np.load(data / "train-00000.tokens.npy")).long()
    batches = Batches(system, data, CPU)
    for _ in range(2):  # 30 rows in 6 streams: stream s has rows 5 s to 5 s + 4
        for t, (inputs, targets) in enumerate(batches):
            assert torch.equal(inputs, rows[t::5][:, :-1])
            assert torch.equal(targets, rows[t::5][:, 1:])


def test_batches_of_images_are_standardised_and_each_epoch_has_another_order(small):
    system, data = small("lenet5")
    batches = Batches(system, data, CPU)
    assert len(batches) == 5
    first, second = (torch.cat([targets for _, targets in batches]) for _ in range(2))
    assert torch.equal(first.sort().values, second.sort().values)
    assert not torch.equal(first, second)
    inputs = torch.cat([inputs for inputs, _ in Batches(replace(system, transforms=()), data, CPU)])
    assert inputs.shape == (30, 1, 28, 28)
    assert inputs.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert inputs.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_batches_read_several_shards(small, tmp_path):
    system, data = small("lenet5")
    whole = np.load(data / "train-00000.inputs.npy")
    for i, part in enumerate((whole[:13], whole[13:])):
        np.save(tmp_path / f"train-{i:05d}.inputs.npy", part)
    np.save(tmp_path / "train-00000.targets.npy", np.load(data / "train-00000.targets.npy"))
    (tmp_path / "card.json").write_text((data / "card.json").read_text())
    for (a, _), (b, _) in zip(Batches(system, data, CPU), Batches(system, tmp_path, CPU), strict=True):
        assert torch.equal(a, b)


def test_gpt_decays_weights_alone():
    """0.8 M parameters: 12 D^2 a block and the embeddings decay; 4 layers of norms and biases do not."""
    system = replace(SYSTEMS["gpt"], rows=12)
    decayed = 4 * 12 * 128**2 + (65 + 64) * 128
    spared = 4 * (4 * 128 + (3 + 1 + 4 + 1) * 128) + 2 * 128  # norms; biases of the four layers of a block; the last norm

    class Bare(Recipe):
        def __init__(self) -> None:
            self.system = system
            self.model = _gpt()

    first, second = Bare()._groups()
    assert (sum(p.numel() for p in first["params"]), sum(p.numel() for p in second["params"])) == (decayed, spared)
    assert second["weight_decay"] == 0.0


def _gpt():
    from components.models.language.gpt import GPT

    return GPT(65, 64, layers=4, heads=4, hidden_dim=128)


def test_the_specification_watches_and_checks_as_a_user_s_does():
    spec = parse_spec(plain_spec(SYSTEMS["resnet20"], steps=10, trainer={"accumulate": 2}))
    assert (spec.watch.every_steps, spec.watch.finite_every_steps) == (200, 1)
    assert (spec.trainer.accumulate, spec.trainer.batch_size, spec.augment.train) == (2, SYSTEMS["resnet20"].batch_size, ())
    with pytest.raises(UserError, match="every_stepz"):
        parse_spec(plain_spec(SYSTEMS["resnet20"], steps=10, watch={"every_stepz": 1}))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_step_is_equally_long(name):
    assert SYSTEMS[name].rows % SYSTEMS[name].batch_size == 0


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_block_has_as_many_looks_as_the_watch_makes_on_average(name):
    turns = comparison.TURNS[name]
    block = turns.steps * turns.in_a_block
    first = -(-comparison.WARMUP_STEPS // turns.steps) * turns.steps
    for start in range(first, first + comparison.BLOCKS * block, block):
        looks = sum(step % 200 == 0 or (step < 100 and step & (step - 1) == 0) for step in range(start, start + block))
        assert looks == block / 200


def test_rows_reach_the_model_as_they_were_written(tmp_path):
    system = replace(SYSTEMS["gpt"], batch_size=2, rows=4, classes=300)  # more than a byte holds
    data = write_data(system, tmp_path / "data")
    assert load_card(data).columns["tokens"].dtype == "uint16"
    inputs = Inputs(data, "train", parse_spec(plain_spec(system, 1)), LocalSession())
    (part,) = next(inputs.training(epoch=0))
    ours_first = part.batch["tokens"][:, :-1].long()
    assert torch.equal(ours_first, next(iter(Batches(system, data, CPU)))[0])


def test_the_rate_counts_from_the_end_of_the_warm_up():
    entries = [Entry(20, 0.0, 100.0, 0.0), Entry(40, 0.0, 101.0, 0.0), Entry(80, 0.0, 105.0, 0.0)]
    assert samples_per_second(entries, 40, batch_size=8) == 8 * 40 / 4
    assert samples_per_second(entries, 20, batch_size=8) == 8 * 60 / 5
    for warmup in (30, 80):
        with pytest.raises(ValueError, match=f"step {warmup}"):
            samples_per_second(entries, warmup, batch_size=8)


def test_the_journal_is_read_without_what_is_no_step(tmp_path):
    with open(tmp_path / "metrics.jsonl", "w") as stream:
        for line in (
            {"kind": "event", "step": 0},
            {"kind": "step", "step": 20, "seconds": 1.5, "loss": 2.0, "peak_memory_gib": 0.5},
            {"kind": "epoch", "step": 20, "seconds": 9.0},
        ):
            stream.write(json.dumps(line) + "\n")
    assert ours.entries(tmp_path) == [Entry(20, 2.0, 1.5, 0.5)]


def test_the_log_notes_at_multiples_and_memory_is_what_was_allocated(tmp_path):
    """A quarter of a GiB taken counts; a file of the same size that is mapped and read does not."""
    log = Log(3)
    assert [step for step in range(1, 10) if log.due(step)] == [3, 6, 9]
    np.save(tmp_path / "file.npy", np.ones(2**28, dtype=np.uint8))
    before = anonymous_gib()
    mapped = np.load(tmp_path / "file.npy", mmap_mode="r")
    assert mapped.sum() == 2**28 and anonymous_gib() - before == pytest.approx(0.0, abs=0.02)
    block = np.ones(2**28, dtype=np.uint8)
    assert anonymous_gib() - before == pytest.approx(0.25, abs=0.02) and block[0] == 1
    assert peak_anonymous_gib() >= anonymous_gib() - 0.02


def test_a_gate_stops_every_so_many_steps_and_tells_how_long_they_took(monkeypatch, capsys):
    clock = iter([1.0, 2.0, 5.0, 7.0, 10.0, 12.0, 99.0, 100.0])
    monkeypatch.setattr("benchmarks.training.gate.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n" * 9))
    made = gate.Gate(3)
    for _ in range(7):
        made.tick()
    told = [gate.read(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["seconds"] for t in told[1:]] == [5.0 - 2.0, 10.0 - 7.0]  # the wait at the gate is in none
    assert gate.read("Epoch 1 of 3") is None


def test_validation_and_checkpoint_come_after_the_last_entry(small, tmp_path):
    system, data = small("lenet5")
    ours.train(system, data, STEPS, Log(1), tmp_path)
    kinds = [r["kind"] for r in journal.read(tmp_path / "metrics.jsonl") if r["kind"] != "event"]
    assert kinds == ["step"] * STEPS + ["epoch"]
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == [f"step_{STEPS:08d}"]


def test_a_contender_takes_turns_in_a_process_of_its_own(tmp_path, monkeypatch):
    data = write_data(SYSTEMS["lenet5"], tmp_path / "data")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert contender.one_thread()["OMP_NUM_THREADS"] == "1"
    running = contender.Contender("modelyard", "lenet5", data, steps=41, chunk_steps=20)
    told = [running.turn(), running.turn()]
    running.close()
    assert all(t["seconds"] > 0 and 0 < t["memory_gib"] < 1 for t in told)


def test_a_contender_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contender.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="by hand failed"):
        contender.Contender("by hand", "lenet5", tmp_path, 20, 40)


def test_the_order_turns():
    """Forward, backward, then another one first: within two turns each pair stands in both orders."""
    orders = [comparison.turned(["a", "b", "c"], turn) for turn in range(6)]
    assert orders == [list(o) for o in ("abc", "cba", "bca", "acb", "cab", "bac")]


def test_ratios_are_taken_within_a_block():
    rounds = [
        {"by hand": {"samples_per_second": 100.0, "memory_gib": 1.0}, "modelyard": {"samples_per_second": 90.0, "memory_gib": 2.0}},
        {"by hand": {"samples_per_second": 10.0, "memory_gib": 1.0}, "modelyard": {"samples_per_second": 11.0, "memory_gib": 1.0}},
        {"by hand": {"samples_per_second": 50.0, "memory_gib": 2.0}, "modelyard": {"samples_per_second": 50.0, "memory_gib": 3.0}},
    ]
    first, second = comparison.table("X", rounds)
    assert (first["contender"], first["ratio"], first["memory ratio"]) == ("by hand", 1.0, 1.0)
    assert [second[k] for k in ("samples/s", "ratio", "least", "greatest")] == [50.0, 1.0, 0.9, 1.1]  # not 50 / 50 of the medians' rounds
    assert (second["memory MiB"], second["memory ratio"]) == (2048.0, 1.5)
    peers = [{name: {"samples_per_second": v} for name, v in (("by hand", 1.0), ("modelyard", 3.0), ("Peer", 2.0))}]
    assert comparison.against_peers({"x": peers}) == {"x": {"Peer": 1.5}}


def test_an_unknown_system_is_refused():
    command = [sys.executable, "-m", "benchmarks.training", "--only", "lenet5,alexnet"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such system: alexnet; there are lenet5, resnet20, gpt, lstm" in done.stderr


def test_a_record_needs_no_flows():
    """benchmarks.training.gpu runs where only torch, numpy and safetensors are installed."""
    forbidden = ("flows", "hydra", "ray", "prefect", "dvc", "wandb")
    program = f"import sys, benchmarks.training.gpu; print([m for m in sys.modules if m.split('.')[0] in {forbidden}])"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_record_holds_rows_notes_and_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "__file__", str(tmp_path / "record.py"))
    record.publish("trial", [{"what": "a", "ratio": 0.98765}], {"repeats": 3})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed] == [["what", "ratio"], ["a", "0.988"], ["repeats:", "3"]]
    kept = json.loads((tmp_path / "results" / "trial.json").read_text())
    assert kept["rows"] == [{"what": "a", "ratio": 0.98765}]
    assert kept["environment"]["torch"] == torch.__version__
