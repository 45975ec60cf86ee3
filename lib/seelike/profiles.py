"""The three sizes at which every notebook runs: `tiny` on two cores, `colab` on one 16 GB GPU, `paper`.

`profiles.toml` says what each takes, and what its words mean.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seelike.errors import unknown_name

LISTS = ("vits", "cnns", "mixers", "later")
GROUPS = ("much_and_little_data", "shares_of_data", "cls_and_gap", "without_skips", "finetuned")

with (Path(__file__).parent / "profiles.toml").open("rb") as _file:
    _CONTENT: dict[str, Any] = tomllib.load(_file)

# The roles that each page loads.
PAGES: dict[str, list[str]] = _CONTENT.pop("pages")
NAMES = tuple(_CONTENT)


@dataclass(frozen=True)
class Profile:
    """The networks, images and amounts of one size of run.

    Attributes:
        name: "tiny", "colab" or "paper".
        lists: Networks by role, as `seelike.models.load` names them: "vits", "cnns" and "mixers" from small to
            large, and "later".
        groups: Groups of networks by role. The first of each group is what the others are compared with.
        images: An image set, as `seelike.data.load` names it; None where the user has to give one.
        images_note: What the reader must know about these images, or the error where there are none.
        other_images: Image sets of other kinds.
        number_of_images: Images in each repeat, drawn without replacement.
        batch_size: Images in each minibatch of CKA.
        repeats: Draws of images; their spread gives the uncertainty.
        precision: Of the forward passes: "float32" or "mixed".
    """

    name: str
    lists: dict[str, list[str]]
    groups: dict[str, list[list[str]]]
    images: str | None
    images_note: str
    other_images: list[str]
    number_of_images: int
    batch_size: int
    repeats: int
    precision: str

    @property
    def networks(self) -> list[str]:
        """All networks, each once."""
        grouped = [group for groups in self.groups.values() for group in groups]
        return list(dict.fromkeys(name for names in (*self.lists.values(), *grouped) for name in names))


def profile_of(name: str, page: str | None = None) -> Profile:
    """Look up what a page takes at a profile.

    Where no network of a role is public, the tiny ones have it at every profile.

    Args:
        name: The profile: "tiny", "colab" or "paper".
        page: The page, as its notebook is called, such as "05_local_global"; without it, ViTs and CNNs.

    Raises:
        UnknownName: There is no such profile or page.

    Example:
        >>> paper = profile_of("paper")
        >>> paper.batch_size, paper.number_of_images, paper.repeats
        (1024, 10240, 20)
        >>> profile_of("colab", "06_skip_connections").groups["without_skips"][0][0]
        'tiny/vit_7x7'
    """
    if name not in _CONTENT:
        raise unknown_name("profile", name, _CONTENT)
    if page is not None and page not in PAGES:
        raise unknown_name("page", page, PAGES)
    tiny_networks = {role: _CONTENT["tiny"][role] for role in (*LISTS, *GROUPS)}
    no_images: dict[str, Any] = {"images": None, "images_note": "", "other_images": []}
    of_page = _CONTENT[name].get("pages", {}).get(page, {})
    content = {**tiny_networks, **no_images, **_CONTENT[name], **of_page}
    roles = ["vits", "cnns"] if page is None else PAGES[page]
    return Profile(
        name=name,
        lists={role: content[role] for role in roles if role in LISTS},
        groups={role: content[role] for role in roles if role in GROUPS},
        images=content["images"],
        images_note=content["images_note"],
        other_images=content["other_images"],
        number_of_images=content["number_of_images"],
        batch_size=content["batch_size"],
        repeats=content["repeats"],
        precision=content["precision"],
    )
