"""Vectors in messages: the bytes that we write are those that protobuf writes."""

import numpy as np
import pytest

from clipsearch.floats import pack, unpack
from clipsearch.v1 import common_pb2

SIZES = (1, 31, 32, 512, 4096, 70_000)  # lengths of one, two and three bytes


def vector(size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal(size, dtype=np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_packed_as_protobuf_itself_would(size: int) -> None:
    ours, values = common_pb2.FloatVector(), vector(size)
    pack(values, ours)
    assert ours == common_pb2.FloatVector(values=values.tolist())


@pytest.mark.parametrize("size", SIZES)
def test_unpacked_exactly(size: int) -> None:
    values = vector(size)
    np.testing.assert_array_equal(unpack(common_pb2.FloatVector(values=values.tolist())), values)


def test_an_empty_vector_stays_empty() -> None:
    message = common_pb2.FloatVector(values=[1.0])
    pack(np.empty(0, np.float32), message)
    assert message == common_pb2.FloatVector()
    assert unpack(message).shape == (0,)


def test_pack_replaces_what_was_there() -> None:
    message = common_pb2.FloatVector(values=[1.0, 2.0, 3.0])
    pack(np.array([4.0], np.float32), message)
    assert list(message.values) == [4.0]


def test_not_finite_values_survive() -> None:
    message = common_pb2.FloatVector(values=[float("nan"), float("inf"), -0.0])
    got = unpack(message)
    assert np.isnan(got[0]) and np.isposinf(got[1]) and np.signbit(got[2])


def test_fields_of_a_newer_version_do_not_shift_the_values() -> None:
    known = common_pb2.FloatVector(values=[0.5, -0.5]).SerializeToString()
    newer = bytes([15 << 3 | 2, 3]) + b"new"  # field 15, three bytes
    np.testing.assert_array_equal(unpack(common_pb2.FloatVector.FromString(newer + known)), [0.5, -0.5])


def test_a_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        pack(np.zeros((2, 3), np.float32), common_pb2.FloatVector())
