"""The learning rate found lies below the known stable rate of a convex problem; the batch sizes found are those of a clock that the test moves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from components.errors import Interrupted, RunError, UserError
from components.spec.parse import parse_spec
from components.tasks.base import Task
from components.training import finders
from components.training.finders import RANGE_STEPS, RangePoint, batch_size_test, find_batch_size, find_learning_rate, range_test
from components.training.inputs import Inputs
from components.training.notices import Notice
from components.training.session import LocalSession
from tests.training.systems import Plain

START, SIZE = 3.0, 4
PLAIN_SGD = ("optimizer.momentum=0.0", "optimizer.nesterov=false", "optimizer.weight_decay=0.0")


class Point(nn.Module):
    """The weights alone, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((SIZE,), START, dtype=torch.float64))


class Bowl(Task):
    """`mean_i L/2 |w - noise x_i|^2` with x_i standard normal: its Hessian is L times the identity, so SGD diverges at rates above 2 / L."""

    def __init__(self, curvature: float, noise: float = 0.0, broken_at: int | None = None) -> None:
        self.curvature, self.noise, self.broken_at = curvature, noise, broken_at

    def counts(self, batch, context):
        return {"loss": float(len(batch["targets"]))}

    def losses(self, networks, batch, context):
        targets = self.noise * context.draws.normal("targets", SIZE).double()
        factor = math.nan if context.step == self.broken_at else 0.5 * self.curvature
        return {"loss": factor * (networks["model"].weights - targets).square().sum()}

    def predict(self, networks, batch):
        raise NotImplementedError

    def metrics(self):
        raise NotImplementedError

    def samples(self, batch, outputs):
        raise NotImplementedError


@pytest.fixture
def search(plain, data) -> Callable[..., Plain]:
    """The range test of a task, with plain SGD."""

    def run(task: Task, *overrides: str, rates: dict[str, float] | None = None, session: LocalSession | None = None) -> Plain:
        tree = plain(*PLAIN_SGD, *overrides)
        tree["parameters"]["rates"] = rates or {}
        spec, session = parse_spec(tree), session or LocalSession()
        return range_test(session, spec, Inputs(data, ("train",), spec, session), Point(), task)

    return run


@pytest.fixture(scope="module")
def lenet(plain, data) -> Plain:
    """The configuration of a job: LeNet-5 on 32 x 32 pixels."""
    tree = plain("optimizer=adamw")
    tree["augment"]["always"].append({"_target_": "components.data.transforms.Resize", "size": 32})
    return {"spec": tree, "data": str(data)}


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("curvature", [0.5, 50.0, 5e5])
def test_the_rate_found_is_stable_and_not_timid(search, curvature, noise):
    found = search(Bowl(curvature, noise))
    limit = 2 / curvature
    assert limit / 100 < found["suggestion"] < limit
    assert found["suggestion"] <= found["upper_bound"] < limit
    if noise:  # without noise the weights are so near the minimum that it takes many diverging steps to show
        assert limit < found["curve"][-1]["learning_rate"] < 4 * limit and "diverged" in found["stopped"]


@pytest.mark.parametrize(("rates", "factor"), [({}, 1.0), ({"weights": 0.5}, 0.5)])
@pytest.mark.parametrize("base", ["0.3", "1e-4"])
def test_the_curve_is_that_of_gradient_descent_with_exponential_rates(search, base, rates, factor):
    """w <- (1 - rate L) w from w = 3 in four dimensions, whatever rate was configured; a parameter with a rate of its own keeps its ratio."""
    curve = search(Bowl(5.0), f"optimizer.lr={base}", rates=rates)["curve"]
    weight = START
    for step, point in enumerate(curve):
        rate = 1e-7 * 10 ** (8 * step / (RANGE_STEPS - 1))
        assert point["learning_rate"] == pytest.approx(rate, rel=1e-9)
        assert point["loss"] == pytest.approx(0.5 * 5.0 * SIZE * weight**2, rel=1e-5, abs=1e-30)  # the loss comes as float32
        weight *= 1 - factor * rate * 5.0
    assert step > 150


def test_the_smoothed_loss_is_the_weighted_mean_of_all_losses_so_far(search):
    curve = search(Bowl(50.0, 1.0))["curve"]
    for end in (1, 2, 30, len(curve)):
        weights = [0.9 ** (end - 1 - i) for i in range(end)]
        mean = sum(w * p["loss"] for w, p in zip(weights, curve, strict=False)) / sum(weights)
        assert curve[end - 1]["smoothed"] == pytest.approx(mean, rel=1e-9)


def climb(losses: list[float]) -> tuple[int, str]:
    curve, stopped = finders._climb(iter(losses), [10.0**i for i in range(len(losses))])
    return len(curve), stopped


def test_the_climb_ends_above_four_times_the_best():
    """After n ones, k sevens: mean = 7 - 6 x 0.9^k (1 - 0.9^n) / (1 - 0.9^(n + k)) passes 4 where 0.9^k is near a half."""
    ones = 60
    first = next(k for k in range(1, 50) if 7 - 6 * 0.9**k * (1 - 0.9**ones) / (1 - 0.9 ** (ones + k)) > 4)
    assert first == 7
    assert climb([1.0] * ones + [7.0] * 50) == (ones + first, "the loss had diverged at a rate of 1e+66")
    assert climb([1.0] * ones + [3.9] * 50) == (ones + 50, "all steps made")


def test_a_loss_below_zero_has_a_bound_too():
    """A log density: 3 x |best| above the best, from -1 that is 2."""
    assert climb([-1.0] * 60 + [1.9] * 40)[1] == "all steps made"
    assert climb([-1.0] * 60 + [8.0] * 40)[0] < 70


def test_a_lucky_first_batch_is_not_the_best():
    assert climb([0.01] + [1.0] * 50)[1] == "all steps made"


def curve_of(loss: Callable[[float], float]) -> list[RangePoint]:
    """A curve over the whole range, as a function of the rate's decimal logarithm."""
    logarithms = [-7 + 8 * i / (RANGE_STEPS - 1) for i in range(RANGE_STEPS)]
    return [RangePoint(10**x, loss(x), loss(x)) for x in logarithms]


@pytest.mark.parametrize(("middle", "suggestion"), [(-3.0, 1e-3), (-4.5, 10**-4.5), (-1.5, 1e-2)])
def test_the_suggestion_is_the_middle_of_the_fall_but_at_most_a_tenth_of_the_minimum(middle, suggestion):
    """A logistic fall around `middle`, which is its steepest place, and a rise from 0.1 on."""
    found = finders._suggest(curve_of(lambda x: 1 / (1 + math.exp(4 * (x - middle))) + max(0.0, 5 * (x + 1))))
    one_step = 10 ** (8 / (RANGE_STEPS - 1))
    assert found["steepest"] == pytest.approx(10**middle, rel=one_step - 1)
    assert found["upper_bound"] == pytest.approx(1e-2, rel=one_step - 1)
    assert found["suggestion"] == pytest.approx(suggestion, rel=one_step - 1)
    assert found["suggestion"] == min(found["steepest"], found["upper_bound"])


def test_the_noise_of_single_steps_does_not_decide():
    """A jump down by 0.1 at 1e-5 and up again is steeper than any step of the real fall of 1 around 1e-2."""
    curve = curve_of(lambda x: 1 / (1 + math.exp(2 * (x + 2))) - (0.1 if -5.05 < x < -4.95 else 0.0) + max(0.0, 5 * x))
    assert 10**-2.3 < finders._suggest(curve)["steepest"] < 10**-1.7


def test_a_fall_after_the_minimum_does_not_count():
    """Down by a half around 1e-4, up again at 1e-2, and down faster at 1: whatever that is, it lies beyond stable rates."""
    curve = curve_of(lambda x: 1.0 - 0.5 / (1 + math.exp(-4 * (x + 4))) + (0.45 if -2 < x < 0 else 0.0) + 0.01 * max(0.0, x + 2))
    assert 10**-4.3 < finders._suggest(curve)["steepest"] < 10**-3.7


def dip(x: float) -> float:
    return 0.9 if -6.57 < x < -6.53 else 8 + x


@pytest.mark.parametrize("loss", [lambda x: 1.0, lambda x: x, dip], ids=["flat", "rising", "rising but for one step"])
def test_a_loss_that_never_falls_speaks_for_no_rate(loss):
    with pytest.raises(RunError, match="falls at no learning rate"):
        finders._suggest(curve_of(loss))


def test_a_loss_that_is_no_number_ends_the_search(search):
    found = search(Bowl(0.5, broken_at=170))
    assert len(found["curve"]) == 170 and found["stopped"].startswith("no finite loss at a rate of 0.68")  # 10^(-7 + 8 x 170 / 199)
    with pytest.raises(RunError, match="falls at no learning rate"):
        search(Bowl(0.5, broken_at=0))


def test_a_specification_without_a_rate_is_refused(plain, data):
    tree = plain("optimizer=adamw")
    del tree["optimizer"]["lr"]
    spec, session = parse_spec(tree), LocalSession()
    with pytest.raises(UserError, match=r"optimizer\.lr is needed"):
        range_test(session, spec, Inputs(data, ("train",), spec, session), Point(), Bowl(1.0))


class Carrying(Bowl):
    """Notes the epoch, and whether something was carried into the step."""

    def __init__(self) -> None:
        super().__init__(5.0)
        self.notes: list[tuple[int, bool]] = []

    def losses(self, networks, batch, context):
        self.notes.append((context.epoch, "state" in context.carry))
        context.carry["state"] = torch.zeros(len(batch["targets"]))
        return super().losses(networks, batch, context)


def test_an_epoch_is_as_in_training_but_for_its_short_last_batch(search):
    """41 rows make five batches of eight; what is carried is forgotten between epochs."""
    task = Carrying()
    search(task)
    assert len(task.notes) > 150
    assert task.notes == [(step // 5, step % 5 > 0) for step in range(len(task.notes))]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_deterministic_run_is_searched_deterministically(plain, data, monkeypatch, wanted):
    for name in ("range_test", "batch_size_test"):
        monkeypatch.setattr(finders, name, lambda *_: {"found": torch.are_deterministic_algorithms_enabled()})
    config = {"spec": plain(f"performance.deterministic={str(wanted).lower()}", "model.num_classes=3"), "data": str(data)}
    assert find_learning_rate(LocalSession(), config) == find_batch_size(LocalSession(), config) == {"found": wanted}


def stopping() -> LocalSession:
    session = LocalSession()
    session.told.notice = Notice.STOP
    return session


def test_who_asks_to_stop_is_heard(search, plain, data):
    with pytest.raises(Interrupted):
        search(Bowl(1.0), session=stopping())
    with pytest.raises(Interrupted):
        batch_size_test(stopping(), parse_spec(plain()), data, system=lambda *_: (Point(), Bowl(1.0)))


def test_the_search_is_deterministic_on_any_number_of_workers(group, lenet):
    """Workers share the global batch; their sums differ in the last digits, which training that diverges makes visible late."""
    ours = find_learning_rate(LocalSession(), lenet)
    assert find_learning_rate(LocalSession(), lenet) == ours
    one, other = group.run(2, find_learning_rate, lenet)
    assert one == other
    for mine, theirs in zip(ours["curve"][:100], one["curve"][:100], strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], abs=1e-5)


def test_neither_search_writes_anything_and_both_answer_in_plain_data(lenet, data, tmp_path, monkeypatch):
    def state() -> list[tuple[str, int]]:
        return sorted((str(p), p.stat().st_mtime_ns) for folder in (data, tmp_path) for p in [folder, *folder.rglob("*")])

    monkeypatch.chdir(tmp_path)
    before = state()
    for answer in (find_learning_rate(LocalSession(), lenet), find_batch_size(LocalSession(), lenet)):
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert state() == before


class Timed(Bowl):
    """Every step takes as long as the test says; memory grows with the batch where the test says so."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        super().__init__(1.0)
        self.seconds_of, self.now, self.fits, self.sizes, self.moved = seconds, 0.0, math.inf, [], False

    def losses(self, networks, batch, context):
        size = len(batch["targets"])
        self.sizes.append(size)
        if size > self.fits:
            raise torch.OutOfMemoryError("tried to allocate")
        self.moved |= not torch.equal(networks["model"].weights, Point().weights)
        disturbed = 5.0 if context.step < 2 or context.step >= 5 else 1.0  # the first two compile; of the five timed ones, two are held up
        self.now += disturbed * self.seconds_of(size)
        return super().losses(networks, batch, context)


@pytest.fixture
def measure(plain, data) -> Callable[..., Plain]:
    def run(task: Timed, *overrides: str) -> Plain:
        spec = parse_spec(plain(*PLAIN_SGD, *overrides))
        return batch_size_test(LocalSession(), spec, data, system=lambda *_: (Point(), task), clock=lambda: task.now)

    return run


def sizes(found: Plain) -> list[int]:
    return [row["batch_size"] for row in found["table"]]


def test_doubling_ends_where_throughput_stops_to_grow(measure):
    """10 ms at least and 1 ms a sample: 200, 400, 800, 1000 and 1000 samples a second."""
    task = Timed(lambda size: max(0.010, 0.001 * size))
    found = measure(task)
    assert sizes(found) == [2, 4, 8, 16, 32]
    assert [row["samples_per_second"] for row in found["table"]] == pytest.approx([200, 400, 800, 1000, 1000])
    assert [row["step_seconds"] for row in found["table"]] == pytest.approx([0.010, 0.010, 0.010, 0.016, 0.032])
    assert found["knee"] == 16 and found["largest"] == 32 and found["stopped"] == "a batch of 32 is hardly faster than one of 16"


def test_a_size_that_is_almost_as_fast_is_the_knee(measure):
    """8 give 1000 a second and 16 give 1040: 4 % more, so that 32 are not tried though they would give 2000."""
    found = measure(Timed({2: 0.01, 4: 0.01, 8: 0.008, 16: 16 / 1040, 32: 0.016}.__getitem__))
    assert found["knee"] == 8 and sizes(found) == [2, 4, 8, 16]


def test_doubling_ends_where_the_data_end(measure):
    found = measure(Timed(lambda size: 0.010))
    assert sizes(found) == [2, 4, 8, 16, 32] and found["knee"] == found["largest"] == 32
    assert found["stopped"] == "the training split has 41 rows"


def test_doubling_ends_where_memory_does(measure):
    task = Timed(lambda size: 0.010)
    task.fits = 8
    found = measure(task)
    assert sizes(found) == [2, 4, 8] and found["largest"] == 8 and found["stopped"] == "memory ran out at a batch of 16"
    task.fits = 1
    with pytest.raises(RunError, match="not even a batch of 2 fits"):
        measure(task)


def test_a_process_stops_before_its_machine_runs_out(measure, monkeypatch):
    """1 GiB held, 0.01 more a sample, 0.16 available: 8 samples take half of it, and not more; 16 take all."""
    task = Timed(lambda size: 0.010)
    monkeypatch.setattr(finders, "available_memory_gib", lambda: 0.1601)
    monkeypatch.setattr(finders, "peak_memory_gib", lambda device: 1.0 + 0.01 * max(task.sizes, default=0))
    found = measure(task)
    assert sizes(found) == [2, 4, 8, 16] and found["table"][-1]["peak_memory_gib"] == pytest.approx(1.16)
    assert found["stopped"] == "a batch of 32 could take more memory than is available (0.2 GiB)"


def test_every_batch_is_whole_and_made_of_micro_batches(measure):
    """41 rows: the last batch of an epoch would be short."""
    task = Timed(lambda size: 0.010)
    assert sizes(measure(task, "trainer.accumulate=2")) == [4, 8, 16, 32]
    assert task.sizes == [size for size in (2, 4, 8, 16) for _ in range(2 * 7)]  # two a step, seven steps


def test_the_weights_stand_still(measure):
    task = Timed(lambda size: 0.010)
    measure(task, "optimizer.lr=1e30")
    assert not task.moved


def test_the_rate_is_said_and_not_scaled(measure):
    found = measure(Timed(lambda size: 0.010), "optimizer.lr=0.05")
    assert "optimizer.lr stays 1," in measure(Timed(lambda size: 0.010), "optimizer.lr=1")["note"]
    assert "optimizer.lr stays 0.05" in found["note"] and "0.2 for a batch of 32" in found["note"]  # 0.05 x 32 / 8


class Pair(LocalSession):
    """One of two workers."""

    world = 2  # type: ignore[assignment]


def test_several_workers_are_refused(plain, data):
    with pytest.raises(UserError, match="measures one worker"):
        batch_size_test(Pair(), parse_spec(plain()), data)


def test_a_split_without_rows_for_two_batches_is_refused(plain, data):
    with pytest.raises(UserError, match="too small to compare"):
        batch_size_test(LocalSession(), parse_spec(plain("trainer.accumulate=21", "trainer.batch_size=21")), data)


def test_a_batch_larger_than_the_data_is_refused(lenet):
    tree: dict[str, Any] = {**lenet["spec"], "trainer": {**lenet["spec"]["trainer"], "batch_size": 42}}
    with pytest.raises(UserError, match="larger than the data"):
        find_learning_rate(LocalSession(), {"spec": tree, "data": lenet["data"]})


def test_the_smallest_batches_of_a_real_system_are_measured(lenet):
    found = find_batch_size(LocalSession(), lenet)
    assert sizes(found)[0] == 2 and found["knee"] in sizes(found)
    for row in found["table"]:
        assert row["samples_per_second"] == pytest.approx(row["batch_size"] / row["step_seconds"]) and row["peak_memory_gib"] > 0
