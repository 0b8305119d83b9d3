"""The cells of the matrix, as data: at which step of which stage who is killed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Two epochs of 20 steps, a checkpoint at every fifth step, each step journalled: 40 steps, 8 checkpoints.
COMMAND = ("run", "trainer.duration=2ep", "trainer.checkpoint_every=5st", "trainer.log_every_steps=1", "tracking=offline")
SETTINGS = {  # who trains, and whether there is a search before: overrides of the command
    "inline": ("cluster=inline",),
    "ray": ("cluster=local",),
    "search": ("cluster=inline", "tune=random", "tune.budget.trials=2", "tune.at_once=1"),
}

VICTIMS = {
    "driver": r"-m flows run ",
    "dvc": r"^\S+ -m dvc repro ",
    "stage": r"-m components\.data ",
    "worker": r"^ray::RayTrainWorker",  # another one than the one that comes by, where there are two
    "writer": None,  # the worker that writes: whoever comes by
    "raylet": r"/raylet --",
    "group": r"-m flows\.adapters\.(ray|tune)_group ",
}


@dataclass(frozen=True)
class Step:
    """A step on the file system: an audit event and a regex of its path (of a rename: "from -> to")."""

    event: str
    path: str
    skip: int = 0  # matches to let pass
    torn: bool = False  # not before the file is written: while it is


@dataclass(frozen=True)
class Cell:
    """One fault.

    Attributes:
        stage: that is hit.
        point: in words that sort it: before, during, after (its output is there, its manifest is not), done (before the commit) ...
        victim: a key of VICTIMS.
        setting: a key of SETTINGS.
        begun: the last stage that is finished when the command starts; "" for none.
    """

    stage: str
    point: str
    victim: str
    step: Step
    setting: str
    begun: str

    @property
    def name(self) -> str:
        return f"{self.stage} {self.point} {self.victim} {self.setting}"


def _partial(stage: str) -> str:
    return rf"/stages/{stage}/\w+\.partial"


def _stage_steps(stage: str) -> dict[str, Step]:
    """What every stage of the store goes through."""
    return {
        "before": Step("os.mkdir", _partial(stage) + "$"),
        "after": Step("open", _partial(stage) + r"/\.tmp-\w+-manifest\.json$"),
        "done": Step("os.rename", _partial(stage) + " -> "),
        "committed": Step("open", r"/ledger\.jsonl$"),
        "entered": Step("os.rename", rf"/stages/{stage}/\w+/\.tmp-\w+-ledger\.json -> ", skip=1),
    }


_TEMPORARY = r"/\.tmp-[^/]+-digits"
_CHECKPOINT = r"/checkpoints/\.tmp-\w+"
_STEPS = {
    "fetch": {
        "before": Step("os.mkdir", rf"/data/raw{_TEMPORARY}$"),
        "during": Step("open", rf"/data/raw{_TEMPORARY}/digits\.csv$"),
        "after": Step("os.rename", rf"/data/raw{_TEMPORARY} -> "),
        "done": Step("open", r"(^|/)dvc\.lock$"),
    },
    "prepare": {
        "before": Step("os.mkdir", rf"/data/prepared{_TEMPORARY}$"),
        "during": Step("open", rf"/data/prepared{_TEMPORARY}/validation-00000\.inputs\.npy$"),
        "after": Step("os.rename", rf"/data/prepared{_TEMPORARY} -> "),
        "cached": Step("os.rename", r"/\.dvc/cache/files/.*\.tmp -> .*\.dir$", skip=1),
        "done": Step("open", r"(^|/)dvc\.lock$", skip=1),
        "torn": Step("open", r"(^|/)dvc\.lock$", skip=1, torn=True),
    },
    "data": _stage_steps("data"),
    "check": _stage_steps("check") | {"during": Step("open", _partial("check") + r"/\.tmp-\w+-sheet\.png$")},
    "train": _stage_steps("train")
    | {
        "half": Step("open", _CHECKPOINT + r"/state\.json$", skip=1),
        "unnamed": Step("os.rename", _CHECKPOINT + r" -> .*/step_00000010$"),
        "unpointed": Step("open", _CHECKPOINT + "-latest$", skip=1),
        "best": Step("open", _CHECKPOINT + "-latest$", skip=3),  # `best` says 20 already, `latest` says 15
        "last": Step("open", _CHECKPOINT + "-best$", skip=1),  # the last checkpoint is there, and is the best; nothing says so yet
        "deleting": Step("os.rmdir", r"/checkpoints/step_00000015$"),
        "summary": Step("open", _partial("train") + r"/\.tmp-\w+-summary\.json$"),
        "told": Step("open", r"/mailboxes/\w+/job_000\.done$"),
    },
    "tune": _stage_steps("tune")
    | {
        "half": Step("open", _CHECKPOINT + r"/state\.json$", skip=1),  # in a trial
        "trial": Step("os.rename", _partial("train") + " -> "),  # the first trial is at its end
        "during": Step("open", _partial("tune") + r"/\.tmp-\w+-trials\.json$"),
    },
    "evaluate": _stage_steps("evaluate")
    | {
        "during": Step("open", _partial("evaluate") + r"/\.tmp-\w+-metrics\.json$"),
        "told": Step("open", r"/mailboxes/\w+/job_\d+\.done$"),
    },
    "report": _stage_steps("report")
    | {
        "recorded": Step("open", r"/ledger\.jsonl$", skip=1),  # the run's own entry, after the stage's
        "during": Step("open", _partial("report") + r"/\.tmp-\w+-report\.html$"),
    },
}
_BEGUN = {"fetch": "", "prepare": "", "data": "", "check": "data", "tune": "check", "train": "check", "evaluate": "train", "report": "evaluate"}


def _cells(stage: str, points: str, victims: str, setting: str = "inline") -> Iterable[Cell]:
    for point in points.split():
        for victim in victims.split():
            yield Cell(stage, point, victim, _STEPS[stage][point], setting, _BEGUN[stage])


CELLS = (
    *_cells("fetch", "before during after", "driver dvc stage"),
    *_cells("fetch", "done", "driver dvc"),
    *_cells("prepare", "before during after", "driver dvc stage"),
    *_cells("prepare", "cached done", "driver dvc"),
    *_cells("prepare", "torn", "dvc"),
    *_cells("data", "before after done committed entered", "driver"),
    *_cells("check", "before during after done committed entered", "driver"),
    *_cells("train", "before half unnamed unpointed best last deleting summary after done committed entered", "driver"),
    *_cells("evaluate", "before during after done committed entered", "driver"),
    *_cells("report", "before during after done committed entered recorded", "driver"),
    *_cells("fetch", "during", "driver raylet", "ray"),
    *_cells("train", "half", "driver writer worker raylet group", "ray"),
    *_cells("train", "before after done", "driver worker raylet", "ray"),
    *_cells("train", "unpointed told", "driver writer worker raylet", "ray"),
    *_cells("evaluate", "during", "driver writer worker raylet", "ray"),
    *_cells("evaluate", "before after done", "driver worker raylet", "ray"),
    *_cells("tune", "before during after done committed entered", "driver", "search"),
    *_cells("tune", "half trial", "driver raylet group", "search"),
)
