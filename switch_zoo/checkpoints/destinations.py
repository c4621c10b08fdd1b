"""A class for each format that can be written."""

import functools
import json
import os
from collections.abc import Iterator, Mapping

import numpy as np

from switch_zoo.checkpoints import (
  arrays,
  crc32c,
  huggingface,
  huggingface_config_writer,
  keras_files,
  names,
  safetensors_files,
  tensor_bundle,
)
from switch_zoo.checkpoints.arrays import FileRegion, TensorInfo
from switch_zoo.checkpoints.checksums import FILE as CHECKSUMS
from switch_zoo.checkpoints.destination import NO_EXTRAS, Destination, Dtypes, Extras, allocate, write_text
from switch_zoo.checkpoints.weights import WeightPart
from switch_zoo.spec.config import ModelConfig


class MeshDestination(Destination):
  """Mesh-TensorFlow: what `tf.train.Saver` writes, whole variables in data files."""

  kind, keeps_extras = names.MESH, True

  @functools.cached_property
  def prefix(self) -> str:
    """The path of the checkpoint: its files are PREFIX.index and PREFIX.data-*."""
    step = int(self.extras[names.GLOBAL_STEP].read()) if self.extras else 0
    return os.path.join(self.folder, f'model.ckpt-{step}')

  def create(self) -> None:
    for number, shard in enumerate(self.shards):
      path, offset = tensor_bundle.data_file(self.prefix, number, len(self.shards)), 0
      for name, info in shard.items():
        self.regions[name] = FileRegion(path, offset, info)
        offset += info.nbytes
      allocate(path, offset)

  def finish(self, checksums: Mapping[WeightPart, int]) -> None:
    entries = {}
    for number, shard in enumerate(self.shards):
      for name, info in shard.items():
        crc = self._tensor_checksum(name, info, checksums)
        entries[name] = tensor_bundle.BundleEntry(info, number, self.regions[name].offset, crc)
    tensor_bundle.write_index(self.prefix, entries, len(self.shards))
    name = os.path.basename(self.prefix)
    state = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
    write_text(os.path.join(self.folder, 'checkpoint'), state)

  def notes(self) -> list[str]:
    if all(dtype == np.float32 for dtype in self.dtypes.values()):
      return []
    return ['Weights that are not float32 keep their type, but training reads float32: convert with --dtype float32.']

  def _place(self, part: WeightPart) -> tuple[FileRegion, bool]:
    if part.variable in self.extras:
      return self.regions[part.variable], False
    return super()._place(part)

  def _checksum(self, stored: np.ndarray) -> int:
    return crc32c.checksum(stored)

  def _tensor_checksum(self, name: str, info: TensorInfo, checksums: Mapping[WeightPart, int]) -> int:
    if 'experts' not in self.config.variables.get(name, ()):
      return checksums[WeightPart(name)]
    parts = [checksums[WeightPart(name, expert)] for expert in range(info.shape[0])]
    return tensor_bundle.joined_crc(parts, info.nbytes // info.shape[0])


class KerasDestination(Destination):
  """Keras: one HDF5 file."""

  kind = names.KERAS

  def create(self) -> None:
    path = os.path.join(self.folder, keras_files.WEIGHTS)
    offsets = keras_files.offsets(path) if os.path.exists(path) else keras_files.create(path, self.infos)
    self.regions = {name: FileRegion(path, offsets[name], info) for name, info in self.infos.items()}

  def finish(self, checksums: Mapping[WeightPart, int]) -> None:
    write_text(os.path.join(self.folder, CHECKSUMS), self._checksums_text(checksums))

  def _split(self, max_shard_bytes: int) -> list[dict[str, TensorInfo]]:
    return [self.infos]


class HuggingFaceDestination(Destination):
  """Hugging Face: safetensors files, an index if there are several, config.json."""

  kind = names.HUGGING_FACE

  def __init__(
    self, folder: str, config: ModelConfig, dtypes: Dtypes, max_shard_bytes: int, extras: Extras = NO_EXTRAS
  ):
    super().__init__(folder, config, dtypes, max_shard_bytes, extras)
    dtype = arrays.widest(info.dtype for info in self.infos.values())
    # Made before anything is written, because it refuses models that transformers cannot build.
    self._config_json = huggingface_config_writer.make_config(config, dtype.name)

  def create(self) -> None:
    for file, shard in self._files():
      path = os.path.join(self.folder, file)
      header, offsets = safetensors_files.header(shard)
      self.regions |= {name: FileRegion(path, offsets[name], info) for name, info in shard.items()}
      allocate(path, len(header) + sum(info.nbytes for info in shard.values()))
      with open(path, 'r+b') as opened:
        opened.write(header)

  def finish(self, checksums: Mapping[WeightPart, int]) -> None:
    if len(self.shards) > 1:
      weight_map = {name: file for file, shard in self._files() for name in shard}
      index = {'metadata': {'total_size': self.nbytes}, 'weight_map': weight_map}
      write_text(os.path.join(self.folder, huggingface.WEIGHTS[0][1]), json.dumps(index, indent=2) + '\n')
    write_text(os.path.join(self.folder, CHECKSUMS), self._checksums_text(checksums))
    write_text(os.path.join(self.folder, huggingface.CONFIG), json.dumps(self._config_json, indent=2) + '\n')

  def notes(self) -> list[str]:
    if self.config.num_experts and self.config.gated:
      return [
        'transformers has no class for Switch Transformers with GEGLU: the names follow its own (wi_0, wi_1), but it '
        'cannot load them.'
      ]
    if not self.config.num_experts and not self.config.tied_embeddings:
      return [
        'transformers 5 uses the embedding for the logits of every T5, whatever config.json says: load this with '
        'transformers 4.'
      ]
    return []

  def write(self, part: WeightPart, array: np.ndarray) -> tuple[list[str], int]:
    return super().write(part, self._without_padding(part.variable, array))

  def _without_padding(self, variable: str, array: np.ndarray) -> np.ndarray:
    """A table of the vocabulary, cut to the rows (or columns) of its ids; anything else as it is."""
    for axis, name in enumerate(self.config.variables[variable]):
      if name == 'vocab':
        return array.take(range(self.infos[self.names.locate(variable).name].shape[0]), axis)
    return array

  def _copied_to(self, part: WeightPart) -> list[str]:
    if part.variable != 'shared/embedding':
      return []
    return [name for name in names.TIED_COPIES if name in self.infos]

  def _files(self) -> Iterator[tuple[str, dict[str, TensorInfo]]]:
    return zip(safetensors_files.file_names(len(self.shards)), self.shards, strict=True)


DESTINATIONS: dict[str, type[Destination]] = {
  destination.kind: destination for destination in (MeshDestination, KerasDestination, HuggingFaceDestination)
}
