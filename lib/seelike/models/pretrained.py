"""Weights that timm knows, from the Hugging Face hub: safetensors only.

A pickle can run any code when it is opened. timm itself would fall back to one where a repository has no
safetensors file, and for some networks knows only an address of one. Both are refused here, and the error says
how to convert what one trusts.
"""

from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from torch import nn

from seelike import hub
from seelike.models.image_size import Size, resized
from seelike.models.sources import WeightsSource, note_source

# timm's names of weights on the hub, where they are not the usual ones.
_USUAL = "pytorch_model.bin"
_OPEN_CLIP = "open_clip_pytorch_model.bin"
_SAFETENSORS = {_USUAL: "model.safetensors", _OPEN_CLIP: "open_clip_model.safetensors"}


def load_pretrained(name: str, image_size: Size | None = None) -> nn.Module:
    """Build a network of timm with the weights that its authors published.

    Args:
        name: A name of timm, with its tag or without.
        image_size: Height and width of the images that it is to read, in pixels; None for what it was trained on.

    Returns:
        The network. `weights_source` names the commit and the hash of its weights.

    Raises:
        RuntimeError: There are no weights of this name, or none as safetensors (`seelike.hub.NotAsSafetensors`).
        HubError: They could not be had from the hub; `seelike.hub` has a class for each cause.
        ValueError: The file is not safetensors, or does not fit the architecture; or the network cannot read
            images of that size.
    """
    configuration = timm.get_pretrained_cfg(name)
    if configuration is None or not configuration.has_weights:
        raise RuntimeError(
            f"timm has no pretrained weights for {name!r}. Load {name + ':random'!r}, or your own as "
            f"'{name}@path/to/weights.safetensors'."
        )
    if not configuration.hf_hub_id:
        raise RuntimeError(_only_unsafe(name, f"timm has the weights of {name!r} only at {configuration.url}"))
    repository, _, revision = configuration.hf_hub_id.partition("@")
    file = _safetensors_name(configuration.hf_hub_filename)
    hint = (
        f"What needs no hub: 'tiny/vit_7x7', weights of your own as '{name}@path/to/weights.safetensors', "
        f"{name + ':random'!r}."
    )
    try:
        found = hub.download(repository, file, revision=revision or "main", hint=hint)
    except hub.NotInRepository as error:
        told = f"{repository} has no {file}"
        unsafe = hub.NotAsSafetensors(_only_unsafe(name, told))
        unsafe.happened = f"{told}."
        raise unsafe from error
    whence = f"{found.path}, from {found.repository} at {found.revision}"
    try:
        with safe_open(found.path, framework="pt"):
            pass
    except SafetensorError as error:
        raise ValueError(
            f"{whence}, is not a safetensors file, though it is what the hub has ({error}). Tell its authors; a "
            f"file of your own is loaded as '{name}@path/to/weights.safetensors'."
        ) from error
    try:
        model = filled(name, found.path)
    except Exception as error:  # of any kind, from timm's functions that rename tensors
        raise ValueError(
            f"The tensors of {whence}, do not fit {name!r} of timm {timm.__version__}: "
            f"{shorten(str(error), 300)} Another timm may know them: pip install -U timm."
        ) from error
    if image_size is not None:
        model = resized(model, image_size, partial(filled, name, found.path))
    # A mirror that is no git repository names zeros, as git does where there is no commit.
    commit = found.revision if found.revision.strip("0") else None
    note_source(model, WeightsSource(found.file, found.sha256, found.repository, commit))
    return model


def _safetensors_name(given: str | None) -> str:
    """What the safetensors twin of a file is called on the hub."""
    usual = given or _USUAL
    return _SAFETENSORS.get(usual, Path(usual).with_suffix(".safetensors").as_posix())


def _only_unsafe(name: str, found: str) -> str:
    return (
        f"{found}, so its weights could only come as a format that can hide code, which is not opened from the "
        f'network. If you trust their authors, convert them: python -c "import timm, safetensors.torch as s; '
        f"s.save_model(timm.create_model('{name}', pretrained=True), 'weights.safetensors')\", and load "
        f"'{name}@weights.safetensors'."
    )


def filled(architecture: str, path: Path, **arguments: Any) -> nn.Module:
    """Build a network of timm and fill it as timm does, from a safetensors file that was opened before.

    timm knows which tensors to rename or to resample, and which classifier belongs to the weights. Its special
    loaders are for other formats.
    """
    overlay = {"file": str(path), "state_dict": None, "custom_load": False, "source": ""}
    overlay |= arguments.pop("pretrained_cfg_overlay", {})
    return timm.create_model(architecture, **arguments, pretrained=True, pretrained_cfg_overlay=overlay)
