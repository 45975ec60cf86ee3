"""Print requirements.lock: the exact version of everything that pyproject.toml asks for, as installed here.

Run by `make lock` with the Python of a fresh environment.
"""

import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
# The values of environment markers on a Mac: what only other machines need is marked so.
MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}
HEADER = """\
# Exact versions of all that this project and its extras need. `make setup` installs them.
# Made by `make lock` from pyproject.toml: change that file, not this one.
"""


def requirements(pyproject: Path) -> list[Requirement]:
    """Read what a project asks for, with all its extras.

    Example:
        >>> "torch" in [requirement.name for requirement in requirements(PYPROJECT)]
        True
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    wanted = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    # An extra may name another extra of the project itself. All are here already.
    return [requirement for requirement in wanted if requirement.name != project["name"]]


def closure(wanted: Iterable[Requirement], machine: Mapping[str, str]) -> set[str]:
    """Find all installed packages that some requirements need, directly or through others.

    Args:
        wanted: The requirements to begin with.
        machine: Values of environment markers, where they shall differ from this machine's.

    Returns:
        Names in canonical form. What the other machine needs and this one lacks is left out.

    Example:
        >>> closure([Requirement("packaging")], {})
        {'packaging'}
    """
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(one.name), extra) for one in wanted for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            if machine:
                continue
            raise
        found.add((name, extra))
        for line in needs:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({**machine, "extra": extra}):
                waiting += [(canonicalize_name(needed.name), one) for one in ("", *needed.extras)]
    return {name for name, _ in found}


def main() -> None:
    """Print the lock."""
    wanted = requirements(PYPROJECT)
    on_a_mac = closure(wanted, MAC)
    print(HEADER, end="")
    for name in sorted(closure(wanted, {})):
        marker = "" if name in on_a_mac else ' ; sys_platform == "linux"'
        print(f"{name}=={distribution(name).version}{marker}")


if __name__ == "__main__":
    main()
