"""What Ray Train does for us beside its own. On hosts that are cut off, killed and added: tests/cluster."""

from __future__ import annotations

import threading

import pytest
import ray
from ray.train import ControllerError

from components.errors import Interrupted, RunError
from components.files import read_json
from components.spec.schema import ClusterSpec
from components.training.notices import Notice, Told
from components.training.ownership import Ownership
from flows.adapters.ray import LEFT, RESIZE, WRITER, RayWorkers, as_error
from flows.adapters.ray_callbacks import GiveUp, SaveFirst, interface
from flows.adapters.ray_group import _trainer, _wait_for_job, claim, persist
from tests.processes import until


def test_ray_train_is_told_what_the_cluster_s_settings_say(tmp_path):
    elastic = ClusterSpec(address="10.0.0.1:6379", workers=4, min_workers=2, max_failures=3, resize_every_seconds=9.0, collective_timeout_seconds=7.5)
    trainer = _trainer(elastic, tmp_path)
    assert trainer.backend_config.timeout_seconds == 8  # whole seconds; without it torch's gloo hangs for half an hour
    assert trainer.scaling_config.num_workers == (2, 4) and trainer.scaling_config.elastic_resize_monitor_interval_s == 9.0
    assert trainer.run_config.failure_config.max_failures == 3
    fixed = _trainer(ClusterSpec(workers=4), tmp_path)
    assert fixed.scaling_config.num_workers == 4 and fixed.run_config.callbacks == []


def test_the_interface_is_the_one_that_has_the_address():
    assert interface("127.0.0.1") == "lo"
    assert interface("192.0.2.1") is None  # of documentation (RFC 5737): nobody has it


def test_before_a_resize_the_workers_are_asked_and_waited_for(tmp_path):
    (tmp_path / LEFT).touch()  # of an earlier resize
    asked = threading.Thread(target=SaveFirst(tmp_path, patience_seconds=100).ask)
    asked.start()
    assert until(lambda: (tmp_path / RESIZE).exists() and not (tmp_path / LEFT).exists())
    assert _wait_for_job(tmp_path, 0) is None  # a worker without a job leaves
    assert asked.is_alive()
    (tmp_path / LEFT).touch()
    asked.join(100)
    assert not asked.is_alive()
    assert not (tmp_path / RESIZE).exists()  # or the next workers would leave, too


def test_workers_that_do_not_answer_are_not_waited_for_for_ever(tmp_path):
    SaveFirst(tmp_path, patience_seconds=0.0).ask()
    assert not (tmp_path / RESIZE).exists()


def test_a_group_that_cannot_be_started_is_given_up_and_the_driver_is_told(tmp_path):
    give_up = GiveUp(tmp_path, 0.0, "2 workers")
    with pytest.raises(RunError):
        give_up.note(running=False)
    told = as_error(read_json(tmp_path / "group.failed.json"))
    assert isinstance(told, RunError) and "no 2 workers could be started for 0 seconds" in str(told)


def test_a_group_that_runs_or_has_just_lost_a_node_is_not_given_up(tmp_path):
    give_up = GiveUp(tmp_path, 100.0, "2 workers")
    for running in (False, True, False, True):
        give_up.note(running=running)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("failures", "allowed", "tries"), [(0, 0, 1), (2, 2, 3), (2, 5, 3)])
def test_a_group_that_broke_while_it_started_is_started_again(tmp_path, monkeypatch, failures, allowed, tries):
    made, parted = [], []
    monkeypatch.setattr(ray, "shutdown", lambda: parted.append(1))

    def fit():
        assert len(parted) == len(made)  # what is left of the broken group holds the places of the next until the connection ends
        made.append(1)
        if len(made) <= failures:
            raise ControllerError(RuntimeError("Gloo connectFullMesh failed"))

    persist(fit, allowed, tmp_path)
    assert len(made) == tries


def test_an_interrupt_does_not_wait_for_workers_that_are_not_there(tmp_path):
    workers = RayWorkers(ClusterSpec(), tmp_path, Told(Notice.STOP))
    try:
        with pytest.raises(Interrupted, match="before the workers of train were there"):
            workers.submit("train", {})
    finally:
        workers.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given_up", "tries"), [(False, 3), (True, 1)])
def test_but_not_more_often_than_it_may_fail_nor_when_it_was_given_up(tmp_path, given_up, tries):
    made = []
    if given_up:
        (tmp_path / "group.failed.json").touch()

    def fit():
        made.append(1)
        raise ControllerError(RuntimeError("Gloo connectFullMesh failed"))

    with pytest.raises(ControllerError):
        persist(fit, 2, tmp_path)
    assert len(made) == tries


def test_who_serves_a_mailbox_last_owns_its_work(tmp_path):
    """A host that was cut off may come back, or have reached the store all the while."""
    first = Ownership(tmp_path / WRITER, claim(tmp_path))
    assert first.holds()
    second = Ownership(tmp_path / WRITER, claim(tmp_path))
    assert second.holds() and not first.holds()
