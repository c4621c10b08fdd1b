"""Joins waiting requests into batches, which one thread gives to the model, one after the other.

A model decodes 32 texts in little more time than one, so whatever is waiting while it is busy is processed together
next. Requests for one signature are joined, the oldest first. A request larger than a batch is split, and answered when
its last part is done.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

Columns = Mapping[str, list]  # name of an input or output -> one value for each text


class QueueFullError(Exception):
  """The queue is full, or closed."""


class QueuedRequest:
  """A request in the queue.

  future: gives the columns of all outputs; count: texts; remaining: texts not yet in a batch
  """

  def __init__(self, signature: str, columns: Columns) -> None:
    self.signature = signature
    self.future: Future = Future()
    self.remaining = self.count = len(next(iter(columns.values())))
    self._columns = columns
    self._outputs: dict[str, list] = {}

  def take(self, limit: int) -> 'BatchPart':
    """The next texts, at most `limit`."""
    start = self.count - self.remaining
    count = min(limit, self.remaining)
    self.remaining -= count
    return BatchPart(self, {name: values[start : start + count] for name, values in self._columns.items()}, count)

  def add(self, outputs: Columns, is_last: bool) -> None:
    """Keeps the outputs of a part; the last part completes the answer."""
    for name, values in outputs.items():
      self._outputs.setdefault(name, []).extend(values)
    if is_last and self.future.set_running_or_notify_cancel():
      self.future.set_result(self._outputs)

  def fail(self, error: Exception) -> None:
    """Answers the request with an exception."""
    if self.future.set_running_or_notify_cancel():
      self.future.set_exception(error)


class BatchPart(NamedTuple):
  """The part of a request that goes into one batch."""

  request: QueuedRequest
  columns: Columns
  count: int


class Batcher:
  """The queue and its thread."""

  def __init__(
    self, run: Callable[[str, Columns], Columns], batch_size: int, wait_seconds: float, queue_size: int
  ) -> None:
    """
    Args:
      run: signature, columns of its inputs -> columns of its outputs; called by one thread only
      batch_size: most texts in a batch
      wait_seconds: how long to wait for a batch to fill, if the previous one joined several requests; a lone client
        never waits
      queue_size: most texts in the queue
    """
    self._run, self._batch_size, self._wait_seconds, self._queue_size = run, batch_size, wait_seconds, queue_size
    self._requests: list[QueuedRequest] = []
    self._num_waiting = 0  # texts
    self._crowded = False
    self._closed = False
    self._changed = threading.Condition()
    self._thread = threading.Thread(target=self._work, name='batches', daemon=True)
    self._thread.start()

  def submit(self, signature: str, columns: Columns) -> Future:
    """Queues a request of at least one text.

    Returns:
      a future of the columns of the outputs; cancelling it drops the request
    Raises:
      QueueFullError: the queue has no room for the request
    """
    request = QueuedRequest(signature, columns)
    with self._changed:
      if self._closed or self._num_waiting + request.count > self._queue_size:
        raise QueueFullError
      self._requests.append(request)
      self._num_waiting += request.count
      self._changed.notify()
    request.future.add_done_callback(lambda _: self._drop(request))
    return request.future

  def close(self) -> None:
    """Answers what is waiting, and ends the thread."""
    with self._changed:
      self._closed = True
      self._changed.notify()
    self._thread.join()

  def _drop(self, request: QueuedRequest) -> None:
    with self._changed:
      if request in self._requests:
        self._requests.remove(request)
        self._num_waiting -= request.remaining

  def _work(self) -> None:
    while parts := self._next_batch():
      self._crowded = len(parts) > 1
      self._answer(parts)

  def _next_batch(self) -> list[BatchPart]:
    """The parts of the next batch; none when closed."""
    with self._changed:
      while True:
        self._changed.wait_for(lambda: self._requests or self._closed)
        if self._crowded:
          is_full = lambda: self._num_waiting >= self._batch_size or self._closed
          self._changed.wait_for(is_full, self._wait_seconds)
        if self._requests or self._closed:  # those that were waiting may have been cancelled
          return self._take_parts()

  def _take_parts(self) -> list[BatchPart]:
    room, parts = self._batch_size, []
    for request in self._requests:
      if room and request.signature == self._requests[0].signature:
        parts.append(request.take(room))
        room -= parts[-1].count
    self._requests = [request for request in self._requests if request.remaining]
    self._num_waiting -= self._batch_size - room
    return parts

  def _answer(self, parts: Sequence[BatchPart]) -> None:
    try:
      outputs = self._outputs(parts)
    except Exception as error:  # noqa: BLE001 - whatever the model raises is the answer
      if len(parts) == 1:
        parts[0].request.fail(error)
      for part in parts if len(parts) > 1 else []:
        self._answer([part])  # one by one, so that a request that fails does not take others with it
      return
    start = 0
    for part in parts:
      part_outputs = {name: values[start : start + part.count] for name, values in outputs.items()}
      part.request.add(part_outputs, is_last=not part.request.remaining)
      start += part.count

  def _outputs(self, parts: Sequence[BatchPart]) -> Columns:
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    outputs = self._run(parts[0].request.signature, columns)
    count = sum(part.count for part in parts)
    for name, values in outputs.items():
      if len(values) != count:
        raise RuntimeError(f'the model returned {len(values)} {name} for {count} texts')
    return outputs
