"""When a number is not finite any more: which one, in which layer, and everything needed to run the bad step again (notes 002 D27)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.files import atomic_path

EARLY_STEPS = 100  # NaNs before it point at the learning rate (D27)
_SHOWN = 8
_FORMAT = 1


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors inside tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)


def any_not_finite(value: Any) -> Tensor | None:
    """Return a bool scalar on the device: is there a NaN or an infinity in these outputs? None where they hold no floating numbers."""
    found = [t.detach() for t in tensors(value) if (t.is_floating_point() or t.is_complex()) and t.numel()]
    if not found:
        return None
    # The least and the greatest value are NaN where any is: no copy of the outputs is made, as `isfinite` on all of them would.
    extremes = [torch.stack(torch.aminmax(torch.view_as_real(t) if t.is_complex() else t)).float() for t in found]
    return ~torch.isfinite(torch.cat(extremes)).all()


def explain(
    loss_parts: Mapping[str, float],
    gradients: Iterable[tuple[str, Tensor | None]],
    *,
    step: int,
    rank: int,
    sample_ids: Sequence[int],
    learning_rates: Mapping[str, float],
    gradient_norm: float | None,
    first_bad: str,
    replay: Path | None,
) -> str:
    """Return the message of a run that stops because a number is not finite.

    Args:
        loss_parts: the terms of the loss, by name.
        gradients: name and gradient of each parameter.
        step: optimizer steps made before this one.
        rank: that saw it.
        sample_ids: of the batch.
        learning_rates: of each optimizer, by phase.
        gradient_norm: before clipping, where it was measured.
        first_bad: what `first_bad_layer` says.
        replay: where `write_replay` has put the step.
    """
    lines = {
        "loss": ", ".join(f"{name} {value:.6g}" for name, value in loss_parts.items()),
        "first bad layer": first_bad,
        "gradients": _gradients(gradients),
        "gradient norm": "not measured" if gradient_norm is None else f"{gradient_norm:.6g}",
        "learning rates": ", ".join(f"{name} {rate:.6g}" for name, rate in learning_rates.items()),
        "samples": ", ".join(map(str, sample_ids[:_SHOWN])) + (f" ... ({len(sample_ids)} in all)" if len(sample_ids) > _SHOWN else ""),
        "the step, to run again": "not written" if replay is None else str(replay),
        "to mend": _advice(step),
    }
    return "\n".join([f"a number is not finite in step {step} on rank {rank}", *(f"  {name}: {text}" for name, text in lines.items())])


def _gradients(gradients: Iterable[tuple[str, Tensor | None]]) -> str:
    bad, total = [], 0
    for name, gradient in gradients:
        total += 1
        if gradient is not None and not torch.isfinite(gradient).all():
            bad.append(f"{name} (NaN {int(gradient.isnan().sum())}, infinite {int(gradient.isinf().sum())} of {gradient.numel()})")
    shown = ", ".join(bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
    return f"{len(bad)} of {total} are not finite" + (f": {shown}" if bad else "")


def _advice(step: int) -> str:
    rate = "a learning rate ten times lower" + (f", the usual cure within the first {EARLY_STEPS} steps" if step < EARLY_STEPS else "")
    return f"{rate}; trainer.clip_norm=1; a logarithm of 0, a division by 0 or a root at 0 in the first bad layer or the loss"


def first_bad_layer(network: nn.Module, call: Callable[[], object]) -> str:
    """Run a forward pass again and name the first module whose output is not finite, or whose input was not to begin with (D27).

    What the pass changes is put back: buffers (running means) and torch's generators. So the module is judged as it stands after the bad step; a
    weight that an update has spoilt is named as the cause.

    Args:
        network: whose modules are looked at; it may be a whole model.
        call: runs the pass, `lambda: task.losses(networks, batch, context)`.
    """
    found: list[str] = []
    handles = []
    for name, module in network.named_modules():
        label = f"{name or 'the whole network'} ({type(module).__name__})"
        handles += [
            module.register_forward_pre_hook(partial(_note_input, found, label), with_kwargs=True),
            module.register_forward_hook(partial(_note_output, found, label)),
        ]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    devices = {t.device.index for t in network.parameters() if t.is_cuda}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=sorted(devices)):
            call()
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
    return found[0] if found else "none: every module's output is finite, so look at the loss"


def _note_input(found: list[str], label: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    bad = None if found else any_not_finite([inputs, named])
    if bad is not None and bad:
        found.append(f"the input of {label}")


def _note_output(found: list[str], label: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    bad = None if found else any_not_finite(output)
    if bad is None or not bad:
        return
    spoilt = [name for name, p in module.named_parameters(recurse=False) if not torch.isfinite(p).all()]
    found.append(label + (f", whose {' and '.join(spoilt)} is not finite" if spoilt else ""))


def write_replay(path: Path, batch: Mapping[str, Tensor], context: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Write what is needed to run a step again, whole or not at all.

    Args:
        path: of the file.
        batch: as the task took it.
        context: plain data and tensors: seed, step, epoch, phase, precision, carry, generators ...
        states: `state_dict`s of the networks and of the optimizers, by name.

    Raises:
        TypeError: something is neither a tensor nor plain data; its place is named.
    """
    content = {"format": _FORMAT, "batch": _plain(batch, "batch"), "context": _plain(context, "context"), "states": _plain(states, "states")}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_replay(path: Path) -> dict[str, Any]:
    """Return `batch`, `context` and `states` as `write_replay` took them, tensors on the CPU. Nothing but tensors and plain data is loaded.

    Raises:
        UserError: there is no such file, or it is no replay.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file makes the reader stumble in any way: KeyError, IndexError, UnpicklingError ...
        raise UserError("the replay file cannot be read", received=path, expected="a file that a stopped run has named in its message") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError("the file is no replay of this version", received=path, expected=f"format {_FORMAT}")
    return {name: content[name] for name in ("batch", "context", "states")}


def _plain(value: Any, place: str) -> Any:
    """Copy tensors to the CPU and keep plain data. A copy, because saving a view saves all that it looks at."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):  # numpy's float64 is a float, but would be saved as an object of numpy's
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{place} is a {type(value).__name__}, and a replay holds tensors and plain data only")
