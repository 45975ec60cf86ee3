"""A Hugging Face hub of data sets on this machine, with faults on demand.

It speaks what the libraries `datasets` and `huggingface_hub` need to stream a set: what is known of a repository,
the tree of its files, and the files themselves, whole or in ranges.
"""

import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Handler, Loopback

COMMIT = "c" * 40


@dataclass
class Repository:
    """The files of one commit; of a gated one, only what is known of it is given out."""

    files: dict[str, bytes]
    gated: bool = False
    commit: str = COMMIT


@dataclass
class LoopbackDatasets:
    """The hub.

    Attributes:
        repositories: By name.
        fetched: File, first byte and length of each answer with content of a data file.
        trouble: A function of the number of such an answer, from 0: "drop" ends it in its middle, "stall" is
            silent.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    fetched: list[tuple[str, int, int]] = field(default_factory=list)
    trouble: object = None

    def __post_init__(self):
        self.server = Loopback(DatasetsHandler, self)

    @property
    def address(self):
        return self.server.address

    def reset(self):
        self.repositories, self.fetched, self.trouble = {}, [], None

    def down(self):
        """Refuse connections."""
        return self.server.down()

    def close(self):
        self.server.close()


class DatasetsHandler(Handler):
    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        path = unquote(url.path)
        api = path.startswith("/api/datasets/")
        owner, name, *rest = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        repository = self.world.repositories.get(f"{owner}/{name}")
        if not (api or path.startswith("/datasets/")) or repository is None:
            return self.error(404, "RepoNotFound", "Repository not found")
        kind, revision, file = (*rest, "", "")[0], (*rest, "", "")[1], "/".join(rest[2:])
        if kind in ("revision", "tree", "resolve") and revision not in ("main", repository.commit):
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if repository.gated and kind in ("resolve", "tree", "auth-check"):
            return self.error(401, "GatedRepo", "Access to this dataset is restricted")
        if kind == "resolve":
            return self.file(repository, file)
        entries = [self.entry(*each) for each in repository.files.items()]
        if kind == "tree":
            return self.tree(entries, file, "recursive=true" in url.query.lower())
        if kind == "paths-info":
            wanted = set(parse_qs(body.decode()).get("paths", []) or json.loads(body)["paths"])
            return self.json([entry for entry in entries if entry["path"] in wanted])
        known = {"id": f"{owner}/{name}", "sha": repository.commit, "private": False, "disabled": False}
        files = [{"rfilename": file} for file in repository.files]
        return self.json({**known, "gated": "auto" if repository.gated else False, "siblings": files, "tags": []})

    def entry(self, path, content):
        entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        return {
            **entry,
            "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1},
        }

    def tree(self, entries, folder, recursive):
        prefix = f"{folder}/" if folder else ""
        below = [entry for entry in entries if entry["path"].startswith(prefix)]
        if folder and not below:
            return self.error(404, "EntryNotFound", "Entry not found")
        first = {prefix + entry["path"].removeprefix(prefix).partition("/")[0]: entry for entry in below}
        folders = {path for path in first if any(entry["path"].startswith(f"{path}/") for entry in below)}
        shown = below if recursive else [first[path] for path in first if path not in folders]
        return self.json(
            [*({"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders), *shown]
        )

    def file(self, repository, name):
        if name not in repository.files:
            return self.error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
        content = repository.files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": repository.commit}
        start, status = 0, 200
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"], status = f"bytes {start}-{end}/{len(content)}", 206
            content = content[start : end + 1]
        if self.command == "HEAD" or name.endswith(".md"):
            return self.answer(status, headers, content)
        hub = self.world
        hub.fetched.append((name, start, len(content)))
        trouble = hub.trouble and hub.trouble(len(hub.fetched) - 1)
        if not trouble:
            return self.answer(status, headers, content)
        self.answer(status, {**headers, "Content-Length": len(content)}, content[: len(content) // 2])
        self.wfile.flush()
        if trouble == "stall":
            self.wait_until_it_is_over()

    def json(self, known):
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(known).encode())

    def error(self, status, code, message, headers=()):
        content = json.dumps({"error": message}).encode()
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": message, **dict(headers)}, content)

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), "Connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
