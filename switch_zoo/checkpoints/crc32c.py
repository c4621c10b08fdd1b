"""CRC-32C (Castagnoli), which TensorFlow keeps for every tensor and every block of an index, with NumPy.

A message is a polynomial over GF(2), and its checksum is the remainder modulo the Castagnoli polynomial. Multiplying by
a constant is linear, so 32 bits take two look-ups in tables of 65,536 entries. The message is cut into lanes, which are
folded onto each other so that NumPy runs the loop: 1.2 GB/s on one core. Source: RFC 3720, appendix B.4.
"""

import functools
from collections.abc import Sequence

import numpy as np

POLYNOMIAL = 0x82F63B78  # bits reversed, as in the checksum: bit 31 is x^0
ONE = 1 << 31
ALL = 0xFFFFFFFF
LANES = 1 << 14  # 64 KiB: lanes and tables stay in the second-level cache
MASK_DELTA = 0xA282EAD8


def checksum(data: bytes | np.ndarray) -> int:
  """The checksum of bytes, or of an array's bytes in memory order.

  >>> hex(checksum(b'123456789'))
  '0xe3069283'
  """
  octets = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
  size = octets.size
  if size % 4:
    # Zeros in front do not change a polynomial.
    octets = np.concatenate([np.zeros(-size % 4, np.uint8), octets])
  message = _product(_fold(octets.view('<u4')), _power(32))
  return message ^ _product(ALL, _power(8 * size)) ^ ALL


def combine(first: int, second: int, second_size: int) -> int:
  """The checksum of two messages in a row, from the checksums of both and the number of bytes of the second."""
  return _product(first, _power(8 * second_size)) ^ second


def masked(crc: int) -> int:
  """A checksum as TensorFlow stores it, so that the checksum of data that contains checksums is no weaker."""
  return ((crc >> 15 | crc << 17) + MASK_DELTA) & ALL


def unmasked(stored: int) -> int:
  """The checksum that `masked` turned into `stored`."""
  rotated = (stored - MASK_DELTA) & ALL
  return (rotated >> 17 | rotated << 15) & ALL


def _fold(words: np.ndarray) -> int:
  """The remainder of a message <uint32>[words]: lanes are folded onto each other, then the halves of the result."""
  rows = words.size // LANES
  lanes = np.zeros(LANES, '<u4')
  rest = words.size - rows * LANES
  if rest:
    lanes[-rest:] = words[:rest]
  for row in words[rest:].reshape(rows, LANES):
    lanes = _times(lanes, _power(32 * LANES)) ^ row
  while lanes.size > 1:
    half = lanes.size // 2
    lanes = _times(lanes[:half], _power(32 * half)) ^ lanes[half:]
  return int(lanes[0])


def _times(words: np.ndarray, constant: int) -> np.ndarray:
  """Products of polynomials with a constant. <uint32>[words] -> <uint32>[words]"""
  low, high = _tables(constant)
  halves = words.view('<u2')
  # No half is out of bounds; NumPy is faster with `clip` than with its default check.
  product = np.take(low, halves[0::2], mode='clip')
  product ^= np.take(high, halves[1::2], mode='clip')
  return product


@functools.lru_cache(maxsize=64)
def _tables(constant: int) -> tuple[np.ndarray, np.ndarray]:
  """Products of a constant with every low half and with every high half of a word. -> two <uint32>[65536]"""
  bits = [constant]
  for _ in range(31):
    bits.append(_times_x(bits[-1]))
  bits.reverse()
  return _table(bits[:16]), _table(bits[16:])


def _table(bits: Sequence[int]) -> np.ndarray:
  """Sums of all subsets of 16 polynomials: entry i adds those whose bit is set in i. -> <uint32>[65536]"""
  table = np.zeros(1, np.uint32)
  for bit in bits:
    table = np.concatenate([table, table ^ np.uint32(bit)])
  return table


def _times_x(polynomial: int) -> int:
  return polynomial >> 1 ^ (POLYNOMIAL if polynomial & 1 else 0)


def _product(one: int, other: int) -> int:
  result = 0
  for bit in range(31, -1, -1):
    if other >> bit & 1:
      result ^= one
    one = _times_x(one)
  return result


@functools.lru_cache(maxsize=256)
def _power(exponent: int) -> int:
  """x to a power, modulo the polynomial."""
  result, square = ONE, ONE >> 1
  while exponent:
    if exponent & 1:
      result = _product(result, square)
    square = _product(square, square)
    exponent >>= 1
  return result
