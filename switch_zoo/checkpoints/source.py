"""An opened checkpoint of any format: a model, and its variables in the axes of Mesh-TensorFlow."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from switch_zoo.checkpoints import (
  arrays,
  checksums,
  differences,
  file_checks,
  keras_files,
  mesh_folder,
  model_gin,
  names,
  t5x,
  tensor_bundle,
)
from switch_zoo.checkpoints.anatomy import Anatomy, activation_text, read_anatomy
from switch_zoo.checkpoints.arrays import CheckpointTensors, TensorInfo
from switch_zoo.checkpoints.format_names import FORMAT_NAMES
from switch_zoo.checkpoints.weights import ModelWeights
from switch_zoo.errors import UserError
from switch_zoo.spec import gin_files
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import padded_vocabulary
from switch_zoo.spec.zoo import load_config

OPERATIVE = 'operative_config.gin'
# Settings of a training that belong to the model and that the tensors do not determine.
SETTINGS_OF_TRAINING = (
    'activation_dtype', 'capacity_factor_train', 'capacity_factor_eval', 'min_expert_capacity', 'group_size',
    'balance_loss_coef', 'end_id',
)  # fmt: skip


class Source(ModelWeights):
  """An opened checkpoint whose tensors are those of its model, no more and no fewer; each format has its class.

  kind: of `names`; path: the folder, or the prefix of a Mesh-TensorFlow checkpoint
  tensors: the reader of its files
  """

  kind: ClassVar[str]

  def __init__(self, path: str, model: str | None = None):
    """
    Args:
      path: the folder, or the prefix of a Mesh-TensorFlow checkpoint
      model: a name or a gin file; None: read from the folder
    Raises:
      UserError: the checkpoint cannot be read, or its tensors are not those of the model
    """
    self.path = path
    self.notes: list[str] = []
    self.tensors = self._open_tensors()
    self._checksums = checksums.Checksums(self._folder)
    if not self.tensors.infos:
      raise UserError(f'{path} holds no tensors.')
    self.config = self._find_config(model)
    self._names = FORMAT_NAMES[self.kind](self.config)
    self._check(f'the tensors of {self.config.name}' if model else 'a whole model, judging by its other tensors')

  @staticmethod
  def is_in(folder: str) -> bool:
    """Whether a folder holds a checkpoint of this format."""
    raise NotImplementedError

  def dtype(self, variable: str) -> np.dtype:
    return arrays.widest(self.tensors.infos[self._stored(name)].dtype for name, _ in self._names.tensors_of(variable))

  def read(self, variable: str, expert: int | None = None) -> np.ndarray:
    location = self._names.locate(variable, expert)
    array = self._read_tensor(location.name, location.index)
    return arrays.transposed(array) if location.transposed else array

  @property
  def extra_tensors(self) -> Mapping[str, TensorInfo]:
    """What a training's checkpoint has next to the weights: the step and the optimizer's slots."""
    return {}

  def _open_tensors(self) -> CheckpointTensors:
    raise NotImplementedError

  def _read_tensor(self, name: str, index: int | None) -> np.ndarray:
    stored = self._stored(name)
    array = self.tensors.read(stored, index)
    self._checksums.check(stored, index, array)
    return array

  def _stored(self, name: str) -> str:
    """The name of the tensor that is read for another."""
    return name

  def _find_config(self, model: str | None) -> ModelConfig:
    """The model: the one given, or that of the folder's gin file, or else what the tensors say."""
    gin_file = os.path.join(self._folder, model_gin.FILE)
    if model or file_checks.exists(gin_file):
      if not model:
        file_checks.check_text(gin_file)
      config = load_config(model or gin_file)
      self._check_count(config)
      return config
    return self._infer_config()

  def _check_count(self, config: ModelConfig) -> None:
    """Refuses a model with more layers or experts than there are tensors, before all of its variables are listed."""
    stored = len(self.tensors.infos)
    counts = {'num_encoder_layers': config.num_encoder_layers, 'num_decoder_layers': config.num_decoder_layers}
    if FORMAT_NAMES[self.kind].tensor_for_each_expert:
      counts['num_experts'] = config.num_experts
    for field, count in counts.items():
      if count > stored:
        raise UserError(
          f'{config.path} says {field} = {count:,}, but {self.path} has {stored:,} tensors in all. Give the right '
          'model with --model, or delete that model.gin to have the model read from the tensors.'
        )

  def _infer_config(self) -> ModelConfig:
    """The model according to the tensors, with what other files say about it."""
    anatomy = read_anatomy(FORMAT_NAMES[self.kind].place_tensors(self.tensors.infos))
    settings = anatomy.settings
    operative_config = os.path.join(self._folder, OPERATIVE)
    if file_checks.exists(operative_config):
      file_checks.check_text(operative_config)
      settings |= _settings_of_training(operative_config, settings)
    else:
      self.notes.append(f'No gin file in {self.path}: the model was read from the tensors.')
    if 'ff_activation' not in settings:
      settings['ff_activation'] = self._activation(anatomy)
    description = model_gin.ModelDescription(anatomy.blocks, settings | self._stated_settings(), anatomy.router)
    name = os.path.basename(os.path.abspath(self.path))
    return model_gin.load(model_gin.text('A model read from a checkpoint.', name, description), self.path)

  def _activation(self, anatomy: Anatomy) -> tuple[str, ...]:
    """ff_activation, which the tensors do not determine."""
    shown = activation_text(anatomy.usual_activation)
    self.notes.append(
      f'Nothing in {self.path} names the activation: {shown} is what the released models with such tensors have.'
    )
    return anatomy.usual_activation

  def _stated_settings(self) -> dict[str, Any]:
    """Settings stated in a file of the format, which override what the tensors say."""
    return {}

  def _check(self, claim: str) -> None:
    """Refuses a checkpoint whose tensors are not those of its model; `claim`: what they should be."""
    infos, expected = self.tensors.infos, self._expected_shapes()
    stored = {name: info.shape for name, info in infos.items() if name in expected or not self._may_be_extra(name)}
    problems = differences.describe_differences(stored, expected)
    problems += [
      f'{name} is of type {infos[name].dtype}' for name in expected if name in infos and not _is_float(infos[name])
    ]
    problems += self._wrong_copies()
    if problems:
      raise UserError(
        f'{self.path} does not hold {claim}: {differences.summarize(problems)}. Give the right model with '
        '--model, or copy the checkpoint again if it should be this one.'
      )

  def _expected_shapes(self) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors that must be there."""
    return {self._stored(name): shape for name, shape in self._names.shapes().items()}

  def _may_be_extra(self, name: str) -> bool:
    """Whether a tensor that is not one of the model's may be there."""
    return False

  def _wrong_copies(self) -> list[str]:
    """Tensors that should be copies of others and are not, in words."""
    return []

  @property
  def _folder(self) -> str:
    return self.path if os.path.isdir(self.path) else os.path.dirname(self.path)


class MeshSource(Source):
  """Mesh-TensorFlow: the latest checkpoint of a folder, or the one with a prefix."""

  kind = names.MESH

  @staticmethod
  def is_in(folder: str) -> bool:
    return mesh_folder.newest(folder) is not None

  @property
  def extra_tensors(self) -> Mapping[str, TensorInfo]:
    return {name: info for name, info in self.tensors.infos.items() if names.is_training_state(name)}

  def _open_tensors(self) -> CheckpointTensors:
    prefix, notes = mesh_folder.find_prefix(self.path)
    self.notes += notes
    return tensor_bundle.TensorBundle(prefix)

  def _may_be_extra(self, name: str) -> bool:
    return names.is_training_state(name)


class KerasSource(Source):
  """Keras: one HDF5 file."""

  kind = names.KERAS

  @staticmethod
  def is_in(folder: str) -> bool:
    return keras_files.has_weights(folder)

  def _open_tensors(self) -> CheckpointTensors:
    return keras_files.KerasTensors(os.path.join(self.path, keras_files.WEIGHTS))


class T5XSource(Source):
  """T5X: zarr arrays, in folders or in a database."""

  kind = names.T5X

  @staticmethod
  def is_in(folder: str) -> bool:
    return t5x.find_root(folder) is not None

  def _open_tensors(self) -> CheckpointTensors:
    return t5x.T5XTensors(self.path)


def _settings_of_training(path: str, stored: Mapping[str, Any]) -> dict[str, Any]:
  """Settings of a training's operative_config.gin that the tensors do not determine; its sizes are not needed.

  Args:
    path: of operative_config.gin
    stored: the sizes of the tensors
  """
  files = gin_files.GinFiles()
  files.read_file(path)
  settings = {name: files.value(name) for name in SETTINGS_OF_TRAINING if name in files.bindings}
  for name in ('vocab_size', 'target_vocab_size'):
    # Of the vocabulary, the tensors have the rows; the file may have the ids, which can be fewer.
    num_ids, rows = files.value(name) if name in files.bindings else None, stored.get(name, stored['vocab_size'])
    if isinstance(num_ids, int) and num_ids > 0 and padded_vocabulary(num_ids) == rows:
      settings[name] = num_ids
  activations = [files.value(key) for key in files.bindings if key.endswith('DenseReluDense.activation')]
  return settings | ({'ff_activation': _as_tuple(activations[0])} if activations else {})


def _as_tuple(activation: Any) -> tuple[str, ...]:
  return (activation,) if isinstance(activation, str) else tuple(activation)


def _is_float(info: TensorInfo) -> bool:
  return info.dtype in (*arrays.FLOAT_TYPES.values(), np.float16, np.float64)
