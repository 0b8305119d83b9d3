"""The orthogonality of a matrix against the notes' figure."""

from __future__ import annotations

import torch

from components.losses.matrices import orthogonality


def test_orthogonality_is_the_notes_figure_and_has_its_gradient():
    """003: of 2 I_3 it is 27; of a rotation 0."""
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert orthogonality(torch.stack([2 * torch.eye(3), turn, torch.eye(3)])).tolist() == [27, 0, 0]
    assert torch.autograd.gradcheck(orthogonality, torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True))
