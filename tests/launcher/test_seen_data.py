"""What a training read before: counted, kept, and skipped."""

import gin
import pytest
import tensorflow.compat.v1 as tf
from t5.models import mesh_transformer  # noqa: F401 - registers what gin binds

from switch_zoo.launcher import run_state, seen_data
from switch_zoo.launcher.progress import Lines
from switch_zoo.launcher.seen_data import Segment

A, B = {'task': 'a'}, {'task': 'b'}


@pytest.mark.parametrize(
  ('segments', 'step', 'seen'),
  [
    ([Segment(0, 8, A)], 0, 0),
    ([Segment(0, 8, A)], 12, 96),
    ([Segment(1000, 8, A)], 1012, 96),
    ([Segment(0, 8, A), Segment(10, 4, A)], 12, 88),
    ([Segment(0, 8, A), Segment(10, 8, B)], 12, 16),
    ([Segment(0, 8, A), Segment(10, 8, B), Segment(11, 2, A)], 12, 2),
  ],
  ids=['nothing', 'from 0', 'fine-tuned from step 1000', 'other batch', 'other data', 'the first data again'],
)
def test_sequences_seen(segments, step, seen):
  assert seen_data.sequences_seen(segments, step) == seen


def test_the_record_is_kept_whole(tmp_path):
  segments = [Segment(0, 8, A), Segment(10, 4, B)]
  seen_data.write(str(tmp_path), segments)
  assert seen_data.read(str(tmp_path)) == segments and [path.name for path in tmp_path.iterdir()] == ['data_order.json']


@pytest.mark.parametrize('content', ['', '{', '[]', '{"segments": [{"first_step": 0}]}', '\x00' * 50])
def test_a_damaged_record_counts_as_none(tmp_path, content):
  (tmp_path / 'data_order.json').write_text(content)
  assert seen_data.read(str(tmp_path)) == []


class Estimator:
  """Trains on nothing: keeps the batches it is given, and calls the hooks as a session does."""

  def __init__(self, step):
    self.step = step

  def train(self, input_fn, hooks, max_steps):
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.train.get_or_create_global_step()
      session.run(tf.assign(step, self.step))
      for hook in hooks:
        hook.begin()
        hook.after_create_session(session, None)
      following = tf.data.make_one_shot_iterator(input_fn(params={})).get_next()
      self.batches = [session.run(following).tolist() for _ in range(max_steps - self.step)]


@pytest.fixture
def train(tmp_path):
  """Trains from a step to another and saves; returns the batches that were read, and what was said."""

  def trained(first, last, batch=2, seed=1):
    gin.clear_config()
    gin.parse_config(f'mesh_train_dataset_fn.seed = {seed}')
    lines = []
    reporter = Lines()
    reporter.note = lines.append
    with run_state.as_current(run_state.Run(reporter)):
      get = seen_data.with_seen_data_skipped(lambda **kwargs: Estimator(first))
      estimator = get(model_dir=str(tmp_path), batch_size=batch, sequence_length={'inputs': 4})
    estimator.train(input_fn=lambda params: tf.data.Dataset.range(100).batch(batch), max_steps=last)
    with tf.Graph().as_default(), tf.Session() as session:
      session.run(tf.assign(tf.train.get_or_create_global_step(), last))
      tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'), global_step=last, write_meta_graph=False)
    return estimator.batches, lines

  return trained


def test_a_resumed_training_reads_on(train):
  assert train(0, 2) == ([[0, 1], [2, 3]], [])
  assert train(2, 3) == ([[4, 5]], ['Skipping the 2 batches of data that were read before step 2.'])
  assert train(3, 4)[0] == [[6, 7]]


def test_with_another_batch_size(train):
  train(0, 2)
  assert train(2, 3, batch=4)[0] == [[4, 5, 6, 7]]
  # Eight sequences were read.
  assert train(3, 4, batch=2)[0] == [[8, 9]]


def test_without_a_seed_one_is_drawn_and_kept(train, tmp_path):
  train(0, 2, seed=None)
  (segment,) = seen_data.read(str(tmp_path))
  assert train(2, 3, seed=None)[0] == [[4, 5]]
  assert gin.query_parameter('mesh_train_dataset_fn.seed') == segment.data['seed']


def test_other_data_is_read_from_its_beginning(train):
  train(0, 2, seed=1)
  batches, lines = train(2, 3, seed=2)
  assert batches == [[0, 1]] and 'it is other data than before' in lines[0]
  assert train(3, 4, seed=2)[0] == [[2, 3]]


def test_without_a_record_nothing_is_skipped(train, tmp_path):
  train(0, 2)
  (tmp_path / 'data_order.json').unlink()
  batches, lines = train(2, 3)
  assert batches == [[0, 1]] and 'has no data_order.json that says what was read' in lines[0]


def test_it_can_be_turned_off(train):
  train(0, 2)
  seen = seen_data.SeenData
  gin.parse_config('launcher.SeenData.skip = False')
  assert not seen().skip


def test_skipping_by_released_code_is_not_done_twice(train, monkeypatch):
  train(0, 2)
  monkeypatch.setattr(seen_data, '_skipped_by_released_code', lambda: True)
  assert train(2, 3) == ([[0, 1]], [])
