"""The common settings of a run: which values are refused, with their place, and which are not."""

import pathlib
import re

import pytest

from switch_zoo.errors import UserError
from switch_zoo.spec import gin_files, setting_kinds

WRONG = [
  'INPUTS_LENGTH = None', 'd_model = []', 'd_model = 8.5', 'd_model = True', 'mesh_shape = 4', 'vocab_size = "many"',
  "dropout_rate = 'float16'", 'dropout_rate = 1.0', 'SAVE_STEPS = (1, 2)', 'TRAIN_STEPS = -1', 'TRAIN_STEPS = 0',
  'KEEP_CHECKPOINTS = 0', 'SEED = 1.5', 'LEARNING_RATE = "high"', 'LEARNING_RATE = 1e999', 'EVAL_STEPS = "newest"',
  'EVAL_STEPS = []', 'TEMPERATURE = -1', 'TOP_K = 0', 'NUM_EXAMPLES = -2', 'BEAM_SIZE = {}', 'SPLIT = None',
  'INIT_CHECKPOINT = 7', 'capacity_factor_train = 0', 'ff_activation = []', 'activation_dtype = "jfloat16"',
  'utils.run.train_steps = -1', 'run.batch_size = ("tokens_per_batch", "many")', 'utils.run.mesh_shape = 4',
  'SAVE_SECONDS = 0', 'launcher.Saving.seconds = "often"',
  'utils.run.sequence_length = {"inputs": 0}', 'mesh_train_dataset_fn.seed = "a"',
]  # fmt: skip
RIGHT = [
  'TRAIN_STEPS = 1', 'KEEP_CHECKPOINTS = None', 'SEED = None', 'SEED = -3', 'EVAL_STEPS = "all"', 'EVAL_STEPS = [1, 2]',
  'EVAL_STEPS = -1', 'NUM_EXAMPLES = -1', 'dropout_rate = 0', 'ff_activation = ["gelu", "linear"]', 'd_model = 8',
  'utils.run.train_steps = @auto_train_steps', 'utils.run.batch_size = ("tokens_per_batch", 65536)',
  'SAVE_SECONDS = None', 'SAVE_SECONDS = 0.5',
  'utils.run.mesh_shape = @utils.tpu_mesh_shape()', 'utils.run.mesh_shape = ""', 'mine = []',
  'utils.run.sequence_length = {"inputs": 8, "targets": 8}', 'LEARNING_RATE = 0.0', 'MIXTURE_NAME = %gin.REQUIRED',
]  # fmt: skip


def check(text, tmp_path):
  path = tmp_path / 'mine.gin'
  path.write_text(f'# mine\n{text}\n')
  files = gin_files.GinFiles([])
  files.read_file(str(path))
  setting_kinds.check(files)


@pytest.mark.parametrize('text', WRONG)
def test_a_value_of_another_kind(tmp_path, text):
  name = text.partition(' ')[0]
  with pytest.raises(UserError, match=f'mine.gin, line 2: {name} is .*; it must be ') as refused:
    check(text, tmp_path)
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('text', RIGHT)
def test_values_that_are_right(tmp_path, text):
  check(text, tmp_path)


def test_a_macro_is_checked_through_another(tmp_path):
  with pytest.raises(UserError, match='line 2: TRAIN_STEPS is -1'):
    check('TRAIN_STEPS = -1\nutils.run.train_steps = %TRAIN_STEPS', tmp_path)


def settings(word):
  """The settings that the comments of the run files and architectures list after a word."""
  names = set()
  for path in pathlib.Path(gin_files.configs_folder()).glob('*/*.gin'):
    for line in path.read_text().splitlines():
      if line.startswith(f'# {word}: '):
        names |= set(re.findall(r'\w+', line.partition(':')[2])) & macros(path)
  return names


def macros(path):
  """The macros that a file binds, itself or by what it includes."""
  files = gin_files.GinFiles()
  files.read_file(str(path))
  return {key for key in files.bindings if '.' not in key}


@pytest.mark.parametrize('word', ['Required', 'Often changed'])
def test_every_setting_that_a_run_file_lists_has_a_kind(word):
  assert settings(word) <= set(setting_kinds.MACROS) | {'router'}


def test_our_own_files_are_right():
  for path in pathlib.Path(gin_files.configs_folder()).glob('*/*.gin'):
    files = gin_files.GinFiles()
    files.read_file(str(path))
    setting_kinds.check(files)
