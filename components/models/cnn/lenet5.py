"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", fig. 2; notes 002 M24, 003 1.2).

Dimensions: B batch, C input channels, K classes.

The notes give two convolutions and two poolings; the layer sizes are the paper's: 6 and 16 maps of 5 x 5, then 120-84-K (erratum 002 E18).
Two differences to 1998 that every modern LeNet-5 makes: C3 is fully connected to S2 (61,706 parameters; the paper's sparse table gives 60,000)
and ReLU with max-pooling replace the scaled tanh with trainable average pooling.
"""

from __future__ import annotations

from torch import Tensor, nn


class LeNet5(nn.Module):
    """Two 5 x 5 convolutions with pooling, three fully connected layers.

    Args:
        num_classes: K.
        in_channels: C.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, kernel_size=5),  # 32 -> 28
            nn.ReLU(),
            nn.MaxPool2d(2),  # -> 14
            nn.Conv2d(6, 16, kernel_size=5),  # -> 10
            nn.ReLU(),
            nn.MaxPool2d(2),  # -> 5
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, 32, 32) -> logits (B, K)."""
        logits: Tensor = self.classifier(self.features(inputs))
        return logits
