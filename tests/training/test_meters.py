"""The meter on a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from components.training.meters import Meter, available_memory_gib, peak_memory_gib

CPU = torch.device("cpu")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def steps(meter: Meter, clock: Clock, *seconds: float, samples: int = 8, waited: float = 0.0) -> None:
    for each in seconds:
        meter.waited(waited)
        clock.pass_by(each)
        meter.step(samples)


def test_figures_are_of_the_steps_since_the_last_ones(clock):
    meter = Meter(100, 0, CPU, clock=clock)
    steps(meter, clock, 1.0, 3.0, waited=0.5)
    first = meter.figures()
    assert first["samples_per_second"] == 16 / 4 and first["step_seconds"] == 2.0 and first["data_wait_share"] == 1.0 / 4
    steps(meter, clock, 0.5, samples=3)
    second = meter.figures()
    assert second["samples_per_second"] == 6.0 and second["step_seconds"] == 0.5 and second["data_wait_share"] == 0.0


def test_a_pause_counts_as_no_step_s_time(clock):
    meter = Meter(100, 0, CPU, clock=clock)
    clock.pass_by(7.0)  # the model is built
    meter.start()
    steps(meter, clock, 1.0)
    clock.pass_by(60.0)  # validation
    meter.start()
    steps(meter, clock, 1.0)
    assert meter.figures()["step_seconds"] == 1.0


def test_what_lies_between_two_steps_counts(clock):
    """Without a pause, the time between a record and the next step (fetching the loss, writing) belongs to the next step."""
    meter = Meter(100, 0, CPU, clock=clock)
    steps(meter, clock, 1.0)
    meter.figures()
    clock.pass_by(1.0)
    steps(meter, clock, 1.0)
    assert meter.figures()["step_seconds"] == 2.0


def test_the_end_is_the_remaining_steps_at_the_usual_pace(clock):
    meter = Meter(100, 40, CPU, clock=clock)  # resumed at step 40
    steps(meter, clock, *[2.0] * 10)
    assert meter.figures()["eta_seconds"] == 50 * 2.0


def test_one_slow_record_does_not_move_the_end_and_a_lasting_change_does(clock):
    meter = Meter(1000, 0, CPU, clock=clock)
    paces = [90.0, 2.0, 2.0, 40.0, 2.0]  # a compilation, a busy moment
    for pace in paces:
        steps(meter, clock, pace)
        found = meter.figures()
    assert found["eta_seconds"] == 995 * 2.0
    for _ in range(25):
        steps(meter, clock, 3.0)
        found = meter.figures()
    assert found["eta_seconds"] == 970 * 3.0


def test_single_steps_of_a_gpu_s_host_do_not_mislead(clock):
    """The host queues nine steps in no time and waits for all ten at the last."""
    meter = Meter(1000, 0, CPU, clock=clock)
    for _ in range(3):
        steps(meter, clock, *[0.0] * 9, 10.0)
        found = meter.figures()
    assert found["step_seconds"] == 1.0 and found["eta_seconds"] == 970.0


def test_a_finished_run_has_no_time_left(clock):
    meter = Meter(2, 0, CPU, clock=clock)
    steps(meter, clock, 1.0, 1.0)
    assert meter.figures()["eta_seconds"] == 0.0


def test_nothing_is_told_of_no_steps(clock):
    meter = Meter(10, 0, CPU, clock=clock)
    assert meter.figures() == {}
    steps(meter, clock, 1.0)
    meter.figures()
    assert meter.figures() == {}


def test_utilisation_is_of_the_peak(clock):
    """An A100 (312e12 a second) that makes 7.8e13 operations in half a second runs at half of its peak."""
    meter = Meter(10, 0, CPU, step_flops=7.8e13, peak_flops=312e12, clock=clock)
    steps(meter, clock, 0.25, 0.75)
    found = meter.figures()
    assert found["flops_per_second"] == 1.56e14 and found["mfu_percent"] == pytest.approx(50.0)


def test_what_is_not_known_is_left_out(clock):
    known = {"samples_per_second", "step_seconds", "data_wait_share", "eta_seconds", "peak_memory_gib"}
    for flops, peak, more in ((None, None, set()), (1e9, None, {"flops_per_second"}), (None, 1e12, set())):
        meter = Meter(10, 0, CPU, flops, peak, clock=clock)
        steps(meter, clock, 1.0)
        assert meter.figures().keys() == known | more


def test_a_clock_that_stood_still_divides_nothing_by_zero(clock):
    meter = Meter(10, 0, CPU, step_flops=1.0, clock=clock)
    steps(meter, clock, 0.0)
    assert meter.figures()["samples_per_second"] > 0


def test_peak_memory_of_a_process_follows_what_it_touches():
    """A quarter GiB more than ever before, touched, then given back: the peak stays."""
    before = peak_memory_gib(CPU)
    process = psutil.Process()
    resident = process.memory_info().rss / 2**30
    assert before >= resident - 0.01  # pages are counted in batches
    held = torch.ones(int((before - resident + 0.25) * 2**30), dtype=torch.uint8)
    inside, resident = peak_memory_gib(CPU), process.memory_info().rss / 2**30
    assert inside == pytest.approx(before + 0.25, abs=0.05) == pytest.approx(resident, abs=0.05)
    del held
    assert process.memory_info().rss / 2**30 < resident - 0.2 and peak_memory_gib(CPU) >= inside


def test_peak_memory_of_a_gpu_is_that_of_its_tensors(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: asked.append(device) or 3 * 2**29)
    device = torch.device("cuda", 1)
    assert peak_memory_gib(device) == 1.5 and asked == [device]


def machine(root: Path, limit: str | None) -> Path:
    """Linux's files: 8 GiB available, a container that holds 1 GiB and any amount of cache."""
    files = {"proc/meminfo": "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\n"}
    if limit is not None:
        files |= {"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.stat": "anon 1073741824\nanon_thp 0\nfile 99999999999\n"}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("limit", "expected"), [(None, 8.0), ("max\n", 8.0), (f"{4 * 2**30}\n", 3.0), (f"{64 * 2**30}\n", 8.0), (f"{2**29}\n", 0.0)])
def test_available_memory_is_the_machine_s_or_the_container_s(tmp_path, limit, expected):
    assert available_memory_gib(machine(tmp_path, limit)) == expected


def test_available_memory_without_linux_s_files_is_all_there_is(tmp_path):
    assert available_memory_gib(tmp_path) == pytest.approx(psutil.virtual_memory().total / 2**30)


def test_available_memory_here_is_no_more_than_psutil_sees():
    assert 0 < available_memory_gib() <= 1.1 * psutil.virtual_memory().available / 2**30
