"""Images to show to networks: sets by name, any folder of images, ImageNet, image sets of the Hugging Face hub.

The 10,000 test images of Fashion-MNIST (Xiao et al. 2017) are part of the package, so nothing has to be
downloaded. Its 60,000 training images come from a folder or from the hub. Whatever the source, their content is
verified.

Each source is a file: `fashion_mnist`, `digits`, `textures`, `photographs`, `folder` (with `imagenet`) and `hub`.
"""

import os
from pathlib import Path

from seelike.data.digits import digits
from seelike.data.fashion_mnist import CLASSES as FASHION_MNIST_CLASSES
from seelike.data.fashion_mnist import (
    FOLDER_VARIABLE,
    HUB_FILE,
    HUB_REPOSITORY,
    TRAIN_IN_FOLDER,
    garments,
    inverted,
    rotated,
    train_in_folder,
)
from seelike.data.files import EXTENSIONS, grey_or_rgb
from seelike.data.folder import images_of_folder
from seelike.data.hub import PREFIX, images_of_hub
from seelike.data.image_set import ImageSet
from seelike.data.photographs import photograph_set
from seelike.data.textures import texture_set
from seelike.errors import require_type, unknown_name

__all__ = [
    "EXTENSIONS",
    "FASHION_MNIST_CLASSES",
    "FOLDER_VARIABLE",
    "HUB_FILE",
    "HUB_REPOSITORY",
    "ImageSet",
    "grey_or_rgb",
    "load",
]

_SETS = {
    "fashion-mnist": garments,
    "fashion-mnist-rotated": rotated,
    "fashion-mnist-inverted": inverted,
    "digits": digits,
    "textures": texture_set,
}
# Those that have no parts to train and to test on.
_UNDIVIDED = {"photographs": photograph_set}
_NAMES = (*(f"{name}{split}" for name in _SETS for split in ("", "/test", "/train")), *_UNDIVIDED)


def load(images: str | Path, *, enough: int = 5_000, seed: int = 0) -> ImageSet:
    """Load an image set by its name, or the images of a folder.

    The names:

    - "fashion-mnist" or "fashion-mnist/test": the 10,000 test images, part of the package.
    - "fashion-mnist/train": the 60,000 training images, from the folder in the environment variable
      SEELIKE_FASHION_MNIST if it is set, else from that of Debian's package dataset-fashion-mnist, else from the
      Hugging Face hub (30 MB, kept in its cache; needs pyarrow).
    - "fashion-mnist/train@FOLDER": the same, from a folder that holds train-images-idx3-ubyte and
      train-labels-idx1-ubyte, with or without .gz.
    - "fashion-mnist-rotated" and "fashion-mnist-inverted", each with /test or /train: the same images, turned left
      by 90 degrees, or with black and white exchanged.
    - "digits/test" (500) and "digits/train" (1,297): handwritten digits of the UCI repository (Alpaydin and Kaynak
      1998), 8 x 8 pixels of 17 grey levels enlarged to 28 x 28; part of the package.
    - "textures/test" (2,000) and "textures/train" (20,000): made by `seelike.data.textures`.
    - "photographs": twelve photographs of animals, things and scenes that may be shown, 256 x 256 pixels in RGB,
      without classes; part of the package. `seelike.data.photographs` says whose they are.
    - "hub:OWNER/NAME", "hub:OWNER/NAME/SPLIT" or "hub:OWNER/NAME/CONFIGURATION/SPLIT": a data set of the Hugging
      Face hub, such as "hub:timm/mini-imagenet/test", by the library `datasets`. "@REVISION" after NAME takes a
      branch, tag or commit. Without a split it is the first of validation, val, test and train. The column of
      images, and that of classes if there is one, are found by their types. Only as much is fetched as holds
      `enough` images, in pieces that `seed` draws, and kept: see `seelike.data.hub` for what that draw is.

    Anything else is a folder (one called fashion-mnist is "./fashion-mnist"). All files with the extensions of
    `EXTENSIONS` are its images, in sorted order, at any depth; hidden files and folders are passed over. A warning
    counts files that look like pictures of other kinds (.heic, .svg, ...).
    Subfolders that hold images are the classes, in sorted order. If images lie beside the subfolders too, these
    are no classes: all images are used, without labels, and a warning says so. Every file is checked; broken ones
    are left out, and one warning names them. What surrounds the pixels (EXIF, colour profiles, texts) never costs
    an image.

    Links to folders are followed, as data sets are often linked into place, but no folder is entered twice: its
    images are taken where it lies, or if it lies elsewhere by the first link to it. So of two classes that link to
    the same folder the first in sorted order has the images, and a warning names the other link. Links to files
    are as files.

    ImageNet's validation images (ILSVRC 2012) are such a folder, with a subfolder for each class (n01440764, ...).
    Or they lie flat, as in ImageNet's archive, ILSVRC2012_val_00000001.JPEG and on: then the classes come from
    ILSVRC2012_validation_ground_truth.txt and meta.mat of the development kit, or from Kaggle's
    LOC_val_solution.csv, beside the images or above: see `seelike.data.imagenet`.

    Args:
        images: Name of an image set, or a folder; `~` is the home folder.
        enough: Of a set on the hub, how many images to fetch; a few more where the last piece has more, and all
            where it has fewer. Other sets are loaded whole.
        seed: Of a set on the hub, which pieces: the same seed and number give the same images.

    Raises:
        UnknownName: It is neither a known name nor an existing folder; or a set on the hub has no such
            configuration or split.
        ValueError: A file of Fashion-MNIST or of ImageNet's classes is damaged, the folder holds no image that can
            be read, or a set on the hub has no column of images or needs code of its own.
        FileNotFoundError: A file of Fashion-MNIST is missing, or the hub has no such set.
        NotADirectoryError: It is a file.
        PermissionError: The set on the hub is gated.
        ConnectionError: What is not on this machine yet cannot be fetched from the hub.
        OSError: There is no room for what is fetched.
        ImportError: A set on the hub needs the library datasets; the training images of Fashion-MNIST pyarrow.

    Example:
        >>> load("fashion-mnist")
        <ImageSet 'fashion-mnist/test': 10,000 images, 10 classes>
        >>> load("photographs")
        <ImageSet 'photographs': 12 images>
        >>> load("fashion-minst/test")
        Traceback (most recent call last):
            ...
        seelike.errors.UnknownName: Unknown image set 'fashion-minst/test'. Did you mean 'fashion-mnist/test', \
'fashion-mnist', 'fashion-mnist-rotated/test'? There is no folder of this name either.
    """
    require_type("images", images, (str, Path), "the name of an image set, or a folder")
    name = images.as_posix() if isinstance(images, Path) else images
    if name.startswith(TRAIN_IN_FOLDER):
        return train_in_folder(name)
    if name in _UNDIVIDED:
        return _UNDIVIDED[name]()
    if name in _NAMES:
        source, _, split = name.partition("/")
        return _SETS[source](split or "test")
    if name.startswith(PREFIX):
        return images_of_hub(name, enough, seed)
    # Those of os.path also take what no file system would: it is no folder.
    folder = os.path.expanduser(name)
    if os.path.isfile(folder):
        raise NotADirectoryError(f"{name} is a file; expected a folder of images. Give the folder that holds it.")
    if not os.path.isdir(folder):
        raise unknown_name("image set", name, _NAMES, hint="There is no folder of this name either.")
    return images_of_folder(name)
