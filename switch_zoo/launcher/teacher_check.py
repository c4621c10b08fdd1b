"""Does a distillation's teacher fit its student? Checked before anything is written."""

import dataclasses
import os
from typing import Any

import mesh_tensorflow as mtf

from switch_zoo.checkpoints import differences
from switch_zoo.checkpoints.source import OPERATIVE, Source
from switch_zoo.checkpoints.surgery import FRESH, MEAN
from switch_zoo.errors import UserError, shown
from switch_zoo.launcher import preflight
from switch_zoo.launcher.graph_settings import GraphSettings
from switch_zoo.mesh.teaching import Teaching
from switch_zoo.spec import gin_files, layouts
from switch_zoo.spec.sublayers import padded_vocabulary

_STUDENT = 'distillation.Student'


def teaching_of_run() -> Teaching | None:
  """The settings of the distillation that gin is configured for; None if it is for none."""
  chosen = preflight.parameter('transformer.make_bitransformer.bitransformer_cls')
  if getattr(chosen, 'selector', '') != _STUDENT:
    return None
  return Teaching(
    **{
      field.name: preflight.parameter(f'{_STUDENT}.{field.name}', field.default)
      for field in dataclasses.fields(Teaching)
    }
  )


def refuse_with(flag: str) -> None:
  """Refuses a distillation where a flag says that another runtime trains.

  Raises:
    UserError: gin is configured for one
  """
  if teaching_of_run():
    raise UserError(
      f'{flag} does not distill: nothing there loads the weights of a teacher. Leave it out, and distill on this '
      'machine (layouts/cpu.gin, or any layout with several slices); the student can then be used everywhere.'
    )


def check(settings: GraphSettings) -> tuple[Teaching, Source | None] | None:
  """Checks the settings of a distillation and its teacher.

  Args:
    settings: of the run
  Returns:
    the settings, and the teacher's checkpoint if the run reads it; None if the run is no distillation
  Raises:
    UserError: a setting out of range, a teacher that cannot be read, or one of another vocabulary or layout
  """
  teaching = teaching_of_run()
  if teaching is None:
    return None
  _check_values(teaching)
  if not teaching.fraction_soft and teaching.init_from_teacher is None:
    return teaching, None
  source = teaching.open()
  _check_vocabulary(teaching, source, settings)
  try:
    layouts.check(settings.layout(), source.config, settings.sequences())
  except UserError as error:
    raise UserError(f'The layout does not fit the teacher, {source.config.name}: {error}') from error
  return teaching, source


def check_start(teaching: Teaching, source: Source | None, student: mtf.Graph) -> None:
  """Checks that the student can start from the teacher's weights, if it should.

  Raises:
    UserError: with the first differences
  """
  if source is None or teaching.init_from_teacher is None:
    return
  twin = teaching.twin(source, 0)
  shapes = {name: tuple(axes.values()) for name, axes in twin.config.variables.items()}
  own = {variable.name: tuple(variable.shape.to_integer_list) for variable in student.trainable_variables}
  problems = differences.describe_differences(shapes, own)
  if problems:
    raise UserError(
      f'INIT_FROM_TEACHER = "{teaching.init_from_teacher}": the student is not the dense twin of the teacher, '
      f'{source.config.name}, of d_model = {source.config.d_model}: {differences.summarize(problems)}. Give the model '
      'of the same width and layers, or use INIT_FROM_TEACHER = None.'
    )


def lengths_note(source: Source | None, settings: GraphSettings) -> str:
  """A sentence, if sequences are longer than those that the teacher was trained with; '' if not, or if nobody knows."""
  if source is None:
    return ''
  folder = source.path if os.path.isdir(source.path) else os.path.dirname(source.path)
  path = os.path.join(folder, OPERATIVE)
  if not os.path.isfile(path):
    return ''
  files = gin_files.GinFiles()
  files.read_file(path)
  trained = next((files.value(key) for key in files.bindings if key.endswith('run.sequence_length')), None)
  longer = [name for name, length in settings.lengths.items() if length > _length(trained, name, length)]
  if not longer:
    return ''
  text = ' and '.join(f'{name} of {settings.lengths[name]} (teacher: {_length(trained, name, 0)})' for name in longer)
  return f'The teacher was trained with shorter sequences: {text}. What it teaches of longer ones was never trained.'


def _length(lengths: Any, name: str, default: int) -> int:
  if isinstance(lengths, dict):
    lengths = lengths.get(name)
  return lengths if isinstance(lengths, int) else default


def _check_values(teaching: Teaching) -> None:
  rules = (
    ('FRACTION_SOFT', teaching.fraction_soft, _is_number(teaching.fraction_soft, 0, 1), 'a number from 0 to 1'),
    ('TEMPERATURE', teaching.temperature, _is_number(teaching.temperature, 1e-6), 'a number above 0'),
    ('INIT_FROM_TEACHER', teaching.init_from_teacher, teaching.init_from_teacher in (None, FRESH, MEAN),
     f'"{FRESH}", "{MEAN}" or None'),
  )  # fmt: skip
  for name, value, right, words in rules:
    if not right:
      raise UserError(f'{name} is {shown(value)}; it must be {words}.')
  if teaching.init_from_teacher and preflight.parameter('utils.run.init_checkpoint'):
    raise UserError(
      f'INIT_CHECKPOINT and INIT_FROM_TEACHER = "{teaching.init_from_teacher}" both say what the student starts from. '
      'Set one of them to None.'
    )


def _is_number(value: Any, least: float, most: float = float('inf')) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _check_vocabulary(teaching: Teaching, source: Source, settings: GraphSettings) -> None:
  teacher = source.config.vocab_size, source.config.target_vocab_size
  for rows, number, side in zip(teacher, settings.vocab_sizes, ('inputs', 'targets'), strict=True):
    if rows != padded_vocabulary(number):
      raise UserError(
        f'TEACHER_CHECKPOINT = "{teaching.teacher_checkpoint}": the teacher has {rows:,} rows for the vocabulary of '
        f'{side}, and the vocabulary of the task takes {padded_vocabulary(number):,}. Give a teacher that was trained '
        "with this vocabulary, or the teacher's vocabulary (SWITCH_ZOO_VOCAB, or another MIXTURE_NAME)."
      )
