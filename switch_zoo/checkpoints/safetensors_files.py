"""Safetensors files: a header of names, types, shapes and offsets, then the tensors. Source: the description of the
format, github.com/huggingface/safetensors, README.md, "Format"."""

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from switch_zoo.checkpoints.arrays import BFLOAT16, FileRegion, TensorInfo
from switch_zoo.errors import UserError

DTYPES = {
    'F32': np.dtype(np.float32), 'BF16': BFLOAT16, 'F16': np.dtype(np.float16), 'F64': np.dtype(np.float64),
    'I64': np.dtype(np.int64), 'I32': np.dtype(np.int32),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
MAX_HEADER = 100_000_000  # as the format's own reader allows
ALIGNMENT = 8


def regions(path: str) -> dict[str, FileRegion]:
  """Where the tensors of a file are: name -> FileRegion.

  Raises:
    UserError: the file is cut off, damaged or of another format
  """
  size = os.path.getsize(path)
  text = _read_header(path, size)
  try:
    entries = json.loads(text)
    entries.pop('__metadata__', None)
    tensors = {name: _region(path, 8 + len(text), entry) for name, entry in entries.items()}
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(f'{path} is not a safetensors file: its header cannot be read ({error}). Copy it again.') from error
  end = max((region.offset + region.info.nbytes for region in tensors.values()), default=0)
  if end > size:
    raise UserError(f'{path} is truncated: its header lists {end:,} bytes, it has {size:,}. Copy it again.')
  return tensors


def header(tensors: Mapping[str, TensorInfo]) -> tuple[bytes, dict[str, int]]:
  """The beginning of a file with these tensors in this order, and the offset of each in the file."""
  offsets, position = {}, 0
  entries: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
  for name, info in tensors.items():
    offsets[name] = position
    entries[name] = {
      'dtype': CODES[info.dtype],
      'shape': list(info.shape),
      'data_offsets': [position, position + info.nbytes],
    }
    position += info.nbytes
  text = json.dumps(entries, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % ALIGNMENT)
  return struct.pack('<Q', len(text)) + text, {name: 8 + len(text) + offset for name, offset in offsets.items()}


def shards(tensors: Mapping[str, TensorInfo], max_bytes: int) -> list[dict[str, TensorInfo]]:
  """Tensors in order, divided into files of at most max_bytes of data; a larger tensor gets a file of its own."""
  result: list[dict[str, TensorInfo]] = [{}]
  size = 0
  for name, info in tensors.items():
    if result[-1] and size + info.nbytes > max_bytes:
      result.append({})
      size = 0
    result[-1][name] = info
    size += info.nbytes
  return result


def file_names(count: int) -> Sequence[str]:
  """Names of a model's files as transformers looks for them."""
  if count == 1:
    return ['model.safetensors']
  return [f'model-{number:05d}-of-{count:05d}.safetensors' for number in range(1, count + 1)]


def _read_header(path: str, size: int) -> bytes:
  with open(path, 'rb') as file:
    start = file.read(8)
    length = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER, size - 8):
      raise UserError(f'{path} is not a safetensors file, or is cut off inside its header. Copy it again.')
    return file.read(length)


def _region(path: str, data_start: int, entry: Mapping[str, Any]) -> FileRegion:
  if entry['dtype'] not in DTYPES:
    raise ValueError(f'type {entry["dtype"]} is none of {", ".join(DTYPES)}')
  info = TensorInfo(tuple(map(int, entry['shape'])), DTYPES[entry['dtype']])
  first, end = entry['data_offsets']
  if first < 0 or end - first != info.nbytes or math.prod(info.shape) < 0:
    raise ValueError('its offsets and shapes do not agree')
  return FileRegion(path, data_start + first, info)
