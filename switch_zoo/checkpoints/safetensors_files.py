"""Safetensors files: a header of names, types, shapes and places, then the tensors. Source: the format's description,
github.com/huggingface/safetensors, README.md, "Format"."""

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping

import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, Info, Region
from switch_zoo.errors import UserError

DTYPES = {
    'F32': np.dtype(np.float32), 'BF16': BFLOAT16, 'F16': np.dtype(np.float16), 'F64': np.dtype(np.float64),
    'I64': np.dtype(np.int64), 'I32': np.dtype(np.int32),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
MAX_HEADER = 100_000_000  # as the format's own reader allows
ALIGNMENT = 8


def regions(path: str) -> dict[str, Region]:
  """Where the tensors of a file are.

  Raises:
    UserError: the file is cut off, damaged or of another format
  """
  size = os.path.getsize(path)
  with open(path, 'rb') as file:
    start = file.read(8)
    length = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER, size - 8):
      raise UserError(f'{path} is no safetensors file, or is cut off inside its header. Copy it anew.')
    text = file.read(length)
  try:
    header = json.loads(text)
    header.pop('__metadata__', None)
    found = {name: _region(path, 8 + length, tensor) for name, tensor in header.items()}
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f'{path} is no safetensors file: its header cannot be read ({error}). Copy it anew.') from error
  end = max((region.offset + region.info.nbytes for region in found.values()), default=0)
  if end > size:
    raise UserError(f'{path} is truncated: its header speaks of {end:,} bytes, it has {size:,}. Copy it anew.')
  return found


def header(tensors: Mapping[str, Info]) -> tuple[bytes, dict[str, int]]:
  """The beginning of a file with these tensors in this order, and the offset of each in the file."""
  places, position = {}, 0
  for name, info in tensors.items():
    places[name] = position
    position += info.nbytes
  entries = {
    name: {
      'dtype': CODES[info.dtype],
      'shape': list(info.shape),
      'data_offsets': [places[name], places[name] + info.nbytes],
    }
    for name, info in tensors.items()
  }
  text = json.dumps({'__metadata__': {'format': 'pt'}, **entries}, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % ALIGNMENT)
  return struct.pack('<Q', len(text)) + text, {name: 8 + len(text) + place for name, place in places.items()}


def shards(tensors: Mapping[str, Info], max_bytes: int) -> list[dict[str, Info]]:
  """Tensors in order, divided into files of at most max_bytes of data; a larger tensor gets a file of its own."""
  result: list[dict[str, Info]] = [{}]
  size = 0
  for name, info in tensors.items():
    if result[-1] and size + info.nbytes > max_bytes:
      result.append({})
      size = 0
    result[-1][name] = info
    size += info.nbytes
  return result


def file_names(count: int) -> Iterable[str]:
  """Names of a model's files as transformers looks for them."""
  if count == 1:
    return ['model.safetensors']
  return [f'model-{number:05d}-of-{count:05d}.safetensors' for number in range(1, count + 1)]


def _region(path, start, tensor):
  if tensor['dtype'] not in DTYPES:
    raise ValueError(f'type {tensor["dtype"]} is none of {", ".join(DTYPES)}')
  info = Info(tuple(map(int, tensor['shape'])), DTYPES[tensor['dtype']])
  first, last = tensor['data_offsets']
  if first < 0 or last - first != info.nbytes or math.prod(info.shape) < 0:
    raise ValueError('places and shapes in it do not agree')
  return Region(path, start + first, info)
