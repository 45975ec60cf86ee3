import gzip
import hashlib
import io
import math
import sys
import warnings
from collections import Counter
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seelike import data, hub
from seelike.data import fashion_mnist
from seelike.data.draws import draw, enough, overlap
from seelike.errors import UnknownName


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def save(path, picture=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(noise(32, 32, 3)) if picture is None else picture
    picture.save(path, **options)
    return path


def truncate(path, bytes_lost=100):
    path.write_bytes(path.read_bytes()[:-bytes_lost])


# Fashion-MNIST


def test_the_packaged_test_images_are_all_there():
    images = data.load("fashion-mnist/test")
    assert len(images) == 10_000
    assert images[0].mode == "L"
    assert images[0].size == (28, 28)
    assert images.labels.dtype == np.int64
    # Each of the ten classes has 1,000 test images (Xiao et al. 2017, Section 2).
    assert Counter(images.labels.tolist()) == dict.fromkeys(range(10), 1000)
    assert data.load("fashion-mnist").name == data.load(Path("fashion-mnist/test")).name == images.name


def test_an_image_set_cannot_be_changed():
    images = data.load("fashion-mnist")
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 1
    before = np.array(images[0])
    images[0].putpixel((14, 14), 7)
    np.testing.assert_array_equal(np.array(images[0]), before)


def test_places_outside_end_the_iteration():
    images = data.load("fashion-mnist").sample(3, seed=0)
    assert sum(1 for _ in images) == 3
    np.testing.assert_array_equal(np.array(images[-1]), np.array(images[np.int64(2)]))
    with pytest.raises(IndexError):
        images[3]


PIXELS = noise(5, 28, 28)
LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)


def idx(array):
    # From the format's description (LeCun): 0, 0, type, number of axes, lengths as big-endian integers, content.
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 0x08, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def small_training_set(monkeypatch):
    """Five images of noise stand in for the 60,000."""
    wanted = fashion_mnist._Split(
        "train", 5, hashlib.sha256(PIXELS.tobytes()).hexdigest(), hashlib.sha256(LABELS.tobytes()).hexdigest()
    )
    monkeypatch.setitem(fashion_mnist._SPLITS, "train", wanted)
    monkeypatch.delenv("SEELIKE_FASHION_MNIST", raising=False)


@pytest.fixture
def folder(tmp_path, small_training_set):
    folder = tmp_path / "fashion"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return folder


def assert_is_small_training_set(images):
    assert images.name == "fashion-mnist/train"
    assert images.labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(np.stack([np.array(image) for image in images]), PIXELS)


def test_training_images_from_a_named_folder(folder):
    assert_is_small_training_set(data.load(f"fashion-mnist/train@{folder}"))


def test_training_images_from_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert_is_small_training_set(data.load("fashion-mnist/train@~/fashion"))


def test_training_images_from_the_folder_in_the_environment(folder, monkeypatch):
    monkeypatch.setenv("SEELIKE_FASHION_MNIST", str(folder))
    assert_is_small_training_set(data.load("fashion-mnist/train"))


def test_training_images_from_debians_folder(folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", folder)
    assert_is_small_training_set(data.load("fashion-mnist/train"))


def test_files_need_not_be_compressed(folder):
    for file in list(folder.iterdir()):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert_is_small_training_set(data.load(f"fashion-mnist/train@{folder}"))


def test_a_wrong_folder_in_the_environment_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SEELIKE_FASHION_MNIST", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        data.load("fashion-mnist/train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx(PIXELS))[:-500], "is damaged: expected a whole gzip file, found 3,"),
        (b"<html>Not found</html>", "is damaged: expected a whole gzip file, found 22 bytes"),
        (gzip.compress(idx(PIXELS)[:-10]), "expected 3,920 bytes after the header, found 3,910"),
        (gzip.compress(idx(PIXELS) + b"more"), "expected 3,920 bytes after the header, found 3,924"),
        (gzip.compress(b""), "found an empty file"),
        (gzip.compress(idx(LABELS)), r"shape \[5, 28, 28\]\), found 00000801 00000005"),
        (gzip.compress(idx(255 - PIXELS)), "not those of fashion-mnist/train: expected 5 with sha256"),
    ],
    ids=["truncated gzip", "no gzip", "too short", "too long", "empty", "labels", "other images"],
)
def test_damaged_files_are_named(folder, content, message):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=f"train-images-idx3-ubyte.gz.*{message}"):
        data.load(f"fashion-mnist/train@{folder}")


def test_other_labels_are_found(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[::-1].copy())))
    with pytest.raises(ValueError, match=r"The labels in .*train-labels-idx1-ubyte\.gz are not those"):
        data.load(f"fashion-mnist/train@{folder}")


# The Hugging Face hub


def rows(pixels, labels):
    def png(image):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    return {"image": [png(image) for image in pixels], "label": labels.tolist()}


@pytest.fixture(params=["pyarrow", "stand-in"])
def offer_on_hub(request, tmp_path, monkeypatch, small_training_set):
    """Let the hub offer a parquet file, written by pyarrow; or, as that may be missing, a stand-in for both."""
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "missing")
    path = tmp_path / "train.parquet"
    tables = {}

    def download(repository, file, kind, hint):
        assert (repository, kind) == ("zalando-datasets/fashion_mnist", "dataset")
        assert file.endswith(".parquet")
        return SimpleNamespace(path=path)

    monkeypatch.setattr("seelike.hub.download", download)

    if request.param == "pyarrow":
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, which the hub's file needs, is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        return lambda columns: parquet.write_table(pyarrow.table(columns), path)

    def column(name):
        return SimpleNamespace(to_pylist=lambda: tables[name])

    parquet = SimpleNamespace(read_table=lambda path, columns: SimpleNamespace(column=column))
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(parquet=parquet))
    return tables.update


def test_training_images_from_the_hub(offer_on_hub):
    offer_on_hub(rows(PIXELS, LABELS))
    assert_is_small_training_set(data.load("fashion-mnist/train"))


def test_other_images_on_the_hub_are_found(offer_on_hub):
    offer_on_hub(rows(PIXELS[:2], LABELS[:2]))
    with pytest.raises(ValueError, match=r"train\.parquet are not those .* expected 5 .* found 2"):
        data.load("fashion-mnist/train")


def test_another_table_on_the_hub_is_an_error(offer_on_hub):
    offer_on_hub({"picture": [1, 2]})
    with pytest.raises(ValueError, match=r"train\.parquet, .*, is damaged or another file: .*column 'image'"):
        data.load("fashion-mnist/train")


def test_without_network_the_error_says_what_to_do(offer_on_hub, monkeypatch):
    def fail(*args, hint, **options):
        raise hub.Unreachable(f"no route to host. {hint}")

    monkeypatch.setattr("seelike.hub.download", fail)
    with pytest.raises(
        ConnectionError, match=r"no route to host\. .*dataset-fashion-mnist.*fashion-mnist/train@FOLDER"
    ):
        data.load("fashion-mnist/train")


def test_without_pyarrow_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SEELIKE_FASHION_MNIST", raising=False)
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "missing")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install pyarrow.*dataset-fashion-mnist"):
        data.load("fashion-mnist/train")


# Folders


def test_subfolders_are_classes_in_sorted_order(tmp_path):
    for name in [
        "dog/b.PNG",
        "cat/z.jpg",
        "dog/2021/a.jpeg",
        "cat/a.webp",
        "bird/x.gif",
        "bird/y.Tif",
        "ant/x.bmp",
    ]:
        save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not an image")
    images = data.load(tmp_path)
    assert images.name == str(tmp_path)
    assert images.class_names == ["ant", "bird", "cat", "dog"]
    assert images.labels.tolist() == [0, 1, 1, 2, 2, 3, 3]
    names = [path.relative_to(tmp_path).as_posix() for path in images.stored]
    assert names == [
        "ant/x.bmp",
        "bird/x.gif",
        "bird/y.Tif",
        "cat/a.webp",
        "cat/z.jpg",
        "dog/2021/a.jpeg",
        "dog/b.PNG",
    ]
    assert all(image.mode == "RGB" and image.size == (32, 32) for image in images)


def test_flat_folder_has_no_labels(tmp_path, monkeypatch):
    for name in ["b.png", "a.png", "._a.png", ".thumbnails/a.png"]:
        save(tmp_path / "photos" / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    images = data.load("~/photos")
    assert images.labels is None
    assert images.class_names is None
    assert [path.name for path in images.stored] == ["a.png", "b.png"]
    assert repr(images) == "<ImageSet '~/photos': 2 images>"
    assert images.sample(1, seed=0).labels is None


def test_images_beside_subfolders_leave_no_classes(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "cat" / "b.png")
    with pytest.warns(UserWarning, match=r"itself \(1, such as a.png\).*such as cat.*without labels"):
        images = data.load(tmp_path)
    assert len(images) == 2
    assert images.labels is None


def linked(root):
    """The images of a folder, each by its path there, and the only warning if there is one."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        images = data.load(root)
    names = [path.relative_to(root).as_posix() for path in images.stored]
    assert len(told) <= 1
    return names, str(told[0].message) if told else ""


def test_linked_classes_are_followed_and_links_back_up_are_not(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere")
    for target in (tmp_path, tmp_path / "elsewhere", tmp_path / "set"):
        (tmp_path / "elsewhere" / f"up {target.name}").symlink_to(target)
        (tmp_path / "set" / f"up {target.name}").symlink_to(target)
    (tmp_path / "set" / "up elsewhere").unlink()
    assert linked(tmp_path / "set") == (["cat/a.png"], "")
    assert data.load(tmp_path / "set").class_names == ["cat"]


def test_folders_that_link_to_each_other_have_each_image_once(tmp_path):
    for name, other in [("ant", "cat"), ("cat", "dog"), ("dog", "ant")]:
        save(tmp_path / name / "1.png")
        (tmp_path / name / "see also").symlink_to(tmp_path / other)
    names, told = linked(tmp_path)
    assert names == ["ant/1.png", "cat/1.png", "dog/1.png"]
    assert f"are left out: 3, such as {Path('ant', 'see also')} to {tmp_path / 'cat'}. So no image" in told


def test_an_image_is_taken_where_it_lies_before_any_link_to_it(tmp_path):
    save(tmp_path / "z" / "deep" / "1.png")
    save(tmp_path / "b" / "2.png")
    (tmp_path / "a").symlink_to("z")
    (tmp_path / "b" / "deep").symlink_to("../z/deep")
    names, told = linked(tmp_path)
    assert names == ["b/2.png", "z/deep/1.png"]
    assert "left out: 2, such as a to" in told


def test_of_two_classes_that_link_to_one_folder_the_first_has_its_images(tmp_path):
    save(tmp_path / "elsewhere" / "1.png")
    save(tmp_path / "elsewhere" / "deep" / "2.png")
    save(tmp_path / "set" / "dog" / "3.png")
    for name, target in [("tabby", ""), ("cat", ""), ("tiger", "deep")]:
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / target)
    names, told = linked(tmp_path / "set")
    assert names == ["cat/1.png", "dog/3.png", "tiger/2.png"]
    assert "left out: 2, such as tabby to" in told


def test_classes_may_link_to_a_hidden_folder_beside_them(tmp_path):
    save(tmp_path / ".store" / "7" / "1.png")
    (tmp_path / "cat").symlink_to(".store/7")
    assert linked(tmp_path) == (["cat/1.png"], "")


def test_linked_files_are_files(tmp_path):
    save(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "2.png").symlink_to("../cat/1.png")
    assert linked(tmp_path) == (["cat/1.png", "dog/2.png"], "")


def test_links_to_nothing_are_counted(tmp_path):
    save(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").symlink_to(tmp_path / "not there")
    (tmp_path / "cat" / "2.png").symlink_to("2.png")
    (tmp_path / ".hidden").symlink_to("nowhere")
    names, told = linked(tmp_path)
    assert names == ["cat/1.png"]
    assert "that lead to nothing are left out: 2." in told
    (tmp_path / "cat" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"holds no images: .* found other files: 2 \(link to nothing\)"):
        data.load(tmp_path)


def test_a_chosen_part_keeps_the_names_of_all_classes(tmp_path):
    for name in ["ant", "cat", "dog"]:
        save(tmp_path / name / "1.png")
    images = data.load(tmp_path)
    part = images.select(np.array([2, 0]))
    assert part.class_names == images.class_names
    assert [part.class_names[label] for label in part.labels] == ["dog", "ant"]
    assert part.images_per_class() == {"ant": 1, "cat": 0, "dog": 1}


def test_a_name_that_is_nearly_known():
    with pytest.raises(UnknownName, match=r"'fashion-minst'\. Did you mean 'fashion-mnist'.*no folder"):
        data.load("fashion-minst")


def test_a_missing_folder(tmp_path):
    with pytest.raises(UnknownName, match="no folder of this name"):
        data.load(tmp_path / "missing")


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"a\.png is a file"):
        data.load(save(tmp_path / "a.png"))


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match=r"holds no images: .*found no files"):
        data.load(tmp_path)
    for name in ["a.txt", "b.txt", "c.csv", "README"]:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"found other files: 2 \(\.txt\), 1 \("):
        data.load(tmp_path)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp", "tif", "gif"])
def test_truncated_files_are_left_out(tmp_path, extension):
    save(tmp_path / "cat" / "whole.png")
    truncate(save(tmp_path / "ant" / f"broken.{extension}"))
    with pytest.warns(UserWarning, match=rf"1 of 2 image files .*broken\.{extension} \(.*left out"):
        images = data.load(tmp_path)
    assert [path.name for path in images.stored] == ["whole.png"]
    # The broken file still counts for the numbering of the classes.
    assert images.class_names == ["ant", "cat"]
    assert images.labels.tolist() == [1]


def test_many_broken_files_make_one_warning(tmp_path):
    save(tmp_path / "z.png")
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image" * (i + 1))
    with pytest.warns(UserWarning, match="5 of 6 image files") as caught:
        assert len(data.load(tmp_path)) == 1
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "0.jpg (no image" in message
    assert "and 2 more" in message


def test_only_broken_files_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 1 image files .*a\.jpg.*No image is left"):
        data.load(tmp_path)


def test_images_of_unknown_range_are_left_out(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "heights.tif", Image.fromarray(np.ones((4, 4), dtype=np.float32)))
    with pytest.warns(UserWarning, match=r"heights\.tif \(pixels of mode F have no known range\)"):
        assert len(data.load(tmp_path)) == 1


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = save(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + bytes(100))
    assert data.load(tmp_path)[0].size == (32, 32)


def test_a_file_that_breaks_later_is_named(tmp_path):
    path = save(tmp_path / "a.jpg")
    images = data.load(tmp_path)
    truncate(path)
    with pytest.raises(ValueError, match=r"a\.jpg cannot be decoded \("):
        images[0]


# What the pixels should be is written down by hand: one row of pixels in, one row out.
@pytest.mark.parametrize(
    ("picture", "mode", "expected"),
    [
        (Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8)), "L", [0, 100, 255]),
        (Image.fromarray(np.array([[False, True]])), "L", [0, 255]),
        # 65535 / 255 = 257.
        (Image.fromarray(np.array([[0, 257, 25700, 65535]], dtype=np.uint16)), "L", [0, 1, 100, 255]),
        # Grey with alpha, on white: 40 * a + 255 * (1 - a).
        (Image.fromarray(np.array([[[40, 255], [40, 0]]], dtype=np.uint8), "LA"), "L", [40, 255]),
        (
            Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8)),
            "RGB",
            [[10, 20, 30], [255, 255, 255]],
        ),
    ],
    ids=["grey", "black and white", "16 bits", "grey with alpha", "RGBA"],
)
def test_modes_of_png(tmp_path, picture, mode, expected):
    save(tmp_path / "a.png", picture)
    image = data.load(tmp_path)[0]
    assert image.mode == mode
    assert np.array(image)[0].tolist() == expected


def test_palettes_with_and_without_transparency(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    save(tmp_path / "a.png", picture)
    save(tmp_path / "b.png", picture, transparency=0)
    opaque, transparent = data.load(tmp_path)
    assert np.array(opaque).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert np.array(transparent).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_cmyk(tmp_path):
    save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))
    image = data.load(tmp_path)[0]
    assert image.mode == "RGB"
    assert image.getpixel((4, 4)) == (255, 255, 255)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("L", (20, 10))
    exif = Image.Exif()
    # EXIF tag Orientation; 6: the row 0 of the file is the right-hand side of the picture.
    exif[0x0112] = 6
    picture.paste(255, (0, 0, 20, 5))
    save(tmp_path / "a.png", picture, exif=exif)
    image = data.load(tmp_path)[0]
    assert image.size == (10, 20)
    assert image.getpixel((0, 0)) == 0
    assert image.getpixel((9, 0)) == 255


# Sampling


def test_sample_is_without_replacement_and_keeps_labels():
    images = data.load("fashion-mnist")
    sample = images.sample(2000, seed=3)
    assert len(sample) == 2000
    assert len(set(sample.places.tolist())) == 2000
    np.testing.assert_array_equal(sample.labels, images.labels[sample.places])
    for i in (0, 1999):
        np.testing.assert_array_equal(np.array(sample[i]), np.array(images[sample.places[i]]))
    assert sample.class_names == images.class_names
    assert len(images) == 10_000


def test_sample_is_the_same_everywhere():
    images = data.load("fashion-mnist")
    # Drawn once by NumPy 2.4 on Linux; a platform or version that draws others must not pass unnoticed.
    expected = [3577, 8925, 1634, 485, 4753]
    assert images.sample(5, seed=0).places.tolist() == expected
    assert images.sample(5, seed=1).places.tolist() != expected
    assert images.sample(500, seed=0).places[:5].tolist() == expected


@pytest.mark.parametrize("seed", [0, 3, 8])
@pytest.mark.parametrize(
    ("total", "number", "repeats"),
    [(10, 5, 2), (12, 3, 4), (10, 4, 3), (11, 11, 4), (7, 1, 9), (100, 99, 5), (6, 6, 1), (80, 10, 8)],
)
def test_samples_of_seeds_in_a_row_share_as_many_images_as_said(total, number, repeats, seed):
    images = data.load("fashion-mnist").sample(total, seed=1)
    seeds = range(seed, seed + repeats)
    drawn = [images.sample(number, seed=each).places.tolist() for each in seeds]
    assert all(len(set(each)) == number for each in drawn)
    # Of seeds with orders of their own it is known on average alone.
    blocks = [[set(each) for each, s in zip(drawn, seeds, strict=True) if s // 8 == block] for block in (0, 1)]
    shared = [len(one & other) / number for block in blocks for one, other in combinations(block, 2)]
    pairs = repeats * (repeats - 1) // 2
    others = (pairs - len(shared)) * number / total
    assert overlap(total, number, seed, repeats) == pytest.approx((sum(shared) + others) / max(pairs, 1))
    if seed % 8 == 0 and repeats in (2, 4, 8) and number * repeats <= total:
        assert not any(shared)


@pytest.mark.parametrize("number", [1, 7, 20])
@pytest.mark.parametrize(("seed", "repeats"), [(s, r) for s in range(16) for r in range(1, 10)])
def test_of_enough_images_repeats_share_none(number, seed, repeats):
    total = enough(number, repeats, seed)
    if seed // 8 == (seed + repeats - 1) // 8:
        assert overlap(total, number, seed, repeats) == 0
    else:
        # Some are drawn from orders of their own, and can be the same by chance.
        assert total == 8 * number


def test_each_image_is_as_likely_as_any_other_in_every_draw():
    counts = np.zeros((8, 10))
    for seed in range(8 * 3000):
        counts[seed % 8, draw(10, 4, seed)] += 1
    # Five standard errors of a count.
    assert np.abs(counts - 1200).max() < 5 * math.sqrt(3000 * 0.4 * 0.6)


def test_sample_of_a_sample_stays_inside():
    outer = data.load("fashion-mnist").sample(10, seed=0)
    inner = outer.sample(10, seed=1)
    assert sorted(inner.places) == sorted(outer.places)


@pytest.mark.parametrize("n", [0, -1, 101])
def test_sample_size_has_to_fit(n):
    images = data.load("fashion-mnist").sample(100, seed=0)
    with pytest.raises(ValueError, match=f"Cannot draw {n} images .* which has 100"):
        images.sample(n, seed=0)


def test_select_takes_images_in_order_with_their_labels():
    images = data.load("fashion-mnist/test")
    chosen = images.select(np.array([7, 3, 7]))
    assert chosen.places.tolist() == [7, 3, 7]
    assert (chosen.labels == images.labels[[7, 3, 7]]).all()
    assert (np.array(chosen[1]) == np.array(images[3])).all()
    with pytest.raises(IndexError):
        images.select(np.array([10_000]))


def test_rotated_and_inverted_garments_are_those_of_fashion_mnist():
    garments, rotated, inverted = (
        data.load(f"fashion-mnist{change}/test") for change in ("", "-rotated", "-inverted")
    )
    for i in (0, 1234, 9999):
        upright = np.array(garments[i])
        for column in (0, 5, 27):  # Turned left, the last column comes first.
            assert (np.array(rotated[i])[column] == upright[:, 27 - column]).all()
        assert (np.array(inverted[i]) == 255 - upright).all()
    assert (rotated.labels == garments.labels).all()
    assert inverted.class_names == garments.class_names


def test_digits_are_split_without_overlap_and_all_ten_are_in_both_parts():
    training, test = data.load("digits/train"), data.load("digits")
    assert (len(training), len(test)) == (1297, 500)
    for part in (training, test):
        assert set(part.labels) == set(range(10))
        assert part[0].size == (28, 28)
    # A zero is dark in the middle, a one is bright there.
    middle = [
        np.mean([np.array(test[i])[12:16, 12:16] for i in np.flatnonzero(test.labels == digit)])
        for digit in (0, 1)
    ]
    assert middle[0] < 60 < 120 < middle[1]


def test_textures_are_the_same_every_time_and_differ_between_the_parts():
    first, again, training = data.load("textures/test"), data.load("textures"), data.load("textures/train")
    assert (first.stored == again.stored).all()
    assert np.bincount(training.labels).min() > 1800
    assert not (training.stored[:2000] == first.stored).all(axis=(1, 2)).any()
