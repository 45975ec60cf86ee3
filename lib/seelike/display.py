"""Show one thing in several forms: to the reader, and to the tools that build the book."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

from IPython import get_ipython
from IPython.display import display


def show(bundle: Mapping[str, Any]) -> None:
    """Show a MIME bundle: as a cell's output in a notebook, as its plain text elsewhere.

    Args:
        bundle: Content by MIME type; `text/plain` is always among them.

    Example:
        >>> show({"text/plain": "CKA 0.53", "text/html": "<p>CKA <b>0.53</b></p>"})
        CKA 0.53
    """
    if get_ipython() is None:
        print(bundle["text/plain"])
    else:
        display(dict(bundle), raw=True)


def escape_markdown(text: str) -> str:
    r"""Keep a user's text from being read as Markdown or HTML.

    Args:
        text: What to show as it is, for example a folder's name.

    Returns:
        The text, with a backslash before each character that has a meaning.

    Example:
        >>> print(escape_markdown("my_photos <b>"))
        my\_photos \<b\>
    """
    return re.sub(r"([\\`*_{}\[\]<>()#|$~])", r"\\\1", text)


def show_warnings_without_path() -> None:
    """Make warnings one line of text each, without the file and the line of code that they come from.

    On a page these would be a path of the machine that made it, and no use to its reader.

    Example:
        >>> show_warnings_without_path()
        >>> warnings.formatwarning("Two layers are dead.", RuntimeWarning, "cka.py", 7)
        'Note: Two layers are dead.\\n'
    """

    def as_text(message: Warning | str, *_: object, **__: object) -> str:
        return f"Note: {message}\n"

    warnings.formatwarning = as_text
