"""Batches of an input pipeline, prepared by a thread while the devices run a step.

Every process runs the whole pipeline and feeds its devices their rows of each batch. So the order of the data does not
depend on how many processes there are, and is that of the TensorFlow runtime.
"""

import contextlib
import itertools
import queue
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from switch_zoo.pjrt import processes

Batch = dict[str, np.ndarray]
_AHEAD = 2
# At most this long for a pipeline to end; a thread that outlives the run aborts the interpreter.
_SECONDS = 60


class Batches:
  """What an Estimator's input function gives. To be used as a context, which ends the thread.

  Args:
    input_fn: from parameters to a tf.data.Dataset of {feature: <int>[batch, length]}

  Attributes:
    features: the names of the features, in the order of the data set
  """

  def __init__(self, input_fn: Callable[[Any], Any]) -> None:
    self._graph = tf.Graph()
    with self._graph.as_default():
      iterator = tf.data.make_initializable_iterator(input_fn({}))
      self._next: dict[str, Any] = iterator.get_next()
      self._initializers = [tf.tables_initializer(), iterator.initializer]
    self.features = tuple(self._next)
    self._queue: queue.Queue[Any] = queue.Queue(_AHEAD)
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._work, daemon=True)
    self._session: Any = None

  def __enter__(self) -> 'Batches':
    self._thread.start()
    return self

  def __exit__(self, *_: Any) -> None:
    self._stopped.set()
    with contextlib.suppress(queue.Empty):
      while True:
        self._queue.get_nowait()
    if self._session is not None:
      self._session.close()  # cancels the batch that is being prepared
    self._thread.join(timeout=_SECONDS)

  def __iter__(self) -> Iterator[Batch]:
    """The batches. An error of the pipeline is raised where its batch would have been."""
    while True:
      item = self._queue.get()
      if item is None:
        return
      if isinstance(item, BaseException):
        raise item
      yield item

  def _work(self) -> None:
    try:
      with tf.Session(graph=self._graph, config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        self._session = session
        for initializer in self._initializers:
          session.run(initializer)
        while not self._stopped.is_set():
          self._put(session.run(self._next))
    except tf.errors.OutOfRangeError:
      self._put(None)
    except BaseException as error:  # noqa: BLE001 - it is raised again where the batch is needed
      self._put(error)

  def _put(self, item: Any) -> None:
    while not self._stopped.is_set():
      with contextlib.suppress(queue.Full):
        self._queue.put(item, timeout=0.2)
        return


def same(batches: Iterable[Batch], first_only: bool = False) -> Iterator[Batch]:
  """The batches, of which all processes have the same: each of them gives its devices their rows.

  Args:
    batches: of this process
    first_only: only the first ones are compared, which takes no time from the steps
  Raises:
    UserError: in every process, where one has another batch than the first, or not as many
  """
  compared = processes.count() > 1
  for batch in itertools.chain(batches, [None]):
    if compared:
      _check_same(batch)
      compared = not first_only
    if batch is not None:
      yield batch


def _check_same(batch: Batch | None) -> None:
  text = b'' if batch is None else b''.join(name.encode() + batch[name].tobytes() for name in sorted(batch))
  checksums = processes.gather(np.array([zlib.crc32(text)], np.uint32)).reshape(-1).tolist()
  for number, checksum in enumerate(checksums):
    if checksum != checksums[0]:
      processes.refuse(
        f'Process {number} reads other data than process 0. Give all hosts the same files (data, vocabulary, inputs), '
        'and the same versions of Python packages.'
      )
