"""The losses of generative adversarial training, on logits, one value a sample, nats (Goodfellow et al. 2014; notes 002 M61 M62, 003 G3).

Legend: B samples, a = the discriminator's logit, D = sigmoid(a).

    V(D, G) = E_x log D(x) + E_z log(1 - D(G(z))),   G*, D* = arg min_G arg max_D V   (notes 002 erratum E30; z ~ p(z), 003 erratum 32)

V is at most -log 4 + 2 JSD at D* = p_data / (p_data + p_model), and -log 4 where the two are equal (T48).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn


class AdversarialLoss(nn.Module, ABC):
    """What the discriminator minimises, -V, is common to all; they differ in what the generator does."""

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return -log D(x) and -log(1 - D(G(z))) from the logits: (B,), (B,) -> (B,), (B,)."""
        return F.softplus(-real.float()), F.softplus(fake.float())

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Return what the generator minimises, from the logits of its samples: (B,) -> (B,)."""


class Saturating(AdversarialLoss):
    """The minimax game: the generator minimises log(1 - D(G(z))), whose gradient by the logit is -D: it vanishes where the discriminator wins."""

    def generator(self, fake: Tensor) -> Tensor:
        """`log(1 - sigmoid(a))`, (B,) -> (B,)."""
        return -F.softplus(fake.float())


class NonSaturating(AdversarialLoss):
    """The generator minimises -log D(G(z)), whose gradient by the logit is -(1 - D): near -1 where the discriminator wins.

    That is the reason for it; "log(1 - D) = log 1 / log D" is none (notes 002 erratum E31, T49).
    """

    def generator(self, fake: Tensor) -> Tensor:
        """`-log sigmoid(a)`, (B,) -> (B,)."""
        return F.softplus(-fake.float())
