"""D15: training and evaluation mode are respected, gradients are cleared; notes 002 section 14."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.tasks.base import MicroBatch
from components.training.doctor.finding import Finding
from components.training.doctor.patient import Patient, evaluating

_ROWS = 8


@torch.no_grad()
def evaluation_mode(patient: Patient) -> Finding:
    """D15: in evaluation mode two predictions are equal to the bit, and neither changes the model or its mode."""
    model, task = patient.system()
    batch, networks = patient.batch(patient.rows(_ROWS)), evaluating(model, task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = task.predict(networks, batch), task.predict(networks, batch)
    differing = [name for name, value in first.items() if not _same(value, second[name])]
    changed = [name for name, value in model.state_dict().items() if not _same(value, before[name])]
    left = [name or "the model" for network in networks.values() for name, module in network.named_modules() if module.training]
    wrong = [f"{what}: {', '.join(names[:5])}" for what, names in (("random", differing), ("changed", changed), ("in training mode", left)) if names]
    return Finding(
        "fail" if wrong else "ok",
        "; ".join(wrong) or "two predictions are equal, the model is as it was",
        "predictions that are a function of the weights and the inputs",
        "let `train()` and `eval()` reach every layer, and let dropout and normalisation follow `self.training`",
    )


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def cleared_gradients(patient: Patient) -> Finding:
    """D15: after a step no parameter keeps a gradient that the next step would add to, and the model is still in training mode."""
    model, task = patient.system()
    stepper = patient.stepper(model, task)
    batch = patient.batch(patient.rows(_ROWS))
    model.train()
    stepper.step([MicroBatch(batch, patient.draws(batch))], 0, 0)
    kept = [name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())]
    quiet = [name or "the model" for name, module in model.named_modules() if not module.training and not isinstance(module, nn.Identity)]
    wrong = [f"{what}: {', '.join(names[:5])}" for what, names in (("gradients kept by", kept), ("in evaluation mode", quiet)) if names]
    return Finding(
        "fail" if kept else "warn" if quiet else "ok",
        "; ".join(wrong) or "no gradient is left",
        "no gradient left after a step, every layer in training mode",
        "every parameter belongs to the network of exactly one phase (the task's `split`); the task must not call `eval()` in `losses`",
    )
