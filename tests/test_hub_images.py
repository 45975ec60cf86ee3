"""Image sets of the Hugging Face hub, by the call that a user makes, from a hub on this machine, fault by
fault."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import yaml
from loopback import assert_fails
from loopback_datasets import COMMIT, LoopbackDatasets, Repository
from PIL import Image

from seelike import data
from seelike.data import hub as hub_sets
from seelike.data import hub_stream

USER = Path(__file__).parent / "images_user.py"
CLASSES = ["ant", "bee", "cat"]
IMAGE, LABEL = datasets.Image(), datasets.ClassLabel(names=CLASSES)
ALL = 60
number = count()


def pixels(i):
    return np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def shown(i):
    return hashlib.sha256(pixels(i)).hexdigest()


def file_of(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def rows(n=ALL, padding=0):
    """Noise, sorted by class: a third of each. Readers of PNG pass over what follows its end."""
    more = np.random.default_rng(0).bytes(padding)
    images = [{"bytes": file_of(pixels(i)) + more, "path": f"{i}.png"} for i in range(n)]
    return {"image": images, "label": [i * 3 // n for i in range(n)]}


def large_files(number):
    """So large that a client reads its images and its directory of rows in different requests."""
    content = parquet(rows(padding=5_000), rows_in_piece=ALL)
    return {split_file(part=f"{i:05d}-of-{number:05d}"): content for i in range(number)}


def with_images(server):
    """The large files of which images were fetched."""
    return {file for file, _, length in server.fetched if length > 100_000}


def parquet(columns=None, rows_in_piece=10, **features):
    """A file as `push_to_hub` makes it."""
    buffer = io.BytesIO()
    kinds = datasets.Features({"image": IMAGE, "label": LABEL, **features})
    columns = rows() if columns is None else columns
    kinds = datasets.Features({column: kinds[column] for column in columns})
    datasets.Dataset.from_dict(columns, features=kinds).to_parquet(buffer, batch_size=rows_in_piece)
    return buffer.getvalue()


def split_file(split="test", part="00000-of-00001"):
    return f"data/{split}-{part}.parquet"


def card(configs):
    """The page of a set, which says what files are what."""
    return f"---\n{yaml.safe_dump({'configs': configs})}---\n".encode()


class User:
    """A process that loads images, in an environment of its own."""

    def __init__(self, log, **environment):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(USER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("a"),
            env={**inherited, "NO_PROXY": "*", **environment},
            text=True,
        )

    def ask(self, name, **options):
        self.process.stdin.write(json.dumps({"name": name, **options}) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def __call__(self, name, **options):
        self.ask(name, **options)
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server():
    server = LoopbackDatasets()
    yield server
    server.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def start_user(server, home, tmp_path_factory):
    users = []

    def start(**environment):
        log = tmp_path_factory.mktemp("user") / "log"
        users.append(User(log, HF_HOME=str(home), HF_ENDPOINT=server.address, **environment))
        return users[-1]

    yield start
    for user in users:
        user.close()


@pytest.fixture(scope="module")
def one_user(start_user):
    return start_user()


@pytest.fixture
def user(one_user, server):
    server.reset()
    return one_user


@pytest.fixture
def offer(server):
    """Put a set on the hub, under a name that no test has used."""

    def offer(files=None, **options):
        repository = f"owner/set-{next(number)}"
        content = {split_file(): parquet()} if files is None else files
        server.repositories[repository] = Repository(content, **options)
        return f"hub:{repository}"

    return offer


# What shall work


def test_all_pieces_are_the_whole_set(user, offer):
    name = offer()
    given = user(name, enough=ALL)
    assert set(given["images"]) == {shown(i) for i in range(ALL)}
    for i in range(ALL):
        assert given["labels"][given["images"].index(shown(i))] == i // 20
    assert given["class_names"] == CLASSES
    assert given["warned"] == []
    assert f"{name.removeprefix('hub:')}, test, commit ccccccc: 6 of 6 pieces, seed 0" in given["note"]


def test_a_draw_is_of_whole_pieces_and_says_which_classes_it_lacks(user, offer):
    given = user(offer(), enough=15)
    assert len(given["images"]) == 20
    drawn = {next(i for i in range(ALL) if shown(i) == each) // 10 for each in given["images"]}
    assert len(drawn) == 2
    classes = len(set(given["labels"]))
    warned = [f"of {classes} of its 3 classes" in said for said in given["warned"]]
    assert warned == ([True] if classes < 3 else [])
    assert "2 of 6 pieces" in given["note"]


def test_a_set_that_is_mixed_brings_no_warning(user, offer):
    columns = rows()
    columns["label"] = [i % 3 for i in range(ALL)]
    given = user(offer({split_file(): parquet(columns)}), enough=10)
    assert len(given["images"]) == 10
    assert given["warned"] == []


def test_some_images_do_not_cost_the_whole_download(user, offer, server):
    content = parquet(rows(30, padding=1_000_000), rows_in_piece=3)
    assert len(user(offer({split_file(): content}), enough=3)["images"]) == 3
    # A tenth, and the five megabytes that the client reads ahead.
    assert sum(length for _, _, length in server.fetched) < 0.4 * len(content)


def test_the_same_seed_gives_the_same_images_without_a_network(user, offer, server):
    name = offer()
    first, other = user(name, enough=20, seed=4), user(name, enough=20, seed=5)
    assert first["images"] != other["images"]
    with server.down():
        assert user(name, enough=20, seed=4) == first
        assert user(name, enough=20, seed=5) == other
        assert_fails(user(name, enough=ALL), "Unreachable", "Could not get", name.split("/")[1], "call again")


def test_more_images_cost_only_what_is_missing(user, offer, server):
    name = offer(large_files(3))
    few, first = user(name, enough=ALL), with_images(server)
    assert len(first) == 1
    server.fetched.clear()
    more = user(name, enough=2 * ALL)
    assert more["images"][:ALL] == few["images"]
    assert len(more["images"]) == 2 * ALL
    assert len(with_images(server)) == 1
    assert not with_images(server) & first


def test_splits_and_configurations(user, offer):
    small = [{"split": split, "path": f"small/{split}.parquet"} for split in ("train", "test", "validation")]
    large = [{"split": "train", "path": "large/train.parquet"}]
    configs = [
        {"config_name": "small", "default": True, "data_files": small},
        {"config_name": "large", "data_files": large},
    ]
    places = ["small/train", "small/test", "small/validation", "large/train"]
    images = rows(6)["image"]
    parts = {
        f"{place}.parquet": parquet({"image": images, "label": [i] * 6}) for i, place in enumerate(places[:3])
    }
    parts["large/train.parquet"] = parquet(rows(9))
    name = offer({"README.md": card(configs), **parts})
    assert set(user(name)["labels"]) == {2}
    assert set(user(f"{name}/test")["labels"]) == {1}
    assert len(user(f"{name}/large/train")["images"]) == 9
    assert len(user(f"{name}@{COMMIT}/small/train")["images"]) == 6
    assert_fails(user(f"{name}/large/test"), "UnknownName", "Unknown split", "'test'", "'train'")
    assert_fails(
        user(f"{name}/lage/train"), "UnknownName", "Unknown configuration", "'lage'. Did you mean 'large'"
    )


def test_a_folder_of_files_on_the_hub(user, offer):
    name = offer({f"train/{CLASSES[i % 3]}/{i}.png": file_of(pixels(i)) for i in range(9)})
    given = user(name)
    assert given["class_names"] == CLASSES
    for i in range(9):
        assert given["labels"][given["images"].index(shown(i))] == i % 3


def test_labels_may_be_words_or_numbers_or_missing(user, offer):
    images = rows(6)["image"]
    columns = {"image": images, "label": list("cabbac")}
    given = user(offer({split_file(): parquet(columns, label=datasets.Value("string"))}))
    assert (given["class_names"], given["labels"]) == (["a", "b", "c"], [2, 0, 1, 1, 0, 2])
    columns = {"image": images, "cls": [7, 30, 7, 30, 7, 7]}
    given = user(offer({split_file(): parquet(columns, cls=datasets.Value("int64"))}))
    assert (given["class_names"], given["labels"]) == (["7", "30"], [0, 1, 0, 1, 0, 0])
    given = user(offer({split_file(): parquet({"image": images})}))
    assert (given["class_names"], given["labels"], given["warned"]) == (None, None, [])


# What may go wrong


NO_NAMES = ["hub:", "hub:mini-imagenet", "hub:a//b", "hub:a/b/c/d/e", "hub:../b", "hub:a/b c"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_a_set(name):
    with pytest.raises(ValueError, match=r"does not name an image set of the hub.*hub:OWNER/NAME/SPLIT"):
        data.load(name)


def test_what_is_not_on_the_hub(user, offer):
    name = offer()
    assert_fails(
        user("hub:owner/nothing"), "NotOnTheHub", "data set owner/nothing", "that you may see", "hf auth login"
    )
    assert_fails(user(f"{name}@v2"), "NotOnTheHub", "no revision 'v2'")
    assert_fails(user(f"{name}/tset"), "UnknownName", "Unknown split", "'tset'. Did you mean 'test'?")
    assert_fails(user(f"{name}/160px/test"), "UnknownName", "Unknown configuration", "'160px'. Known: 'default'")


def test_several_configurations_or_splits_have_to_be_named(user, offer):
    files = {"a.parquet": parquet(rows(6)), "b.parquet": parquet(rows(6))}
    configs = [{"config_name": name, "data_files": f"{name}.parquet"} for name in "ab"]
    name = offer({"README.md": card(configs), **files})
    assert_fails(user(name), "ValueError", "several configurations: 'a', 'b'", f"'{name}/a/SPLIT'")
    splits = [{"split": "left", "path": "a.parquet"}, {"split": "right", "path": "b.parquet"}]
    name = offer({"README.md": card([{"config_name": "default", "data_files": splits}]), **files})
    assert_fails(user(name), "ValueError", "splits 'left', 'right'", f"'{name}/left'")


def test_a_gated_set(user, offer):
    assert_fails(
        user(offer(gated=True)), "NotAllowed", "give access only to", "Ask on", "hf auth login", "fashion-mnist"
    )


def test_no_code_of_a_set_runs(user, server, home):
    """A script, of the name under which datasets ran it before version 4."""
    trap = home / "trap"
    server.repositories["owner/scripted"] = Repository({"scripted.py": f"open({str(trap)!r}, 'w')".encode()})
    assert_fails(user("hub:owner/scripted"), "ValueError", "by a script of its authors, and seelike runs no code")
    assert not trap.exists()


def test_a_set_without_images_lists_its_columns(user, offer):
    columns = {"text": ["a", "b"], "size": [1, 2]}
    name = offer({split_file(): parquet(columns, text=datasets.Value("string"), size=datasets.Value("int64"))})
    assert_fails(user(name), "ValueError", "no column that is plainly its images", "text (string), size (int64)")


def test_several_columns_of_images_or_classes(user, offer):
    images = rows(6)["image"]
    both = {"before": images, "after": images}
    name = offer({split_file(): parquet(both, before=IMAGE, after=IMAGE)})
    assert_fails(user(name), "ValueError", "which one is called 'image'", "before (Image)")
    columns = {"image": images, "fine": [0, 1, 2] * 2, "coarse": [0] * 6}
    given = user(offer({split_file(): parquet(columns, fine=LABEL, coarse=LABEL)}))
    assert given["labels"] == [0, 1, 2] * 2
    assert ["several columns of classes: 'fine', 'coarse'" in said for said in given["warned"]] == [True]


def test_images_without_a_class(user, offer):
    given = user(offer({split_file(): parquet({"image": rows(6)["image"], "label": [0, 1, -1, 2, None, 0]})}))
    assert (len(given["images"]), given["labels"]) == (6, None)
    assert "2 of 6 images" in given["warned"][0]
    assert "no class in column 'label'" in given["warned"][0]


def test_broken_and_missing_images_are_left_out(user, offer):
    columns = rows(6)
    columns["image"][1] = {"bytes": b"no image", "path": "1.png"}
    columns["image"][3] = None
    columns["label"] = [0, 1, 2] * 2
    given = user(offer({split_file(): parquet(columns)}))
    assert given["images"] == [shown(i) for i in (0, 2, 4, 5)]
    assert given["labels"] == [0, 2, 1, 2]
    assert "2 of 6 image files" in given["warned"][0]


PATHS = ["{secret}", "file://{secret}", "file://{secret}::hf://datasets/{set}@{commit}/x"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_outside_of_the_set_is_opened(user, offer, tmp_path, path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(file_of(pixels(0)))
    repository = f"owner/set-{next(number) + 1}"
    where = path.format(secret=secret, set=repository, commit=COMMIT)
    name = offer({split_file(): parquet({"image": [{"bytes": None, "path": where}], "label": [0]})})
    assert_fails(user(name), "ValueError", "has no image but the path", "which is not opened")


def test_names_in_a_set_name_no_files_here(user, offer, home):
    columns = rows(3)
    for image, path in zip(columns["image"], ["../../../evil.png", "/evil.<b>", "a\0b.PNG"], strict=True):
        image["path"] = path
    name = offer({split_file(): parquet(columns)})
    assert len(user(name)["images"]) == 3
    folders = list((home / "assets").rglob(f"*{name.rpartition('/')[2]}*"))
    kept = sorted(path.name for folder in folders for path in folder.rglob("0*") if path.is_file())
    assert kept == ["000000.png", "000001", "000002.png"]
    assert not list(home.rglob("*evil*"))


def test_a_damaged_file(user, offer):
    content = parquet()
    assert_fails(user(offer({split_file(): content[:-8]})), "ValueError", "is damaged, or of a form")


def test_a_broken_connection_loses_nothing(user, offer, server):
    name = offer(large_files(3))
    few, first = user(name, enough=ALL), with_images(server)
    server.trouble = lambda answer: "drop" if server.fetched[answer][2] > 100_000 else None
    assert_fails(user(name, enough=3 * ALL), "Unreachable", "Could not get", "Pieces that have arrived are kept")
    server.trouble = None
    server.fetched.clear()
    given = user(name, enough=3 * ALL)
    assert given["images"][:ALL] == few["images"]
    assert len(given["images"]) == 3 * ALL
    assert len(with_images(server)) == 2
    assert not with_images(server) & first


def test_a_killed_process_goes_on(user, offer, server, start_user):
    name = offer(large_files(3))
    few, first = user(name, enough=ALL), with_images(server)
    victim = start_user()
    server.fetched.clear()
    server.trouble = lambda answer: "stall" if server.fetched[answer][2] > 100_000 else None
    victim.ask(name, enough=3 * ALL)
    deadline = time.monotonic() + 60
    while not with_images(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert with_images(server)
    victim.process.send_signal(signal.SIGKILL)
    server.trouble = None
    server.fetched.clear()
    given = user(name, enough=3 * ALL)
    assert given["images"][:ALL] == few["images"]
    assert len(given["images"]) == 3 * ALL
    assert not with_images(server) & first


def test_two_processes_at_once(user, offer, start_user):
    name, other = offer(), start_user()
    for each in (user, other):
        each.ask(name, enough=ALL)
    assert other.answer() == user.answer()


def test_a_full_disk(user, offer):
    name = offer()
    user(name, enough=10)
    assert_fails(
        user(name, enough=ALL, longest_file=100), "OSError", "no room on the disk", "HF_HOME", "not fetched twice"
    )
    assert len(user(name, enough=ALL)["images"]) == ALL


def test_offline_by_the_users_wish(user, offer, start_user):
    name, other = offer(), offer()
    given = user(name, enough=20)
    offline = start_user(HF_HUB_OFFLINE="1")
    assert offline(name, enough=20) == given
    assert_fails(offline(other), "Unreachable", "Could not get", "HF_HUB_OFFLINE is set")


def test_without_the_library_datasets(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_sets, "_folder", lambda *_: tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'datasets>=4'.*fashion-mnist/test"):
        data.load("hub:owner/name")
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(__version__="3.6.0"))
    with pytest.raises(ImportError, match=r"version 4 or later; here is 3\.6\.0"):
        data.load("hub:owner/name")


def test_a_folder_of_the_same_name_is_not_taken_for_the_set(monkeypatch, tmp_path):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub_sets, "_folder", lambda *_: tmp_path)
    with pytest.raises(ValueError, match=r"a folder owner/name is here.*'\./owner/name' if that is meant"):
        data.load("hub:owner/name")


# The same, on files of this machine


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Streams of local files in the place of those from a hub."""
    load = datasets.load_dataset

    def offer(kind, **options):
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: load(kind, streaming=True, **options))

    monkeypatch.setattr(hub_sets, "cached_assets_path", lambda *_: tmp_path)
    monkeypatch.setattr(hub_stream, "_commit", lambda *_: COMMIT)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda *_, **__: ["default"])
    return offer


def test_local_parquet(local, tmp_path):
    path = tmp_path / "test.parquet"
    path.write_bytes(parquet())
    local("parquet", data_files={"test": str(path)})
    images = data.load("hub:owner/name", enough=ALL)
    assert {hashlib.sha256(np.asarray(image)).hexdigest() for image in images} == {shown(i) for i in range(ALL)}
    assert images.class_names == CLASSES
    assert "6 of 6 pieces" in images.note


def test_local_files_are_not_opened_in_the_place_of_the_hubs(local, tmp_path):
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "a.png").write_bytes(file_of(pixels(0)))
    local("imagefolder", data_dir=str(tmp_path / "set"))
    with pytest.raises(ValueError, match=r"a\.png', which is not opened"):
        data.load("hub:owner/name")
