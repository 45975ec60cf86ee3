"""Check every jaxtyping shape annotation of the library while the tests run."""

import gc

import pytest
from jaxtyping import install_import_hook

# Before any test module imports seelike: the hook only sees modules imported after it.
install_import_hook("seelike", "checked.typechecker")

# Millions of objects of imported modules stay to the end: the garbage collector need not look at them each time.
gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what comes from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_run_before() -> None:
    """What `seelike.start` tells claims of its draws stays in its test."""
    from seelike import claims

    claims.draws_share(0.0)
