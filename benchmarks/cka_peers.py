"""Two other packages for CKA, called as their documentation says, and the layers that all can read."""

import contextlib
import io
import warnings
from collections.abc import Sequence

import cka as pytorch_cka
import torch_cka
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seelike.models import Layer


def places(model: nn.Module) -> list[Layer]:
    """List all modules that compute something."""
    hand_on = (nn.Sequential, nn.Identity, nn.Dropout)
    return [
        Layer(path, "", None, 0.0, path)
        for path, module in model.named_modules()
        if path and not isinstance(module, hand_on)
    ]


def cka_of_pytorch_cka(
    models: Sequence[nn.Module], names: Sequence[Sequence[str]], loader: DataLoader, device: str
) -> Tensor:
    """Compute CKA with pytorch-cka, which keeps all features of a minibatch."""
    (found,) = pytorch_cka.compute_cka(
        *models, loader, layers=names[0], model2_layers=names[1], device=device, progress=False
    )
    return found.cpu().double()


def cka_of_torch_cka(
    models: Sequence[nn.Module], names: Sequence[Sequence[str]], loader: DataLoader, device: str
) -> Tensor:
    """Compute CKA with torch_cka, which makes the Gram matrices anew for every pair of layers."""
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
        peer = torch_cka.CKA(*models, model1_layers=names[0], model2_layers=names[1], device=device)
        # It refuses to hand out NaN, which is then what it found.
        with contextlib.suppress(AssertionError):
            peer.compare(loader)
    # Its rows are in firing order, and its hooks stay.
    rows, columns = list(peer.model1_features), list(peer.model2_features)
    for model in models:
        for module in model.modules():
            module._forward_hooks.clear()
    found = peer.hsic_matrix.double()
    return found[[rows.index(name) for name in names[0]]][:, [columns.index(name) for name in names[1]]]
