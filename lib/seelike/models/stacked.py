"""Networks of one architecture as one: a pass through all at once, each with weights and images of its own.

With f for the architecture, w_1 ... w_n for the weights of n networks and x_1 ... x_n for what they read, one pass
gives f(w_1, x_1) ... f(w_n, x_n): each product of matrices becomes a batched product of n pairs (torch.func.vmap).
A small network does not fill a GPU. Many side by side do.

ViTs may differ in more than their weights. Each difference is a number that stands in the formula of the block:

    x <- kept x + attention(norm(x); seen)       kept   1, or 0 in a block without skip connections
    x <- kept x + mlp(norm(x))                   seen   0, or minus infinity for a CLS token that is not there
    scores <- head(sum_t read_t norm(x)_t)       read   1 for the CLS token and 0 for others, or 1/n for each of n

A network without a CLS token has one here whose weights are zero. No other token sees it and nothing reads it, so
that its gradient is zero, and it stays.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seelike.models.without_skips import BlockWithoutSkips


class Stack:
    """Networks of one architecture, whose weights lie on top of each other.

    Attributes:
        models: The networks. Their own weights are those that they came with, until `unstack`.
        weights: By name, the weights of all networks, `[n, *shape]`; they are leaves, to be optimised.

    Args:
        models: Of one architecture and size. ViTs of one CLS token or none may differ in their pooling and in the
            blocks that have no skip connections.

    Raises:
        ValueError: There is no network, or the weights of two have different shapes.

    Example:
        >>> from seelike.models.tiny import build
        >>> stack = Stack([build("tiny/vit_7x7_small"), build("tiny/vit_7x7_small")])
        >>> stack.scores(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 10])
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        """Stack the weights."""
        if not models:
            raise ValueError("A stack needs one or more networks; got none.")
        self.models = list(models)
        pattern = next((model for model in models if _has_class_token(model)), models[0])
        states = [_with_class_token(model, pattern) for model in models]
        shapes = [{name: tuple(weight.shape) for name, weight in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("Only networks of one architecture and size can be stacked; these differ in weights.")
        self.weights = {
            name: nn.Parameter(torch.stack([state[name].detach() for state in states])) for name in states[0]
        }
        self._pattern: nn.Module = pattern
        self._differences: tuple[Tensor | None, ...] = ()
        if len(models) > 1 and isinstance(pattern, VisionTransformer):
            self._pattern = _Transformer(pattern)
            self._differences = _differences(self.models, pattern)

    def scores(self, images: Float[Tensor, "n b 1 side side"]) -> Float[Tensor, "n b classes"]:
        """Give the scores of each network for its own images."""
        if len(self.models) == 1:
            alone = {name: weight[0] for name, weight in self.weights.items()}
            return functional_call(self.models[0], alone, (images[0],)).unsqueeze(0)
        prefix = "vit." if self._differences else ""
        weights: dict[str, Tensor] = {f"{prefix}{name}": weight for name, weight in self.weights.items()}

        def one(weights: dict[str, Tensor], images: Tensor, *differences: Tensor) -> Tensor:
            return functional_call(self._pattern, weights, (images, *differences))

        given = [each for each in self._differences if each is not None]
        return vmap(one)(weights, images, *given)

    def unstack(self) -> None:
        """Give each network the weights that it has in the stack."""
        for index, model in enumerate(self.models):
            weights = {name: weight[index].detach() for name, weight in self.weights.items()}
            if "cls_token" in weights and not _has_class_token(model):
                del weights["cls_token"]
                weights["pos_embed"] = weights["pos_embed"][:, 1:]
            model.load_state_dict(weights)

    @torch.no_grad()
    def clip_gradients(self, largest: float) -> None:
        """Scale the gradient of each network down to a norm, where it is longer, as if it were alone."""
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scale = (largest / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient *= scale.view(-1, *[1] * (gradient.ndim - 1))


class _Transformer(nn.Module):
    """A ViT in which skip connections, pooling and CLS token are numbers: see the top of this file."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit

    def forward(
        self,
        images: Float[Tensor, "b 1 side side"],
        kept: Float[Tensor, " blocks"],
        read: Float[Tensor, " tokens"],
        seen: Float[Tensor, "1 1 1 tokens"] | None = None,
    ) -> Float[Tensor, "b classes"]:
        vit = self.vit
        x = vit._pos_embed(vit.patch_embed(images))
        for block, skip in zip(vit.blocks, kept.unbind(), strict=True):
            assert isinstance(block, Block)
            x = skip * x + block.attn(block.norm1(x), attn_mask=seen)
            x = skip * x + block.mlp(block.norm2(x))
        return vit.head(torch.einsum("t,btd->bd", read, vit.norm(x)))


def _has_class_token(model: nn.Module) -> bool:
    return getattr(model, "cls_token", None) is not None


def _with_class_token(model: nn.Module, pattern: nn.Module) -> dict[str, Tensor]:
    """Give the weights of a network, with zeros for a CLS token that only the pattern has."""
    state = dict(model.state_dict())
    if _has_class_token(pattern) and not _has_class_token(model):
        token = torch.zeros_like(pattern.state_dict()["cls_token"])
        state["cls_token"] = token
        state["pos_embed"] = torch.cat([token, state["pos_embed"]], dim=1)
    return state


def _differences(models: Sequence[nn.Module], pattern: VisionTransformer) -> tuple[Tensor | None, ...]:
    """Give `kept`, `read` and `seen`, with a first axis over the networks; the last only where it is needed."""
    assert pattern.pos_embed is not None
    tokens = pattern.pos_embed.shape[1]
    prefix = int(_has_class_token(pattern))
    kept, read, seen = [], [], torch.zeros(len(models), 1, 1, 1, tokens)
    for index, model in enumerate(models):
        assert isinstance(model, VisionTransformer)
        kept.append([0.0 if isinstance(block, BlockWithoutSkips) else 1.0 for block in model.blocks])
        averages = model.global_pool == "avg"
        spatial = tokens - prefix
        read.append([0.0 if averages else 1.0] * prefix + [1 / spatial if averages else 0.0] * spatial)
        if prefix and not _has_class_token(model):
            seen[index, ..., 0] = -torch.inf
    device = pattern.pos_embed.device
    masks = seen.to(device) if seen.any() else None
    return torch.tensor(kept, device=device), torch.tensor(read, device=device), masks
