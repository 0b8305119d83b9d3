"""Augmentation of images by colour and noise (notes 002 section 10): whole batches, on the device, every random number from Draws.

These change raw pixels (0 to 255 unless an option says otherwise), so they stand before standardisation; see augment.py. What needs a
colour space is kornia's, which is handed the numbers and draws none.

Legend: B samples, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from kornia.enhance import adjust_contrast_with_mean_subtraction, adjust_hue, adjust_saturation_with_gray_subtraction
from torch import Tensor, nn

from components.data.draws import Draws
from components.data.transforms import Batch
from components.errors import UserError


class ColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue, in this order, each by a factor of its own for each image; results are clamped.

    Brightness multiplies; contrast and saturation blend with the image's mean grey and with its grey version, as in Pillow; hue turns
    the HSV circle. A factor is uniform in [max(0, 1 - a), 1 + a]; the hue's turn in [-hue, hue].

    Args:
        brightness, contrast, saturation: a, 0 for no change.
        hue: fraction of the circle, at most 0.5.
        maximum: the value of white.
        column: which column of the batch.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        maximum: float = 255.0,
        column: str = "inputs",
    ) -> None:
        super().__init__()
        if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:
            raise ValueError("brightness, contrast and saturation must not be negative, and hue must lie in [0, 0.5]")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.maximum, self.column = maximum, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32; C is 3, or anything where saturation and hue are 0.

        Raises:
            UserError: saturation or hue of images without three channels.
        """
        images = batch[self.column].to(torch.float32) / self.maximum
        if (self.saturation or self.hue) and images.shape[1] != 3:
            raise UserError("saturation and hue need colour", received=f"{images.shape[1]} channels", expected="3")
        if self.brightness:
            images = (images * self._factor(draws, "brightness")[:, None, None, None]).clamp(0, 1)
        if self.contrast:
            images = adjust_contrast_with_mean_subtraction(images, self._factor(draws, "contrast"))
        if self.saturation:
            images = adjust_saturation_with_gray_subtraction(images, self._factor(draws, "saturation"))
        if self.hue:
            turn = (draws.uniform("color_jitter.hue") * 2 - 1) * self.hue
            images = adjust_hue(images, turn * (2 * math.pi)).clamp(0, 1)
        return {**batch, self.column: images * self.maximum}

    def _factor(self, draws: Draws, name: str) -> Tensor:
        amount: float = getattr(self, name)
        low, high = max(0.0, 1 - amount), 1 + amount
        return low + draws.uniform(f"color_jitter.{name}") * (high - low)


class PCAColor(nn.Module):
    """Add `P (α ⊙ λ)` to every pixel of an image, α normal (Krizhevsky, Sutskever and Hinton 2012, section 4.1).

    P and λ are the eigenvectors and eigenvalues of the covariance C of the training pixels' colours. With n standard normal, `C n` has
    the same distribution as `P (λ ⊙ n)`, since `C = P diag(λ) P^T`: so nothing is decomposed. The formula depends on the unit; as in the
    usual implementations it is that of pixels in [0, 1].

    Args:
        covariance: 3 x 3, of red, green and blue in [0, 1].
        std: of α.
        maximum: the value of white.
        column: which column of the batch.
    """

    covariance: Tensor

    def __init__(self, covariance: list[list[float]], std: float = 0.1, maximum: float = 255.0, column: str = "inputs") -> None:
        super().__init__()
        matrix = torch.tensor(covariance, dtype=torch.float32)
        if matrix.shape != (3, 3) or not torch.equal(matrix, matrix.T):
            raise ValueError(f"covariance must be a symmetric 3 x 3 matrix, received {covariance}")
        self.std, self.maximum, self.column = std, maximum, column
        self.register_buffer("covariance", matrix)

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, 3, H, W) -> (B, 3, H, W)` float32, clamped to [0, maximum]."""
        alpha = draws.normal("pca_color", 3) * self.std
        shifts = (self.covariance * alpha[:, None, :]).sum(2) * self.maximum
        return {**batch, self.column: (batch[self.column].to(torch.float32) + shifts[:, :, None, None]).clamp(0, self.maximum)}


class GaussianNoise(nn.Module):
    """Add normal noise to every value, its standard deviation uniform in [0, max_std] for each image (notes 002 L2326: 0.2 * 255).

    Args:
        max_std: in the images' units.
        maximum: the value of white; results are clamped to [0, maximum].
        column: which column of the batch.
    """

    def __init__(self, max_std: float, maximum: float = 255.0, column: str = "inputs") -> None:
        super().__init__()
        self.max_std, self.maximum, self.column = max_std, maximum, column

    def forward(self, batch: Batch, draws: Draws) -> Batch:
        """`(B, C, H, W) -> (B, C, H, W)` float32."""
        images = batch[self.column].to(torch.float32)
        std = draws.uniform("gaussian_noise.std") * self.max_std
        noise = draws.normal("gaussian_noise.values", *images.shape[1:]) * std[:, None, None, None]
        return {**batch, self.column: (images + noise).clamp(0, self.maximum)}
