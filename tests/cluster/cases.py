"""The cases, as data: who is there when the run begins, and what happens to whom in the middle of training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.hosts import Host
from tests.cluster.nodes import Cluster

EPOCHS, STEPS_PER_EPOCH, ROWS = 600, 5, 1258  # of digits in batches of 256; long enough for a host to join while it trains
STEPS = EPOCHS * STEPS_PER_EPOCH
# Only the last layer learns, so the problem is convex: what rounding does to a step is not magnified by the next ones, as it is in a whole
# network (there a difference of 1e-7 was 1e-2 after a thousand steps), and other samples in a step, or one of them twice, would show in its loss.
COMMAND = (
    "run", "experiment=cnn/lenet5", "parameters.frozen=[features.*,classifier.1.*,classifier.3.*]", f"trainer.duration={EPOCHS}ep",
    "trainer.batch_size=256", "optimizer.lr=2.0e-2", "trainer.validate_every=20ep", "trainer.checkpoint_every=20st", "trainer.log_every_steps=1",
    "tracking=disabled", "cluster=ray", "cluster.cpus_per_worker=1", "cluster.gpus_per_worker=0", "cluster.workers=2",
)  # fmt: skip
_LOST_SECONDS = 40.0
ELASTIC = ("cluster.min_workers=1", "cluster.resize_every_seconds=5")


@dataclass(frozen=True)
class Stage:
    """Who is on stage when the fault comes: the host whose worker writes the journal and the checkpoints, and the others that train or may."""

    cluster: Cluster
    writer: Host
    others: list[Host]
    spare: Host  # has joined the cluster, or not


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        begin: how many hosts with a CPU there are at the beginning, of three.
        overrides: of the command.
        fault: what is done.
        at_step: after which step of training.
        worlds: numbers of workers that the group may have in the end.
    """

    name: str
    begin: int
    overrides: tuple[str, ...]
    fault: Callable[[Stage], None] | None
    at_step: int
    worlds: tuple[int, ...]


def _kill(stage: Stage) -> None:
    stage.writer.kill()


def _cut(stage: Stage) -> None:
    stage.others[0].cut()


def _cut_writer(stage: Stage) -> None:
    stage.writer.cut()


def _lose_each_other(stage: Stage) -> None:
    """Ray's head reaches both all the while: only the collective's time-out ends the step. They find each other again."""
    stage.writer.lose(stage.others[0])
    threading.Timer(_LOST_SECONDS, stage.writer.find, [stage.others[0]]).start()


def _join(stage: Stage) -> None:
    stage.cluster.join(stage.spare)


def _drain(stage: Stage) -> None:
    stage.cluster.drain(stage.writer, seconds=60)


CASES = (
    Case("undisturbed", 2, (), None, 0, (2,)),
    Case("cut the other host's link, elastic", 2, ELASTIC, _cut, 300, (1,)),
    Case("two hosts lose each other for 40 s", 2, ("cluster.collective_timeout_seconds=20",), _lose_each_other, 300, (2,)),
    Case("a host joins, elastic", 1, ELASTIC, _join, 60, (2,)),
    Case("drain a host, another takes its place", 3, (), _drain, 300, (2,)),
    Case("cut the writer's link, another takes its place", 3, (), _cut_writer, 300, (2,)),
    Case("kill a host, elastic", 2, ELASTIC, _kill, 300, (1,)),
    Case("kill a host, another takes its place", 3, (), _kill, 300, (2,)),
)
