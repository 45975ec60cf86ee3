"""A Hugging Face hub on this machine, and the storage that it sends its clients to, with faults on demand.

It speaks what a client needs to fetch a file: HEAD and GET of `/REPOSITORY/resolve/REVISION/FILE`, with the commit
and the hash in headers; a redirect to storage at another address for large files, which understands ranges; the
hub's codes for errors; and the redirect from the old name of a repository to the new one.
"""

import hashlib
import json
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from loopback import Handler, Loopback

LARGE = 10_000


@dataclass
class Repository:
    """The files of one commit."""

    files: dict[str, bytes]
    commit: str = "1" * 40
    # Statuses and headers for the next requests, one each, before the true answer; status 0 is silence.
    answers: list = field(default_factory=list)
    # Takes the place of what the hub says of each file.
    headers: dict = field(default_factory=dict)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class LoopbackHub:
    """The two servers, and what they have and do.

    Attributes:
        repositories: By name; those of data sets begin with "datasets/".
        renamed: New names by old ones.
        requests: Method, path and headers of all requests to the hub.
        transfers: The first byte of each request to the storage, and its headers.
        troubles: What the storage does wrong with the next requests, one each: "drop 1000" ends the connection
            after as many bytes, "stall 1000" is silent from there on, "flip" changes a byte, "short" and "long"
            change the length, "whole" does not understand ranges, "503" is busy, "slow" takes a second.
    """

    def __init__(self):
        self.hub, self.storage = Loopback(HubHandler, self), Loopback(HubHandler, self)
        self.reset()

    def reset(self):
        self.repositories, self.renamed, self.requests, self.transfers, self.troubles = {}, {}, [], [], []

    @property
    def address(self):
        return self.hub.address

    def down(self):
        """Refuse connections."""
        return self.hub.down()

    def close(self):
        self.hub.close()
        self.storage.close()


class HubHandler(Handler):
    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/storage/"):
            return self.store(path.removeprefix("/storage/"))
        if path.startswith("/api/"):  # what the client asks besides, and can do without
            return self.answer(404, {})
        self.world.requests.append((self.command, path, dict(self.headers)))
        if path.startswith("/kept/"):
            repository, _, file = path.removeprefix("/kept/").partition("/file/")
            return self.file(self.world.repositories[repository], file)
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if repository in self.world.renamed:
            there = f"/{self.world.renamed[repository]}/resolve/{revision}/{file}"
            return self.answer(307, {"Location": there})
        if repository not in self.world.repositories:
            return self.error(404, "RepoNotFound", "Repository not found")
        found = self.world.repositories[repository]
        if found.answers:
            return self.answer(*found.answers.pop(0))
        if revision not in ("main", found.commit):
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in found.files:
            return self.error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": found.commit})
        content = found.files[file]
        if len(content) < LARGE:
            return self.answer(307, {"Location": f"/kept/{repository}/file/{file}", "X-Repo-Commit": found.commit})
        storage = f"{self.world.storage.address}/storage/{repository}/file/{file}?signature=x"
        headers = {
            "Location": storage,
            "X-Repo-Commit": found.commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{sha256(content)}"',
            **found.headers,
        }
        return self.answer(302, headers, b"Found. Redirecting")

    def answer(self, status, headers, content=b""):
        if status == 0:
            self.wait_until_it_is_over()
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "Connection": "close", **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, status, code, message, headers=()):
        content = json.dumps({"error": message}).encode()
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": message, **dict(headers)}, content)

    def file(self, repository, name):
        content = repository.files[name]
        self.answer(200, {"X-Repo-Commit": repository.commit, "ETag": f'"{git_hash(content)}"'}, content)

    def store(self, path):
        repository, _, file = path.partition("/file/")
        content = self.world.repositories[repository].files[file]
        trouble, _, amount = (self.world.troubles.pop(0) if self.world.troubles else "").partition(" ")
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.world.transfers.append((start, dict(self.headers)))
        if trouble.isdecimal():
            return self.answer(int(trouble), {})
        if trouble == "slow":
            time.sleep(1)
        if trouble == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        content = {"short": content[:-100], "long": content + b"more"}.get(trouble, content)
        if start >= len(content):
            return self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        ranged = start and trouble != "whole"
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if ranged else {}
        piece = content[start:] if ranged else content
        if trouble not in ("drop", "stall"):
            return self.answer(206 if ranged else 200, headers, piece)
        self.answer(206 if ranged else 200, {"Content-Length": str(len(piece)), **headers})
        self.wfile.write(piece[: int(amount)])
        self.wfile.flush()
        if trouble == "stall":
            self.wait_until_it_is_over()
        self.connection.shutdown(socket.SHUT_WR)
