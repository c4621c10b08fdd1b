"""A model's tensors in one format: a class for each format, over the table of `names`."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from switch_zoo.checkpoints import names
from switch_zoo.checkpoints.arrays import TensorInfo
from switch_zoo.checkpoints.names import ModelPlace
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import EXPERTS

Shape = tuple[int, ...]


class TensorLocation(NamedTuple):
  """How to find a variable, or one expert of it, in a checkpoint.

  name: of the tensor; index: its entry along the first axis, None for all; transposed: its axes are exchanged
  """

  name: str
  index: int | None
  transposed: bool


class FormatNames:
  """The names of a model's variables in one format, with all experts of a variable in one tensor.

  kind: one of `names`; column: the field of a NameRow with the format's templates
  tensor_for_each_expert: whether the experts of a variable are stored apart

  Raises:
    UserError: the format has no place for a variable of the model
  """

  kind: ClassVar[str]
  column: ClassVar[str]
  tensor_for_each_expert: ClassVar[bool] = False

  def __init__(self, config: ModelConfig):
    self.config = config
    self._places = dict(names.model_places(config))
    for variable in config.variables:
      self.locate(variable, 0)

  def locate(self, variable: str, expert: int | None = None) -> TensorLocation:
    """The place of a variable, or of one expert's part of it.

    Without an expert it is that of all of them, or of the first in a format with a tensor for each.
    """
    return TensorLocation(self._name(variable), expert if self._is_stacked(variable) else None, False)

  def tensors_of(self, variable: str) -> list[tuple[str, Shape]]:
    """(name, shape) of the tensors that hold a variable."""
    return [(self._name(variable), tuple(self.config.variables[variable].values()))]

  def shapes(self) -> dict[str, Shape]:
    """Name -> shape of every tensor of the model in this format."""
    return {name: shape for variable in self.config.variables for name, shape in self.tensors_of(variable)}

  def infos(self, dtypes: Mapping[str, np.dtype]) -> dict[str, TensorInfo]:
    """Name -> type and shape of every tensor to write, for the types of a model's variables."""
    variables = self.config.variables
    return {name: TensorInfo(shape, dtypes[v]) for v in variables for name, shape in self.tensors_of(v)}

  @classmethod
  def parse(cls, name: str) -> ModelPlace | None:
    """Which variable of which layer a tensor's name stands for; None for a name the table does not have."""
    return names.find_place(cls.column, name)

  @classmethod
  def place_tensors(cls, infos: Mapping[str, TensorInfo]) -> Iterator[tuple[ModelPlace, Shape]]:
    """The place of every tensor whose name the table has, and its shape in the axes of Mesh-TensorFlow."""
    for name, info in infos.items():
      place = cls.parse(name)
      if place:
        yield place, cls._shape_in_mesh(place, info.shape)

  @classmethod
  def _shape_in_mesh(cls, place: ModelPlace, shape: Shape) -> Shape:
    return shape

  def _is_stacked(self, variable: str) -> bool:
    return 'experts' in self.config.variables[variable]

  def _name(self, variable: str, expert: int = 0) -> str:
    """The template of the format, filled in for a variable."""
    place = self._places.get(variable)
    template = place and getattr(place.row, self.column)
    if place is None or template is None:
      raise UserError(
        f'{names.TITLES[self.kind]} has no place for {variable} of this model ({self.config.name}): '
        f'{_reason(variable)}. Convert it to mesh or keras.'
      )
    in_encoder = place.stack == 'encoder'
    dense = names.SWITCH_DENSE if self.config.num_experts else names.T5_DENSE
    return template.format(
        stack=place.stack, layer=place.layer, expert=expert, dense=dense, ff=1 if in_encoder else 2,
        self='attention' if in_encoder else 'self_attention',
    )  # fmt: skip


class MeshNames(FormatNames):
  """Mesh-TensorFlow's names are the model's own."""

  kind, column = names.MESH, 'mesh'

  def _name(self, variable: str, expert: int = 0) -> str:
    return variable


class KerasNames(FormatNames):
  """Mesh-TensorFlow's names with `vars/` before the last part."""

  kind, column = names.KERAS, 'mesh'

  @classmethod
  def parse(cls, name: str) -> ModelPlace | None:
    return super().parse(names.mesh_name(name))

  def _name(self, variable: str, expert: int = 0) -> str:
    return names.keras_name(variable)


class T5XNames(FormatNames):
  """Layers counted through the stack."""

  kind, column = names.T5X, 't5x'


class HuggingFaceNames(FormatNames):
  """Layers counted through the stack, a tensor for each expert, matrices as [outputs, inputs]."""

  kind, column = names.HUGGING_FACE, 'hugging_face'
  tensor_for_each_expert = True

  def locate(self, variable: str, expert: int | None = None) -> TensorLocation:
    # The name is made first: it refuses a variable without a place.
    name = self._name(variable, (expert or 0) if self._is_stacked(variable) else 0)
    return TensorLocation(name, None, self._places[variable].row.transposed)

  def tensors_of(self, variable: str) -> list[tuple[str, Shape]]:
    sizes = tuple(self._stored_size(variable, *axis) for axis in self.config.variables[variable].items())
    experts, shape = (sizes[0], sizes[1:]) if self._is_stacked(variable) else (1, sizes)
    stored = self._shape_in_mesh(self._places[variable], shape)
    return [(self._name(variable, expert), stored) for expert in range(experts)]

  def infos(self, dtypes: Mapping[str, np.dtype]) -> dict[str, TensorInfo]:
    infos = super().infos(dtypes)
    # With a matrix of logits, transformers 5 reads an embedding for each stack, and makes a random one if it is absent.
    copies = () if self.config.tied_embeddings else names.TIED_COPIES
    return infos | dict.fromkeys(copies, infos[names.SHARED])

  def _stored_size(self, variable: str, axis: str, size: int) -> int:
    """A table of the vocabulary is stored without its padding."""
    if axis != 'vocab':
      return size
    return self.config.num_target_ids if variable.startswith('decoder/') else self.config.num_ids

  @classmethod
  def _shape_in_mesh(cls, place: ModelPlace, shape: Shape) -> Shape:
    return shape[::-1] if place.row.transposed else shape


FORMAT_NAMES: dict[str, type[FormatNames]] = {
  names_class.kind: names_class for names_class in (MeshNames, KerasNames, HuggingFaceNames, T5XNames)
}


def _reason(variable: str) -> str:
  if variable.endswith('/embedding'):
    return 'encoder and decoder have an embedding each, and the format has one for both'
  if f'/{EXPERTS}/' in variable:
    return 'the format routes by top-1 only'
  return 'the table in switch_zoo/checkpoints/names.py has no name for it'
