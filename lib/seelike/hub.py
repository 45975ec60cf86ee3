"""Files from the Hugging Face hub: each fetched once, checked by its hash every time, gone on with after a stop.

They lie in the cache that all tools share (`HF_HOME`), in its own layout, so that timm or `hf download` find
what this has fetched, and this what they have. `download` differs from the client's own `hf_hub_download` in
these:

- **It answers soon.** That call tries for most of a minute before it says that there is no network. This one asks
  once. A failure that may pass (the server is busy, a connection breaks) is tried again, twice.
- **It goes on.** What has arrived stays, and the next call asks for the rest. Versions of the client since the
  middle of 2026 begin anew.
- **What it gives is what the hub has.** The content is held to the hash that the hub states, sha256 for large
  files and git's for small ones, when it arrives and whenever it comes from the cache. A damaged file is
  fetched again.
- **Errors have a class for each cause**, all of them `HubError`, and say what to do.

A file that is in the cache needs no network: where the hub cannot be asked whether there is a newer one, or
`HF_HUB_OFFLINE` is set, it is taken as it is. `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT` are the
seconds to wait for a silent server (10), `HF_TOKEN` or `hf auth login` opens what is not public, `HF_ENDPOINT`
names a mirror.

Plain requests are used even where the hub offers its Xet protocol: they can go on from any byte.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status, tqdm

Kind = Literal["model", "dataset"]

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PIECE = 1 << 16
_REDIRECTS = 10
# Seconds before the second try, and before the third and last.
_WAITS = (0.5, 2.0)
_PASSING = (408, 429, 500, 502, 503, 504)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        Unreachable: The hub does not answer, or the connection broke; what has arrived is kept.
        NotOnTheHub: There is no such repository or revision.
        NotInRepository: The repository has no such file.
        NotAllowed: The repository is gated or closed, or the user's token is not valid.
        Damaged: What came is not what the hub announced.
        DiskFull: The disk of the cache is full; what has arrived is kept.
        CacheNotWritable: The cache cannot be written.

    Example (it needs a network)::

        weights = download("timm/vit_base_patch32_224.augreg_in21k", "model.safetensors")
        print(weights.path, weights.revision, weights.sha256)
    """
    wanted = _Wanted(repository, file, kind, revision, hint)
    cached = _cached(wanted)
    whole = cached is not None and cached.whole
    if cached is not None and whole and (constants.HF_HUB_OFFLINE or _COMMIT.fullmatch(revision)):
        return _found(wanted, cached)
    try:
        remote = _ask(wanted)
    except HubError as error:
        if cached is None:
            raise
        if not whole:
            raise wanted.error(
                Damaged,
                f"its copy in the cache, {cached.path}, is damaged, and a new one cannot be had: {error.happened}",
                "Call again when it can: it will be fetched anew.",
            ) from error
        if not isinstance(error, Unreachable):
            told = f"{file} of {repository} on the Hugging Face hub: {error.happened}"
            warnings.warn(f"{told} The copy in the cache is used.", stacklevel=2)
        return _found(wanted, cached)
    if cached is not None and whole and cached.is_like(remote):
        return _found(wanted, cached)
    return _found(wanted, _fetch(wanted, remote))


@dataclass(frozen=True)
class _Wanted:
    """The file that is asked for."""

    repository: str
    file: str
    kind: Kind
    revision: str
    hint: str

    @property
    def folder(self) -> Path:
        """The repository's folder in the cache."""
        name = repo_folder_name(repo_id=self.repository, repo_type=self.kind)
        return Path(constants.HF_HUB_CACHE, name)

    def error(self, error: type[HubError], happened: str, do: str = "") -> HubError:
        """Say what was asked for, what happened and what to do."""
        of = f"data set {self.repository}" if self.kind == "dataset" else self.repository
        told = f"Could not get {self.file} of {of} from the Hugging Face hub: {happened}"
        made = error(" ".join(part for part in (told, do, self.hint) if part))
        made.happened = happened
        return made


@dataclass(frozen=True)
class _Remote:
    """What the hub says of a file: its commit, its hash, and its length in bytes if that is known."""

    commit: str
    digest: str
    size: int | None


@dataclass(frozen=True)
class _Cached:
    """A file in the cache; `digest` is the hash that it should have, None where the cache does not say it."""

    path: Path
    digest: str | None

    @property
    def whole(self) -> bool:
        return self.digest is None or _digest(self.path, self.digest) == self.digest

    def is_like(self, remote: _Remote) -> bool:
        return (self.digest or _digest(self.path, remote.digest)) == remote.digest


def sha256_of(path: Path) -> str:
    """Hash the content of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(path: Path, like: str) -> str:
    """Hash a file in the way that another was hashed: by sha256, or as git does."""
    if len(like) == 64:
        return sha256_of(path)
    sha1 = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha1.update(piece)
    return sha1.hexdigest()


def _cached(wanted: _Wanted) -> _Cached | None:
    path = try_to_load_from_cache(wanted.repository, wanted.file, revision=wanted.revision, repo_type=wanted.kind)
    if not isinstance(path, str):
        return None
    # The cache links each name to the content, which is called by its hash. Systems without links have a copy.
    content = Path(os.readlink(path)).name if os.path.islink(path) else ""
    return _Cached(Path(path), content if _HASH.fullmatch(content) else None)


def _found(wanted: _Wanted, cached: _Cached) -> HubFile:
    known = cached.digest if cached.digest is not None and len(cached.digest) == 64 else None
    return HubFile(
        path=cached.path,
        repository=wanted.repository,
        file=wanted.file,
        revision=cached.path.relative_to(wanted.folder / "snapshots").parts[0],
        sha256=known or sha256_of(cached.path),
    )


# What the hub says


def _ask(wanted: _Wanted) -> _Remote:
    if constants.HF_HUB_OFFLINE:
        raise wanted.error(
            Unreachable,
            "HF_HUB_OFFLINE is set.",
            f"It is not in the cache {constants.HF_HUB_CACHE}. Unset HF_HUB_OFFLINE; or fetch it where there is a "
            "network, with `hf download`, and bring that machine's cache here.",
        )
    url = hf_hub_url(wanted.repository, wanted.file, repo_type=wanted.kind, revision=wanted.revision)
    for wait in (*_WAITS, None):
        try:
            headers = _head(url)
            break
        # Which exceptions mean "no network" differs between versions of the client, which has changed its HTTP
        # library twice; and nothing but requests happens here.
        except Exception as error:
            if wait is None or _status(error) not in _PASSING:
                raise _refusal(wanted, error) from error
            time.sleep(wait)
    commit = headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT, "")
    large = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_ETAG)
    digest = (large or headers.get("ETag", "")).removeprefix("W/").strip('"')
    size = headers.get(constants.HUGGINGFACE_HEADER_X_LINKED_SIZE if large else "Content-Length", "")
    # Both become names of files here, whatever the server sends.
    if not (_COMMIT.fullmatch(commit) and _HASH.fullmatch(digest)):
        raise wanted.error(
            Unreachable,
            f"something else answers at {constants.ENDPOINT}, without a commit and a hash of the file.",
            "Is there a page to log in to this network, or a proxy? Is HF_ENDPOINT right? Then call again.",
        )
    return _Remote(commit, digest, int(size) if size.isdecimal() else None)


def _head(url: str) -> Mapping[str, str]:
    """Ask for the headers of a file, and follow redirects within the hub, as that from a repository's old name.

    A redirect to storage states all about the file itself. The client has a function for this too, but some of its
    versions try for half a minute.
    """
    for _ in range(_REDIRECTS):
        with _request("HEAD", url, {}, constants.HF_HUB_ETAG_TIMEOUT, follow=False) as response:
            headers: Mapping[str, str] = response.headers
        there = urljoin(url, headers.get("Location", ""))
        if there == url or urlsplit(there).netloc != urlsplit(url).netloc:
            return headers
        url = there
    raise OSError(f"it redirects more than {_REDIRECTS} times")


@contextmanager
def _request(method: str, url: str, headers: Mapping[str, str], timeout: float, follow: bool) -> Iterator[Any]:
    """Send a request as the hub's client does, with its proxies, its certificates and the user's token."""
    session: Any = get_session()
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", **headers}
    if callable(session.stream):  # httpx, from version 1 of the client on
        request = session.stream(method, url, headers=headers, timeout=timeout, follow_redirects=follow)
    else:  # requests
        request = session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=follow, stream=True
        )
    with request as response:
        hf_raise_for_status(response)
        yield response


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _refusal(wanted: _Wanted, error: Exception) -> HubError:
    """The error that the user sees for one of the hub's client."""
    page = f"{constants.ENDPOINT}/{'datasets/' if wanted.kind == 'dataset' else ''}{wanted.repository}"
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


# Into the cache


def _fetch(wanted: _Wanted, remote: _Remote) -> _Cached:
    """Bring the content into the cache unless it is there, and link its name to it."""
    content = wanted.folder / "blobs" / remote.digest
    lock = Path(constants.HF_HUB_CACHE, ".locks", wanted.folder.name, f"{remote.digest}.lock")
    name = wanted.folder / "snapshots" / remote.commit / wanted.file
    with _writing(wanted):
        for path in (content, lock, name):
            path.parent.mkdir(parents=True, exist_ok=True)
        # The lock of the hub's own client: of many jobs that start together one fetches, the others wait.
        with WeakFileLock(lock):
            if not (content.is_file() and _digest(content, remote.digest) == remote.digest):
                _fetch_content(wanted, remote, content)
            _link(name, content)
            if wanted.revision != remote.commit:
                _point(wanted.folder / "refs" / wanted.revision, remote.commit)
    return _Cached(name, remote.digest)


@contextmanager
def _writing(wanted: _Wanted) -> Iterator[None]:
    """Turn errors of the file system into those of this module."""
    try:
        yield
    except HubError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise wanted.error(
                DiskFull,
                f"there is no room for it in the cache {constants.HF_HUB_CACHE} ({error.strerror}).",
                "Make room (`hf cache` helps), or set HF_HOME to a folder on another disk. What has arrived is "
                "kept: call again to go on.",
            ) from error
        raise wanted.error(
            CacheNotWritable,
            f"the cache cannot be written: {error}.",
            "Set HF_HOME to a folder that you may write, and call again.",
        ) from error


def _link(name: Path, content: Path) -> None:
    link = os.path.relpath(content, name.parent)
    if name.is_symlink() and os.readlink(name) == link:
        return
    name.unlink(missing_ok=True)
    try:
        name.symlink_to(link)
    except OSError:  # a system without links
        shutil.copyfile(content, name)


def _point(reference: Path, commit: str) -> None:
    """Note the commit that a branch or tag stood for; without this, it is not found when there is no network."""
    reference.parent.mkdir(parents=True, exist_ok=True)
    if not reference.is_file() or reference.read_text() != commit:
        reference.write_text(commit)


def _fetch_content(wanted: _Wanted, remote: _Remote, content: Path) -> None:
    partial = content.with_name(f"{content.name}.incomplete")
    begun = partial.exists() and partial.stat().st_size > 0
    _complete(wanted, remote, partial)
    found = _digest(partial, remote.digest)
    if begun and found != remote.digest:
        # What an earlier call left may be at fault: once more, from the beginning.
        partial.unlink()
        _complete(wanted, remote, partial)
        found = _digest(partial, remote.digest)
    if found != remote.digest:
        size = partial.stat().st_size
        partial.unlink()
        raise wanted.error(
            Damaged,
            f"what came is not what the hub announced. Expected {_bytes(remote.size)} with hash {remote.digest}, "
            f"received {_bytes(size)} with {found}. It was thrown away.",
            "Call again. If it happens again, something on the way changes files: a proxy, or the mirror that "
            f"HF_ENDPOINT names ({constants.ENDPOINT}).",
        )
    os.replace(partial, content)


def _bytes(size: int | None) -> str:
    return "a file" if size is None else f"{size:,} bytes"


def _complete(wanted: _Wanted, remote: _Remote, partial: Path) -> None:
    """Bring the rest of a file, and try again while that brings it on."""
    _refuse_without_room(wanted, remote, partial)
    url = hf_hub_url(wanted.repository, wanted.file, repo_type=wanted.kind, revision=remote.commit)
    failures, furthest = 0, 0
    with (
        partial.open("r+b" if partial.exists() else "w+b") as file,
        tqdm(total=remote.size, unit="B", unit_scale=True, desc=wanted.repository) as progress,
    ):
        while True:
            start = file.seek(0, os.SEEK_END)
            furthest = max(furthest, start)
            progress.update(start - progress.n)
            if remote.size is not None and start >= remote.size:
                return
            try:
                for place, piece in _received(url, start):
                    if place != file.tell():  # the server begins anew
                        file.seek(place)
                        file.truncate()
                    file.write(piece)
                    progress.update(file.tell() - progress.n)
                    if remote.size is not None and file.tell() > remote.size:
                        return  # longer than announced: the hash will not fit
                if remote.size is None:
                    return
                reason: Exception = EOFError("it ended early")
            except _Broken as broken:
                reason = broken.reason
            status = _status(reason)
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                file.seek(0)  # the server's file is shorter than what is here
                file.truncate()
            elif status is not None and status not in _PASSING:
                raise _refusal(wanted, reason) from reason
            failures = 0 if file.tell() > furthest else failures + 1
            if failures > len(_WAITS):
                raise wanted.error(
                    Unreachable,
                    f"the connection broke after {file.tell():,} of {_bytes(remote.size)}: {_in_words(reason)}.",
                    "What has arrived is kept: call again to go on.",
                ) from reason
            time.sleep(_WAITS[max(failures - 1, 0)])


def _refuse_without_room(wanted: _Wanted, remote: _Remote, partial: Path) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if remote.size is not None and remote.size - there > free:
        raise wanted.error(
            DiskFull,
            f"it needs {remote.size - there:,} bytes more in the cache {constants.HF_HUB_CACHE}, whose disk has "
            f"{free:,} free.",
            "Make room (`hf cache` helps), or set HF_HOME to a folder on another disk, and call again.",
        )


class _Broken(Exception):
    """A request failed. What fails in writing never is one of these."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason


def _received(url: str, start: int) -> Iterator[tuple[int, bytes]]:
    """Ask for a file from this byte on; give its pieces, each with its place in the file."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        with _request("GET", url, headers, constants.HF_HUB_DOWNLOAD_TIMEOUT, follow=True) as response:
            place = start if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
            pieces = response.iter_bytes() if hasattr(response, "iter_bytes") else response.iter_content(_PIECE)
            for piece in pieces:
                yield place, piece
                place += len(piece)
    except Exception as error:  # as in `_ask`
        raise _Broken(error) from error
