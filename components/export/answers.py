"""What a model answers when nobody knows the truth: `Task.predict` without targets, tensors to tensors, one function a task.

A task without a function of its own answers with its model's outputs. Legend: B batch, K classes, V vocabulary, Q latent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from components.data.draws import Draws
from components.decoding.beam import beam_search
from components.errors import UserError
from components.tasks.base import Batch, Networks, Task
from components.tasks.classification import Classification
from components.tasks.density import Density
from components.tasks.detection import Detection
from components.tasks.ensemble import Ensemble
from components.tasks.gan import Adversarial
from components.tasks.graph_classification import GraphClassification, graphs
from components.tasks.latents import to_bytes
from components.tasks.next_token import NextToken
from components.tasks.node_classification import NodeClassification
from components.tasks.point_classification import PointClassification, critical
from components.tasks.policy import Policy
from components.tasks.pose import Pose
from components.tasks.regression import Regression
from components.tasks.segmentation import Segmentation
from components.tasks.translation import Translation, Translator
from components.tasks.vae import VariationalAutoencoder

NOISE = "noise"  # the input of a model that draws instead of reading


class Eager(nn.Module):
    """A model behind the transforms of evaluation and before its task's decoding: raw columns of the data set to answers.

    Args:
        model: in evaluation mode.
        task: that it was trained for.
        transforms: `augment.always`, built.
    """

    def __init__(self, model: nn.Module, task: Task, transforms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model, self.transforms, self.task = model, nn.ModuleList(transforms), task

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Columns `(B, ...)` as the shards hold them, ragged ones with `<column>.offsets (B + 1,)` -> outputs by name."""
        for transform in self.transforms:
            batch = transform(batch, _NO_DRAWS)
        return answer(self.task, self.task.split(self.model), batch)


class _NoDraws(Draws):
    """A transform that draws would answer differently each time, or by the number of a row, which a caller does not have."""

    def __init__(self) -> None:
        super().__init__(0, 0, torch.zeros(0, dtype=torch.int64))

    def _words(self, name: str, shape: tuple[int, ...]) -> Tensor:
        raise UserError("a transform of augment.always draws random numbers", received=name, expected="transforms of evaluation that draw nothing")


_NO_DRAWS = _NoDraws()


def drawn(task: Task, rows: int) -> Batch:
    """Return the inputs that no data set holds: a generator's noise, `(B, Q)` standard normal, that of the evaluation's first rows."""
    if not isinstance(task, Adversarial):
        return {}
    return {NOISE: Draws(0, 0, torch.arange(rows)).normal("latent of the evaluation", task.latent)}


def needed(eager: Eager, batch: Batch) -> Batch:
    """Return the columns without which there is no answer.

    Raises:
        Exception: whatever the model says to the whole batch.
    """
    eager(batch)
    return {name: value for name, value in batch.items() if not _answers(eager, {n: v for n, v in batch.items() if n != name})}


def _answers(eager: Eager, batch: Mapping[str, Tensor]) -> bool:
    try:
        eager(dict(batch))
    except KeyError:
        return False
    return True


@functools.singledispatch
def answer(task: Task, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    """Return what a task's model says of transformed columns, by name; where `Task.predict` has a value of that name, it is the same one."""
    found = networks["model"](batch["inputs"])
    return {"outputs": found[0] if isinstance(found, tuple) else found}


@answer.register
def _(task: Classification, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    return _classes(networks["model"](batch["inputs"]).float())


@answer.register
def _(task: Ensemble, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    scores = networks["model"](batch["inputs"])
    logits = scores.logsumexp(dim=1) - math.log(scores.shape[1])
    return {"logits": logits, "probabilities": logits.exp(), "member_probabilities": scores.exp()}


@answer.register
def _(task: GraphClassification, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    return _classes(networks["model"](*graphs(batch)).float())


@answer.register
def _(task: NodeClassification, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    return _classes(networks["model"](batch["inputs"], batch["edges"]).float())


@answer.register
def _(task: PointClassification, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    found = networks["model"](batch["inputs"])
    return {**_classes(found.logits.float()), "critical": critical(found.owners, batch["inputs"].shape[1])}


@answer.register
def _(task: Regression, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    return {"predictions": networks["model"](batch["inputs"]).float()}


@answer.register
def _(task: Density, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    mixture = task.loss.mixture(networks["model"](batch["inputs"]))
    parts = {"weights": mixture.log_weights.exp(), "locations": mixture.locations, "scales": mixture.scales}
    return {"means": mixture.mean(), "deviations": mixture.deviation(), **parts}


@answer.register
def _(task: Policy, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    values = networks["model"](batch["inputs"]).float()
    return {"values": values, "greedy": values.argmax(dim=1)}


@answer.register
def _(task: Segmentation, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    logits = networks["model"](batch["inputs"])
    return {"predictions": logits.argmax(1), "confidences": logits.float().softmax(dim=1).amax(dim=1)}


@answer.register
def _(task: Detection, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    inputs = batch["inputs"]
    found = task.codec.decode(networks["model"](inputs), (int(inputs.shape[-2]), int(inputs.shape[-1])))
    return {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}


@answer.register
def _(task: Pose, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    return {"poses": task.codec.decode(networks["model"](batch["inputs"]).float())}


@answer.register
def _(task: NextToken, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    """`logits (B, T, V)` of what follows each of the first T of T + 1 tokens: a row of the data holds its last target too."""
    found = networks["model"](batch["tokens"][:, :-1].long())
    logits = found[0] if isinstance(found, tuple) else found
    return {"logits": logits, "predictions": logits.argmax(dim=2)}


@answer.register
def _(task: Translation, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    translator = cast(Translator, networks["model"])
    memory, state = translator.start(batch["source"].long(), batch["source.mask"])
    return {"beam": beam_search(translator.step, memory, state, len(batch["source"]), task.beam)[0]}


@answer.register
def _(task: VariationalAutoencoder, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    """Without noise: the mean of q(z | x), its log-variance, and what the decoder makes of the mean."""
    inputs = batch["inputs"]
    logits, mean, log_variance = networks["model"](inputs, inputs.new_zeros(inputs.shape[0], 1, task.latent))
    return {"means": mean, "log_variances": log_variance, "reconstructions": logits[:, 0].float().sigmoid()}


@answer.register
def _(task: Adversarial, networks: Networks, batch: Batch) -> dict[str, Tensor]:
    """Noise `(B, Q)` to 8-bit pixels `(B, C, H, W)`."""
    return {"images": to_bytes(networks["generator"](batch[NOISE]), -1.0, 1.0)}


def _classes(logits: Tensor) -> dict[str, Tensor]:
    return {"logits": logits, "probabilities": logits.softmax(dim=-1)}
