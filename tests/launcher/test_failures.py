"""What a failed run is told as."""

import pytest
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.launcher import failures


def raised(error):
  """What TensorFlow makes of an exception raised while a dataset is read in a session."""

  def rows():
    yield 1
    raise error

  dataset = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec([], tf.int32))
  following = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
  with tf.compat.v1.Session() as session, pytest.raises(tf.errors.OpError) as caught:
    session.run(following)
    session.run(following)
  return caught.value


def test_a_mistake_in_a_file_is_the_users():
  with tf.Graph().as_default():
    error = raised(UserError('a.tsv, line 2: field "label" is "x"; it must be one of: yes, no.'))
  assert failures.explain(error) == ('a.tsv, line 2: field "label" is "x"; it must be one of: yes, no.', 2)


def test_another_failure_in_a_dataset_is_ours():
  with tf.Graph().as_default():
    text, code = failures.explain(raised(KeyError('x')))
  assert code == 1 and 'KeyError' in text


def test_a_setting_that_does_not_divide():
  assert failures.explain(ValueError('batch 3 is not divisible by 2'))[1] == 2
