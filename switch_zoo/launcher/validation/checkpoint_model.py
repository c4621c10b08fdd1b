"""A model in a graph that is built once, with the weights of one checkpoint after another, over several datasets.

Estimator builds the graph again for each checkpoint, which takes longer than the answers of a small split. A session
lives as long as a validation, so that training has the memory for itself.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo import garbage, interrupts, work_progress


class CheckpointModel:
  """Predictions or metrics of a model over each of some datasets."""

  def __init__(
    self,
    model_fn: Callable[..., Any],
    mode: str,
    datasets: Sequence[Callable[[], tf.data.Dataset]],
    num_batches: int | None = None,
  ) -> None:
    """
    Args:
      model_fn: a model function of Mesh-TensorFlow
      mode: of `tf.estimator.ModeKeys`
      datasets: make the datasets, of batches of the same features
      num_batches: how many they have, if that is known
    """
    self._num_batches = num_batches
    self._graph = tf.Graph()
    with self._graph.as_default(), garbage.without_collections():
      tf.train.create_global_step()
      made = [dataset() for dataset in datasets]
      # All datasets feed one model: of a hundred languages, a graph each would take minutes.
      iterator = tf.data.Iterator.from_structure(tf.data.get_output_types(made[0]), tf.data.get_output_shapes(made[0]))
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
      self._tables = tf.tables_initializer()
      self._starts = [[tf.local_variables_initializer(), iterator.make_initializer(dataset)] for dataset in made]
      self._saver = tf.train.Saver(tf.global_variables(), sharded=True)

  def predict(self, input_fn: None = None, checkpoint_path: str = '') -> Iterator[dict[str, Any]]:
    """The predictions for each example, padding included, as `Estimator.predict` yields them.

    Args:
      input_fn: not used; the datasets are the model's
      checkpoint_path: prefix of the checkpoint
    """
    with self._restored(checkpoint_path) as session:
      for batch in self._counted(self._batches(session, self._predictions)):
        columns = {name: np.asarray(values) for name, values in batch.items()}
        for row in range(len(next(iter(columns.values())))):
          yield {name: values[row] for name, values in columns.items()}

  def evaluate(self, checkpoint_path: str) -> list[Mapping[str, float]]:
    """Metric -> value, over each dataset."""
    with self._restored(checkpoint_path) as session:
      for _ in self._counted(self._batches(session, self._updates, measured := [])):
        pass
      return measured

  def _batches(
    self, session: tf.Session, fetches: Any, measured: list[Mapping[str, float]] | None = None
  ) -> Iterator[Any]:
    """What is fetched, dataset after dataset; the metrics of each are added to `measured`."""
    for start in self._starts:
      session.run(start)
      yield from _until_the_end(session, fetches)
      if measured is not None:
        measured.append({name: float(value) for name, value in session.run(self._values).items()})

  def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
    return work_progress.counted(batches, 'Validating', 'batches', self._num_batches)

  @contextlib.contextmanager
  def _restored(self, prefix: str) -> Iterator[tf.Session]:
    config = tf.ConfigProto(allow_soft_placement=True)
    # Of a hundred datasets, only the one that is started is prepared.
    config.graph_options.place_pruned_graph = True
    with tf.Session(graph=self._graph, config=config) as session:
      self._saver.restore(session, prefix)
      session.run(self._tables)
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
