"""The sizes at which every notebook runs: `tiny` and `pretrained` on two cores, `colab` on one 16 GB GPU, `paper`.

`profiles.toml` says what each takes, and what its words mean.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seelike.errors import unknown_name

LISTS = ("vits", "cnns", "mixers", "later")
GROUPS = ("much_and_little_data", "shares_of_data", "cls_and_gap", "without_skips", "finetuned")

with (Path(__file__).parent / "profiles.toml").open("rb") as _file:
    _CONTENT: dict[str, Any] = tomllib.load(_file)

# The roles that each page loads.
PAGES: dict[str, list[str]] = _CONTENT.pop("pages")
PAGES_WITH_PROBES: list[str] = _CONTENT.pop("pages_with_probes")
NAMES = tuple(_CONTENT)


@dataclass(frozen=True)
class Profile:
    """The networks, images and amounts of one size of run.

    Attributes:
        name: "tiny", "pretrained", "colab" or "paper".
        page: The page that takes it; None: no page in particular.
        lists: Networks by role, as `seelike.models.load` names them: "vits", "cnns" and "mixers" from small to
            large, and "later".
        groups: Groups of networks by role. The first of each group is what the others are compared with.
        images: An image set, as `seelike.data.load` names it; None where the user has to give one.
        images_note: What the reader must know about these images, or the error where there are none.
        other_images: Image sets of other kinds.
        probe_images: An image set with classes, for linear probes; None where `images` has them.
        number_of_images: Images in each repeat, drawn without replacement.
        batch_size: Images in each minibatch of CKA.
        repeats: Draws of images; their spread gives the uncertainty.
        precision: Of the forward passes: "float32" or "mixed".
    """

    name: str
    page: str | None
    lists: dict[str, list[str]]
    groups: dict[str, list[list[str]]]
    images: str | None
    images_note: str
    other_images: list[str]
    probe_images: str | None
    number_of_images: int
    batch_size: int
    repeats: int
    precision: str

    @property
    def networks(self) -> list[str]:
        """All networks, each once."""
        grouped = [group for groups in self.groups.values() for group in groups]
        return list(dict.fromkeys(name for names in (*self.lists.values(), *grouped) for name in names))

    def without(self, missing: Collection[str]) -> "Profile":
        """Leave out networks that cannot be had.

        A group stays while it has its first network and one to compare it with. Where a role has no group left,
        the tiny networks have it, those of this page.

        Args:
            missing: Names of networks.

        Example:
            >>> profile = profile_of("pretrained", "07_spatial_localization")
            >>> profile.groups["cls_and_gap"]
            [['vit_small_patch16_224.augreg_in21k', 'vit_medium_patch16_gap_240.sw_in12k']]
            >>> profile.without(["vit_medium_patch16_gap_240.sw_in12k"]).groups["cls_and_gap"][0]
            ['tiny/vit_7x7_small', 'tiny/vit_7x7_small_gap']
        """
        lists = {role: [name for name in names if name not in missing] for role, names in self.lists.items()}
        groups = {}
        for role, of_role in self.groups.items():
            kept = [
                [name for name in group if name not in missing] for group in of_role if group[0] not in missing
            ]
            groups[role] = [group for group in kept if len(group) > 1] or _tiny(self.page)[role]
        return replace(self, lists=lists, groups=groups)

    @property
    def tiny_roles(self) -> list[str]:
        """Roles that only tiny networks have."""
        grouped = {role: [name for group in groups for name in group] for role, groups in self.groups.items()}
        every = self.lists | grouped
        return [role for role, names in every.items() if names and all(name.startswith("tiny/") for name in names)]


def profile_of(name: str, page: str | None = None) -> Profile:
    """Look up what a page takes at a profile.

    Where no network of a role is public, the tiny ones have it at every profile.

    Args:
        name: The profile: "tiny", "pretrained", "colab" or "paper".
        page: The page, as its notebook is called, such as "05_local_global"; without it, ViTs and CNNs.

    Raises:
        UnknownName: There is no such profile or page.

    Example:
        >>> paper = profile_of("paper")
        >>> paper.batch_size, paper.number_of_images, paper.repeats
        (1024, 10240, 20)
        >>> profile_of("colab", "06_skip_connections").groups["without_skips"][0][0]
        'tiny/vit_7x7_small'
    """
    if name not in _CONTENT:
        raise unknown_name("profile", name, _CONTENT)
    if page is not None and page not in PAGES:
        raise unknown_name("page", page, PAGES)
    no_images: dict[str, Any] = {"images": None, "images_note": "", "other_images": [], "probe_images": None}
    of_page = _CONTENT[name].get("pages", {}).get(page, {})
    content = {**_tiny(page), **no_images, **_CONTENT[name], **of_page}
    roles = ["vits", "cnns"] if page is None else PAGES[page]
    return Profile(
        name=name,
        page=page,
        lists={role: content[role] for role in roles if role in LISTS},
        groups={role: content[role] for role in roles if role in GROUPS},
        images=content["images"],
        images_note=content["images_note"],
        other_images=content["other_images"],
        probe_images=content["probe_images"],
        number_of_images=content["number_of_images"],
        batch_size=content["batch_size"],
        repeats=content["repeats"],
        precision=content["precision"],
    )


def _tiny(page: str | None) -> dict[str, Any]:
    """The tiny networks of each role on a page: where public ones are missing, its text speaks of these."""
    content = _CONTENT["tiny"] | _CONTENT["tiny"]["pages"].get(page, {})
    return {role: content[role] for role in (*LISTS, *GROUPS)}
