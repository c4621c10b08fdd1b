"""Checks that find a mistake in a run before anything is built or written."""

import os
import tempfile
from typing import Any

import gin
import mesh_tensorflow.transformer.utils as mesh_utils
import seqio
import tensorflow.compat.v1 as tf
from gin import config as gin_config

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.launcher import init_checkpoint, latest
from switch_zoo.spec.sublayers import padded_vocabulary
from switch_zoo.tasks import raw_files
from switch_zoo.vocabulary import fit

# The macro that has the number of ids of a feature.
_SIZES = {'inputs': 'vocab_size', 'targets': 'target_vocab_size'}


def parameter(name: str, default: Any = None) -> Any:
  """The value gin has for a parameter ('utils.run.mode') or macro ('%BATCH_SIZE'); `default` if it has none."""
  try:
    value = gin.query_parameter(name)
  except ValueError:
    return default
  if isinstance(value, gin_config.ConfigurableReference) and value.selector == 'gin.macro':
    return parameter(f'%{value.scoped_selector.rpartition("/")[0]}', default)
  return value


def mixture_or_task(name: str) -> seqio.Task | seqio.Mixture:
  """The registered task or mixture.

  Raises:
    UserError: there is none, with the closest names
  """
  names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
  if name not in names:
    raise UserError(
      f'There is no task or mixture "{name}".{did_you_mean(name, names)} Tasks of your own are registered by the '
      'module that --module_import names.'
    )
  return seqio.get_mixture_or_task(name)


def vocabulary_fits(name: str) -> None:
  """Opens the vocabulary of a task and checks that it is the model's.

  Raises:
    UserError: the file is missing, or the model has other rows for it, or fewer ids than it
  """
  features = mixture_or_task(name).output_features
  for feature, spec in features.items():
    size, macro = spec.vocabulary.vocab_size, _SIZES.get(feature, 'vocab_size')
    vocab_size = parameter(f'%{macro}')
    if isinstance(vocab_size, int):
      remedy = (
        'Choose the model that belongs to this vocabulary, or train a new one with '
        f'--gin_param="{macro} = {padded_vocabulary(size)}".'
      )
      fit.check(f'The vocabulary of {name} ({feature})', size, vocab_size, remedy, macro)
  if 'inputs' in features and parameter('%shared_embedding') is True:
    _check_one_vocabulary(name, *(features[side].vocabulary for side in ('inputs', 'targets')))


def _check_one_vocabulary(name: str, inputs: seqio.Vocabulary, targets: seqio.Vocabulary) -> None:
  """Refuses two vocabularies for a model whose encoder and decoder read one embedding."""
  files = [getattr(vocabulary, 'path', vocabulary) for vocabulary in (inputs, targets)]
  if files[0] != files[1]:
    raise UserError(
      f'{name} has a vocabulary for inputs ({files[0]}) and another for targets ({files[1]}), and the model has one '
      'embedding for both. Choose a model with an embedding for each, as those of GShard, or train a new one with '
      '--gin_param="shared_embedding = False"; or use one vocabulary.'
    )


def data_can_be_read(name: str, split: str) -> None:
  """Looks for the files of every task of a mixture, and reads their first rows.

  Args:
    name: of a task or mixture
    split: tasks without it are skipped, as seqio does

  Raises:
    UserError: a file is missing or malformed, with where to get it
  """
  for task in seqio.get_subtasks(mixture_or_task(name)):
    check = getattr(task.source, 'check', None)  # sources of the zoo have it
    if check and split in task.splits:
      check(split)


def model_dir_can_be_written(model_dir: str) -> None:
  """Checks that model_dir is not a file, and not below a folder that cannot be written.

  Raises:
    UserError: with the folder that is in the way
  """
  if '://' in model_dir:
    return
  if os.path.exists(model_dir) and not os.path.isdir(model_dir):
    raise UserError(f'--model_dir={model_dir} is a file. Give a folder; it is created if it does not exist.')
  folder = os.path.abspath(model_dir)
  while not os.path.exists(folder):
    folder = os.path.dirname(folder)
  try:
    # Asking for permission is not enough: some file systems grant it and then refuse.
    with tempfile.TemporaryDirectory(dir=folder):
      pass
  except OSError as error:
    raise UserError(
      f'--model_dir={model_dir} cannot be written: {folder} does not allow it ({error.strerror}). '
      'Choose a folder of your own.'
    ) from error


def checkpoint_present(model_dir: str) -> None:
  """Checks that a folder contains a checkpoint.

  Raises:
    UserError: there is none
  """
  if latest.newest(model_dir) is None:
    raise UserError(
      f'--model_dir={model_dir} contains no checkpoint, and this run needs one: '
      + (
        init_checkpoint.foreign(model_dir)
        or 'train first (runs/pretrain.gin or runs/finetune.gin), or give the folder of a trained model.'
      )
    )


def input_file_readable(path: str | None, setting: str) -> None:
  """Checks that a file of texts, one on each line, can be read.

  Args:
    path: the file; None is not checked
    setting: what the user calls it
  Raises:
    UserError: there is no such file, or it has no lines; or a line is not text, with its number
  """
  if not isinstance(path, str):
    return
  if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
    raise UserError(f'{setting} = "{path}": there is no such file.')
  with tf.io.gfile.GFile(path, 'rb') as file:
    reason = raw_files.not_a_text(file.read(raw_files.CHUNK))
    if reason:
      raise UserError(f'{setting} = "{path}": {reason}')
    file.seek(0)
    for number, line in enumerate(file, 1):
      _check_text(line, f'{setting} = "{path}", line {number:,}')
  if not _num_texts(path):
    raise UserError(f'{setting} = "{path}" has no lines, so there is nothing to answer or to score.')


def _check_text(line: bytes, place: str) -> None:
  try:
    line.decode('utf-8')
  except UnicodeDecodeError as error:
    raise UserError(
      f'{place}: {raw_files.not_utf8(error)} Convert the file to UTF-8 first, for example with iconv.'
    ) from error


def one_target_for_each_input(inputs: Any, targets: Any, settings: tuple[str, str]) -> None:
  """Checks that inputs and targets are as many: the released code scores one target with all inputs, or repeats inputs.

  Args:
    inputs: the path of a file, or a list of texts; None: targets are scored alone
    targets: as `inputs`; None is not checked
    settings: what the user calls the two
  Raises:
    UserError: with both numbers, or with the one that has no lines
  """
  counts = {
    f'{setting} = "{value}"' if isinstance(value, str) else setting: _num_texts(value)
    for setting, value in zip(settings, (inputs, targets), strict=True)
    if value is not None
  }
  for name, count in counts.items():
    if not count:
      raise UserError(f'{name} has no lines, so there is nothing to score.')
  if len(set(counts.values())) > 1:
    (first, count), (second, other) = counts.items()
    raise UserError(
      f'{first} has {count:,} {_lines(count)} and {second} has {other:,} (an empty last line does not count). Each '
      'line of one belongs to that line of the other, so both must have the same number: repeat what belongs to '
      'several.'
    )


def _lines(count: int) -> str:
  return 'line' if count == 1 else 'lines'


def _num_texts(texts: Any) -> int:
  """How many texts the released code reads from a file; or the length of a list."""
  return len(mesh_utils.get_inputs_from_file(texts) if isinstance(texts, str) else texts)


def output_file_possible(path: str | None, setting: str) -> None:
  """Checks that the folder of a file to write exists.

  Args:
    path: the file; None is not checked
    setting: what the user calls it
  Raises:
    UserError: with the folder
  """
  folder = os.path.dirname(path) if isinstance(path, str) else ''
  if folder and not tf.io.gfile.isdir(folder):
    raise UserError(f'{setting} = "{path}": there is no folder {folder}. Create it first.')
