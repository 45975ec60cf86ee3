"""One who uses the library in a process of its own, as the tests of the hub tell it.

An expression a line comes in, an answer a line goes out. The client of the hub reads its environment when it is
imported, so that each environment needs a process.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import sys
import warnings

import torch

import seelike
from seelike import hub, models


def weights(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def described(result):
    if isinstance(result, torch.nn.Module):
        source = models.weights_source(result)
        return {"weights": weights(result), "source": source and dataclasses.asdict(source)}
    return dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result


def answer(expression):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result = {"result": described(eval(expression, {"seelike": seelike, "hub": hub, "models": models}))}
        except Exception as error:
            result = {"error": type(error).__name__, "said": str(error)}
    return {"printed": printed.getvalue(), "warned": [str(each.message) for each in warned], **result}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(line), default=str), flush=True)
