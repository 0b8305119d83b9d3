"""What every experiment file must keep, whatever its kind. A new file under conf/experiment is covered by being there."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import Interrupted
from components.files import read_json
from components.layers.dropout import hand_draws, stochastic_layers
from components.spec.schema import Target
from components.tasks.base import StepContext
from components.training.checkpoint import Checkpoints, verify
from components.training.jobs import JOBS
from components.training.journal import read
from components.training.notices import Notice
from components.training.session import LocalSession, Session
from flows.run import PipelineRun
from flows.store import Partial, Store
from tests.systems.small import EXPERIMENTS, ROOT, Small

every = pytest.mark.parametrize("experiment", EXPERIMENTS)


def by_gradient(system: Small) -> None:
    if system.spec.procedure is not None:
        pytest.skip(f"is fitted by {system.spec.procedure.name}, not by gradient steps")


def first_micro_batch(system: Small) -> Any:
    return next(iter(system.inputs().training(0)))[0]


def losses(system: Small, model: Any, task: Any, phase: Any, part: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    networks, context = task.split(model), StepContext(phase, part.draws, 0, 0)
    hand_draws(stochastic_layers(model), part.draws)
    return task.losses(networks, part.batch, context), task.counts(part.batch, context)


@every
def test_predictions_have_a_row_a_sample_and_are_finite(small, experiment):
    """In batches of 1 and of an odd number alike: a sample's prediction is its own."""
    system = small(experiment)
    model, task = system.build()
    model.eval()
    found = {}
    for rows in (1, min(3, system.inputs("test").rows)):
        batch, _ = system.inputs("test").first(rows)
        with torch.no_grad():
            found[rows] = task.predict(task.split(model), batch)
        for name, value in found[rows].items():
            assert len(value) == rows, name
            assert not value.is_floating_point() or torch.isfinite(value).all(), name
        metric = task.metrics()
        metric.update(found[rows], batch)
        assert metric.compute([metric.state()])
        shown = task.samples(batch, found[rows])
        assert shown["sample_id"].tolist() == list(range(rows)) and shown["losses"].shape == (rows,)
    for name, value in found[1].items():
        if value.is_floating_point() and value.shape[1:] == found[rows][name].shape[1:]:
            torch.testing.assert_close(found[rows][name][:1], value, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@every
def test_every_parameter_gets_a_gradient(small, experiment):
    system = small(experiment)
    by_gradient(system)
    model, task = system.build()
    model.train()
    part = first_micro_batch(system)
    reached = set()
    for phase in task.phases:
        sums, counts = losses(system, model, task, phase, part)
        assert sums.keys() == counts.keys()
        model.zero_grad()
        torch.stack([sums[name] / counts[name] for name in sums]).sum().backward()
        own = {id(p) for p in task.split(model)[phase.network].parameters()}
        reached |= {name for name, p in model.named_parameters() if id(p) in own and p.grad is not None and torch.isfinite(p.grad).all()}
    assert reached == {name for name, p in model.named_parameters() if p.requires_grad}


@every
def test_weights_go_to_another_model_and_predict_the_same(small, experiment):
    system = small(experiment)
    (model, task), (other, _) = system.build(), system.build(seed=7)
    other.load_state_dict(model.state_dict(), strict=True)
    batch, _ = system.inputs("test").first(3)
    with torch.no_grad():
        first, second = (task.predict(task.split(m.eval()), batch) for m in (model, other))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@every
def test_the_loss_is_finite_in_bfloat16(small, experiment):
    system = small(experiment)
    by_gradient(system)
    model, task = system.build()
    for phase in task.phases:
        with torch.autocast("cpu", torch.bfloat16):
            sums, _ = losses(system, model.train(), task, phase, first_micro_batch(system))
        assert all(torch.isfinite(value) for value in sums.values())


def train(session: Session, spec: dict[str, Any], data: Path, directory: Path) -> dict[str, Any]:
    """The train job; what the group's processes call by name."""
    return JOBS["train"](session, {"spec": spec, "data": str(data), "directory": str(directory)})


def final_weights(directory: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = Checkpoints(directory / "checkpoints").path("latest")
    assert path is not None
    return load_file(path / "model.safetensors")


def sgd(system: Small, rate: float, **trainer: Any) -> dict[str, Any]:
    """Plain gradient descent: adaptive optimizers turn a rounding error of a gradient near zero into a whole step."""
    return {**system.plain(**trainer), "optimizer": {"_target_": "torch.optim.SGD", "lr": rate}, "phases": {}}


@every
def test_the_loss_of_one_batch_falls(small, experiment, tmp_path):
    system = small(experiment)
    by_gradient(system)
    _, task = system.build()
    if len(task.phases) > 1:
        pytest.skip("several networks work against each other: no loss has to fall")
    spec = system.plain(overfit_one_batch=True, duration="25st", validate_every="25st", checkpoint_every="25st")
    try:
        train(LocalSession(), spec, system.data, tmp_path)
    except Exception as error:
        if "one batch" not in str(error):  # 25 steps need not drive it near zero, only down
            raise
    found = [record["loss"] for record in read(tmp_path / "metrics.jsonl") if record["kind"] == "step"]
    assert min(found[-5:]) < found[0] and all(math.isfinite(value) for value in found)


@dataclass
class StopsAfter(LocalSession):
    """Hears a request to leave after some steps."""

    left: int = 0

    def notice(self) -> Notice:
        self.left -= 1
        return Notice.STOP if self.left < 0 else Notice.NONE


@every
def test_interrupted_and_resumed_is_never_interrupted_to_the_bit(small, experiment, tmp_path):
    system = small(experiment)
    spec = system.plain()
    train(LocalSession(), spec, system.data, tmp_path / "whole")
    if system.spec.procedure is None:
        with pytest.raises(Interrupted):
            train(StopsAfter(left=2), spec, system.data, tmp_path / "parts")
    train(LocalSession(), spec, system.data, tmp_path / "parts")
    whole, parts = final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(value, parts[name]) for name, value in whole.items())


@every
def test_two_workers_are_one(small, group, experiment, tmp_path):
    """Each with half of the batch; batch statistics over both."""
    system = small(experiment)
    spec = sgd(system, 1e-3, sync_batchnorm=True, duration="2st", validate_every="2st")
    for world in (1, 2):
        group.run(world, train, spec, system.data, tmp_path / str(world))
    one, two = final_weights(tmp_path / "1"), final_weights(tmp_path / "2")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@every
def test_the_pipeline_runs_to_its_report(small, experiment, first_of_its_kind, tmp_path):
    """Check, train, evaluate and report, in this process; tests/flows does it with DVC, Ray and Prefect.

    A report, half of the work, is drawn for one system of each task and data set: the pages of the others have the same sections.
    """
    system = small(experiment)
    card = read_json(system.data / "card.json")
    lenient = replace(system.spec.check, min_rows=1, max_imbalance=1e9, max_leak_fraction=1.0, max_constant_fraction=1.0)
    spec = replace(system.spec, check=lenient, upstream={})
    store = Store(tmp_path / "store")
    said: list[str] = []
    with PipelineRun(ROOT, spec, [], "modelyard run", store, said.append, lambda stage, directory: nullcontext()) as run:
        with store.run("data", {"data": card["content_sha256"]}, said.append) as partial:
            assert isinstance(partial, Partial)
            partial.files_in = system.data
            partial.outputs = {"directory": str(system.data), "content_sha256": card["content_sha256"]}
        (run.done["data"],) = filter(None, [store.find("data", {"data": card["content_sha256"]})])
        for stage in ("check", "train", "evaluate", "report")[: 4 if first_of_its_kind(experiment) else 3]:
            assert run.stage(stage).status == "ran"
    if "report" in run.done:
        page = Path(run.report).read_text(encoding="utf-8")
        assert experiment in page and page.count("<section") >= 4
    assert set(run.metrics) == set(spec.evaluate.splits) and all(run.metrics.values())
    assert verify(Path(run.checkpoint))["spec"]["experiment"] == experiment


@every
def test_the_file_says_what_it_is(small, experiment):
    spec = small(experiment).spec
    assert spec.description and spec.source, "description: and source: are what `modelyard list` shows"
    assert isinstance(spec.model, Target)
