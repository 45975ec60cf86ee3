"""Check every jaxtyping shape annotation of the library while the tests run."""

from jaxtyping import install_import_hook

# Before any test module imports seelike: the hook only sees modules imported after it.
install_import_hook("seelike", "beartype.beartype")
