"""What a configuration may name, what options that takes, and building it."""

from __future__ import annotations

import inspect
import textwrap

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.losses.classification import CrossEntropy
from components.models.cnn.lenet5 import LeNet5
from components.spec import targets
from components.spec.duration import Duration
from components.spec.schema import Target
from components.spec.targets import build, check_target, lengths, module_source, names, resolve

LENET5 = "components.models.cnn.lenet5.LeNet5"


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "torch.load",
        "torch.optimizer.Evil",
        "componentsx.models.Evil",
        "components",
        "components.",
        "components..evil",
        "components..models.cnn.lenet5.LeNet5",
        "components.models.cnn.lenet5.__builtins__",
        "components.__init__.os",
        "components.models.cnn.lenet5.LeNet5.__init__",
        "components/../evil",
        ".components.models",
        "",
    ],
)
def test_only_public_names_under_the_allowed_packages_are_targets(name):
    with pytest.raises(UserError, match=r"model\._target_ is not allowed"):
        check_target(Target(name), "model")


@pytest.mark.parametrize(
    "name",
    ["components.files.Path", "components.data.publish.contextmanager", "components.training.strategy.DistributedDataParallel"],
)
def test_what_a_module_of_ours_imports_from_elsewhere_is_no_target(name):
    assert resolve(name) is not None  # it would be found, were it allowed
    with pytest.raises(UserError, match=r"names nothing in"):
        check_target(Target(name), "model")


def test_a_module_or_class_that_is_not_there_names_its_neighbours():
    with pytest.raises(UserError, match=r"names a module that does not exist") as caught:
        check_target(Target("components.models.cnn.lenet6.LeNet6"), "model")
    assert "components.models.cnn: lenet5" in str(caught.value)
    with pytest.raises(UserError, match=r"names nothing in .*did you mean 'LeNet5'"):
        check_target(Target("components.models.cnn.lenet5.Lenet5"), "model")
    with pytest.raises(UserError, match=r"names a module that does not exist"):
        check_target(Target("components.models.cnn.lenet5.LeNet5.forward"), "model")


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adam", "RMSprop", "Adagrad", "Adafactor"])
def test_signatures_read_from_source_are_those_that_python_sees_after_import(name):
    read = targets._signature(f"torch.optim.{name}", "optimizer")
    seen = list(inspect.signature(getattr(torch.optim, name)).parameters.values())
    assert list(read.names) == [p.name for p in seen]
    assert read.required == {p.name for p in seen if p.default is p.empty}


@pytest.mark.parametrize("target", [LeNet5, CrossEntropy, resolve("components.optim.schedules.cosine")])
def test_signatures_of_our_own_classes_and_functions(target):
    read = targets._signature(f"{target.__module__}.{target.__name__}", "x")
    seen = inspect.signature(target).parameters.values()
    assert list(read.names) == [p.name for p in seen]
    assert read.required == {p.name for p in seen if p.default is p.empty}
    assert not read.open


def test_an_option_annotated_steps_is_a_length_with_a_unit():
    name = "components.optim.schedules.linear"
    check_target(Target(name, {"warmup": "5st", "hold": "0.5ep", "final_factor": 0}), "schedule", ("step", "total_steps"))
    found = lengths(Target(name, {"warmup": "5st", "hold": "0.5ep", "final_factor": 0}), "schedule")
    assert found == {"warmup": Duration(5.0, "st"), "hold": Duration(0.5, "ep")}
    for value in (5, 0.1, None, "5", "1.5st"):
        with pytest.raises(UserError, match=r"schedule\.hold is no length of training"):
            check_target(Target(name, {"warmup": "5st", "hold": value}), "schedule", ("step", "total_steps"))
    with pytest.raises(UserError, match=r"schedule\.final_factor has the wrong type"):
        check_target(Target(name, {"final_factor": "0.1dur"}), "schedule", ("step", "total_steps"))


@pytest.fixture
def signature(tmp_path):
    """Read the signature of `Thing` from a source text."""

    def read(source: str) -> targets.Signature | None:
        path = tmp_path / f"module_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(source))
        return targets._find(path, "Thing")

    return read


def test_constructors_may_be_inherited_or_a_dataclass_s(signature):
    inherited = signature("class Base:\n    def __init__(self, a: int, *, b: str = 'x'): ...\nclass Thing(Base):\n    width: int = 3")
    assert (inherited.names, inherited.required) == (("a", "b"), {"a"})
    data = signature("@dataclass\nclass Base:\n    a: int\n@dataclass(frozen=True)\nclass Thing(Base):\n    n: ClassVar[int] = 0\n    b: int = 1")
    assert (data.names, data.required) == (("a", "b"), {"a"})
    annotated = signature("class Thing(nn.Module):\n    mean: Tensor\n    def forward(self, x): ...")
    assert (annotated.names, annotated.required) == ((), frozenset())
    many = signature("class Thing:\n    def __init__(self, a, /, b=1, *rest, c, d: float | None = None, **more): ...")
    assert (many.names, many.required, many.open) == (("a", "b", "c", "d"), {"a", "c"}, True)
    assert many.annotations == {"d": "float | None"}
    assert signature("Thing = 5") is None


@pytest.mark.parametrize(
    ("annotation", "fits", "refused"),
    [
        ("int", [3, -1], ["3", 3.0, True, None, [3]]),
        ("float", [3, 0.5], ["0.5", False, None]),
        ("float | None", [None, 1], ["1", True]),
        ("str", ["a", ""], [1, None]),
        ("bool", [True], [1, "true", None]),
        ("bool | int", [True, 5], ["5"]),
        ("tuple[int, int]", [[1, 2], "left to the constructor"], []),
        ("float | Tensor", [0.1, 1], ["0.1"]),
        (None, [1, "a", None], []),
    ],
)
def test_values_are_held_against_simple_annotations(annotation, fits, refused):
    for value in fits:
        targets._check_type(annotation, value, "x")
    for value in refused:
        with pytest.raises(UserError, match="x has the wrong type"):
            targets._check_type(annotation, value, "x")


def test_unknown_and_missing_options():
    with pytest.raises(UserError, match=r"unknown key 'model\.in_chanels' .*did you mean 'model\.in_channels'"):
        check_target(Target(LENET5, {"in_chanels": 3}), "model")
    with pytest.raises(UserError, match=r"missing key 'augment\.train\[0\]\.pixels'"):
        check_target(Target("components.data.transforms.RandomShift"), "augment.train[0]")
    with pytest.raises(UserError, match=r"missing key 'optimizer\.params'"):
        check_target(Target("torch.optim.SGD", {"lr": 0.1}), "optimizer")
    check_target(Target("torch.optim.SGD", {"lr": 0.1}), "optimizer", ("params",))


def test_context_goes_to_parameters_of_that_name_only_and_cannot_be_given_twice():
    task = Target("components.tasks.classification.Classification")
    with pytest.raises(UserError, match=r"unknown key 'task\.card'"):
        check_target(Target(task.name, {"card": 1}), "task", ("loss", "card"))
    model = build(Target(LENET5, {"num_classes": 3}), card="nobody asks for it", params=[])
    assert isinstance(model, LeNet5) and model.classifier[-1].out_features == 3
    weight = nn.Parameter(torch.zeros(2))
    optimizer = build(Target("torch.optim.SGD", {"lr": 0.25}), params=[weight])
    assert optimizer.param_groups[0]["lr"] == 0.25 and optimizer.param_groups[0]["params"] == [weight]


@pytest.mark.parametrize(
    ("target", "context", "told"),
    [
        (Target("components.losses.classification.CrossEntropy", {"label_smoothing": 1.5}), {}, "label_smoothing must lie in"),
        (Target("torch.optim.SGD", {"lr": -1.0}), {"params": [nn.Parameter(torch.zeros(1))]}, "Invalid learning rate"),
        (Target("torch.optim.AdamW", {"betas": 5}), {"params": [nn.Parameter(torch.zeros(1))]}, "refused its options"),
    ],
)
def test_what_a_constructor_refuses_is_the_user_s_mistake(target, context, told):
    with pytest.raises(UserError, match=told) as caught:
        build(target, **context)
    assert target.name in str(caught.value) and isinstance(caught.value.__cause__, (TypeError, ValueError))


def test_module_source_imports_nothing_and_knows_packages():
    assert module_source("components.spec").name == "__init__.py"
    assert module_source("components.spec.parse").name == "parse.py"
    assert module_source("components.spec.nothing") is None
    assert module_source("no_such_package_at_all.module") is None
    assert module_source("dataclasses").name == "dataclasses.py"


def test_what_an_option_asks_to_be_built_is_checked_and_named_too():
    """An ensemble's member: a typo in it is found before anything runs, and its code is part of the stage's key."""
    member = {"_target_": "components.models.cnn.lenet5.LeNet5", "num_classes": 10}
    ensemble = Target("components.models.ensemble.Ensemble", {"count": 2, "member": member})
    check_target(ensemble, "model")
    assert list(names(ensemble)) == ["components.models.ensemble.Ensemble", "components.models.cnn.lenet5.LeNet5"]
    wrong = Target(ensemble.name, {**ensemble.options, "member": {**member, "num_clases": 10}})
    with pytest.raises(UserError, match=r"unknown key 'model\.member\.num_clases'.*did you mean 'model\.member\.num_classes'"):
        check_target(wrong, "model")
    with pytest.raises(UserError, match=r"model\.member\._target_ is not allowed"):
        check_target(Target(ensemble.name, {**ensemble.options, "member": {"_target_": "os.system"}}), "model")
