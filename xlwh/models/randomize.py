"""Models that forgot what they learned: the same architecture with shuffled weights, for sanity checks.

An attribution that explains a model must change when the model's parameters are random (Adebayo et al. 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from xlwh.draws import stream

if TYPE_CHECKING:
    from torch import nn

    from xlwh.study import Randomization


def shuffle_weights(model: nn.Module, options: Randomization) -> None:
    """Permute the entries of every parameter (`all`), or of those outside the body (`head`), in place.

    Shuffling keeps the distribution of each weight matrix. Draws are seeded by the parameter's name; weights that
    are tied stay tied.
    """
    body = getattr(model, "base_model_prefix", "") + "."
    seen: set[int] = set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.data_ptr() in seen or (options.parts == "head" and name.startswith(body)):
                continue
            seen.add(parameter.data_ptr())
            order = stream("shuffled weights", options.seed, name).permutation(parameter.numel())
            parameter.copy_(
                parameter.flatten()[torch.from_numpy(order).to(parameter.device)].reshape(parameter.shape)
            )
