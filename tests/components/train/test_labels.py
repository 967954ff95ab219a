import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.train.labels import as_text, class_names, encode_target, row_weights

LATE = Columns(target="late")


@pytest.mark.parametrize(
    ("values", "positive", "names"),
    [
        ([0, 1], None, ["0", "1"]),
        ([0.0, 1.0, None], None, ["0", "1"]),
        ([True, False], None, ["false", "true"]),
        (["yes", "no"], "no", ["yes", "no"]),
        ([2, 10], None, ["2", "10"]),
        ([2, 10], 2, ["10", "2"]),
        ([True, False], False, ["true", "false"]),
    ],
)
def test_the_positive_class_is_the_last(values, positive, names):
    assert class_names(pl.Series("late", values), Columns(target="late", positive=positive)) == names


@pytest.mark.parametrize(
    ("values", "positive", "error", "message"),
    [
        ([1, 1], None, InputError, "holds only '1' in 2 rows; a classifier needs two classes"),
        ([1, 2, 3], None, InputError, r"holds 3 values \(1, 2, 3\), but columns.problem is binary"),
        ([None, float("nan")], None, InputError, "holds no value in 2 rows"),
        ([0, 1], "yes", InputError, "columns.positive is 'yes', but target column 'late' holds '0' and '1'"),
    ],
)
def test_a_target_that_is_no_binary_one_is_named(values, positive, error, message):
    with pytest.raises(error, match=message):
        class_names(pl.Series("late", values), Columns(target="late", positive=positive))


def test_labels_keep_their_meaning_when_their_type_drifts():
    assert encode_target(pl.Series([1.0, 0.0]), ["0", "1"]).tolist() == [1, 0]
    assert np.isnan(encode_target(pl.Series(["new", None]), ["a", "b"])).all()


def test_multiclass_names_are_in_the_order_of_values():
    columns = Columns(target="late", problem="multiclass")
    assert class_names(pl.Series([10, 9, 2]), columns) == ["2", "9", "10"]


@pytest.mark.parametrize("bad", [[1.0, -1.0], [1.0, None], [1.0, float("inf")], [0.0, 0.0]])
def test_bad_weights_are_refused(bad):
    with pytest.raises(RatchetError, match="weight column 'w'"):
        row_weights(pl.DataFrame({"w": bad}), Columns(target="late", weight="w"))


def test_floats_beyond_64_bits_are_classes():
    """They are all whole, and no integers of ours."""
    assert as_text(pl.Series([1e19, 2e19, None])).n_unique() == 3
    assert len(class_names(pl.Series([0.0, 1e19]), Columns(target="t"))) == 2
