import os

import gin
import pytest
import seqio
import tensorflow.compat.v1 as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import checkpoint_check, init_checkpoint, preflight, run


@pytest.fixture
def task():
  """A task whose vocabulary has 200 entries."""
  feature = seqio.Feature(seqio.PassThroughVocabulary(size=200), add_eos=False)
  name = 'preflight_task'
  empty = lambda split, shuffle_files, seed=None: tf.data.Dataset.range(0)
  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(empty, splits=['train']),
    preprocessors=[],
    output_features={'inputs': feature, 'targets': feature},
    metric_fns=[],
  )
  yield name
  seqio.TaskRegistry.remove(name)


def test_an_unknown_task_names_the_closest(task):
  with pytest.raises(UserError, match='no task or mixture "preflight_tsk". Did you mean preflight_task?'):
    preflight.mixture_or_task('preflight_tsk')


def test_a_vocabulary_of_200_is_padded_to_256(task):
  gin.parse_config('vocab_size = 256')
  preflight.vocabulary_fits(task)


@pytest.mark.parametrize(('vocab_size', 'fits'), [(199, False), (200, True), (230, True), (256, True), (257, False)])
def test_a_model_without_ids_for_padding(task, vocab_size, fits):
  """From the vocabulary's own size to the rows it needs."""
  gin.parse_config(f'vocab_size = {vocab_size}')
  if fits:
    preflight.vocabulary_fits(task)
  else:
    with pytest.raises(UserError, match='200 entries, 256 when padded'):
      preflight.vocabulary_fits(task)


def test_a_vocabulary_of_another_size(task):
  gin.parse_config('vocab_size = 32128')
  with pytest.raises(UserError, match=r'200 entries, 256 when padded.*vocab_size = 32,128.*"vocab_size = 256"'):
    preflight.vocabulary_fits(task)


def test_a_parameter_is_read_through_macros():
  gin.parse_config('N = 3\nM = %N')
  assert preflight.parameter('%M') == 3
  assert preflight.parameter('%nope', 'default') == 'default'


def test_a_folder_that_does_not_exist_is_not_made(tmp_path):
  preflight.model_dir_can_be_written(str(tmp_path / 'a' / 'b'))
  assert os.listdir(tmp_path) == []


def test_a_model_dir_that_is_a_file(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='is a file. Give a folder'):
    preflight.model_dir_can_be_written(str(tmp_path / 'file'))


def test_a_model_dir_below_a_file(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'):
    preflight.model_dir_can_be_written(str(tmp_path / 'file' / 'below'))


def test_a_model_dir_nobody_may_write():
  with pytest.raises(UserError, match='/proc does not allow it'):
    preflight.model_dir_can_be_written('/proc/model')


def test_a_bucket_is_left_to_tensorflow():
  preflight.model_dir_can_be_written('gs://bucket/model')


def test_a_folder_without_checkpoint(tmp_path):
  with pytest.raises(UserError, match='contains no checkpoint'):
    preflight.checkpoint_present(str(tmp_path))
  with pytest.raises(UserError, match='contains no checkpoint'):
    preflight.checkpoint_present(str(tmp_path / 'nope'))


def test_init_checkpoint(tmp_path):
  assert init_checkpoint.find(None) is None
  with pytest.raises(UserError, match='is not a checkpoint.*Use None'):
    init_checkpoint.find(str(tmp_path))


def test_files_to_read_and_write(tmp_path):
  preflight.input_file_readable(None, 'INPUT_FILE')
  for path in (tmp_path / 'in.txt', tmp_path):
    with pytest.raises(UserError, match='INPUT_FILE = .* there is no such file'):
      preflight.input_file_readable(str(path), 'INPUT_FILE')
  preflight.output_file_possible('out.txt', 'OUTPUT_FILE')
  with pytest.raises(UserError, match='OUTPUT_FILE = .* there is no folder'):
    preflight.output_file_possible(str(tmp_path / 'no' / 'out.txt'), 'OUTPUT_FILE')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'a\n\xef\xbb\xbfb\xc3\xa4\n\n', None),
    (b'a\nb\xff\n', 'INPUT_FILE = ".*/in.txt", line 2: not UTF-8: byte 0xff at byte 2 .* for example with iconv'),
    ('a\nb'.encode('utf-16'), 'in.txt": the file is UTF-16. Save it as UTF-8'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n', 'in.txt": the file is a Git LFS pointer'),
    (b'', 'INPUT_FILE = ".*/in.txt" has no lines'),
    (b'\n', 'INPUT_FILE = ".*/in.txt" has no lines'),
  ],
)
def test_a_file_of_texts(tmp_path, content, message):
  (tmp_path / 'in.txt').write_bytes(content)
  if message is None:
    preflight.input_file_readable(str(tmp_path / 'in.txt'), 'INPUT_FILE')
  else:
    with pytest.raises(UserError, match=message):
      preflight.input_file_readable(str(tmp_path / 'in.txt'), 'INPUT_FILE')


SETTINGS = ('INPUT_FILE', 'TARGET_FILE')


@pytest.mark.parametrize(
  ('inputs', 'targets', 'message'),
  [
    (b'a\nb\n', b'c\nd', None),
    (b'a\nb\n', b'c\n\xc3\xa4\n\n', None),
    (None, b'c\n', None),
    (['a', 'b'], b'c\nd\n', None),
    (b'a\nb\nc\n', b'd\n', 'INPUT_FILE = ".*/inputs" has 3 lines and TARGET_FILE = ".*/targets" has 1 [(]'),
    (b'a\n', b'c\nd\n', 'INPUT_FILE = ".*/inputs" has 1 line and TARGET_FILE = ".*/targets" has 2 [(]'),
    (['a'], b'c\nd\n', 'INPUT_FILE has 1 line and TARGET_FILE = ".*/targets" has 2 [(]'),
    (b'a\n', b'\n', 'TARGET_FILE = ".*/targets" has no lines'),
    (b'', b'', 'INPUT_FILE = ".*/inputs" has no lines'),
  ],
)
def test_a_target_belongs_to_one_input(tmp_path, inputs, targets, message):
  """What the released code spreads or repeats is refused."""

  def given(name, content):
    if isinstance(content, bytes):
      (tmp_path / name).write_bytes(content)
      return str(tmp_path / name)
    return content

  texts = given('inputs', inputs), given('targets', targets)
  if message is None:
    preflight.one_target_for_each_input(*texts, SETTINGS)
  else:
    with pytest.raises(UserError, match=message):
      preflight.one_target_for_each_input(*texts, SETTINGS)


def test_a_run_that_scores_checks_its_files(tmp_path):
  (tmp_path / 'inputs').write_text('a\nb\n')
  (tmp_path / 'targets').write_text('c\n')
  for name in ('inputs', 'targets'):
    gin.parse_config(f"utils.score_from_strings.{name} = '{tmp_path / name}'")
  with pytest.raises(UserError, match='has 2 lines and TARGET_FILE'):
    run._check_score()


@pytest.mark.parametrize(
  ('stored', 'expected'),
  [
    ({'a': [2, 3], 'b': [4]}, None),
    ({'a': [2, 3], 'b': [4], 'a_slot_vr': [2], 'global_step': []}, None),
    ({'a': [2, 5], 'b': [4]}, 'a is [2, 5] in the checkpoint and [2, 3] in the model'),
    ({'a': [2, 3]}, 'b is missing from the checkpoint'),
    ({}, 'a is missing from the checkpoint; b is missing from the checkpoint'),
  ],
  ids=['same', 'slots besides', 'another shape', 'missing', 'empty'],
)
def test_difference(stored, expected):
  assert checkpoint_check.difference({'a': [2, 3], 'b': [4]}, stored) == expected


def test_difference_tells_two_and_counts_the_rest():
  expected = 'a is missing from the checkpoint; b is missing from the checkpoint; and 2 more'
  assert checkpoint_check.difference(dict.fromkeys('abcd', [1]), {}) == expected
