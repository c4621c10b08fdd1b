"""Hugging Face's folders: config.json, safetensors or `.bin` files, one or several with an index."""

import json
import os
from typing import Any

from switch_zoo.checkpoints import safetensors_files, torch_files
from switch_zoo.checkpoints.arrays import Tensors, read_region
from switch_zoo.errors import UserError

CONFIG = 'config.json'
# Whole model and index, the preferred kind first.
WEIGHTS = (
  ('model.safetensors', 'model.safetensors.index.json'),
  ('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)
# The embedding, and the logits' matrix where it is not the embedding.
SHARED, HEAD = 'shared.weight', 'lm_head.weight'
# Names transformers itself ignores: the embedding again, and a table of old T5 files that no layer uses.
TIED_COPIES = ('encoder.embed_tokens.weight', 'decoder.embed_tokens.weight')
UNUSED = ('decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',)


class HuggingFaceTensors(Tensors):
  """All tensors of a folder, whichever file they are in."""

  def __init__(self, folder: str):
    self.files = weight_files(folder)
    self._regions: dict[str, Any] = {}
    self._torch: dict[str, torch_files.TorchFile] = {}
    self.infos = {}
    for path in self.files:
      self._open(path)
    index = _index_file(folder)
    if index:
      self._check_index(index)

  def read(self, name, index=None):
    if name in self._regions:
      return read_region(self._regions[name].part(index))
    return self._torch[name].read(name, index)

  def _open(self, path):
    if path.endswith('.safetensors'):
      regions = safetensors_files.regions(path)
      infos = {name: region.info for name, region in regions.items()}
      self._regions.update(regions)
    else:
      file = torch_files.TorchFile(path)
      infos = file.infos
      self._torch.update(dict.fromkeys(infos, file))
    twice = sorted(self.infos.keys() & infos.keys())
    if twice:
      raise UserError(f'{path} holds {twice[0]}, which another file of the folder holds too. Keep one set of files.')
    self.infos.update(infos)

  def _check_index(self, index):
    lost = sorted(_weight_map(index).keys() - self.infos.keys())
    if lost:
      file = _weight_map(index)[lost[0]]
      raise UserError(f'{index} says that {lost[0]} is in {file}, and it is not. Copy the index and its files anew.')


def weight_files(folder: str) -> list[str]:
  """Paths of the files with weights; safetensors where there are both kinds.

  Raises:
    UserError: there are none, or the index names one that is absent
  """
  for whole, index in WEIGHTS:
    path = os.path.join(folder, index)
    if os.path.isfile(path):
      files = [os.path.join(folder, name) for name in sorted(set(_weight_map(path).values()))]
      absent = [file for file in files if not os.path.isfile(file)]
      if absent:
        raise UserError(
          f'{path} names {len(files)} files, and {len(absent)} of them are absent: {os.path.basename(absent[0])} is '
          'the first. Copy them too.'
        )
      return files
    if os.path.isfile(os.path.join(folder, whole)):
      return [os.path.join(folder, whole)]
  raise UserError(
    f'{folder} has no weights: neither {" nor ".join(whole for whole, _ in WEIGHTS)}, nor an index of several files. '
    'Flax and TensorFlow files of Hugging Face are not read: save the model as safetensors.'
  )


def has_weights(folder: str) -> bool:
  """Whether a folder is one of Hugging Face's."""
  return any(os.path.isfile(os.path.join(folder, name)) for names in WEIGHTS for name in (*names, CONFIG))


def read_config(folder: str) -> dict[str, Any]:
  """config.json; empty where it is absent.

  Raises:
    UserError: it is not JSON
  """
  path = os.path.join(folder, CONFIG)
  return _json(path) if os.path.isfile(path) else {}


def _index_file(folder):
  for whole, index in WEIGHTS:
    if os.path.isfile(os.path.join(folder, index)):
      return os.path.join(folder, index)
    if os.path.isfile(os.path.join(folder, whole)):
      return None
  return None


def _weight_map(path):
  found = _json(path).get('weight_map')
  beside = lambda file: isinstance(file, str) and os.path.basename(file) == file
  if not isinstance(found, dict) or not all(map(beside, found.values())):
    raise UserError(f'{path} has no weight_map from tensors to files beside it. Copy it anew.')
  return found


def _json(path):
  try:
    with open(path, encoding='utf-8') as file:
      content = json.load(file)
  except (ValueError, UnicodeDecodeError) as error:
    raise UserError(f'{path} is not JSON: {error}. Copy it anew.') from error
  if not isinstance(content, dict):
    raise UserError(f'{path} holds no JSON object. Copy it anew.')
  return content
