"""What a network must be to be measured, and which images it takes."""

from functools import lru_cache

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seelike.errors import require_type

_OF_A_MODULE = "The network itself is in its attribute `module`: give that."
# Classes of torch that stand before a network, also as a base, and where to find what they hide.
_WRAPPERS = {
    "OptimizedModule": "torch.compile left the network that it was given as it was: give that, `model._orig_mod`.",
    "ScriptModule": "Give the network that was scripted or traced.",
    "DataParallel": _OF_A_MODULE,
    "DistributedDataParallel": _OF_A_MODULE,
    "FullyShardedDataParallel": "Load the network again, whole, on one device.",
    "FSDPModule": "Load the network again, whole, on one device.",
    "AveragedModel": _OF_A_MODULE,
}


def require_measurable(model: nn.Module) -> None:
    """Refuse a network of which some activations would be wrong, random or hidden.

    These are networks that are compiled or wrapped (`require_unwrapped`), that are in training mode, where dropout
    is at work, or whose normalisation reads the statistics of the batch, so that each image's result depends on
    the images beside it.

    Args:
        model: Any network.

    Raises:
        TypeError: It is no network.
        ValueError: It is such a network; the message says which part, and what to do.

    Example:
        >>> require_measurable(nn.Sequential(nn.Dropout()))
        Traceback (most recent call last):
            ...
        ValueError: Sequential is in training mode, where its activations are random. Call model.eval() first.
        >>> require_measurable(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval())
        Traceback (most recent call last):
            ...
        ValueError: Module '0' of Sequential normalises by the statistics of the batch, in evaluation mode too, ...
    """
    require_unwrapped(model)
    by_batch = norms_by_the_batch(model)
    for name, module in model.named_modules():
        part = f"Module {name!r} of {type(model).__name__}" if name else type(model).__name__
        if module.training:
            raise ValueError(
                f"{part} is in training mode, where its activations are random. Call model.eval() first."
            )
        if module in by_batch:
            raise ValueError(
                f"{part} normalises by the statistics of the batch, in evaluation mode too, so that what it gives "
                "for an image depends on the images beside it. Give the network with running statistics "
                "(track_running_stats=True), or with a norm that does not mix images."
            )


def norms_by_the_batch(model: nn.Module) -> list[_BatchNorm]:
    """List the modules that normalise by the statistics of the batch, also in evaluation mode.

    Args:
        model: Any network.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(4, track_running_stats=False))
        >>> [norm.num_features for norm in norms_by_the_batch(model)]
        [4]
    """
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and (module.running_mean is None or module.running_var is None)
    ]


def require_unwrapped(model: nn.Module) -> None:
    """Refuse a network that is compiled, scripted or wrapped, which hides its layers and its configuration.

    Args:
        model: Any network, in training mode or not.

    Raises:
        TypeError: It is no network.
        ValueError: It, or a part of it, is so; the message says what to give instead.

    Example:
        >>> require_unwrapped(nn.DataParallel(nn.Linear(1, 1)))
        Traceback (most recent call last):
            ...
        ValueError: The network is wrapped in DataParallel, which hides its layers. The network itself is in its \
attribute `module`: give that.
    """
    require_type("model", model, nn.Module, "a network, as seelike.models.load gives it")
    for name, module in model.named_modules():
        part = f"Module {name!r} of {type(model).__name__}" if name else "The network"
        wrapper = _wrapper(type(module))  # type: ignore[arg-type]  # mypy takes classes for having no hash
        if wrapper:
            how = {"OptimizedModule": "compiled", "ScriptModule": "compiled by torch.jit"}.get(
                wrapper, f"wrapped in {wrapper}"
            )
            raise ValueError(f"{part} is {how}, which hides its layers. {_WRAPPERS[wrapper]}")
        # torch.compiler.disable leaves such a mark too, and hides nothing.
        forward_is_compiled = hasattr(module.forward, "_torchdynamo_orig_callable") and not hasattr(
            module.forward, "_torchdynamo_disable"
        )
        if module._compiled_call_impl is not None or forward_is_compiled:
            raise ValueError(
                f"{part} is compiled, which hides its layers, and it is changed itself: load it "
                "again, and do not compile it."
            )


# Every pass asks for every module. Not all are kept: a graph of modules brings a class of its own.
@lru_cache(maxsize=256)
def _wrapper(kind: type[nn.Module]) -> str | None:
    """Name the class of torch, of `_WRAPPERS`, that a class is or has as a base."""
    classes = [base.__name__ for base in kind.__mro__ if base.__module__.startswith("torch.")]
    return next((known for known in classes if known in _WRAPPERS), None)


def input_size(model: nn.Module) -> tuple[int, int, int]:
    """Give the channels, height and width of the images that a network takes, in pixels.

    Args:
        model: A network. What it was built for counts more than its `pretrained_cfg`; without either, it is
            taken to read 224 x 224 colour images.

    Example:
        >>> import timm
        >>> input_size(timm.create_model("vit_tiny_patch16_224", img_size=32, in_chans=1))
        (1, 32, 32)
    """
    configuration = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = configuration.get("input_size") or (3, 224, 224)
    channels = getattr(model, "in_chans", channels)
    # The patch embedding of a ViT, or of a Mixer; dynamic ones have no fixed size.
    patches = getattr(model, "patch_embed", getattr(model, "stem", None))
    height, width = getattr(patches, "img_size", None) or (height, width)
    return channels, height, width
