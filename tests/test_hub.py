"""Weights and files from the hub, fault by fault, by the call that a user makes, from a hub on this machine."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from hub_user import weights
from loopback import assert_fails
from loopback_hub import LoopbackHub, Repository, git_hash, sha256
from safetensors.torch import save

from seelike import profiles

HERE = Path(__file__).parent
NAME = "test_vit.r160_in1k"
REPOSITORY = f"timm/{NAME}"
LOAD = f"models.load({NAME!r})"
COMMIT = "1" * 40
# Root may write everywhere; the tests' users may not.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


class User:
    """A process that has imported the library in an environment of its own, and evaluates expressions."""

    def __init__(self, log, **environment):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        inherited["NO_PROXY"] = "*"
        self.process = subprocess.Popen(
            [*UNPRIVILEGED, sys.executable, str(HERE / "hub_user.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            env=inherited | environment,
            text=True,
        )
        self.log = log

    def __call__(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server():
    hub = LoopbackHub()
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def start_user(server, home, tmp_path_factory):
    """Start users of one cache. Each is started by the first test that needs it."""
    started, logs = [], tmp_path_factory.mktemp("logs")

    def start(**environment):
        environment = {"HF_HOME": str(home), "HF_ENDPOINT": server.address} | environment
        started.append(User(logs / str(len(started)), **environment))
        return started[-1]

    yield start
    for user in started:
        user.close()


@pytest.fixture(scope="module")
def online(start_user):
    return start_user(HF_TOKEN="hf_secret")


@pytest.fixture(scope="module")
def offline(start_user):
    return start_user(HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def cut_off(start_user):
    return start_user(HF_ENDPOINT="http://hub.invalid")


@pytest.fixture(scope="module")
def content():
    """A network as its authors published it: its weights, and the file of them."""
    torch.manual_seed(7)
    model = timm.create_model(NAME)
    return weights(model), save({key: value.contiguous() for key, value in model.state_dict().items()})


@pytest.fixture
def hub(server, home, content):
    """The hub with that network and nothing wrong, before an empty cache."""
    server.reset()
    server.repositories[REPOSITORY] = Repository({"model.safetensors": content[1]})
    yield server
    if (home / "hub").exists():
        for folder in (home, *home.rglob("*/")):
            folder.chmod(0o755)
        shutil.rmtree(home / "hub")


@pytest.fixture
def user(online, hub):
    return online


def folder(home):
    return home / "hub" / f"models--timm--{NAME}"


def blob(home, content):
    return folder(home) / "blobs" / sha256(content[1])


# What shall work


def test_weights_arrive_and_say_where_they_came_from(user, hub, content):
    answer = user(LOAD)
    assert answer["result"] == {
        "weights": content[0],
        "source": {
            "repository": REPOSITORY,
            "revision": COMMIT,
            "file": "model.safetensors",
            "sha256": sha256(content[1]),
        },
    }
    assert answer["warned"] == []
    # A token goes to the hub, and not to the storage that it sends to.
    assert {headers.get("authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}
    assert not any("authorization" in headers for _, headers in hub.transfers)


def test_weights_for_images_of_another_size(user, content):
    told = user(
        f"(lambda m: [list(m.pos_embed.shape), m.patch_embed.img_size, models.weights_source(m).sha256])"
        f"(models.load('{NAME}:64px'))"
    )
    assert told["result"] == [[1, 17, 64], [64, 64], sha256(content[1])]
    assert_fails(
        user(f"models.load('{NAME}', image_size=65)"),
        "ValueError",
        "cannot read 65 x 65",
        "divisible by patch size (16). Give",
    )


def test_a_mirror_without_commits_names_none(user, hub, content):
    hub.repositories[REPOSITORY] = Repository({"model.safetensors": content[1]}, commit="0" * 40)
    assert user(LOAD)["result"]["source"]["revision"] is None


def test_a_file_is_hashed_once(user, hub):
    """When it arrives, and when it comes from the cache."""
    count = f"""(lambda seen, real: (
        setattr(hub, "sha256_of", lambda path: seen.append(path) or real(path)),
        {LOAD}, len(seen), setattr(hub, "sha256_of", real))[2])([], hub.sha256_of)"""
    assert user(count.replace("\n", ""))["result"] == 1
    assert user(count.replace("\n", ""))["result"] == 1


def test_an_old_name_of_timm_is_asked_for_by_todays(user, hub):
    name = "vit_base_patch16_224_in21k"
    answer = user(f"models.load('{name}')")
    assert_fails(
        answer, "NotOnTheHub", "Could not get model.safetensors of timm/vit_base_patch16_224.augreg_in21k"
    )
    assert answer["warned"] == [f"timm calls '{name}' 'vit_base_patch16_224.augreg_in21k' today."]


def test_weights_that_timm_knows_in_another_format_too(user, hub):
    # timm has a loader of its own for the first publication of these, as NumPy arrays. They have 21,843 classes.
    name = "vit_tiny_patch16_224.augreg_in21k"
    assert timm.get_pretrained_cfg(name).custom_load
    model = timm.create_model(name)
    hub.repositories[f"timm/{name}"] = Repository({"model.safetensors": save(model.state_dict())})
    assert user(f"models.load({name!r})")["result"]["weights"] == weights(model)


def test_what_is_there_is_not_fetched_again(user, hub, content):
    user(LOAD)
    assert user(LOAD)["result"]["weights"] == content[0]
    assert [start for start, _ in hub.transfers] == [0]


def test_other_tools_find_it_in_the_cache(user, hub, home, content):
    user(LOAD)
    found = user(f"hub.hf_hub_url and __import__('timm').create_model({NAME!r}, pretrained=True)")
    assert found["result"]["weights"] == content[0]
    assert [start for start, _ in hub.transfers] == [0]
    scanned = user(f"(lambda c: (c.size_on_disk, list(map(str, c.warnings))))({scan(home)})")
    assert scanned["result"] == [len(content[1]), []]


def scan(home):
    return f"__import__('huggingface_hub').scan_cache_dir({str(home / 'hub')!r})"


def test_the_top_of_a_page_names_commit_and_hash(user, content):
    answer = user(f"seelike.start({{'models': '{NAME},tiny/resnet', 'device': 'cpu'}}).profile")
    assert f"Weights: {REPOSITORY} at {COMMIT[:12]} (sha256 {sha256(content[1])[:12]})." in answer["printed"]


def test_a_new_commit_of_the_same_content_is_no_download(user, hub):
    user(LOAD)
    hub.repositories[REPOSITORY].commit = "2" * 40
    assert "result" in user(LOAD)
    assert len(hub.transfers) == 1


def test_new_content_is_fetched(user, hub, content):
    user(LOAD)
    model = timm.create_model(NAME)
    new = save({key: value.contiguous() for key, value in model.state_dict().items()})
    hub.repositories[REPOSITORY] = Repository({"model.safetensors": new}, commit="2" * 40)
    answer = user(LOAD)["result"]
    assert answer["weights"] == weights(model)
    assert (answer["source"]["revision"], answer["source"]["sha256"]) == ("2" * 40, sha256(new))


def test_a_renamed_repository_is_followed(user, hub, content):
    hub.repositories["timm/a_new_name"] = hub.repositories.pop(REPOSITORY)
    hub.renamed[REPOSITORY] = "timm/a_new_name"
    assert user(LOAD)["result"]["weights"] == content[0]


def test_a_small_file_of_a_data_set_at_a_commit(user, hub):
    small = b"a,b\n1,2\n"
    hub.repositories["datasets/someone/some"] = Repository({"folder/some.csv": small})
    call = f"hub.download('someone/some', 'folder/some.csv', kind='dataset', revision={COMMIT!r})"
    answer = user(call)["result"]
    assert Path(answer["path"]).read_bytes() == small
    assert Path(answer["path"]).resolve().name == git_hash(small)
    assert (answer["sha256"], answer["revision"]) == (sha256(small), COMMIT)
    # A commit never changes: no question to the hub.
    asked = len(hub.requests)
    assert user(call)["result"] == answer
    assert len(hub.requests) == asked


# The network


def test_a_dropped_connection_is_taken_up(user, hub, content):
    hub.troubles = ["drop 262144", "drop 196608"]
    assert user(LOAD)["result"]["weights"] == content[0]
    assert len(hub.transfers) == 3


def test_a_connection_that_drops_again_and_again(user, hub, content):
    hub.troubles = ["drop 262144"] + ["drop 0"] * 20
    assert_fails(user(LOAD), "Unreachable", f"model.safetensors of {REPOSITORY}", "call again", f"'{NAME}:random'")
    hub.troubles = []
    assert user(LOAD)["result"]["weights"] == content[0]


def test_storage_that_does_not_understand_ranges(user, hub, content):
    hub.troubles = ["drop 262144", "whole"]
    assert user(LOAD)["result"]["weights"] == content[0]


@pytest.fixture
def impatient(user):
    """That user, as if the environment had said half a second instead of ten."""
    names = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
    for name in names:
        user(f"setattr(hub.constants, {name!r}, 0.5)")
    yield user
    for name in names:
        user(f"setattr(hub.constants, {name!r}, 10)")


def test_a_hub_that_is_silent(impatient, hub):
    hub.repositories[REPOSITORY].answers = [(0, {})]
    assert_fails(impatient(LOAD), "Unreachable", f"{hub.address} cannot be reached: it is silent")


def test_storage_that_falls_silent(impatient, hub):
    hub.troubles = ["stall 262144"] + ["stall 0"] * 20
    assert_fails(impatient(LOAD), "Unreachable", "cannot be reached", "it is silent")


def test_a_busy_hub_is_asked_again(user, hub, content):
    hub.repositories[REPOSITORY].answers = [(503, {}), (429, {})]
    hub.troubles = ["429"]
    assert user(LOAD)["result"]["weights"] == content[0]


def test_a_hub_that_stays_busy(user, hub):
    hub.repositories[REPOSITORY].answers = [(503, {})] * 99
    assert_fails(
        user(LOAD),
        "Unreachable",
        f"{hub.address} answers 503 (Service Unavailable)",
        "call again",
        "status.huggingface.co",
    )


def test_connections_refused(user, hub, content):
    with hub.down():
        said = assert_fails(user(LOAD), "Unreachable", hub.address, "it refuses the connection", "proxy settings")
    assert "tiny/vit_7x7" in said
    assert user(LOAD)["result"]["weights"] == content[0]
    with hub.down():
        answer = user(LOAD)
    assert (answer["result"]["weights"], answer["warned"]) == (content[0], [])


def test_without_a_network(user, cut_off, content):
    assert_fails(cut_off(LOAD), "Unreachable", "http://hub.invalid cannot be reached", "cannot be resolved")
    user(LOAD)
    assert cut_off(LOAD)["result"]["weights"] == content[0]


def test_offline_by_the_users_wish(user, offline, hub, home, content):
    assert_fails(offline(LOAD), "Unreachable", "HF_HUB_OFFLINE is set", "Unset HF_HUB_OFFLINE", "hf download")
    user(LOAD)
    asked = len(hub.requests)
    assert offline(LOAD)["result"]["weights"] == content[0]
    assert len(hub.requests) == asked
    blob(home, content).write_bytes(content[1][:-1])
    assert_fails(
        offline(LOAD), "Damaged", "its copy in the cache", "is damaged", "HF_HUB_OFFLINE is set", "Call again"
    )


def test_a_page_to_log_in_instead_of_the_hub(user, hub):
    hub.repositories[REPOSITORY].answers = [(200, {"Content-Type": "text/html"})]
    assert_fails(user(LOAD), "Unreachable", f"something else answers at {hub.address}", "log in to this network")


# Who may have what


def test_a_gated_repository(user, hub):
    for status in (401, 403):
        hub.repositories[REPOSITORY].answers = [(status, {"X-Error-Code": "GatedRepo"})]
        assert_fails(user(LOAD), "NotAllowed", "only to those who ask", f"{hub.address}/{REPOSITORY}", "HF_TOKEN")


def test_a_token_that_is_not_valid(user, hub):
    message = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.repositories[REPOSITORY].answers = [(401, message)]
    assert_fails(user(LOAD), "NotAllowed", "does not take your access token", "hf auth login")


def test_a_closed_repository(user, hub):
    hub.repositories[REPOSITORY].answers = [(403, {"X-Error-Message": "Access to this resource is disabled."})]
    assert_fails(user(LOAD), "NotAllowed", "refuses access", f"{hub.address}/{REPOSITORY}")


def test_a_repository_that_is_gone(user, hub):
    hub.repositories.clear()
    assert_fails(user(LOAD), "NotOnTheHub", "no such repository", "deleted, renamed or made private", REPOSITORY)


def test_a_repository_that_went_after_it_was_fetched(user, hub, content):
    user(LOAD)
    hub.repositories.clear()
    answer = user(LOAD)
    assert answer["result"]["weights"] == content[0]
    (warning,) = answer["warned"]
    assert "deleted, renamed or made private" in warning
    assert warning.endswith("The copy in the cache is used.")


def test_a_revision_and_a_file_that_are_not_there(user, hub):
    call = f"hub.download({REPOSITORY!r}, %r, revision=%r)"
    assert_fails(user(call % ("model.safetensors", "v9")), "NotOnTheHub", "no revision 'v9'")
    assert_fails(user(call % ("other.safetensors", "main")), "NotInRepository", "no such file", "/tree/main")


def test_a_name_that_timm_does_not_know(user, hub):
    assert_fails(user("models.load('test_vitt.r160_in1k')"), "UnknownName", "Did you mean 'test_vit.r160_in1k'")
    assert hub.requests == []


# What comes


def test_flipped_bytes_are_found_and_thrown_away(user, hub, home, content):
    hub.troubles = ["flip", "flip"]
    said = assert_fails(user(LOAD), "Damaged", "not what the hub announced", "thrown away", "proxy")
    assert sha256(content[1]) in said
    assert list(blob(home, content).parent.iterdir()) == []
    assert user(LOAD)["result"]["weights"] == content[0]


@pytest.mark.parametrize("length", ["short", "long"])
def test_a_length_other_than_announced(user, hub, content, length):
    hub.troubles = [length] * 20
    answer = user(LOAD)
    assert answer["error"] in ("Damaged", "Unreachable"), answer
    assert "all again" in answer["said"]
    hub.troubles = []
    assert user(LOAD)["result"]["weights"] == content[0]


def test_a_file_damaged_in_the_cache_is_fetched_again(user, hub, home, content):
    user(LOAD)
    damaged = bytearray(content[1])
    damaged[-1] ^= 1
    blob(home, content).write_bytes(damaged)
    with hub.down():
        assert_fails(user(LOAD), "Damaged", "its copy in the cache", "is damaged", "refuses the connection")
    assert user(LOAD)["result"]["weights"] == content[0]
    assert len(hub.transfers) == 2


def test_a_hash_that_would_be_a_path(user, hub, home):
    hub.repositories[REPOSITORY].headers = {"X-Linked-ETag": '"../../../escaped"'}
    assert_fails(user(LOAD), "Unreachable", "something else answers")
    hub.repositories[REPOSITORY].headers = {"X-Repo-Commit": "../../escaped"}
    assert_fails(user(LOAD), "Unreachable", "something else answers")
    assert not list(home.rglob("*escaped*"))


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("a-pickle-was-opened",))


def test_no_pickle_is_fetched_or_opened(user, hub, home):
    bomb = pickle.dumps([Bomb(), bytes(20_000)])
    hub.repositories[REPOSITORY].files = {"pytorch_model.bin": bomb}
    assert_fails(
        user(LOAD),
        "NotAsSafetensors",
        "has no model.safetensors",
        "can hide code",
        "save_model",
        "@weights.safetensors",
    )
    assert not any(path.endswith(".bin") for _, path, _ in hub.requests)
    hub.repositories[REPOSITORY].files = {"model.safetensors": bomb}
    assert_fails(user(LOAD), "ValueError", "is not a safetensors file")
    assert not Path("a-pickle-was-opened").exists()


def test_weights_that_timm_knows_only_by_an_address(user, hub):
    assert_fails(
        user("models.load('gcvit_tiny.in1k')"), "RuntimeError", "only at https://", "If you trust their authors"
    )
    assert hub.requests == []


def test_weights_of_another_architecture(user, hub):
    other = timm.create_model("test_resnet")
    hub.repositories[REPOSITORY].files["model.safetensors"] = save(other.state_dict())
    said = assert_fails(
        user(LOAD), "ValueError", f"at {COMMIT}", "do not fit 'test_vit.r160_in1k'", "pip install -U timm"
    )
    assert len(said) < 1_000


# The cache


def test_a_quota_that_is_used_up(user, hub, content):
    limit = "__import__('resource').setrlimit(1, (%d, -1))"  # RLIMIT_FSIZE
    user(limit % 200_000)
    assert_fails(user(LOAD), "DiskFull", "no room for it in the cache", "File too large", "HF_HOME", "call again")
    user(limit % -1)
    assert user(LOAD)["result"]["weights"] == content[0]


def test_a_cache_that_cannot_be_written(user, offline, cut_off, home, content):
    (home / "hub").mkdir()
    (home / "hub").chmod(0o555)
    assert_fails(user(LOAD), "CacheNotWritable", "Permission denied", "Set HF_HOME")
    (home / "hub").chmod(0o755)
    assert "result" in user(LOAD)
    for path in (home, *home.rglob("*/")):
        path.chmod(0o555)
    for each in (user, offline, cut_off):
        assert each(LOAD)["result"]["weights"] == content[0]


# More than one process. These need no network of timm's, so that they start at once.

FETCH = f"from seelike import hub; print(hub.download({REPOSITORY!r}, 'model.safetensors').sha256)"


def start(server, home):
    environment = os.environ | {"HF_HOME": str(home), "HF_ENDPOINT": server.address, "NO_PROXY": "*"}
    return subprocess.Popen([sys.executable, "-c", FETCH], env=environment, stdout=subprocess.PIPE, text=True)


def test_after_a_killed_download_the_next_one_is_whole(hub, home, content):
    hub.troubles = ["stall 262144"]
    killed = start(hub, home)
    deadline = time.monotonic() + 60
    while not hub.transfers:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert start(hub, home).communicate()[0].strip() == sha256(content[1])


def test_of_two_that_start_together_one_fetches(hub, home, content):
    hub.troubles = ["slow"]
    both = [start(hub, home) for _ in range(2)]
    assert {each.communicate()[0].strip() for each in both} == {sha256(content[1])}
    assert len(hub.transfers) == 1


# What timm says of the networks of this project


def test_every_network_of_the_profiles_is_on_the_hub_as_safetensors():
    names = {name for profile in profiles.NAMES for page in profiles.PAGES for name in networks(profile, page)}
    assert len(names) > 10
    for name in names:
        configuration = timm.get_pretrained_cfg(name)
        assert configuration.hf_hub_id == f"timm/{name}"
        assert configuration.hf_hub_filename is None


def networks(profile, page):
    named = profiles.profile_of(profile, page).networks
    return {name.split(":")[0] for name in named if not name.startswith("tiny/")}


def test_the_loopback_hub_hashes_as_git_does():
    assert git_hash(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    assert hashlib.sha256(b"").hexdigest() == sha256(b"")
