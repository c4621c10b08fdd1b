"""Checksums against the examples of RFC 3720 and a loop over bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch_zoo.checkpoints import crc32c


def loop(data):
  crc = 0xFFFFFFFF
  for octet in data:
    crc ^= octet
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
  ('data', 'expected'),
  [
    (b'', 0),
    (b'123456789', 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
  ],
  ids=['nothing', 'digits', 'zeros', 'ones', 'rising', 'falling'],
)
def test_examples(data, expected):
  assert crc32c.checksum(data) == expected


@settings(deadline=None)
@given(st.binary(max_size=70))
def test_is_the_loop_over_bits(data):
  assert crc32c.checksum(data) == loop(data)


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_combine(first, second):
  assert crc32c.combine(crc32c.checksum(first), crc32c.checksum(second), len(second)) == crc32c.checksum(first + second)


@pytest.mark.parametrize('size', [4 * crc32c.LANES, 4 * crc32c.LANES + 3, 8 * crc32c.LANES - 1, 300_001])
def test_long_messages_are_those_of_their_halves(size):
  data = np.random.default_rng(size).bytes(size)
  half = size // 3
  short = [crc32c.checksum(data[start : start + 1000]) for start in range(0, half, 1000)]
  whole = crc32c.checksum(data[:0])
  for start, crc in zip(range(0, half, 1000), short, strict=True):
    whole = crc32c.combine(whole, crc, len(data[start : start + 1000]))
  first = len(range(0, half, 1000)) * 1000
  assert crc32c.combine(whole, crc32c.checksum(data[first:]), size - first) == crc32c.checksum(data)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_unmasked_is_the_inverse(crc):
  assert crc32c.unmasked(crc32c.masked(crc)) == crc


def test_arrays_are_their_bytes():
  array = np.arange(12, dtype=np.float32).reshape(3, 4)
  assert crc32c.checksum(array) == loop(array.tobytes())
