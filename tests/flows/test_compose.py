"""Hydra's tree: what composes, what is refused and how, and who overrides whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import UserError
from components.spec.parse import to_plain
from components.spec.schema import Target
from flows.compose import compose, group_choices, groups, sources

ROOT = Path(__file__).parents[2]
EXPERIMENTS = group_choices(ROOT / "conf", "experiment")

BAD = [  # override, what the message must hold
    ("trainer.duraton=5ep", ["unknown key 'trainer.duraton'", "did you mean 'trainer.duration'"]),
    ("trainer.monitor.metrc=x", ["unknown key 'trainer.monitor.metrc'", "did you mean 'trainer.monitor.metric'"]),
    ("+trainer.duraton=5ep", ["unknown key 'trainer.duraton'", "did you mean 'trainer.duration'"]),
    ("model.num_clases=3", ["unknown key 'model.num_clases'", "did you mean 'model.num_classes'"]),
    ("optimizer.learning_rate=1", ["unknown key 'optimizer.learning_rate'", "AdamW"]),
    ("experimnt=cnn/lenet5", ["unknown key 'experimnt'", "did you mean 'experiment'"]),
    ("optimzer=sgd", ["unknown key 'optimzer'", "did you mean 'optimizer'"]),
    ("optimizers/x=sgd", ["unknown group 'optimizers/x'", "did you mean 'optimizer'"]),
    ("data=mnst", ["unknown value 'mnst' for data", "did you mean 'mnist'", "digits, fashion_mnist"]),
    ("experiment=cnn/lenet", ["unknown value 'cnn/lenet' for experiment", "did you mean 'cnn/lenet5'"]),
    ("experiment=lenet5", ["unknown value 'lenet5' for experiment", "did you mean 'cnn/lenet5'"]),
    ("debug=fst", ["unknown value 'fst' for debug", "did you mean 'fast'"]),
    ("trainer=5", ["received: trainer=5"]),
    ("tracking=null", ["received: tracking=null"]),
    ("~trainer.nothing", ["trainer.nothing"]),
    ("trainer.duration=five", ["trainer.duration is no length of training", "3ep (epochs)"]),
    ("trainer.duration=2ep.5", ["trainer.duration is no length of training"]),
    ("trainer.duration=", ["trainer.duration is no length of training"]),
    ("trainer.batch_size=0", ["trainer.batch_size is out of range"]),
    ("optimizer.lr=fast", ["optimizer.lr has the wrong type"]),
    ("schedule.warmup=5", ["schedule.warmup is no length of training", "500st (steps)"]),
    ("schedule.warmup_fraction=0.1", ["unknown key 'schedule.warmup_fraction'", "one of: warmup, final_factor"]),
    ("optimizer.lr=nan", ["optimizer.lr is not finite"]),
    ("model=resnet", ["model does not say what to build"]),
    ("model._target_=os.system", ["model._target_ is not allowed"]),
    ("trainer.duration=[1", ["received: trainer.duration=[1"]),
    ("trainer.duration", ["received: trainer.duration"]),
    ("=5", ["received: =5"]),
    ("trainer.duration=1ep,2", ["received: trainer.duration=1ep,2"]),
    ("trainer.duration=${trainer.nothing}", ["trainer.nothing"]),
    ("store=${oc.env:HOME}", ["reads the environment", "let your shell expand"]),
    ("store=${ oc.env:HOME,x}", ["reads the environment"]),
    ("+store=${hydra:runtime.cwd}", ["reads the environment"]),
    ("description=${now:%S}", ["reads the environment"]),
    ("description=${python_version:}", ["reads the environment"]),
    ("data=${oc.env:DATA}", ["reads the environment"]),
]


@pytest.mark.parametrize(("override", "told"), BAD, ids=[override for override, _ in BAD])
def test_a_bad_override_is_the_user_s_mistake_and_says_so(override, told):
    with pytest.raises(UserError) as caught:
        compose(ROOT, [override])
    for part in told:
        assert part in str(caught.value)


def test_a_good_override_after_a_bad_one_composes():
    with pytest.raises(UserError):
        compose(ROOT, ["data=mnst"])
    assert compose(ROOT, ["data=mnist"]).data.name == "mnist"


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("trainer.ema_decay=0.5", lambda s: s.trainer.ema_decay, 0.5),  # in the schema, in no file
        ("tracking.project=mine", lambda s: s.tracking.project, "mine"),
        ("model.in_channels=3", lambda s: s.model.options["in_channels"], 3),  # in the signature, in no file
        ("optimizer.betas=[0.8,0.9]", lambda s: s.optimizer.options["betas"], [0.8, 0.9]),
        ("optimizer.lr=1e-3", lambda s: s.optimizer.options["lr"], 0.001),
        ("++trainer.duration=3ep", lambda s: s.trainer.duration, "3ep"),
        ("trainer.batch_size=${data.num_classes}", lambda s: s.trainer.batch_size, 10),
        ("trainer.patience=null", lambda s: s.trainer.patience, None),
        ("~trainer.batch_size", lambda s: s.trainer.batch_size, 64),
        ("store='/a b/c=d'", lambda s: s.store, "/a b/c=d"),
        ("augment=none", lambda s: s.augment.train, ()),
    ],
)
def test_what_the_schema_and_the_signatures_know_can_be_set(override, read, expected):
    assert read(compose(ROOT, ["debug=inline", override])) == expected


def test_the_command_line_wins_over_the_experiment_and_the_experiment_over_the_defaults():
    default = compose(ROOT)
    assert default.experiment == "cnn/lenet5" and default.data.name == "digits"
    assert default.trainer.duration == "40ep"  # conf/trainer/default.yaml says 20
    assert default.optimizer == Target("torch.optim.AdamW", {"lr": 0.004, "weight_decay": 0.01})  # the group's decay, the experiment's rate
    changed = compose(ROOT, ["trainer.duration=5ep", "optimizer=sgd", "schedule=step_decay"])
    assert changed.trainer.duration == "5ep"
    assert changed.optimizer.name == "torch.optim.SGD" and changed.schedule.name.endswith("step_decay")


def test_a_debug_preset_wins_over_the_experiment_and_an_explicit_value_over_both():
    fast = compose(ROOT, ["debug=fast"])
    assert (fast.trainer.duration, fast.evaluate.max_batches, fast.expect) == ("4st", 2, ())
    overfit = compose(ROOT, ["debug=overfit"])
    assert overfit.schedule.name.endswith(".constant")  # the experiment chooses the cosine
    assert (overfit.trainer.overfit_one_batch, overfit.trainer.duration, overfit.expect) == (True, "200ep", ())
    inline = compose(ROOT, ["debug=inline"])
    assert (inline.cluster.backend, inline.cluster.workers) == ("inline", 1)
    assert compose(ROOT, ["debug=fast", "trainer.duration=9st"]).trainer.duration == "9st"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_file_is_short_names_itself_and_composes(name):
    lines = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 60 and lines[0] == "# @package _global_"
    spec = compose(ROOT, [f"experiment={name}"])
    assert spec.experiment == name and spec.description and spec.source


@pytest.mark.parametrize("group", groups(ROOT / "conf"))
def test_every_value_of_every_group_composes(group):
    """Alone with the default experiment; data, task, loss and augment belong to a kind of system, and the experiments choose them."""
    for choice in () if group in ("experiment", "data", "task", "loss", "augment") else group_choices(ROOT / "conf", group):
        compose(ROOT, [f"{group}={choice}"])


def test_composing_twice_gives_the_same_whatever_the_folder_one_stands_in(tmp_path, monkeypatch):
    first = compose(ROOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose(ROOT) == first


def test_what_was_composed_is_known_to_the_next_process_until_a_file_changes(tmp_path):
    """On a copy of the project, each time in a process of its own that says whether it needed Hydra."""
    for room in ("components", "flows", "conf"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))

    def composed(*overrides):
        code = f"""
import json, sys
from pathlib import Path
from components.spec.parse import to_plain
from flows.compose import compose
print(json.dumps([to_plain(compose(Path.cwd(), {overrides!r})), "hydra" in sys.modules]))
"""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    first = to_plain(compose(ROOT, ["trainer.duration=3ep"]))
    assert composed("trainer.duration=3ep") == [first, True]
    assert composed("trainer.duration=3ep") == [first, False]
    assert composed("trainer.duration=4ep")[1] is True
    for _ in range(2):
        assert "did you mean 'trainer.duration'" in composed("trainer.duraton=3ep")
    path = tmp_path / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 5"))
    assert composed("trainer.duration=3ep") == [{**first, "seed": 5}, True]
    path.write_text(path.read_text().replace("seed: 5", "seed: ${oc.decode:${oc.env:SEED,7}}"))
    assert [composed("trainer.duration=3ep")[1] for _ in range(2)] == [True, True]  # the environment is not remembered


def test_the_files_of_a_composition_are_those_that_it_reads():
    read = sources(ROOT, ["experiment=language/gpt_full", "seed=3", "debug=fast"])
    inherited = ["conf/experiment/language/gpt.yaml", "conf/experiment/language/gpt_full.yaml"]
    assert {*inherited, "conf/config.yaml", "conf/data/tinyshakespeare.yaml", "conf/debug/fast.yaml"} <= set(read)
    assert "conf/experiment/cnn/lenet5.yaml" not in read and "conf/data/digits.yaml" not in read
    assert read == sorted(read) and all((ROOT / file).is_file() for file in read)
