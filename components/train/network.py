"""The network: an embedding for each category column, and a multilayer perceptron over embeddings and numbers.

Guo and Berkhahn, "Entity Embeddings of Categorical Variables", 2016 (arXiv 1604.06737).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def embedding_width(cardinality: int, limit: int) -> int:
    """Width of a category column's embedding: fastai's rule of thumb, 1.6 n^0.56, at most `limit`."""
    return int(min(limit, max(1, round(1.6 * cardinality**0.56))))


class Network(nn.Module):
    """Entity embeddings and an MLP whose layers halve in width.

    Args:
        cardinalities: Number of codes of each category column.
        numbers: Number of numeric inputs.
        outputs: 1 for binary and regression, the number of classes for multiclass.
        hidden: Width of the first layer.
        layers: Number of hidden layers.
        dropout: Share of units left out in training, after each hidden layer.
        activation: A key of `ACTIVATIONS`.
        max_embedding: Widest embedding.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        numbers: int,
        outputs: int,
        hidden: int,
        layers: int,
        dropout: float,
        activation: str,
        max_embedding: int,
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            nn.Embedding(count, embedding_width(count, max_embedding)) for count in cardinalities
        )
        width = numbers + sum(embedding_width(count, max_embedding) for count in cardinalities)
        stack: list[nn.Module] = []
        for layer in range(layers):
            size = max(8, hidden >> layer)
            stack += [nn.Linear(width, size), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            width = size
        self.body = nn.Sequential(*stack)
        self.head = nn.Linear(width, outputs)
        for table in self.embeddings.parameters():
            nn.init.normal_(table, std=0.1)
            # Missing and unseen start in the middle: where training never meets them, they stay neutral.
            table.data[:2] = 0
        nn.init.zeros_(self.head.weight)

    def start_at(self, bias: Tensor) -> None:
        """Make the untrained network predict `bias`, shape (outputs,): the prior, as logits or target units."""
        self.head.bias.data.copy_(bias)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Raw outputs, shape (n, outputs), for codes (n, categories) and numbers (n, numbers)."""
        embedded = [embedding(codes[:, i]) for i, embedding in enumerate(self.embeddings)]
        result: Tensor = self.head(self.body(torch.cat([*embedded, numbers], dim=1)))
        return result
