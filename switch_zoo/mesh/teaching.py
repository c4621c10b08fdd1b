"""The teacher of a distillation: which checkpoint and model it is, and how it teaches."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import model_gin, sources
from switch_zoo.checkpoints.source import Source
from switch_zoo.checkpoints.surgery import DenseTwin
from switch_zoo.errors import UserError
from switch_zoo.mesh import gin_setup
from switch_zoo.number_format import BFLOAT16, FLOAT32, NumberFormat
from switch_zoo.spec import gin_files, zoo

_COLLECTION = 'switch_zoo/distillation'


@dataclasses.dataclass(frozen=True)
class Teaching:
  """The settings of a distillation.

  teacher_checkpoint: folder of the teacher's weights in any format, or a prefix of Mesh-TensorFlow's; None: no teacher
  teacher_model: a name or a gin file; None: read from the folder
  teacher_dtype: of its activations; None: as its model says
  fraction_soft: share of the teacher's probabilities in the loss, 0 to 1; with 0 no teacher is built
  temperature: that the logits of both are divided by, above 0
  start_step: the first step, from 0, in whose loss the teacher has its share
  init_from_teacher: the student starts from the teacher's weights outside the experts, and from 'fresh' layers or the
    'mean' of the experts in their place; None: it does not
  seed: of fresh layers; None: by chance
  """

  teacher_checkpoint: str | None = None
  teacher_model: str | None = None
  teacher_dtype: str | None = None
  fraction_soft: float = 0.25
  temperature: float = 1.0
  start_step: int = 0
  init_from_teacher: str | None = None
  seed: int | None = None

  def open(self) -> Source:
    """The teacher's checkpoint, with all its tensors' names and shapes checked.

    Raises:
      UserError: there is none, or it does not fit the teacher's model
    """
    if self.teacher_checkpoint is None:
      raise UserError(
        'TEACHER_CHECKPOINT is None. Give the folder of the teacher, or train without one (FRACTION_SOFT).'
      )
    try:
      return sources.open_source(self.teacher_checkpoint, self.teacher_model)
    except UserError as error:
      model = f', TEACHER_MODEL = "{self.teacher_model}"' if self.teacher_model else ''
      hint = str(error).replace('--model', 'TEACHER_MODEL')
      raise UserError(f'TEACHER_CHECKPOINT = "{self.teacher_checkpoint}"{model}: {hint}') from error

  def twin(self, source: Source, seed: int) -> DenseTwin:
    """The weights that the student starts from.

    Raises:
      UserError: the teacher has no dense twin
    """
    if not source.config.num_experts:
      raise UserError(
        f'INIT_FROM_TEACHER = "{self.init_from_teacher}" takes a teacher with experts, and {source.config.name} is '
        'dense. Use None, and INIT_CHECKPOINT for the weights to start from.'
      )
    try:
      return DenseTwin(source, self.init_from_teacher or '', seed)
    except UserError as error:
      raise UserError(f'INIT_FROM_TEACHER: {str(error).replace("--dense-from", "INIT_FROM_TEACHER")}') from error

  @contextlib.contextmanager
  def configured(self, source: Source, fast: NumberFormat) -> Iterator[None]:
    """Within, gin has the configuration of the teacher and not of the student.

    Args:
      source: of `open`
      fast: the format that this machine computes fast in
    """
    parameters = [f'activation_dtype = {self.teacher_dtype!r}'] if self.teacher_dtype else []
    with (
      _model_file(self.teacher_model, source) as path,
      gin_setup.configured_as(gin_files.read([path], parameters), fast),
    ):
      yield


class Lesson(NamedTuple):
  """A graph in which a student is trained.

  teaching: its settings
  weights: variable of the teacher -> its TensorFlow variable, without a value yet; {} without a teacher
  """

  teaching: Teaching
  weights: Mapping[str, tf.Variable]


def add_lesson(lesson: Lesson) -> None:
  """Makes the default graph one in which a student is trained."""
  tf.add_to_collection(_COLLECTION, lesson)


def lesson() -> Lesson | None:
  """That of the default graph; None if it trains no student."""
  lessons = tf.get_collection(_COLLECTION)
  return lessons[-1] if lessons else None


def weight_dtype(source: Source) -> str:
  """The type in which a teacher's weights are kept: bfloat16 if all are stored so, else float32; both are exact."""
  stored = {str(source.dtype(variable)) for variable in source.config.variables}
  return BFLOAT16 if stored == {BFLOAT16} else FLOAT32


@contextlib.contextmanager
def _model_file(model: str | None, source: Source) -> Iterator[str]:
  """The path of a gin file of the teacher's model; where the tensors say what it is, it is written for the moment."""
  config = source.config
  if model or os.path.isfile(config.path):
    yield zoo.model_file(model or config.path)
    return
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, model_gin.FILE)
    with open(path, 'w', encoding='utf-8') as file:
      file.write(model_gin.text(config.title, config.source or config.name, model_gin.describe(config)))
    yield path
