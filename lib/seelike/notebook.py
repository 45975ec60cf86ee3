"""The set-up line of every notebook: `run = seelike.start(globals())`.

It reads the parameters that the notebook's tagged cell sets, and that `papermill -p NAME VALUE` sets anew,
refuses what it does not know, loads models and images, and says what will run.
"""

import html
import os
import platform
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import timm
import torch
from IPython import get_ipython
from torch import nn

import seelike
from seelike import claims, data, hub, models, plots
from seelike.data.draws import enough, overlap
from seelike.display import escape_markdown, show, show_warnings_without_path
from seelike.errors import unknown_name
from seelike.profiles import GROUPS, LISTS, NAMES, PAGES, PAGES_WITH_PROBES, Profile, profile_of

Result = TypeVar("Result")

RUN_MIME = "application/vnd.seelike.run+json"

# The parameters of every notebook. None takes the profile's value; device and profile go by what the machine has.
PARAMETERS: dict[str, Any] = {
    "profile": None,
    "models": None,
    "images": None,
    "probe_images": None,
    "number_of_images": None,
    "batch_size": None,
    "repeats": None,
    "seed": 0,
    "device": None,
    "precision": None,
    "weights": None,
}

# The role of each family of networks (`seelike.models.family`). Those of no role are "others".
_ROLE_OF_FAMILY = {"vit": "vits", "resnet": "cnns", "cnn": "cnns", "mixer": "mixers"}

# What each role is called where a run has none of it, and how to give it.
_A_NETWORK = {
    "vits": ("ViT", "vit_small_patch16_224"),
    "cnns": ("CNN", "resnet50"),
    "mixers": ("Mixer", "mixer_b16_224"),
    "later": ("network of after the paper", "vit_small_patch14_dinov2"),
}
_A_GROUP = {
    "much_and_little_data": ("network beside the same one trained on less data", "much>little"),
    "shares_of_data": ("network beside the same one trained on less data", "all>less>least"),
    "cls_and_gap": ("ViT with a CLS token beside one trained with global average pooling", "with_cls>with_gap"),
    "without_skips": ("ViT beside the same one trained without some skip connections", "intact>cut"),
    "finetuned": ("network beside what finetuning made of it", "before>after"),
}

# What a parameter can be. Modules, functions and objects in a notebook's namespace never are parameters.
_PLAIN = (type(None), bool, int, float, str, list, tuple, dict)
_GARMENTS = "fashion-mnist/test"
# The unbiased HSIC of n images divides by n (n - 3).
_MINIMUM = 4


@dataclass(frozen=True)
class Run:
    """What one run of a notebook works on.

    Attributes:
        profile: The profile's name.
        models: The loaded networks by name, on the device, in evaluation mode. A file goes by its own name, and by
            its folders where another has the same.
        lists: Names of networks by role: "vits", "cnns" (any convolutional networks), "mixers", "later", and
            "others" for those of no role that the user names.
        groups: Groups of names by role, such as "cls_and_gap"; the first of a group is what the others are
            compared with. A role that has none in this run has an empty list.
        images: The images, of which each repeat draws its own. A folder goes by its own name, as a file does.
        other_images: Names of image sets of other kinds.
        probe_images: Images with classes, for linear probes: a set of their own, or `images`.
        number_of_images: Images in each repeat.
        batch_size: Images in each minibatch.
        repeats: Draws of images.
        seed: Repeat `r` draws its images by `seed + r`.
        device: Where the networks run, "cpu" or "cuda".
        precision: Of their forward passes, "float32" or "mixed" (`seelike.models.with_precision`).
    """

    profile: str
    models: dict[str, nn.Module]
    lists: dict[str, list[str]]
    groups: dict[str, list[list[str]]]
    images: data.ImageSet
    other_images: list[str]
    probe_images: data.ImageSet
    number_of_images: int
    batch_size: int
    repeats: int
    seed: int
    device: str
    precision: str

    @property
    def vits(self) -> list[str]:
        """Names of the Vision Transformers that the page is about, from small to large."""
        return self.lists.get("vits", [])

    @property
    def cnns(self) -> list[str]:
        """Names of the convolutional networks, likewise."""
        return self.lists.get("cnns", [])

    @property
    def mixers(self) -> list[str]:
        """Names of the MLP-Mixers, likewise."""
        return self.lists.get("mixers", [])

    @property
    def others(self) -> list[str]:
        """Names of the networks that the user gives and that are of no role, such as a Swin Transformer."""
        return self.lists.get("others", [])

    @property
    def names(self) -> list[str]:
        """Names of all networks that the page is about: ViTs, CNNs, Mixers, and those of no role.

        Networks that a profile has in groups alone, such as finetuned ones, are not among them.
        """
        return [*self.vits, *self.cnns, *self.mixers, *self.others]

    def say_missing(self, *roles: str) -> None:
        """Print why there is nothing to show: which roles no network of this run has, and how to give them.

        Args:
            roles: The roles that are needed, such as "cnns" or "cls_and_gap".

        Raises:
            UnknownName: There is no such role.

        Example:
            >>> run = start({"models": "tiny/vit_7x7", "device": "cpu"})  # doctest: +ELLIPSIS
            Profile tiny on cpu: ...
            >>> run.say_missing("vits", "cnns")
            Nothing to show here. This run has no CNN: add one to models, such as resnet50.
        """
        sentences = []
        for role in roles:
            if role not in _A_NETWORK | _A_GROUP:
                raise unknown_name("role", role, _A_NETWORK | _A_GROUP)
            if role in _A_NETWORK and not self.lists.get(role):
                what, example = _A_NETWORK[role]
                sentences.append(f"This run has no {what}: add one to models, such as {example}.")
            elif role in _A_GROUP and not self.groups.get(role):
                what, example = _A_GROUP[role]
                sentences.append(f"This run has no {what}: write both in models as '{example}'.")
        found = sentences or ["The reason stands where it was to be measured, above."]
        print("Nothing to show here.", *found)

    def draws(self, images: data.ImageSet | None = None) -> Iterator[data.ImageSet]:
        """Draw other images for each repeat: `number_of_images` of them; of another set, at most half of it.

        Args:
            images: What to draw from; this run's images by default.

        Raises:
            ValueError: Half of the other set is too few.
        """
        images = self.images if images is None else images
        number = self.number_of_images if images is self.images else min(self.number_of_images, len(images) // 2)
        if number < _MINIMUM:
            raise ValueError(
                f"{images.name} has {len(images)} images, of which each repeat takes half; CKA needs {_MINIMUM} "
                f"or more in each. Give {2 * _MINIMUM} images or more."
            )
        for repeat in range(self.repeats):
            yield images.sample(number, seed=self.seed + repeat)

    def images_for(self, names: Iterable[str]) -> data.ImageSet:
        """Choose the images for some networks: this run's, or garments for tiny networks among larger ones.

        Some roles have tiny networks at every profile. Photographs are not what these were trained on.

        Args:
            names: Names of networks.
        """
        return data.load(_GARMENTS) if self._tiny_among_larger(names) else self.images

    def probe_images_for(self, names: Iterable[str]) -> data.ImageSet:
        """Choose the images with classes for linear probes of some networks, as `images_for` does.

        Args:
            names: Names of networks.
        """
        return data.load(_GARMENTS) if self._tiny_among_larger(names) else self.probe_images

    @staticmethod
    def to_show(images: data.ImageSet) -> data.ImageSet:
        """Choose images for the reader's eyes: those that come with seelike, in the place of any others.

        What is measured on may have terms under which a page must not show it. These photographs may be shown.

        Args:
            images: What is measured on.

        Example:
            >>> Run.to_show(data.load("digits/test")).name
            'digits/test'
        """
        return images if isinstance(images.stored, np.ndarray) else data.load("photographs")

    def own_groups(self, role: str) -> list[list[str]]:
        """Groups of a role whose networks read this run's images: none where tiny ones stand in.

        Args:
            role: A role of groups, such as "cls_and_gap".
        """
        return [group for group in self.groups.get(role, []) if not self._tiny_among_larger(group)]

    def _tiny_among_larger(self, names: Iterable[str]) -> bool:
        return self.profile != "tiny" and all(name.startswith("tiny/") for name in names)


def start(namespace: Mapping[str, Any], page: str | None = None) -> Run:
    """Set a notebook up: read its parameters, seed, load models and images, say what will run.

    The parameters are `profile`, `models` (a list of names, or one string with commas), `images`,
    `probe_images`, `number_of_images`, `batch_size`, `repeats`, `seed`, `device`, `precision` and `weights`
    ("random": the networks before any training). One that is absent or None takes the profile's value. The
    profile itself is then "tiny", and on Colab with a GPU "colab". Where the profile asks for more images than a
    given folder has, the whole folder is used. Of an image set on the hub, as many are fetched as repeats need
    that share none.

    A network of the profile that cannot be had is left out, and a note says why. Where a page has none left of
    those that it is about, its first role, it shows what it shows at the tiny profile.

    Networks that are given take their role by their architecture: any convolutional network takes the place of the
    paper's ResNets. One of another kind has no role: a note names it, and pages show of it what needs none. A
    group, for pages that compare networks with one of their kind, is written with ">" after the network that the
    others are compared with: "before>after".

    A parameter that is not among these is an error that names the near ones: papermill itself would only
    warn. This is checked once in a kernel. When the cell runs again, the notebook's own variables are in the
    namespace too, and cannot be told from parameters.

    Args:
        namespace: The notebook's `globals()`.
        page: The name of the notebook, by which `profiles.toml` knows what it takes; without it, ViTs and CNNs.

    Returns:
        The run.

    Raises:
        UnknownName: A parameter, profile, page, model, device or precision that is not known.
        TypeError: A parameter of the wrong type.
        ValueError: A number out of range, more images asked for than there are, fewer images than one
            minibatch, a device that this machine lacks, or no images where the profile brings none.
        OSError: Images cannot be had from the hub, or weights of networks that the user names or of all of the
            profile; `seelike.hub` says which errors there are.

    Example:
        >>> run = start({"number_of_images": 64, "batch_size": 32, "repeats": 2, "device": "cpu"})
        ... # doctest: +ELLIPSIS
        Profile tiny on cpu: ...
        >>> run.vits, run.number_of_images
        (['tiny/vit_7x7', 'tiny/vit_14x14'], 64)
    """
    _refuse_unknown_parameters(namespace)
    given = {name: namespace.get(name, default) for name, default in PARAMETERS.items()}
    profile = _profile(given["profile"], page)
    seed = _whole_number("seed", given["seed"], 0, at_least=0)
    device = _device(given["device"])
    if given["weights"] not in (None, "random"):
        raise unknown_name("weights", str(given["weights"]), ["random"], "None takes the trained ones.")
    chosen = _chosen(given["models"])

    plots.use_style()
    show_warnings_without_path()
    sets = _take_images(given, profile, page, bool(chosen or profile.networks), seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    precision = profile.precision if given["precision"] is None else given["precision"]
    load = partial(_load, device=device, precision=precision, weights=given["weights"])
    left_out: dict[str, hub.HubError] = {}
    if chosen:
        loaded = load(list(dict.fromkeys(name for group in chosen for name in group)))
    else:
        profile, loaded, left_out, stand_in = _load_what_can_be_had(
            profile, page, load, given["weights"] is not None
        )
        if stand_in:
            sets = _take_images({**given, "images": None, "probe_images": None}, profile, page, True, seed)
    names = list(loaded)
    short = _short_names(names)
    notes = [*_notes_of(left_out), *sets.notes]
    if not chosen and profile.name != "tiny" and profile.tiny_roles:
        roles = ", ".join(profile.tiny_roles)
        notes.append(f"Tiny networks stand in where no public one could be had ({roles}), on garments.")
    if given["weights"] is not None:
        notes = ["The networks are untrained: their weights are random.", *notes]
    if given["profile"] is None and profile.name == "tiny" and _on_colab():
        notes.append(
            "Colab has given no GPU, so these are small networks. For pretrained ones choose a GPU under Runtime, "
            "Change runtime type, and run all cells again."
        )

    loaded = {short[name]: model for name, model in loaded.items()}
    groups = [[short[name] for name in group] for group in chosen if len(group) > 1]
    run = Run(
        profile=profile.name,
        models=loaded,
        lists=_by_family(loaded) if chosen else profile.lists,
        groups=dict.fromkeys(GROUPS, groups) if chosen else profile.groups,
        images=sets.images,
        other_images=profile.other_images if given["images"] is None else [],
        probe_images=sets.probe_images,
        number_of_images=sets.number_of_images,
        batch_size=sets.batch_size,
        repeats=sets.repeats,
        seed=seed,
        device=device,
        precision=precision,
    )
    given_as = {short[name]: name for name in names if short[name] != name}
    record = {
        "images": sets.name,
        "probe_images": sets.probe_images.name,
        "given_as": given_as,
        "weights_given": given["weights"],
        "left_out": {name: error.happened for name, error in left_out.items()},
        "tiny_roles": [] if chosen or profile.name == "tiny" else profile.tiny_roles,
    }
    show(_description(run, notes, record))
    claims.draws_share(overlap(len(run.images), run.number_of_images, run.seed, run.repeats))
    return run


def where_possible(names: Iterable[str], measure: Callable[[str], Result]) -> dict[str, Result]:
    """Measure each network that can be measured, and say of the others why they cannot.

    Not every quantity has a meaning for every architecture: a CNN has no heads of attention. Networks with the
    same reason are named together.

    Args:
        names: Names of networks.
        measure: Measures one. A ValueError or TypeError of it is the reason why it cannot.

    Returns:
        The results by name.

    Example:
        >>> where_possible(["4", "four"], int)
        four: not here. invalid literal for int() with base 10: 'four'
        {'4': 4}
    """
    results, reasons = {}, dict[str, list[str]]()
    for name in names:
        try:
            results[name] = measure(name)
        except (ValueError, TypeError) as error:
            reasons.setdefault(str(error), []).append(name)
    for reason, without in reasons.items():
        print(f"{', '.join(without)}: not here. {reason}")
    return results


@dataclass(frozen=True)
class _Sets:
    """The images of a run, as `_take_images` finds them; `name` is that of the images as they were given."""

    name: str
    images: data.ImageSet
    probe_images: data.ImageSet
    number_of_images: int
    batch_size: int
    repeats: int
    notes: list[str]


def _take_images(
    given: Mapping[str, Any], profile: Profile, page: str | None, some_networks: bool, seed: int
) -> _Sets:
    repeats = _whole_number("repeats", given["repeats"], profile.repeats, at_least=1)
    wanted = _whole_number("number_of_images", given["number_of_images"], profile.number_of_images, _MINIMUM)
    # A page without networks shows no image to anything: nothing is fetched for it. Of a set on the hub, others
    # get as many as repeats need that share none.
    name = _images(given["images"], profile) if some_networks else _GARMENTS
    images = data.load(name, enough=enough(wanted, repeats, seed), seed=seed)
    number_of_images, batch_size, notes = _amounts(given, profile, images, seed, repeats)
    if some_networks:
        of_profile = profile.images_note if given["images"] is None else ""
        notes = [note for note in (of_profile, images.note, *notes) if note]
    own_name = _by_own_name(images)
    probe_images = _probe_images(given, profile, page, own_name, seed)
    return _Sets(images.name, own_name, probe_images, number_of_images, batch_size, repeats, notes)


def _load(names: Sequence[str], *, device: str, precision: str, weights: str | None) -> dict[str, nn.Module]:
    ending = "" if weights is None else f":{weights}"
    return {
        name: models.with_precision(models.load(f"{name}{ending}", device=device), precision) for name in names
    }


def _load_what_can_be_had(
    profile: Profile, page: str | None, load: Callable[[list[str]], dict[str, nn.Module]], is_control: bool
) -> tuple[Profile, dict[str, nn.Module], dict[str, hub.HubError], bool]:
    """Load the networks of a profile.

    Returns:
        What was taken of it, the networks, the errors of those that were left out, and whether the page is wholly
        that of the tiny profile for want of networks of its own.
    """
    found, left_out = dict[str, nn.Module](), dict[str, hub.HubError]()
    for name in profile.networks:
        try:
            if is_control:
                # It has the networks of the run that it stands beside: those whose weights can be had.
                models.load(name)
            found |= load([name])
        except (hub.NotOnTheHub, hub.NotAllowed, hub.Unreachable) as error:
            left_out[name] = error
    # Without a hub the user has to do something. What the hub does not have, nobody can change.
    cut_off = [error for error in left_out.values() if isinstance(error, hub.Unreachable)]
    if cut_off and not found:
        raise cut_off[0]
    profile = profile.without(left_out)
    subject, *_ = [*PAGES[page], "vits"] if page is not None else ["vits"]
    stand_in = bool(left_out) and not profile.lists.get(subject, profile.groups.get(subject))
    if stand_in:
        profile = replace(profile_of("tiny", page), name=profile.name)
    found |= load([name for name in profile.networks if name not in found])
    return profile, {name: found[name] for name in profile.networks}, left_out, stand_in


def _notes_of(left_out: Mapping[str, hub.HubError]) -> list[str]:
    reasons = dict[str, list[str]]()
    for name, error in left_out.items():
        reasons.setdefault(error.happened, []).append(name)
    return [f"Left out: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _by_own_name(images: data.ImageSet) -> data.ImageSet:
    """A folder goes by its own name."""
    folder = Path(images.name).expanduser()
    return replace(images, name=folder.name) if folder.is_dir() else images


def _probe_images(
    given: Mapping[str, Any], profile: Profile, page: str | None, images: data.ImageSet, seed: int
) -> data.ImageSet:
    """Images for probes: those given, or the profile's where the images are the profile's too."""
    chosen = given["probe_images"]
    if chosen is None and given["images"] is None and page in PAGES_WITH_PROBES:
        chosen = profile.probe_images
    if chosen is None:
        return images
    if not isinstance(chosen, str | Path):
        raise TypeError(f"probe_images must be the name of an image set or a folder; got {chosen!r}.")
    return _by_own_name(data.load(str(chosen), seed=seed))


def _refuse_unknown_parameters(namespace: Mapping[str, Any]) -> None:
    if any(isinstance(value, Run) for value in namespace.values()):
        return
    shell = get_ipython()
    # IPython's own (In, Out, and what start-up files of a user or of Colab define).
    hidden = {"In", "Out", *(shell.user_ns_hidden if shell is not None else ())}
    for name, value in namespace.items():
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in hidden | PARAMETERS.keys():
            raise unknown_name(
                "parameter",
                name,
                PARAMETERS,
                hint="Define variables of your own after seelike.start(globals()).",
            )


def _profile(given: Any, page: str | None) -> Profile:
    if given is None:
        # Who opens a page on Colab with a GPU wants to see the real networks, and shall not have to ask.
        given = "colab" if _on_colab() and torch.cuda.is_available() else "tiny"
    if not isinstance(given, str):
        raise TypeError(f"profile must be one of {', '.join(NAMES)}; got {given!r}.")
    return profile_of(given, page)


def _on_colab() -> bool:
    return "google.colab" in sys.modules


def _whole_number(name: str, given: Any, default: int, at_least: int) -> int:
    if given is None:
        return default
    # bool is an int to Python, and True images are none.
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name} must be a whole number of {at_least} or more; got {given!r}.")
    if given < at_least:
        raise ValueError(f"{name} must be {at_least} or more; got {given}.")
    return given


def _device(given: Any) -> str:
    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not isinstance(given, str):
        raise TypeError(f"device must be a name such as 'cpu' or 'cuda'; got {given!r}.")
    kind, _, index = given.partition(":")
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if kind not in counts or (index and not index.isdecimal()) or given.endswith(":"):
        raise unknown_name("device", given, [*counts, "cuda:0"])
    if int(index or 0) >= counts[kind]:
        here = [name for name, count in counts.items() if count]
        raise ValueError(
            f"device {given!r} is not on this machine. Here are: {', '.join(here)}. "
            "Set device to one of these, or to None for the fastest."
        )
    return given


def _chosen(given: Any) -> list[list[str]]:
    """Networks that the user names, each alone or in its group; none where the profile's shall be taken."""
    if given is None:
        return []
    entries = given.split(",") if isinstance(given, str) else given
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        raise TypeError(f"models must be a list of names, or one string with commas between them; got {given!r}.")
    chosen = [[name.strip() for name in entry.split(">")] for entry in entries if entry.strip()]
    if not chosen:
        raise ValueError(f"models must name at least one network; got {given!r}. None takes the profile's.")
    for group in chosen:
        if not all(group):
            raise ValueError(
                f"models has a group with a name missing: {' > '.join(group)!r}. Write 'before>after'."
            )
    return chosen


def _by_family(loaded: Mapping[str, nn.Module]) -> dict[str, list[str]]:
    """Roles of the networks that the user names."""
    lists: dict[str, list[str]] = {role: [] for role in (*LISTS, "others")}
    for name, model in loaded.items():
        lists[_ROLE_OF_FAMILY.get(models.family(model), "others")].append(name)
    return lists


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """What each network is called on a page: a file by its own name, and folders that tell it from others."""
    short = {name: name for name in names}
    for name in names:
        path = name.replace(os.sep, "/")
        others = [f"/{other.replace(os.sep, '/')}" for other in names if other != name]
        # The last part of "architecture@folder/weights.safetensors", the last two, ...
        ends = [path[slash.end() :] for slash in re.finditer("/", path)] if ".safetensors" in name else []
        unique = (end for end in reversed(ends) if not any(other.endswith(f"/{end}") for other in others))
        short[name] = next(unique, name)
    return short


def _images(given: Any, profile: Profile) -> str:
    if given is None and profile.images is None:
        raise ValueError(profile.images_note)
    chosen = profile.images if given is None else given
    if not isinstance(chosen, str | Path):
        raise TypeError(f"images must be the name of an image set or a folder; got {given!r}.")
    return str(chosen)


def _amounts(
    given: Mapping[str, Any], profile: Profile, images: data.ImageSet, seed: int, repeats: int
) -> tuple[int, int, list[str]]:
    """Number of images, batch size, and what the reader must know about them.

    What the user asks for is kept or refused. What the profile asks for gives way to the images there are.
    """
    available = len(images)
    number = _whole_number("number_of_images", given["number_of_images"], profile.number_of_images, _MINIMUM)
    batch_size = _whole_number("batch_size", given["batch_size"], profile.batch_size, _MINIMUM)
    if available < _MINIMUM:
        raise ValueError(f"{images.name} has {available} images; CKA needs {_MINIMUM} or more. Give more images.")
    notes = []
    if number > available:
        if given["number_of_images"] is not None:
            raise ValueError(
                f"number_of_images is {number}, but {images.name} has {available} images. "
                f"Set number_of_images to {available} or less, or give more images."
            )
        number = available
    if (shared := overlap(available, number, seed, repeats)) > 0:
        notes.append(
            f"Two repeats have on average {100 * shared:.0f} % of their {number:,} images in common: there are "
            f"{available:,}. Bands and tables are then too sure of their numbers; intervals of claims allow for "
            "it. With fewer images in each, or fewer repeats, they would share none."
        )
    if number < batch_size:
        if given["batch_size"] is not None:
            raise ValueError(
                f"number_of_images is {number}, which is less than one minibatch of {batch_size}. "
                f"Use more images, or set batch_size to {number} or less."
            )
        notes.append(f"The profile's minibatch of {batch_size} is cut to the {number} images.")
        batch_size = number
    return number, batch_size, notes


def _description(run: Run, notes: list[str], record: Mapping[str, Any]) -> dict[str, Any]:
    versions = {
        "python": platform.python_version(),
        "seelike": seelike.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    gpu = torch.cuda.get_device_name(run.device) if run.device.startswith("cuda") else None
    if run.others:
        without_role = (
            f"Of no role: {', '.join(run.others)}. Their tokens do not stay on one grid, as those of a ViT or an "
            "MLP-Mixer do, and they are not made of convolutions alone. What needs no role is measured; figures "
            "and claims that compare kinds of networks leave them out."
        )
        notes = [*notes, without_role]
    amount = (
        f"{run.number_of_images:,} images of {run.images.name} in minibatches of up to {run.batch_size:,}, "
        f"{run.repeats} {'repeat' if run.repeats == 1 else 'repeats'}, seed {run.seed}"
    )
    where = f"{run.device} ({gpu})" if gpu else run.device
    sources = {name: models.weights_source(model) for name, model in run.models.items()}
    # The tiny networks' weights are those of this version of the package.
    named = [
        str(source if source.repository else replace(source, file=name))
        for name, source in sources.items()
        if source and not name.startswith("tiny/")
    ]
    if named:
        notes = [f"Weights: {', '.join(named)}.", *notes]
    with_versions = ", ".join(f"{name} {version}" for name, version in versions.items())
    precision = "" if run.precision == "float32" else f", {run.precision} precision"
    head = f"Profile {run.profile} on {where}{precision}:"
    # A page without networks measures nothing, and shows no image to anything.
    body = "; ".join([*([", ".join(run.models), amount] if run.models else []), with_versions]) + "."
    return {
        "text/plain": "\n".join([f"{head} {body}", *notes]),
        "text/html": '<div class="seelike-run">'
        + f"<p><strong>{html.escape(head)}</strong> {html.escape(body)}</p>"
        + "".join(f"<p>{html.escape(note)}</p>" for note in notes)
        + "</div>",
        "text/markdown": "\n\n".join(
            [f"**{escape_markdown(head)}** {escape_markdown(body)}", *map(escape_markdown, notes)]
        ),
        RUN_MIME: {
            "profile": run.profile,
            "models": list(run.models),
            "weights": {name: asdict(source) for name, source in sources.items() if source},
            "groups": run.groups,
            "images_in_all": len(run.images),
            "images_sha256": run.images.list_sha256(),
            "number_of_images": run.number_of_images,
            "batch_size": run.batch_size,
            "repeats": run.repeats,
            "seed": run.seed,
            "device": run.device,
            "gpu": gpu,
            "precision": run.precision,
            "versions": versions,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **record,
        },
    }
