"""One who loads images in a process of its own, as the tests of the hub's data sets tell it.

The arguments of a call of `seelike.data.load` come in as a line, an answer goes out. The client of the hub reads
its environment when it is imported, so that each environment needs a process.
"""

import hashlib
import json
import resource
import sys
import time
import warnings

import datasets
import numpy as np

from seelike import data

# When a connection breaks, the libraries try again many times, and wait for seconds in between.
datasets.config.STREAMING_READ_MAX_RETRIES = 1
time.sleep = lambda seconds: None


def answer(name, longest_file=resource.RLIM_INFINITY, **options):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, hard))
        try:
            images = data.load(name, **options)
            given = {
                "images": [hashlib.sha256(np.asarray(image)).hexdigest() for image in images],
                "labels": None if images.labels is None else images.labels.tolist(),
                "class_names": images.class_names,
                "note": images.note,
            }
        except Exception as error:
            given = {"error": type(error).__name__, "said": str(error)}
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return {"warned": [str(each.message) for each in warned if each.category is UserWarning], **given}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
