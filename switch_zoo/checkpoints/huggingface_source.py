"""A checkpoint of Hugging Face: config.json next to the tensors, copies of the embedding, tables without padding."""

import dataclasses
import functools
from typing import Any

import numpy as np

from switch_zoo.checkpoints import huggingface, huggingface_config, huggingface_token_ids, names
from switch_zoo.checkpoints.anatomy import Anatomy
from switch_zoo.checkpoints.arrays import CheckpointTensors
from switch_zoo.checkpoints.huggingface import CONFIG
from switch_zoo.checkpoints.names import HEAD, SHARED
from switch_zoo.checkpoints.source import Source
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import padded_vocabulary


class HuggingFaceSource(Source):
  """Hugging Face: safetensors or `.bin` files, and config.json for what the tensors do not determine."""

  kind = names.HUGGING_FACE

  def __init__(self, path: str, model: str | None = None):
    self._stated = huggingface.read_config(path)
    huggingface_config.check_model_type(path, self._stated)
    self._end_id = huggingface_token_ids.read_end_id(path, self._stated, huggingface.read_generation_config(path))
    super().__init__(path, model)

  @staticmethod
  def is_in(folder: str) -> bool:
    return huggingface.has_weights(folder)

  def _open_tensors(self) -> CheckpointTensors:
    tensors = huggingface.HuggingFaceTensors(self.path)
    self.notes += tensors.notes
    return tensors

  @functools.cached_property
  def _head(self) -> huggingface_config.LogitsHead:
    # Kept, because it may compare two large tensors.
    return huggingface_config.read_head(self.tensors, self._stated)

  def _find_config(self, model: str | None) -> ModelConfig:
    config = self._with_stored_ids(super()._find_config(model))
    if self._stated:
      config = dataclasses.replace(config, end_id=self._end_id)
    if self._stated and config.num_experts:
      config = dataclasses.replace(
        config, expert_capacity=huggingface_config.read_expert_capacity(self.path, self._stated)
      )
      self.notes.append(
        f'{CONFIG}: expert_capacity = {config.expert_capacity}, the tokens of a sequence that an expert has room for, '
        'is kept. Here all tokens have room unless --expert-capacity checkpoint is given.'
      )
    if config.end_id >= config.num_target_ids:
      raise UserError(
        f'{self.path}/{CONFIG}: {huggingface_token_ids.EOS} = {config.end_id} is not an id of the '
        f'{config.num_target_ids:,} that {SHARED} has rows for. Copy both files again.'
      )
    self.notes += huggingface_config.contradictions(self._stated, config)
    if config.tied_embeddings:
      return config
    if HEAD in self.tensors.infos and self._stated.get('tie_word_embeddings', True):
      self.notes.append(f'{CONFIG} ties the logits to the embedding; {HEAD} is kept as the matrix it is.')
    if self._head.from_embedding:
      self.notes.append(
        f'{self.path} has no {HEAD}, and its logits are not scaled: {SHARED} is written as the matrix of logits too.'
      )
    return config

  def _with_stored_ids(self, config: ModelConfig) -> ModelConfig:
    """The model with the ids that the tables have rows for, where a gin file counts the padding among them."""
    infos = self.tensors.infos
    tables = {'vocab_size': infos.get(SHARED), 'target_vocab_size': infos.get(HEAD) or infos.get(SHARED)}
    ids = {'vocab_size': config.num_ids, 'target_vocab_size': config.num_target_ids}
    stored = {field: info.shape[0] for field, info in tables.items() if info and info.shape}
    fewer = {
      f'unpadded_{field}': rows
      for field, rows in stored.items()
      if rows < ids[field] and padded_vocabulary(rows) == getattr(config, field)
    }
    return dataclasses.replace(config, **fewer)

  def _infer_config(self) -> ModelConfig:
    if not self._stated:
      raise UserError(
        f'{self.path} has no {CONFIG}, which says what the tensors do not. Copy it too, or give the model with --model.'
      )
    return super()._infer_config()

  def _activation(self, anatomy: Anatomy) -> tuple[str, ...]:
    return huggingface_config.read_activation(self.path, anatomy, self._stated, self.notes)

  def _stated_settings(self) -> dict[str, Any]:
    return {'tied_embeddings': self._head.tied}

  def _stored(self, name: str) -> str:
    from_embedding = name == HEAD and self._head.from_embedding and not self.config.tied_embeddings
    return SHARED if from_embedding else name

  def _read_tensor(self, name: str, index: int | None) -> np.ndarray:
    array = super()._read_tensor(name, index)
    return _padded(array, self.config.vocab_size) if name in (SHARED, HEAD) else array

  def _expected_shapes(self) -> dict[str, tuple[int, ...]]:
    shapes = super()._expected_shapes()
    for name in shapes.keys() & self.tensors.infos.keys() & {SHARED, HEAD}:
      stored = self.tensors.infos[name].shape
      # A table may have the rows that pad it, or not.
      rows, width = shapes[name]
      if len(stored) == 2 and (padded_vocabulary(stored[0]), stored[1]) == (padded_vocabulary(rows), width):
        shapes[name] = stored
    return shapes

  def _may_be_extra(self, name: str) -> bool:
    return name in names.UNUSED or self._is_copy(name)

  def _wrong_copies(self) -> list[str]:
    copies = [name for name in self.tensors.infos if self._is_copy(name)]
    same = functools.partial(huggingface_config.same_as_embedding, self.tensors)
    return [f'{name} is not the same as {SHARED}' for name in copies if not same(name)]

  def _is_copy(self, name: str) -> bool:
    """Whether a tensor should be a copy of the embedding."""
    return name in names.TIED_COPIES or (name == HEAD and self.config.tied_embeddings)


def _padded(table: np.ndarray, rows: int) -> np.ndarray:
  """A vocabulary's table <dtype>[ids, d_model] with rows of zeros up to the padded size."""
  if table.shape[0] == rows:
    return table
  return np.concatenate([table, np.zeros((rows - table.shape[0], *table.shape[1:]), table.dtype)])
