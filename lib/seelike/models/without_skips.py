"""A Transformer block whose skip connections are removed (Section 5, Figure 8).

A block is, with x for the stream of tokens,

    x <- x + attention(norm(x))             x <- x + mlp(norm(x))

and without its skip connections

    x <- attention(norm(x))                 x <- mlp(norm(x))

It has the same parameters. The paper trains a network of which one block is such a block.
"""

from typing import Any

from timm.models.vision_transformer import Block
from torch import Tensor


class BlockWithoutSkips(Block):
    """timm's block, without the two additions.

    Example:
        >>> import torch
        >>> block = BlockWithoutSkips(dim=8, num_heads=2).eval()
        >>> x = torch.randn(2, 5, 8)
        >>> branch = block.attn(block.norm1(x))
        >>> torch.equal(block(x), block.mlp(block.norm2(branch)))
        True
    """

    def forward(self, x: Tensor, *mask: Any, **options: Any) -> Tensor:
        """Turn tokens `[b, t, d]` into tokens `[b, t, d]`; what else timm's block takes goes to the attention."""
        x = self.drop_path1(self.ls1(self.attn(self.norm1(x), *mask, **options)))
        return self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
