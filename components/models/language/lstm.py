"""A language model of stacked LSTM layers (Hochreiter and Schmidhuber 1997; Graves 2013, section 2; notes 002 M37 M41, 003 R8, 004 M25).

Dimensions: B batch, T tokens of a sequence, V vocabulary, E embedding, H hidden, L layers.

The cell is torch.nn.LSTM's, which is that of 002 M37: no peepholes (000/001 M05 have them), and two biases where the notes have one.
"""

from __future__ import annotations

from torch import Tensor, nn

State = dict[str, Tensor]


class LSTM(nn.Module):
    """Embedding, L layers of LSTM, one fully connected layer.

    Args:
        vocab_size: V.
        embedding_dim: E.
        hidden_dim: H.
        layers: L.
    """

    def __init__(self, vocab_size: int, embedding_dim: int, hidden_dim: int, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, num_layers=layers, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocab_size)

    def layers(self) -> list[nn.Module]:
        """From the embedding to the output; every parameter lies in exactly one."""
        return [self.embedding, self.lstm, self.output]

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Tokens (B, T) int64 and the state before them -> logits (B, T, V) and the state after them.

        A state is `hidden` and `cell`, each (B, L, H): the row comes first, because the engine carries rows; nn.LSTM has (L, B, H). None is zeros.
        """
        before = None if state is None else tuple(state[name].transpose(0, 1).contiguous() for name in ("hidden", "cell"))
        outputs, (hidden, cell) = self.lstm(self.embedding(inputs), before)
        logits: Tensor = self.output(outputs)
        return logits, {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
