"""A checkpoint of variables on devices, in TensorFlow's format: every process writes the parts that its devices have.

There are as many data files as processes, and every variable is whole in one of them. All processes write into all
files, each its own bytes, so the folder must be one that all of them see. No process ever has a variable of which its
devices have only a part. The files get their names when they are complete, the index last: without it nothing is a
checkpoint.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from switch_zoo.checkpoints import arrays as file_arrays
from switch_zoo.checkpoints import tensor_bundle
from switch_zoo.checkpoints.arrays import FileRegion, TensorInfo
from switch_zoo.checkpoints.tensor_bundle import BundleEntry
from switch_zoo.pjrt import checkpoint_reader, processes

_NAME = 'model.ckpt'


class Place(NamedTuple):
  """Where a tensor is written: which data file, and where in it."""

  info: TensorInfo
  shard: int
  offset: int


def write(folder: str, step: int, variables: Mapping[str, jax.Array]) -> str:
  """Writes model.ckpt-<step>; to be called by all processes.

  Args:
    folder: that all processes see
    step: steps that have been done
    variables: by the names they have in checkpoints
  Returns:
    the prefix of the checkpoint
  """
  prefix = prefix_of(folder, step)
  temporary = os.path.join(f'{prefix}_temp', _NAME)  # what TensorFlow calls it, and what is removed after a kill
  places = layout({name: TensorInfo(array.shape, np.dtype(array.dtype)) for name, array in variables.items()})
  if processes.is_chief():
    _make_files(temporary, places)
  processes.wait(f'files of {step}')
  with _data_files(temporary) as files:
    for name, array in variables.items():
      _write_parts(files[places[name].shard], places[name], array)
    if processes.is_chief():
      place = places[checkpoint_reader.GLOBAL_STEP]
      file_arrays.write_region(files[place.shard], place.offset, np.array(step, np.int64))
  processes.wait(f'data of {step}')
  checksums = _checksums(temporary, places)
  if processes.is_chief():
    _complete(prefix, temporary, places, checksums)
  processes.wait(f'index of {step}')
  return prefix


def prefix_of(folder: str, step: int) -> str:
  """The prefix of the checkpoint of a step."""
  return os.path.join(folder, f'{_NAME}-{step}')


def layout(infos: Mapping[str, TensorInfo]) -> dict[str, Place]:
  """Deals tensors out to data files, each to the one that is shortest so far; the step is added."""
  sizes = [0] * processes.count()
  places = {}
  for name, info in {**infos, checkpoint_reader.GLOBAL_STEP: TensorInfo((), np.dtype(np.int64))}.items():
    shard = sizes.index(min(sizes))
    places[name] = Place(info, shard, sizes[shard])
    sizes[shard] += info.nbytes
  return places


def write_part(file: int, place: Place, begin: Sequence[int], part: np.ndarray) -> None:
  """Writes a part of a tensor, in as few pieces as its place in the whole allows.

  Args:
    file: descriptor of the data file
    place: of the whole tensor
    begin: where the part begins in the whole
    part: <dtype>[any part of the shape]
  """
  shape = place.info.shape
  cut = [axis for axis, size in enumerate(shape) if part.shape[axis] != size]
  last = cut[-1] if cut else 0
  strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
  rows = np.ascontiguousarray(part).reshape(int(np.prod(part.shape[:last], dtype=np.int64)), -1)
  starts = sum((int(b) * stride for b, stride in zip(begin, strides, strict=True)), 0)
  for row, indices in zip(rows, np.ndindex(part.shape[:last]), strict=True):
    start = starts + sum(i * stride for i, stride in zip(indices, strides, strict=False))
    file_arrays.write_region(file, place.offset + start * part.dtype.itemsize, row)


def _make_files(temporary: str, places: Mapping[str, Place]) -> None:
  folder = os.path.dirname(temporary)
  shutil.rmtree(folder, ignore_errors=True)
  os.makedirs(folder)
  for shard, path in enumerate(_paths(temporary)):
    ends = [place.offset + place.info.nbytes for place in places.values() if place.shard == shard]
    with open(path, 'wb') as file:
      file.truncate(max(ends, default=0))


@contextlib.contextmanager
def _data_files(temporary: str) -> Iterator[list[int]]:
  """Descriptors of the data files; afterwards they are on the disk."""
  files = [os.open(path, os.O_WRONLY) for path in _paths(temporary)]
  try:
    yield files
    for file in files:
      os.fsync(file)
  finally:
    for file in files:
      os.close(file)


def _write_parts(file: int, place: Place, array: jax.Array) -> None:
  """Writes the parts of a variable that this process's devices have; a part that several have, the first of them."""
  for shard in array.addressable_shards:
    if shard.replica_id == 0:
      begin = [part.indices(size)[0] for part, size in zip(shard.index, array.shape, strict=True)]
      write_part(file, place, begin, np.asarray(shard.data))


def _checksums(temporary: str, places: Mapping[str, Place]) -> dict[str, int]:
  """The checksums of all tensors: each process reads one data file."""
  own = jax.process_index()
  crcs = np.zeros([len(places)], np.uint32)
  for number, place in enumerate(places.values()):
    if place.shard == own:
      crcs[number] = checkpoint_reader.checksum(FileRegion(_paths(temporary)[own], place.offset, place.info))
  every = processes.gather(crcs)
  return {name: int(every[place.shard, number]) for number, (name, place) in enumerate(places.items())}


def _complete(prefix: str, temporary: str, places: Mapping[str, Place], checksums: Mapping[str, int]) -> None:
  """Writes the index, and gives all files their names."""
  shards = processes.count()
  entries = {
    name: BundleEntry(place.info, place.shard, place.offset, checksums[name]) for name, place in places.items()
  }
  tensor_bundle.write_index(temporary, entries, shards)
  for shard, path in enumerate(_paths(temporary)):
    os.replace(path, tensor_bundle.data_file(prefix, shard, shards))
  os.replace(f'{temporary}.index', f'{prefix}.index')
  os.rmdir(os.path.dirname(temporary))


def _paths(temporary: str) -> list[str]:
  shards = processes.count()
  return [tensor_bundle.data_file(temporary, shard, shards) for shard in range(shards)]
