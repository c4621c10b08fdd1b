"""Hugging Face's folders: config.json, safetensors or `.bin` files, one or several with an index."""

import os
from typing import Any

import numpy as np

from switch_zoo.checkpoints import (
  file_checks,
  huggingface_missing,
  huggingface_names,
  huggingface_refusals,
  json_files,
  safetensors_files,
  torch_files,
)
from switch_zoo.checkpoints.arrays import CheckpointTensors, FileRegion, TensorInfo, read_region
from switch_zoo.checkpoints.names import SHARED
from switch_zoo.errors import UserError

CONFIG = 'config.json'
# What transformers' `generate` reads before config.json.
GENERATION = 'generation_config.json'
# Whole model and index, the preferred kind first.
WEIGHTS = (
  ('model.safetensors', 'model.safetensors.index.json'),
  ('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)


class HuggingFaceTensors(CheckpointTensors):
  """All tensors of a folder, whichever file they are in, by the names that transformers has.

  notes: for the user, where the files have other names
  """

  def __init__(self, folder: str):
    self.files = weight_files(folder)
    self._regions: dict[str, FileRegion] = {}
    self._torch_files: dict[str, torch_files.TorchFile] = {}
    self.infos: dict[str, TensorInfo] = {}
    for path in self.files:
      self._open(path)
    index = _index_file(folder)
    if index:
      self._check_index(index)
    stated = read_config(folder)
    huggingface_refusals.check(folder, stated, self.infos)
    self._stored_names = huggingface_names.standard_names(self.infos, bool(stated.get('tie_word_embeddings', True)))
    self.infos = {name: self.infos[stored] for name, stored in self._stored_names.items()}
    self.notes = self._notes()

  def read(self, name: str, index: int | None = None) -> np.ndarray:
    name = self._stored_names[name]
    if name in self._regions:
      return read_region(self._regions[name].part(index))
    return self._torch_files[name].read(name, index)

  def _open(self, path: str) -> None:
    if path.endswith('.safetensors'):
      regions = safetensors_files.regions(path)
      infos = {name: region.info for name, region in regions.items()}
      self._regions.update(regions)
    else:
      file = torch_files.TorchFile(path)
      infos = file.infos
      self._torch_files.update(dict.fromkeys(infos, file))
    repeated = sorted(self.infos.keys() & infos.keys())
    if repeated:
      raise UserError(f'{path} holds {repeated[0]}, which another file of the folder holds too. Keep one set of files.')
    self.infos.update(infos)

  def _notes(self) -> list[str]:
    """Where the names are not those of transformers, by one example of each kind."""
    pairs = self._stored_names.items()
    longer = [f'{stored} is {name}' for name, stored in pairs if stored != name and stored.endswith(f'.{name}')]
    other = [f'{name} is stored as {stored}.' for name, stored in pairs if name == SHARED and not stored.endswith(name)]
    return other + ([f'{len(longer):,} names have a prefix, which is left out: {longer[0]}.'] if longer else [])

  def _check_index(self, index: str) -> None:
    files = _weight_map(index)
    absent = sorted(files.keys() - self.infos.keys())
    if absent:
      raise UserError(
        f'{index} says that {absent[0]} is in {files[absent[0]]}, but it is not. Copy the index and its files again.'
      )


def weight_files(folder: str) -> list[str]:
  """Paths of the files with weights; the safetensors files if there are both kinds.

  Raises:
    UserError: there are none, or too many, or the index names one that is missing
  """
  huggingface_refusals.check_adapter(folder)
  for whole, index in WEIGHTS:
    path, whole_path = os.path.join(folder, index), os.path.join(folder, whole)
    if not file_checks.exists(path):
      if file_checks.exists(whole_path):
        return [whole_path]
      continue
    files = _indexed_files(folder, path)
    if file_checks.exists(whole_path) and whole_path not in files:
      raise UserError(
        f'{folder} has two sets of weights: {whole}, which transformers reads, and {index} with '
        f'{os.path.basename(files[0])} and others. Move one of them out of the folder.'
      )
    return files
  huggingface_missing.refuse(folder, tuple(whole for whole, _ in WEIGHTS))


def has_weights(folder: str) -> bool:
  """Whether a folder is one of Hugging Face's."""
  return any(os.path.lexists(os.path.join(folder, name)) for files in WEIGHTS for name in (*files, CONFIG))


def read_config(folder: str) -> dict[str, Any]:
  """The contents of config.json; empty if it is missing.

  Raises:
    UserError: it is not JSON
  """
  return _read_json_if_present(os.path.join(folder, CONFIG))


def read_generation_config(folder: str) -> dict[str, Any]:
  """The contents of generation_config.json; empty if it is missing.

  Raises:
    UserError: it is not JSON
  """
  return _read_json_if_present(os.path.join(folder, GENERATION))


def _read_json_if_present(path: str) -> dict[str, Any]:
  return json_files.read(path) if file_checks.exists(path) else {}


def _indexed_files(folder: str, index: str) -> list[str]:
  files = [os.path.join(folder, name) for name in sorted(set(_weight_map(index).values()))]
  missing = [file for file in files if not os.path.lexists(file)]
  if missing:
    raise UserError(
      f'{index} names {len(files)} files, but {len(missing)} of them are missing; the first is '
      f'{os.path.basename(missing[0])}. Copy them too.'
    )
  return files


def _index_file(folder: str) -> str | None:
  for whole, index in WEIGHTS:
    if os.path.isfile(os.path.join(folder, index)):
      return os.path.join(folder, index)
    if os.path.isfile(os.path.join(folder, whole)):
      return None
  return None


def _weight_map(index: str) -> dict[str, str]:
  files = json_files.read(index, unique=True).get('weight_map')
  in_folder = lambda file: isinstance(file, str) and os.path.basename(file) == file
  if not isinstance(files, dict) or not all(map(in_folder, files.values())):
    raise UserError(f'{index} has no weight_map from tensors to files next to it. Copy it again.')
  return files
