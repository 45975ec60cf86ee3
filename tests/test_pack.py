"""Executed notebooks on their way from one machine to another."""

import hashlib
import io
import json
import tarfile

import nbformat
import pack
import pytest
from executed import RUN_MIME
from nbformat.v4 import new_code_cell, new_notebook, new_output
from small_project import make, make_project


def executed(name="03_background", exception=None, **parameters):
    """A notebook as run_notebook.py leaves it."""
    run = {"profile": "paper", "device": "cuda", "gpu": "NVIDIA H200", "versions": {"torch": "2.4.0"}}
    shown = new_output("display_data", {RUN_MIME: run, "text/plain": "run"})
    notebook = new_notebook(cells=[new_code_cell("run", outputs=[shown])])
    notebook.metadata["papermill"] = {
        "exception": exception,
        "duration": 83.2,
        "end_time": "2026-03-01T10:00:00+00:00",
        "parameters": parameters,
    }
    notebook.metadata["seelike"] = {"notebook": name, "commit": None, "seconds": 83.2, "code": {}}
    return notebook


@pytest.fixture
def archive(tmp_path):
    """What make pack writes of two notebooks, and one of them with random weights."""
    folder = tmp_path / "gpu machine" / "results" / "paper"
    (folder / "untrained").mkdir(parents=True)
    paths = [folder / "03_background.ipynb", folder / "A_methods.ipynb"]
    for path in paths:
        nbformat.write(executed(path.stem), path)
    paths.append(folder / "untrained" / "A_methods.ipynb")
    nbformat.write(executed("A_methods", weights="random"), paths[-1])
    pack.pack(tmp_path / "executed-paper.tar.gz", paths)
    return tmp_path / "executed-paper.tar.gz"


def rewrite(archive, change):
    """Write an archive anew with other entries, given and taken as {name: content}."""
    with tarfile.open(archive) as file:
        entries = {entry.name: file.extractfile(entry).read() for entry in file.getmembers()}
    with tarfile.open(archive, "w:gz") as file:
        for name, content in change(entries).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))


def test_notebooks_arrive_as_they_were_and_the_reader_is_told_what_they_are(archive, tmp_path, capsys):
    capsys.readouterr()
    to = tmp_path / "publisher"
    kept = to / "results" / "paper"
    kept.mkdir(parents=True)
    (kept / "99_old.ipynb").write_text("of an older run")
    pack.unpack(archive, to)
    names = ["03_background.ipynb", "A_methods.ipynb", "untrained/A_methods.ipynb"]
    assert sorted(path.relative_to(kept).as_posix() for path in to.rglob("*.ipynb")) == names
    for name in names:
        assert (kept / name).read_bytes() == (tmp_path / "gpu machine" / "results" / "paper" / name).read_bytes()
    told = capsys.readouterr().out
    assert "3 notebooks of the profile paper, 0.0 MB, run on NVIDIA H200; code " in told
    assert f"In {kept}. Show them: make book" in told


@pytest.mark.parametrize(
    ("notebook", "expected"),
    [
        (executed(exception=True), "Papermill did not run it to its end"),
        (executed("A_methods"), "It is a run of A_methods, not of 03_background"),
        (executed(weights="random"), "It ran at paper/untrained, and this is the folder paper"),
    ],
)
def test_what_arrives_and_is_no_result_is_refused(archive, tmp_path, notebook, expected):
    content = nbformat.writes(notebook).encode()

    def change(entries):
        about = json.loads(entries["about.json"])
        about["notebooks"]["03_background.ipynb"]["sha256"] = hashlib.sha256(content).hexdigest()
        return {**entries, "about.json": json.dumps(about).encode(), "03_background.ipynb": content}

    rewrite(archive, change)
    with pytest.raises(ValueError, match=rf"03_background\.ipynb in .*: {expected}(.|\n)*Nothing was unpacked"):
        pack.unpack(archive, tmp_path / "publisher")
    assert not list((tmp_path / "publisher").rglob("*.ipynb"))


def test_the_archive_says_when_where_and_with_what(archive):
    with tarfile.open(archive) as file:
        about = json.loads(file.extractfile("about.json").read())
    assert about["profile"] == "paper"
    one = about["notebooks"]["03_background.ipynb"]
    assert (one["device"], one["versions"]) == ("NVIDIA H200", {"torch": "2.4.0"})
    assert len(one["sha256"]) == 64
    assert len(about["commit"].rstrip("+")) == 40


def test_a_failed_notebook_is_not_packed(tmp_path):
    path = tmp_path / "paper" / "03_background.ipynb"
    path.parent.mkdir()
    nbformat.write(executed(exception=True), path)
    with pytest.raises(ValueError, match=r"03_background\.ipynb: Papermill did not run it to its end"):
        pack.pack(tmp_path / "executed.tar.gz", [path])
    assert not (tmp_path / "executed.tar.gz").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../03_background.ipynb",
        "/tmp/a.ipynb",
        "paper/a.ipynb",
        "untrained/../a.ipynb",
        "a.py",
        ".ipynb",
        "-x.ipynb",
        "a.ipynb/../b",
    ],
)
def test_a_name_that_is_no_notebook_here_is_refused(archive, tmp_path, name):
    rewrite(archive, lambda entries: {**entries, name: b"evil"})
    with pytest.raises(
        ValueError, match=r"An archive of `make pack` holds about\.json and notebooks.*Nothing was"
    ):
        pack.unpack(archive, tmp_path / "publisher")
    assert not (tmp_path / "publisher").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_and_folders_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        entry = tarfile.TarInfo("03_background.ipynb")
        entry.type, entry.linkname = kind, "/etc/passwd"
        file.addfile(entry)
    with pytest.raises(ValueError, match="no folders or links"):
        pack.unpack(tmp_path / "a.tar.gz", tmp_path / "publisher")


def other_profile(entries):
    about = json.loads(entries["about.json"])
    return {**entries, "about.json": json.dumps({**about, "profile": "../.."}).encode()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda entries: {**entries, "A_methods.ipynb": b"{}"}, r"A_methods\.ipynb in .* is not what was packed"),
        (lambda entries: {**entries, "B_more.ipynb": b"{}"}, r"does not hold the notebooks that its about\.json"),
        (lambda entries: {"03_background.ipynb": b"{}"}, r"has no about\.json of fit size"),
        (lambda entries: {"about.json": b" " * 2_000_000}, r"has no about\.json of fit size"),
        (lambda entries: {"about.json": b"[]"}, r"about\.json .* cannot be understood"),
        (lambda entries: {"about.json": b"{"}, r"about\.json .* cannot be understood"),
        (other_profile, r"Unknown profile '\.\./\.\.'"),
    ],
)
def test_an_archive_that_is_not_what_it_says_is_refused(archive, tmp_path, change, expected):
    rewrite(archive, change)
    with pytest.raises(ValueError, match=expected):
        pack.unpack(archive, tmp_path / "publisher")
    assert not (tmp_path / "publisher").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_an_archive_cut_off_or_missing_is_named(archive, tmp_path, content):
    archive.write_bytes(archive.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=r"cannot be read: .* Copy it again"):
        pack.unpack(archive, tmp_path / "publisher")
    with pytest.raises(ValueError, match=r"none\.tar\.gz cannot be read"):
        pack.unpack(tmp_path / "none.tar.gz", tmp_path / "publisher")


def test_a_full_disk_is_seen_before(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(pack.shutil, "disk_usage", lambda path: pack.shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ValueError, match=r"needs 0\.0 MB, and the disk has 0\.0 MB left"):
        pack.unpack(archive, tmp_path / "publisher")


def test_make_render_names_the_notebooks_that_are_missing(tmp_path):
    status, output = make(make_project(tmp_path), "render", "PROFILE=paper")
    assert status != 0
    assert "Of 1 executed notebooks these are not there: build/executed/paper/03_background.ipynb" in output
    assert "make book PROFILE=paper" in output


def test_make_render_refuses_a_notebook_that_failed_and_runs_none(tmp_path):
    project = make_project(tmp_path)
    path = project / "build" / "executed" / "paper" / "03_background.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(executed(exception=True), path)
    (project / "build" / "assets").mkdir()
    (project / "book" / "_static").mkdir()
    (project / "book" / "references.bib").write_text("")
    status, output = make(project, "render", "PROFILE=paper")
    assert status != 0
    assert "03_background.ipynb: Papermill did not run it to its end." in output, output
    assert not (project / "started.txt").exists()


@pytest.mark.notebook
def test_make_pack_runs_what_is_missing_and_make_unpack_puts_it_into_place(tmp_path):
    there, here = make_project(tmp_path / "there"), make_project(tmp_path / "here")
    status, output = make(there, "pack")
    assert status == 0, output
    archive = there / "build" / "executed-tiny.tar.gz"
    status, output = make(here, "unpack", f"PACK={archive}")
    assert status == 0, output
    assert (here / "build" / "executed" / "tiny" / "03_background.ipynb").exists()
    status, output = make(here, "unpack", "PACK=other.tar.gz")
    assert status != 0
    assert "unpack failed.\nother.tar.gz cannot be read" in output
