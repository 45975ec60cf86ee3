"""Where the weights of a network came from, so that results can name them."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass(frozen=True)
class WeightsSource:
    """The file that holds a network's weights.

    Attributes:
        file: Its path; for a repository of the Hugging Face hub, its name there.
        sha256: Hash of its content.
        repository: The repository of the hub, None for other files.
        revision: The commit of that repository; None where a mirror of the hub names none.

    Example:
        >>> print(WeightsSource("weights.safetensors", sha256="0f" * 32))
        weights.safetensors (sha256 0f0f0f0f0f0f)
    """

    file: str
    sha256: str
    repository: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """Name it in short, with the first digits of commit and hash."""
        at = f" at {self.revision[:12]}" if self.revision else ""
        where = f"{self.repository}{at}" if self.repository else self.file
        return f"{where} (sha256 {self.sha256[:12]})"


# Beside the networks rather than in them: a copy that is changed afterwards has other weights.
_SOURCES: WeakKeyDictionary[nn.Module, WeightsSource] = WeakKeyDictionary()


def weights_source(model: nn.Module) -> WeightsSource | None:
    """Tell where the weights of a network that `load` gave came from.

    Args:
        model: The network.

    Returns:
        Repository, commit, file and hash; None for random weights, for a copy of a network, and for a network
        that did not come from `load`.

    Example:
        >>> from seelike import models
        >>> source = weights_source(models.load("tiny/resnet"))
        >>> source.file, len(source.sha256)
        ('seelike/checkpoints/resnet.safetensors', 64)
        >>> weights_source(models.load("tiny/resnet:random")) is None
        True
    """
    return _SOURCES.get(model)


def note_source(model: nn.Module, source: WeightsSource) -> None:
    """Note where the weights came from that were just put into a network."""
    _SOURCES[model] = source
