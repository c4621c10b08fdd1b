"""Checkpoints to be written: every tensor has its place in a file before the first value is known.

So the parts come in any order, from several threads, and after an interruption only those that are lacking.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import (
  arrays,
  huggingface,
  huggingface_config,
  keras_files,
  names,
  safetensors_files,
  tensor_bundle,
)
from switch_zoo.checkpoints.arrays import Info, Region
from switch_zoo.spec.config import ModelConfig


class Part(NamedTuple):
  """What is read and written at once: a variable, or one expert of it."""

  variable: str
  expert: int | None = None


class Destination:
  """A checkpoint in a folder; one class for each format derives from it.

  regions: tensor's name in the format -> its place
  """

  kind: str

  def __init__(self, folder: str, config: ModelConfig, infos: Mapping[str, Info]):
    """infos: type and shape of every tensor, by its name in the format."""
    self.folder = folder
    self.config = config
    self.infos = dict(infos)
    self.names = names.Names(config, self.kind)
    self.regions: dict[str, Region] = {}

  def create(self) -> None:
    """Makes the files, with room for everything; those an interrupted conversion made stay as they are."""
    raise NotImplementedError

  def finish(self, checksums: Mapping[Part, int]) -> None:
    """Writes what makes the files a checkpoint, after all parts."""

  def write(self, part: Part, array: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Writes a part given in the axes of Mesh-TensorFlow; gives the files, and the array as it lies there."""
    region, transposed = self._place(part)
    array = np.ascontiguousarray(arrays.transposed(array) if transposed else array, region.info.dtype)
    _write(region, array)
    return [region.path], array

  @property
  def nbytes(self) -> int:
    """Bytes of all tensors."""
    return sum(info.nbytes for info in self.infos.values())

  def _place(self, part):
    location = self.names.locate(*part)
    return self.regions[location.name].part(location.index), location.transposed


class MeshDestination(Destination):
  """Mesh-TensorFlow: what `tf.train.Saver` writes, whole variables in data files."""

  kind = names.MESH

  def __init__(self, folder, config, infos, max_shard_bytes, step=0):
    super().__init__(folder, config, infos)
    self.shards = safetensors_files.shards(self.infos, max_shard_bytes)
    self.prefix = os.path.join(folder, f'model.ckpt-{step}')

  def create(self):
    for number, shard in enumerate(self.shards):
      path, offset = tensor_bundle.data_file(self.prefix, number, len(self.shards)), 0
      for name, info in shard.items():
        self.regions[name] = Region(path, offset, info)
        offset += info.nbytes
      _allocate(path, offset)

  def finish(self, checksums):
    entries = {}
    for number, shard in enumerate(self.shards):
      for name, info in shard.items():
        crc = self._checksum(name, info, checksums)
        entries[name] = tensor_bundle.Entry(info, number, self.regions[name].offset, crc)
    tensor_bundle.write_index(self.prefix, entries, len(self.shards))
    name = os.path.basename(self.prefix)
    write_text(
      os.path.join(self.folder, 'checkpoint'),
      f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n',
    )

  def _place(self, part):
    if part.variable not in self.config.variables:
      return self.regions[part.variable], False  # a slot of the optimizer
    return super()._place(part)

  def _checksum(self, name, info, checksums):
    if 'experts' not in self.config.variables.get(name, ()):
      return checksums[Part(name)]
    parts = [checksums[Part(name, expert)] for expert in range(info.shape[0])]
    return tensor_bundle.joined_crc(parts, info.nbytes // info.shape[0])


class KerasDestination(Destination):
  """Keras: one HDF5 file."""

  kind = names.KERAS

  def create(self):
    path = os.path.join(self.folder, keras_files.WEIGHTS)
    offsets = keras_files.offsets(path) if os.path.exists(path) else keras_files.create(path, self.infos)
    self.regions = {name: Region(path, offsets[name], info) for name, info in self.infos.items()}


class HuggingFaceDestination(Destination):
  """Hugging Face: safetensors files, an index where there are several, config.json."""

  kind = names.HUGGING_FACE

  def __init__(self, folder, config, infos, max_shard_bytes):
    super().__init__(folder, config, infos)
    self._copies = [name for name in huggingface.TIED_COPIES if name in self.infos]
    self.shards = safetensors_files.shards(self.infos, max_shard_bytes)
    dtype = arrays.widest(info.dtype for info in self.infos.values())
    self._config = huggingface_config.config_of(config, dtype.name)

  def create(self):
    for file, shard in self._files():
      path = os.path.join(self.folder, file)
      header, offsets = safetensors_files.header(shard)
      self.regions |= {name: Region(path, offsets[name], info) for name, info in shard.items()}
      _allocate(path, len(header) + sum(info.nbytes for info in shard.values()))
      with open(path, 'r+b') as opened:
        opened.write(header)

  def write(self, part, array):
    paths, array = super().write(part, array)
    copies = [self.regions[name] for name in self._copies] if part.variable == 'shared/embedding' else []
    for region in copies:
      _write(region, array)
    return paths + [region.path for region in copies], array

  def finish(self, checksums):
    if len(self.shards) > 1:
      weight_map = {name: file for file, shard in self._files() for name in shard}
      index = {'metadata': {'total_size': self.nbytes}, 'weight_map': weight_map}
      write_text(os.path.join(self.folder, huggingface.WEIGHTS[0][1]), json.dumps(index, indent=2) + '\n')
    write_text(os.path.join(self.folder, huggingface.CONFIG), json.dumps(self._config, indent=2) + '\n')

  def _files(self) -> Iterator[tuple[str, dict[str, Info]]]:
    return zip(safetensors_files.file_names(len(self.shards)), self.shards, strict=True)


def parts(config: ModelConfig) -> Iterator[Part]:
  """All parts of a model, in the order of its variables."""
  for variable, axes in config.variables.items():
    if 'experts' in axes:
      yield from (Part(variable, expert) for expert in range(config.num_experts))
    else:
      yield Part(variable)


def tensors(config: ModelConfig, kind: str, dtypes: Mapping[str, np.dtype]) -> dict[str, Info]:
  """Name in a format -> type and shape, for the types of a model's variables."""
  of_kind = names.Names(config, kind)
  shapes = of_kind.tensors()
  located = {of_kind.locate(*part).name: part.variable for part in parts(config)}
  infos = {name: Info(shapes[name], dtypes[variable]) for name, variable in located.items()}
  if kind == names.HUGGING_FACE and not config.tied_embeddings:
    # Then transformers 5 reads a table for each stack, and makes a random one where the file has none.
    infos |= dict.fromkeys(huggingface.TIED_COPIES, infos[huggingface.SHARED])
  return infos


def _write(region, array):
  descriptor = os.open(region.path, os.O_WRONLY)
  try:
    arrays.write_region(descriptor, region.offset, array)
  finally:
    os.close(descriptor)


def _allocate(path, size):
  """A file of a size, whose contents are not yet written; one that is there stays as it is."""
  with open(path, 'ab') as file:
    file.truncate(size)


def write_text(path: str, text: str) -> None:
  """Writes a small file, to the disk."""
  with open(path, 'w', encoding='utf-8') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
