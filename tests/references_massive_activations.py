"""How uneven the tokens of one image are, by loops."""

import math


def unevenness(tokens):
    """Largest number over the median one, and longest token over the median one, as decadic logarithms.

    Of one image, a list of tokens. What is zero does not count for the medians; of two in the middle the lower.
    """
    numbers = sorted(abs(x) for row in tokens for x in row if x != 0)
    lengths = sorted(math.sqrt(sum(x * x for x in row)) for row in tokens if any(row))
    return [math.log10(each[-1] / each[(len(each) - 1) // 2]) for each in (numbers, lengths)]
