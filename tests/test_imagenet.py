"""ImageNet's validation images in a folder: what tells their classes, and what is said where it does not."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from timm.data import ImageNetInfo

from seelike import data

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# The order of the classes of networks: sorted WordNet ids.
WORDNET = ImageNetInfo("imagenet-1k").label_names()
# ILSVRC ids have another: of the true one these three, and any for the others. The first validation image is a sea
# snake, of ILSVRC id 490 and network class 65.
KNOWN = {1: "n02119789", 449: "n01440764", 490: "n01751748"}
OTHERS = iter([name for name in reversed(WORDNET) if name not in KNOWN.values()])
ILSVRC = {number: KNOWN.get(number) or next(OTHERS) for number in range(1, 1001)}
IDS = [490, 361, *[number % 1000 + 1 for number in range(49_998)]]


@pytest.fixture
def folder(tmp_path):
    """Images 1, 2, 5 and 50,000, some folders below the root of all."""
    folder = tmp_path / "imagenet" / "data" / "val"
    folder.mkdir(parents=True)
    for number in (1, 2, 5, 50_000):
        Image.new("RGB", (8, 8)).save(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    return folder


def write_truth(folder, ids=IDS):
    (folder / GROUND_TRUTH).write_text("".join(f"{number}\n" for number in ids))


def write_meta(folder, ilsvrc=ILSVRC):
    """As in the development kit, with a few of the classes' ancestors, whose ids are above 1,000."""
    names = {**ilsvrc, 1001: "n00001740", 1002: "n00001930"}
    rows = [(number, name, "words", int(number > 1000)) for number, name in names.items()]
    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})


def write_solution(folder, head="ImageId,PredictionString", images=(50_000, 5, 2, 1)):
    lines = [
        f"ILSVRC2012_val_{n:08d},{ILSVRC[IDS[n - 1]]} 85 1 499 272 {ILSVRC[IDS[n - 1]]} 1 2 3 4 " for n in images
    ]
    (folder / "LOC_val_solution.csv").write_text("\n".join([head, *lines]))


def expected_names():
    return [ILSVRC[IDS[number - 1]] for number in (1, 2, 5, 50_000)]


def assert_as_networks_number_them(images):
    assert images.class_names == WORDNET
    assert images.labels.tolist() == [WORDNET.index(name) for name in expected_names()]
    assert images.labels[0] == 65


@pytest.mark.parametrize("place", [".", "..", "../../devkit/data", "../../ILSVRC2012_devkit_t12/data"])
def test_the_development_kit_gives_the_classes_of_networks(folder, place):
    there = folder / place
    there.mkdir(parents=True, exist_ok=True)
    write_truth(there)
    write_meta(there)
    assert_as_networks_number_them(data.load(folder))


@pytest.mark.parametrize("place", [".", "../../.."])
def test_so_does_kaggles_table(folder, place):
    write_solution(folder / place, images=range(1, 50_001))
    assert_as_networks_number_them(data.load(folder))


def test_so_do_class_folders(folder):
    for path, name in zip(sorted(folder.iterdir()), expected_names(), strict=True):
        (folder / name).mkdir(exist_ok=True)
        path.rename(folder / name / path.name)
    images = data.load(folder)
    assert images.class_names == sorted(expected_names())
    assert [images.class_names[label] for label in images.labels] == sorted(expected_names())


def test_so_do_names_with_the_class_in_them(folder):
    for path, name in zip(sorted(folder.iterdir()), expected_names(), strict=True):
        path.rename(folder / f"{path.stem}_{name}.JPEG")
    images = data.load(folder)
    assert [images.class_names[label] for label in images.labels] == expected_names()


def test_without_the_table_of_classes_labels_are_ilsvrc_ids_and_that_is_said(folder):
    write_truth(folder)
    (folder.parent / "synset_words.txt").write_text("n01440764 tench, Tinca tinca\n")
    with pytest.warns(UserWarning, match=r"are the ILSVRC ids of .*follow sorted WordNet ids.*Put meta\.mat"):
        images = data.load(folder)
    assert images.labels.tolist() == [IDS[number - 1] - 1 for number in (1, 2, 5, 50_000)]
    assert images.class_names[images.labels[0]] == "ILSVRC id 490"


def test_without_anything_there_are_no_labels_and_it_says_what_is_missing(folder):
    with pytest.warns(UserWarning, match=rf"without classes.*{GROUND_TRUTH} and meta\.mat.*LOC_val_solution\.csv"):
        images = data.load(folder)
    assert (len(images), images.labels) == (4, None)


def test_a_broken_image_does_not_shift_the_classes(folder):
    write_truth(folder)
    write_meta(folder)
    (folder / "ILSVRC2012_val_00000002.JPEG").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="1 of 4 image files"):
        images = data.load(folder)
    names = expected_names()
    assert [WORDNET[label] for label in images.labels] == [names[0], names[2], names[3]]


def test_other_images_among_them_are_named(folder):
    Image.new("RGB", (8, 8)).save(folder / "cat.jpg")
    write_truth(folder)
    with pytest.warns(UserWarning, match=r"4 validation images of ImageNet and 1 other images, such as cat\.jpg"):
        assert data.load(folder).labels is None


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (IDS[:40_000], r"has 40,000 lines; expected 50,000.*line n is for image n"),
        ([*IDS, 7], r"has 50,001 lines; expected 50,000"),
        ([], r"has 0 lines; expected 50,000"),
        ([490, 0, *IDS[2:]], r"damaged or another file.*from 1 to 1,000.*'0' for image 2"),
        ([490, "fox", *IDS[2:]], r"'fox' for image 2"),
    ],
    ids=["too short", "too long", "empty", "zero", "words"],
)
def test_a_wrong_ground_truth_is_an_error(folder, ids, said):
    write_truth(folder, ids)
    write_meta(folder)
    with pytest.raises(ValueError, match=rf"{GROUND_TRUTH}.*{said}.*development kit"):
        data.load(folder)


def test_an_image_beyond_the_last_is_an_error(folder):
    write_truth(folder)
    (folder / "ILSVRC2012_val_00000005.JPEG").rename(folder / "ILSVRC2012_val_00050001.JPEG")
    with pytest.raises(ValueError, match=r"ILSVRC2012_val_00050001, but .* numbered 1 to 50,000"):
        data.load(folder)


def test_a_wrong_table_of_classes_is_an_error(folder):
    write_truth(folder)
    (folder / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file, but no more")
    with pytest.raises(ValueError, match=r"meta\.mat is damaged or another file.*ILSVRC2012_ID"):
        data.load(folder)
    savemat(folder / "meta.mat", {"other": np.ones(3)})
    with pytest.raises(ValueError, match=r"meta\.mat is damaged or another file.*'synsets'"):
        data.load(folder)
    write_meta(folder, {number: name for number, name in ILSVRC.items() if number != 490})
    with pytest.raises(ValueError, match=r"meta\.mat names 999 classes.*each id once"):
        data.load(folder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": (1, 2, 5)}, "no line for 1 of the 4 images .*ILSVRC2012_val_00050000"),
        ({"head": "id,label"}, r"damaged or another file.*found the columns \['id', 'label'\]"),
        ({"images": ()}, "damaged or another file"),
    ],
    ids=["too short", "other columns", "empty"],
)
def test_a_wrong_table_of_kaggle_is_an_error(folder, options, said):
    write_solution(folder, **options)
    with pytest.raises(ValueError, match=rf"LOC_val_solution\.csv.*{said}"):
        data.load(folder)


def test_parts_of_a_data_set_are_no_classes(tmp_path):
    for part in ("train", "val"):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / part / "cat" / "a.png")
    with pytest.warns(UserWarning, match=r"\(train, val\) are taken for classes, but look like parts.*val\."):
        assert data.load(tmp_path).class_names == ["train", "val"]
    assert data.load(tmp_path / "val").class_names == ["cat"]
