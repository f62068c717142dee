"""Label values of other conventions: what each means is written as its data set writes it."""

import numpy as np
import pytest

from confuda.errors import UsageError
from confuda.labels import find_label_values, map_labels, renumber_labels

OURS = np.array([[0, 1], [2, 3]], np.uint8)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("acdc", [[0, 2], [3, 1]]),  # 1 RV, 2 MYO, 3 LV (Bernard et al. 2018)
        ("mnms", [[0, 2], [1, 3]]),  # 1 LV, 2 MYO, 3 RV (Campello et al. 2021)
        ("ms-cmrseg", [[0, 200], [500, 600]]),  # 200 MYO, 500 LV, 600 RV (Zhuang 2019)
        ("confuda", [[0, 1], [2, 3]]),
        ("MYO=2,LV=3,RV=1", [[0, 2], [3, 1]]),
        ("lv=65535, RV=7, Myocardium=5", [[0, 5], [65535, 7]]),
    ],
)
def test_labels_get_the_values_that_are_asked_for(text: str, expected) -> None:
    values = find_label_values(text)
    numbered = renumber_labels(OURS, values)
    assert numbered.tolist() == expected
    assert np.array_equal(map_labels(numbered, values), OURS)


@pytest.mark.parametrize("text", ["", "kits", "MYO=1", "MYO=1,LV=1,RV=2", "MYO=0,LV=1,RV=2", "MYO=1,LV=2,RV=65536"])
def test_what_says_no_label_values_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="label values"):
        find_label_values(text)
