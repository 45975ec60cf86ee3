"""Render build/book to build/html by Jupyter Book.

    python book/tools/render.py build/executed/tiny/*.ipynb results/*/*.ipynb

Every warning is an error. The notebooks that pages offer for download are those that papermill wrote, as they are.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import executed

STAGING = Path("build/book")
RENDERED = Path("build/rendered")
HTML = Path("build/html")
_SAYS = re.compile(r'<meta (?:name|property)="(?:description|og:|twitter:)[^>]*>')


def introduce(index: Path) -> None:
    """Let the page that leads to the first one say the same of itself: its address is the one that is shared."""
    leads = index.read_text().strip()
    first = re.search(r'url=([^"]+)"', leads)
    if first is None:
        raise ValueError(f"{index} leads nowhere: {leads}")
    said = _SAYS.findall((index.parent / first[1]).read_text())
    index.write_text("\n".join([leads, *said, ""]))


def main() -> int:
    """Render, and put the result in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executed", type=Path, nargs="+", metavar="NOTEBOOK")
    files = parser.parse_args().executed
    program = Path(sys.executable).with_name("jupyter-book")
    options = ["--path-output", str(RENDERED), "-W", "-n", "--keep-going", "-q"]
    finished = subprocess.run([program, "build", str(STAGING), *options], stdout=subprocess.DEVNULL, check=False)
    if finished.returncode:
        # Sphinx remembers the pages that it has read, and would not warn of them a second time.
        shutil.rmtree(RENDERED)
        print("The book has warnings, which are errors here: see above.", file=sys.stderr)
        return 1
    shutil.rmtree(HTML, ignore_errors=True)
    shutil.copytree(RENDERED / "_build" / "html", HTML)
    introduce(HTML / "index.html")
    for page in executed.layout(files):
        shutil.copy(page.file, HTML / "_sources" / f"{page.place}.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
