"""A trained classifier as a measure: what its last hidden layer makes of an image."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.errors import UserError
from components.files import read_json, sha256_file
from components.spec.parse import parse_spec
from components.spec.targets import build

_MEND = "train the classifier anew: delete its stage's directory and run the same command again"


class FeatureExtractor(nn.Module):
    """A classifier without its last linear layer, behind the transforms that it was trained with. In evaluation mode, frozen.

    Args:
        checkpoint: directory of a checkpoint: meta.json with the run's specification, and weights.
        card: of the data set at hand; the classifier's transforms take their statistics from it, so it must have been trained on the same.

    Raises:
        UserError: the weights are not those that were saved, or were trained on other data, or the model has no linear layer.
    """

    def __init__(self, checkpoint: Path, card: Card) -> None:
        super().__init__()
        meta = read_json(checkpoint / "meta.json")
        if meta["data_sha256"] != card.content_sha256:
            raise UserError(
                "the feature extractor was trained on other data",
                received=f"data version {str(meta['data_sha256'])[:16]} in {checkpoint}",
                expected=f"{card.content_sha256[:16]}, {card.name}",
                mend="name the same data set in `upstream.features` as in `data`",
            )
        spec = parse_spec(meta["spec"])
        self.transforms = nn.ModuleList(build(target, card=card) for target in spec.augment.always)
        self.model: nn.Module = build(spec.model)
        self.model.load_state_dict(_weights(checkpoint, meta["weights"], meta["files"][meta["weights"]]["sha256"]))
        self.features = _remove_head(self.model)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Images in the data set's raw units (B, C, H, W), not necessarily whole numbers -> features (B, F) float32."""
        batch = {"inputs": pixels.float()}
        draws = Draws(0, 0, torch.arange(len(pixels), device=pixels.device))  # transforms of evaluation draw nothing
        for transform in self.transforms:
            batch = transform(batch, draws)
        features: Tensor = self.model(batch["inputs"])
        return features.float()


def _weights(checkpoint: Path, name: str, sha256: str) -> dict[str, Tensor]:
    file = checkpoint / name
    if sha256_file(file) != sha256:
        raise UserError(f"the feature extractor's {name} is not what was saved", received=file, expected=f"sha256 {sha256[:16]}...", mend=_MEND)
    weights: dict[str, Tensor] = load_file(file)
    return weights


def _remove_head(model: nn.Module) -> int:
    """Put the identity in the place of the last linear layer and return the number of its inputs."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear or not linear[-1][0]:
        raise UserError("the feature extractor has no linear layer on top of others", received=type(model).__name__, mend="name a classifier")
    name, head = linear[-1]
    model.set_submodule(name, nn.Identity())
    return head.in_features
