"""AdamW in its fused form, by torch's function: the first use of torch's optimizer class imports its compiler, which takes seconds."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


class AdamW:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2017 (arXiv 1711.05101); the same bits as `torch.optim.AdamW`.

    Args:
        parameters: What to optimise, on one device.
        weight_decay: Share of itself, times the learning rate, that a parameter loses in a step.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self._parameters]

    def step(self, learning_rate: float) -> None:
        """Move the parameters against their gradients, and drop these."""
        gradients = [parameter.grad for parameter in self._parameters]
        with torch.no_grad():
            adamw(
                self._parameters,  # type: ignore[arg-type]
                gradients,  # type: ignore[arg-type]
                self._means,
                self._squares,
                [],
                self._steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=learning_rate,
                weight_decay=self._weight_decay,
                eps=1e-8,
                maximize=False,
            )
        for parameter in self._parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name."""
        kinds = {"mean": self._means, "square": self._squares, "step": self._steps}
        return {f"{kind}.{i}": tensor for kind, tensors in kinds.items() for i, tensor in enumerate(tensors)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
