"""Plain data -> frozen dataclasses, and back. Every mistake becomes one `UserError` with the dotted path and the nearest valid name."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal, TypeVar

from components.errors import UserError, nearest
from components.spec.duration import parse_duration
from components.spec.schema import DataSpec, Expectation, Spec, Target
from components.spec.space import check_tune
from components.spec.targets import check_finite, check_target

T = TypeVar("T")

# What the caller of build() adds to each target's options; the user must not be asked for it.
CONTEXT: dict[str, tuple[str, ...]] = {
    "model": ("input_shape",),
    "task": ("loss", "card", "upstream"),
    "optimizer": ("params",),
    "schedule": ("step", "total_steps"),
    "data.prepare": ("raw",),
    "augment.always": ("card",),
    "augment.train": ("card",),
}


# What people of other tools type first.
_USUAL_NAMES = {
    "trainer.epochs": "trainer.duration=5ep trains for 5 epochs",
    "trainer.max_epochs": "trainer.duration=5ep trains for 5 epochs",
    "trainer.max_steps": "trainer.duration=500st trains for 500 steps",
    "trainer.lr": "the learning rate is optimizer.lr",
    "trainer.gradient_clip_val": "trainer.clip_norm clips by norm, trainer.clip_value by value",
}


def parse_spec(plain: dict[str, Any]) -> Spec:
    """Turn composed plain data into a Spec.

    `expect` is written per data set, `{digits: {test/accuracy: {minimum: 0.97}}}`; the Spec keeps the part of its own data set.

    Raises:
        UserError: unknown key, missing key, wrong type, value out of bounds, or a target that cannot be built.
    """
    spec: Spec = parse(Spec, {**plain, "expect": _expectations(plain)}, "")
    _cross_checks(spec)
    return spec


def parse_data(plain: dict[str, Any], path: str = "data") -> DataSpec:
    """Turn the plain form of a data set (a conf/data file, an entry of params.yaml) into its DataSpec; raises as `parse_spec`."""
    data = parse(DataSpec, plain, path)
    _check_data(data, path)
    return data


def _check_data(data: DataSpec, path: str) -> None:
    if not data.prepare.name.startswith("components.data.sources."):
        raise UserError(
            f"{path}.prepare._target_ names no reader",
            received=data.prepare.name,
            expected="a function of a module under components.data.sources",
        )
    fetch = data.fetch
    origins = {name: value for name, value in (("base_url", fetch.base_url), ("package", fetch.package), ("path", fetch.path)) if value is not None}
    if len(origins) > 1:
        raise UserError(f"{path}.fetch needs one origin", received=origins, expected="one of base_url, package and path")
    for name in ("archives", "files"):
        if ("base_url" in origins or "package" in origins) and not getattr(fetch, name):
            raise UserError(f"{path}.fetch.{name} is empty", received=origins, expected="the names of what the origin holds, each with its checksum")


def _expectations(plain: dict[str, Any]) -> Any:
    """The list form of `expect`: of the mapping by data sets, the part of this one."""
    expect = plain.get("expect")
    if not isinstance(expect, dict):
        return expect or []
    data = plain.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    path = f"expect.{name}"
    chosen = _mapping(expect.get(str(name)) or {}, path)
    return [{**_mapping(bounds, f"{path}.{metric}"), "metric": metric} for metric, bounds in chosen.items()]


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path} must be a mapping", received=repr(value), expected="such as {test/accuracy: {minimum: 0.97}} for each data set")
    return value


def _cross_checks(spec: Spec) -> None:
    """Faults that no single field shows."""
    _check_data(spec.data, "data")
    for expectation in spec.expect:
        if (expectation.minimum is None) == (expectation.maximum is None):
            raise UserError(
                f"expect.{expectation.metric} needs one bound",
                received=dataclasses.asdict(expectation),
                expected="either minimum or maximum",
            )
    if spec.cluster.backend == "inline" and spec.cluster.workers != 1:
        raise UserError(
            "cluster.workers does not fit cluster.backend=inline",
            received=spec.cluster.workers,
            expected="1: inline runs everything in one process",
            mend="choose cluster=local for several workers",
        )
    if spec.cluster.min_workers is not None and spec.cluster.min_workers > spec.cluster.workers:
        raise UserError(
            "cluster.min_workers is more than cluster.workers",
            received=f"min_workers={spec.cluster.min_workers}, workers={spec.cluster.workers}",
            expected="the least and the most workers of an elastic group",
        )
    for name, phase in spec.phases.items():
        check_target(Target(spec.optimizer.name, {**spec.optimizer.options, **phase.optimizer}), f"phases.{name}.optimizer", CONTEXT["optimizer"])
    if spec.performance.strategy == "fsdp" and spec.trainer.precision == "fp16":
        raise UserError("performance.strategy=fsdp does not train in fp16", received="trainer.precision=fp16", expected="bf16 or fp32")
    if spec.tune is not None:
        check_tune(spec.tune)
    if spec.tune is not None and spec.folds is not None:
        raise UserError(
            "a search and folds do not go together",
            received=f"tune={spec.tune.algorithm} with folds={spec.folds}",
            mend="search first, then take folds of what was found: `modelyard tune ... --save NAME`, then `modelyard run experiment=NAME folds=10`",
        )
    if not spec.evaluate.splits:
        raise UserError("evaluate.splits is empty", expected="at least one of train, validation, test")
    if parse_duration(spec.trainer.duration, "trainer.duration").unit == "dur":
        raise UserError("trainer.duration is measured by itself", received=spec.trainer.duration, expected="epochs or steps, such as 20ep or 5000st")


def parse(kind: type[T], value: Any, path: str) -> T:
    """Turn a plain mapping into the dataclass `kind`; `path` is the dotted path so far."""
    if not isinstance(value, dict):
        raise UserError(f"{path or 'configuration'} must be a mapping", received=repr(value), expected=f"keys of {kind.__name__}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise UserError(
                f"unknown key '{_join(path, key)}'{nearest(_join(path, key), [_join(path, f) for f in fields])}",
                expected=f"one of: {', '.join(sorted(fields))}",
                mend=_USUAL_NAMES.get(_join(path, key), ""),
            )
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, f in fields.items():
        here = _join(path, name)
        if name in value:
            arguments[name] = _convert(hints[name], value[name], here)
            _check_bound(f, arguments[name], here)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"missing key '{here}'", expected=f"a value of type {_name(hints[name])}")
    return kind(**arguments)


def _check_bound(f: dataclasses.Field[Any], value: Any, path: str) -> None:
    if value is None:
        return
    if f.metadata.get("duration") and parse_duration(value, path).value == 0:
        raise UserError(f"{path} is no length of training", received=repr(value), expected="more than nothing")
    minimum, maximum = f.metadata.get("minimum", -math.inf), f.metadata.get("maximum", math.inf)
    if isinstance(value, (int, float)) and not minimum <= value <= maximum:
        expected = f"at least {minimum:g}" if maximum == math.inf else f"from {minimum:g} to {maximum:g}"
        raise UserError(f"{path} is out of range", received=value, expected=expected)


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [a for a in arguments if a is not type(None)]
        return _convert(hint, value, path)
    if hint is Target:
        return _convert_target(value, path)
    if hint is Any:
        check_finite(value, path)
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value, path)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{path} has no such value{nearest(str(value), arguments)}",
                received=repr(value),
                expected=f"one of: {', '.join(arguments)}",
            )
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{path} must be a list", received=repr(value), expected=f"a list of {_name(arguments[0])}")
        return tuple(_convert(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{path} must be a mapping", received=repr(value))
        return {str(k): _convert(arguments[1], v, _join(path, str(k))) for k, v in value.items()}
    return _convert_scalar(hint, value, path)


def _convert_scalar(kind: type, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
        raise UserError(f"{path} has the wrong type", received=f"{value!r} ({type(value).__name__})", expected=_name(kind))
    check_finite(value, path)
    return value


def _convert_target(value: Any, path: str) -> Target:
    if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
        raise UserError(
            f"{path} does not say what to build",
            received=repr(value),
            expected="a mapping with `_target_`, such as {_target_: components.models.cnn.lenet5.LeNet5}",
        )
    options = {str(k): v for k, v in value.items() if k != "_target_"}
    target = Target(value["_target_"], options)
    check_target(target, path, _context(path))
    return target


def _context(path: str) -> tuple[str, ...]:
    """The context of a slot; data sets stand under `data`, `data.<key>` and `<file>.yaml`."""
    slot = path.split("[")[0]
    return CONTEXT.get("data.prepare" if slot.endswith(".prepare") else slot, ())


def to_plain(value: Any) -> Any:
    """Turn a Spec, or a part of it, into JSON data; `parse_spec(to_plain(spec)) == spec`."""
    if isinstance(value, Target):
        return {"_target_": value.name, **to_plain(value.options)}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def expectation_met(expectation: Expectation, metrics: dict[str, dict[str, Any]]) -> bool | None:
    """Compare `test/accuracy`-style expectation with metrics `{split: {name: value}}`; None where the metric was not measured."""
    split, _, name = expectation.metric.partition("/")
    value = metrics.get(split, {}).get(name)
    if not isinstance(value, (int, float)):
        return None
    if expectation.minimum is not None:
        return value >= expectation.minimum
    return expectation.maximum is not None and value <= expectation.maximum


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
