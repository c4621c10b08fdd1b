"""What a dataset of a Keras weights file must be: its values in the file itself, all of them, as they are in memory.

HDF5 can take values from any other file (external storage, virtual datasets), run filters that expand a few bytes to
any number, and give zeros for what was never written. Keras writes none of that. Source: The HDF5 File Format
Specification.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  import h5py

RAW_BFLOAT16 = np.dtype('V2')
DTYPE_ATTRIBUTE = 'dtype'
CHECKSUM_ATTRIBUTE = 'crc32'  # <uint32>[], or one for each entry along the first axis


def problem(dataset: 'h5py.Dataset', file_size: int) -> str:
  """What is wrong with how a dataset is stored, as the end of a sentence; '' if nothing is."""
  return _outside(dataset) or _missing(dataset, file_size) or _other_type(dataset) or _no_checksum(dataset)


def checksums(dataset: 'h5py.Dataset') -> int | list[int] | None:
  """What our attribute says, of a dataset without a problem; None without the attribute."""
  stored = dataset.attrs.get(CHECKSUM_ATTRIBUTE)
  return None if stored is None else np.asarray(stored).tolist()


def _outside(dataset: 'h5py.Dataset') -> str:
  import h5py

  settings = dataset.id.get_create_plist()
  if settings.get_external_count() or settings.get_layout() == h5py.h5d.VIRTUAL:
    return 'has its values in another file, which is not read: it could be any file. Save the weights with Keras again.'
  if settings.get_nfilters():
    return (
      'is compressed or filtered, which Keras does not do. Repack the file: h5repack -f NONE -l CONTI OLD NEW, or save '
      'the weights with Keras again.'
    )
  return ''


def _missing(dataset: 'h5py.Dataset', file_size: int) -> str:
  import h5py

  if dataset.shape is None:
    return 'is empty: it has no shape. Save the weights with Keras again.'
  nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
  stored = dataset.id.get_storage_size()
  if nbytes and dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:
    return 'was never written, or not all of it, and would be read as zeros. Save the weights with Keras again.'
  # In chunks there may be more.
  if stored < nbytes or (dataset.id.get_offset() or 0) + stored > file_size:
    return f'has {nbytes:,} bytes according to its shape, which the file does not have. Copy it again.'
  return ''


def _other_type(dataset: 'h5py.Dataset') -> str:
  stated = dataset.attrs.get(DTYPE_ATTRIBUTE)
  if stated is None or stated == dataset.dtype.name or (stated == 'bfloat16' and dataset.dtype == RAW_BFLOAT16):
    return ''
  return f'is stored as {dataset.dtype.name}, but its attribute says {stated}. Save the weights with Keras again.'


def _no_checksum(dataset: 'h5py.Dataset') -> str:
  if CHECKSUM_ATTRIBUTE not in dataset.attrs:
    return ''
  attribute = dataset.attrs.get_id(CHECKSUM_ATTRIBUTE)
  if attribute.dtype == np.uint32 and attribute.shape in ((), dataset.shape[:1]):
    return ''
  return (
    f'has an attribute {CHECKSUM_ATTRIBUTE} that is not its checksum. Copy the file again, or delete the attribute.'
  )
