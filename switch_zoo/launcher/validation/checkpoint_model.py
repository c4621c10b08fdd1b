"""A model in a graph that is built once, with the weights of one checkpoint after another.

Estimator builds the graph again for each checkpoint, which takes longer than the answers of a small split. A session
lives as long as a validation, so that training has the memory for itself.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo import garbage, interrupts, work_progress


class CheckpointModel:
  """Predictions or metrics of a model over a dataset."""

  def __init__(
    self,
    model_fn: Callable[..., Any],
    mode: str,
    dataset: Callable[[], tf.data.Dataset],
    num_batches: int | None = None,
  ) -> None:
    """
    Args:
      model_fn: a model function of Mesh-TensorFlow
      mode: of `tf.estimator.ModeKeys`
      dataset: makes the dataset, of batches of features
      num_batches: how many it has, if that is known
    """
    self._num_batches = num_batches
    self._graph = tf.Graph()
    with self._graph.as_default(), garbage.without_collections():
      tf.train.create_global_step()
      iterator = tf.data.make_initializable_iterator(dataset())
      spec = model_fn(iterator.get_next(), None, mode, {}, None)
      metrics, tensors = spec.eval_metrics or (lambda: {}, [])
      measured = metrics(*tensors)
      self._predictions = spec.predictions
      self._values = {name: value for name, (value, _) in measured.items()}
      self._updates = [update for _, update in measured.values()]
      # Copies the weights to the slices of the mesh.
      self._hooks = [*(spec.prediction_hooks or ()), *(spec.evaluation_hooks or ())]
      for hook in self._hooks:
        hook.begin()
      self._start = [tf.local_variables_initializer(), tf.tables_initializer(), iterator.initializer]
      self._saver = tf.train.Saver(tf.global_variables(), sharded=True)

  def predict(self, input_fn: None = None, checkpoint_path: str = '') -> Iterator[dict[str, Any]]:
    """The predictions for each example, padding included, as `Estimator.predict` yields them.

    Args:
      input_fn: not used; the dataset is the model's
      checkpoint_path: prefix of the checkpoint
    """
    with self._restored(checkpoint_path) as session:
      for batch in self._counted(_until_the_end(session, self._predictions)):
        columns = {name: np.asarray(values) for name, values in batch.items()}
        for row in range(len(next(iter(columns.values())))):
          yield {name: values[row] for name, values in columns.items()}

  def evaluate(self, checkpoint_path: str) -> Mapping[str, float]:
    """Metric -> value over the dataset."""
    with self._restored(checkpoint_path) as session:
      for _ in self._counted(_until_the_end(session, self._updates)):
        pass
      return {name: float(value) for name, value in session.run(self._values).items()}

  def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
    return work_progress.counted(batches, 'Validating', 'batches', self._num_batches)

  @contextlib.contextmanager
  def _restored(self, prefix: str) -> Iterator[tf.Session]:
    config = tf.ConfigProto(allow_soft_placement=True)
    with tf.Session(graph=self._graph, config=config) as session:
      self._saver.restore(session, prefix)
      session.run(self._start)
      for hook in self._hooks:
        hook.after_create_session(session, None)
      yield session


def _until_the_end(session: tf.Session, fetches: Any) -> Iterator[Any]:
  """What is fetched, batch after batch, until the dataset ends."""
  while True:
    interrupts.check()
    try:
      values = session.run(fetches)
    except tf.errors.OutOfRangeError:
      return
    yield values
