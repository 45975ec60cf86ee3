"""Which networks differ in one entry of their training alone."""

import pytest

from seelike.sections.twins import are_trainings


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["tiny/resnet_short", "tiny/resnet_short_seed_1", "tiny/resnet_short_seed_2"], True),
        (["tiny/resnet_short:random", "tiny/resnet_short_seed_1:random"], True),
        (["tiny/resnet_short"], False),
        (["tiny/resnet_short", "tiny/resnet_seed_1"], False),
        (["tiny/vit_7x7_small", "tiny/vit_7x7_small_other_order"], False),
        (["resnet50", "resnet50d"], False),
        ([], False),
    ],
)
def test_trainings_of_one_network_differ_in_their_seed_alone(names, expected):
    assert are_trainings(names) == expected
