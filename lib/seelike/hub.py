"""Files from the Hugging Face hub, by its own client, with hashes checked and errors that say what to do.

They lie in the cache that all tools share (`HF_HOME`): timm or `hf download` find what this has fetched, and this
what they have. Beside the client's `hf_hub_download`, `download`

- **asks once whether the hub is there**, where the client tries for most of a minute;
- **holds the content to the hash that the hub states**, sha256 for large files and git's for small ones, when it
  arrives and whenever it comes from the cache; a damaged file is fetched again;
- **has a class of error for each cause**, all of them `HubError`.

A file that is in the cache needs no network: where the hub cannot be asked whether there is a newer one, or
`HF_HUB_OFFLINE` is set, it is taken as it is. A connection that breaks is taken up where it broke; whether a call
that was stopped leaves something for the next one is up to the client (versions since the middle of 2026 begin the
file anew). `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT` are the seconds to wait for a silent server (10),
`HF_TOKEN` or `hf auth login` opens what is not public, `HF_ENDPOINT` names a mirror.
"""

import errno
import hashlib
import os
import re
import socket
import ssl
import warnings
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

Kind = Literal["model", "dataset"]

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Statuses of a hub that is busy: the client asks again.
_PASSING = (408, 429, 500, 502, 503, 504)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class HubError(OSError):
    """A file could not be had from the hub.

    Attributes:
        happened: What happened, without the names and the advice of the whole message.
    """

    happened = ""


class Unreachable(HubError, ConnectionError):
    """No network, no answer, a broken connection, a hub that is down; or offline by the user's wish."""


class NotOnTheHub(HubError, FileNotFoundError):
    """No such repository or revision, or none that the user may see."""


class NotInRepository(NotOnTheHub):
    """The repository is there, but has no such file."""


class NotAsSafetensors(NotInRepository, RuntimeError):
    """The repository has weights, if any, only in a format that can hide code."""


class NotAllowed(HubError, PermissionError):
    """A gated or closed repository, or an access token that the hub does not take."""


class Damaged(HubError):
    """The content is not what the hub has."""


class DiskFull(HubError):
    """The disk or quota of the cache has no room for the file."""


class CacheNotWritable(HubError, PermissionError):
    """The folder of the cache cannot be written."""


@dataclass(frozen=True)
class HubFile:
    """A file of the hub on this machine; `download` gives it.

    Attributes:
        path: Where it is.
        repository: Where it came from, such as "timm/vit_base_patch32_224.augreg_in21k".
        file: Its name in the repository.
        revision: The commit of the repository, 40 hexadecimal digits.
        sha256: Hash of its content.
    """

    path: Path
    repository: str
    file: str
    revision: str
    sha256: str


def download(repository: str, file: str, kind: Kind = "model", revision: str = "main", hint: str = "") -> HubFile:
    """Fetch a file from the Hugging Face hub, or find it in the cache.

    Args:
        repository: Owner and name, as in the address of its page.
        file: Name of the file, with its folders.
        kind: Whether it is a repository of a model or of a data set.
        revision: A branch, a tag or a commit.
        hint: What else the user can do where this fails, as whole sentences; it ends the message of every error.

    Returns:
        The file, whole.

    Raises:
        Unreachable: The hub does not answer, or the connection broke.
        NotOnTheHub: There is no such repository or revision.
        NotInRepository: The repository has no such file.
        NotAllowed: The repository is gated or closed, or the user's token is not valid.
        Damaged: What came is not what the hub announced.
        DiskFull: The disk of the cache is full.
        CacheNotWritable: The cache cannot be written.

    Example (it needs a network)::

        weights = download("timm/vit_base_patch32_224.augreg_in21k", "model.safetensors")
        print(weights.path, weights.revision, weights.sha256)
    """
    wanted = Wanted(repository, file, kind, revision, hint)
    found = _cached(wanted)
    try:
        if found is None or not (constants.HF_HUB_OFFLINE or _COMMIT.fullmatch(revision)):
            found = _fetch(wanted)
    except HubError as error:
        if found is None:
            raise
        if not isinstance(error, Unreachable | CacheNotWritable):
            told = f"{file} of {repository} on the Hugging Face hub: {error.happened}"
            warnings.warn(f"{told} The copy in the cache is used.", stacklevel=2)
    content = _hash_if_whole(found)
    if content is None:
        _throw_away(wanted, found)
        try:
            found = _fetch(wanted)
        except HubError as error:
            raise wanted.error(
                Damaged,
                f"its copy in the cache, {found}, is damaged, and a new one cannot be had: {error.happened}",
                "Call again when it can: it will be fetched anew.",
            ) from error
        content = _hash_if_whole(found)
        if content is None:
            stated = found.resolve().name
            _throw_away(wanted, found)
            raise wanted.error(
                Damaged,
                f"what came is not what the hub announced: its hash is not {stated}. It was thrown away.",
                f"Call again. If it happens again, {_SOMETHING_ON_THE_WAY}",
            )
    commit = re.search(r"snapshots[/\\]([0-9a-f]{40})[/\\]", str(found))
    return HubFile(found, repository, file, commit[1] if commit else revision, content)


def sha256_of(path: Path) -> str:
    """Hash the content of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Wanted:
    """What is asked for; the attributes are the arguments of `download`."""

    repository: str
    file: str
    kind: Kind
    revision: str
    hint: str

    def error(self, error: type[HubError], happened: str, do: str = "") -> HubError:
        """Say what was asked for, what happened and what to do."""
        of = f"data set {self.repository}" if self.kind == "dataset" else self.repository
        told = f"Could not get {self.file} of {of} from the Hugging Face hub: {happened}"
        made = error(" ".join(part for part in (told, do, self.hint) if part))
        made.happened = happened
        return made


_SOMETHING_ON_THE_WAY = (
    f"something on the way changes files: a proxy, or the mirror that HF_ENDPOINT names ({constants.ENDPOINT})."
)


def _cached(wanted: Wanted) -> Path | None:
    path = try_to_load_from_cache(wanted.repository, wanted.file, revision=wanted.revision, repo_type=wanted.kind)
    return Path(path) if isinstance(path, str) else None


def _hash_if_whole(path: Path) -> str | None:
    """The sha256 of a file of the cache; None if its content is not that of which the hub stated the hash.

    The cache links each file to its content, which has that hash as its name. Systems without links have a copy,
    and no hash to compare with.
    """
    stated = Path(os.readlink(path)).name if path.is_symlink() else ""
    found = sha256_of(path)
    if len(stated) == 64:
        return found if found == stated else None
    if _HASH.fullmatch(stated):
        content = path.read_bytes()  # not a large file: those have sha256
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        return found if git == stated else None
    return found


def _throw_away(wanted: Wanted, path: Path) -> None:
    try:
        path.resolve().unlink()
        path.unlink()
    except OSError as error:
        raise refusal(wanted, error) from error


def _fetch(wanted: Wanted) -> Path:
    # Which exceptions mean "no network" differs between versions of the client, which has changed its HTTP library
    # twice; and nothing but its calls happens here.
    try:
        _refuse_strangers(wanted)
        path = hf_hub_download(wanted.repository, wanted.file, repo_type=wanted.kind, revision=wanted.revision)
    except HubError:
        raise
    except Exception as error:
        raise refusal(wanted, error) from error
    return Path(path)


def _refuse_strangers(wanted: Wanted) -> None:
    """Ask the hub for the file's commit and hash, once, and look whether it is a hub that answers."""
    url = hf_hub_url(wanted.repository, wanted.file, repo_type=wanted.kind, revision=wanted.revision)
    try:
        about = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        if _status(error) in _PASSING:
            return
        raise
    # Both become names of files, whatever the server sends.
    if not (_COMMIT.fullmatch(about.commit_hash or "") and _HASH.fullmatch(about.etag or "")):
        raise wanted.error(
            Unreachable,
            f"something else answers at {constants.ENDPOINT}, without a commit and a hash of the file.",
            "Is there a page to log in to this network, or a proxy? Is HF_ENDPOINT right? Then call again.",
        )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def refusal(wanted: Wanted, error: Exception) -> HubError:
    """Give the error that the user sees for one of the hub's client, or of the HTTP library below it."""
    page = f"{constants.ENDPOINT}/{'datasets/' if wanted.kind == 'dataset' else ''}{wanted.repository}"
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client's way to say that a file is neither there nor to be had
    number = error.errno if isinstance(error, OSError) else None
    if number in _NO_ROOM:
        return wanted.error(
            DiskFull,
            f"there is no room for it in the cache {constants.HF_HUB_CACHE} ({os.strerror(number)}).",
            "Make room (`hf cache` helps), or set HF_HOME to a folder on another disk, and call again.",
        )
    if number in _NOT_WRITABLE:
        return wanted.error(
            CacheNotWritable,
            f"the cache cannot be written: {error}.",
            "Set HF_HOME to a folder that you may write, and call again.",
        )
    if isinstance(error, OfflineModeIsEnabled):
        return wanted.error(
            Unreachable,
            "HF_HUB_OFFLINE is set.",
            f"It is not in the cache {constants.HF_HUB_CACHE}. Unset HF_HUB_OFFLINE; or fetch it where there is a "
            "network, by the same call or with `hf download`, and bring that machine's cache here.",
        )
    if type(error) is OSError and "Consistency check failed" in str(error):
        return wanted.error(
            Damaged,
            f"what came is not what the hub announced ({error}).",
            f"Call again. If it happens again, {_SOMETHING_ON_THE_WAY}",
        )
    status, headers = _status(error), getattr(getattr(error, "response", None), "headers", {})
    if isinstance(error, GatedRepoError):
        return wanted.error(
            NotAllowed,
            "its authors give access only to those who ask for it.",
            f"Ask on {page}, then log in with `hf auth login` or set HF_TOKEN, and call again.",
        )
    if headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
        return wanted.error(
            NotAllowed,
            "the hub does not take your access token.",
            "Log in again with `hf auth login`, or set HF_TOKEN anew. What is public needs no token: "
            "`hf auth logout`, and unset HF_TOKEN.",
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return wanted.error(
            NotOnTheHub,
            "there is no such repository that you may see. It was deleted, renamed or made private, or never was.",
            f"Look at {page}. If it is private, log in with `hf auth login` or set HF_TOKEN.",
        )
    if isinstance(error, RevisionNotFoundError):
        return wanted.error(
            NotOnTheHub, f"the repository has no revision {wanted.revision!r}.", f"Look at {page}/commits/main."
        )
    if isinstance(error, EntryNotFoundError):
        return wanted.error(
            NotInRepository, "the repository has no such file.", f"Look at {page}/tree/{wanted.revision}."
        )
    if status == 403:
        return wanted.error(NotAllowed, "the hub refuses access.", f"{page} may say why.")
    if status == 404:
        return wanted.error(NotOnTheHub, f"nothing is at {page}.", "Is the name right, and HF_ENDPOINT if set?")
    if status is not None:
        return wanted.error(
            Unreachable,
            f"{constants.ENDPOINT} answers {_in_words(error)}.",
            "Wait some minutes, and call again. https://status.huggingface.co says how the hub does.",
        )
    return wanted.error(
        Unreachable,
        f"{constants.ENDPOINT} cannot be reached: {_in_words(error)}.",
        f"It is not in the cache {constants.HF_HUB_CACHE} either. Connect to the network, look at proxy settings "
        "and HF_ENDPOINT, and call again.",
    )


def _in_words(error: BaseException) -> str:
    """The cause beneath the exceptions of the HTTP libraries."""
    status = _status(error)
    if status is not None:
        known = status in HTTPStatus._value2member_map_
        return f"{status} ({HTTPStatus(status).phrase})" if known else str(status)
    while beneath := error.__cause__ or error.__context__:
        error = beneath
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved, so there is no network here, or no name server"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses the connection"
    if isinstance(error, TimeoutError):
        return "it is silent"
    if isinstance(error, ssl.SSLError):
        return f"its certificate is not accepted ({error}); SSL_CERT_FILE can name that of a proxy"
    return str(error) or type(error).__name__
