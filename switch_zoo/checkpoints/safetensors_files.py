"""Safetensors files: a header of names, types, shapes and offsets, then the tensors. Source: the description of the
format, github.com/huggingface/safetensors, README.md, "Format"."""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from switch_zoo.checkpoints import file_checks, json_files
from switch_zoo.checkpoints.arrays import BFLOAT16, FileRegion, TensorInfo
from switch_zoo.errors import UserError

DTYPES = {
    'F32': np.dtype(np.float32), 'BF16': BFLOAT16, 'F16': np.dtype(np.float16), 'F64': np.dtype(np.float64),
    'I64': np.dtype(np.int64), 'I32': np.dtype(np.int32), 'I16': np.dtype(np.int16), 'I8': np.dtype(np.int8),
    'U64': np.dtype(np.uint64), 'U32': np.dtype(np.uint32), 'U16': np.dtype(np.uint16), 'U8': np.dtype(np.uint8),
    'BOOL': np.dtype(np.bool_),
    'F8_E4M3': np.dtype(ml_dtypes.float8_e4m3fn), 'F8_E5M2': np.dtype(ml_dtypes.float8_e5m2),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
MAX_HEADER = 100_000_000  # as the format's own reader allows
ALIGNMENT = 8


def regions(path: str) -> dict[str, FileRegion]:
  """Where the tensors of a file are: name -> FileRegion.

  Raises:
    UserError: the file is cut off, damaged or of another format
  """
  file_checks.check_weights(path)
  size = os.path.getsize(path)
  text = _read_header(path, size)
  entries = json_files.parse(text, f'{path} is not a safetensors file: its header', unique=True)
  entries.pop('__metadata__', None)
  start = 8 + len(text)
  tensors = {name: _region(path, start, name, entry) for name, entry in entries.items()}
  _check_coverage(path, tensors, start, size)
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


def _region(path: str, data_start: int, name: str, entry: Any) -> FileRegion:
  """The region of a tensor, from its entry in the header."""
  try:
    dtype, shape, (first, end) = entry['dtype'], entry['shape'], entry['data_offsets']
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f'{path}: the header says no type, shape and offsets for {name}. Copy it again.') from error
  if not isinstance(dtype, str) or dtype not in DTYPES:
    raise UserError(f'{path}: {name} is of type {dtype}, which is none of {", ".join(DTYPES)}.')
  if not isinstance(shape, list) or not all(map(json_files.is_size, [*shape, first, end])):
    raise UserError(f'{path}: the shape or the offsets of {name} are not whole numbers. Copy it again.')
  info = TensorInfo(tuple(shape), DTYPES[dtype])
  if end - first != info.nbytes:
    raise UserError(
      f'{path}: {name} has {end - first:,} bytes according to its offsets and {info.nbytes:,} according to its shape. '
      'Copy it again.'
    )
  return FileRegion(path, data_start + first, info)


def _check_coverage(path: str, tensors: Mapping[str, FileRegion], start: int, size: int) -> None:
  """Refuses holes and overlaps, which the format forbids: every byte after the header is one of one tensor."""
  position = start
  for name, region in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].info.nbytes)):
    if region.offset != position:
      where = 'overlaps the tensor before it' if region.offset < position else 'does not follow the tensor before it'
      raise UserError(f'{path} is damaged: {name} {where}. Copy it again.')
    position += region.info.nbytes
  if position > size:
    raise UserError(f'{path} is truncated: its header lists {position:,} bytes, it has {size:,}. Copy it again.')
  if position < size:
    raise UserError(
      f'{path} is damaged: its header lists {position:,} bytes, it has {size:,}, so that the tensors may have moved. '
      'Copy it again.'
    )
