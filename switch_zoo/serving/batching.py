"""Requests that wait are joined into batches, which one thread gives to the model, one after the other.

A model decodes 32 texts in little more time than one, so whatever waits while it is busy goes together next. Requests
of one signature are joined, the oldest first; one larger than a batch is cut, and answered when its last part is.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

Columns = Mapping[str, list]


class FullError(Exception):
  """More waits than may."""


class Job:
  """A request in the queue."""

  def __init__(self, signature: str, columns: Columns):
    self.signature = signature
    self.future: Future = Future()
    self.left = self.count = len(next(iter(columns.values())))
    self._columns = columns
    self._outputs: dict[str, list] = {}

  def take(self, most: int) -> 'Part':
    """The next texts, at most so many."""
    start = self.count - self.left
    count = min(most, self.left)
    self.left -= count
    return Part(self, {name: values[start : start + count] for name, values in self._columns.items()}, count)

  def add(self, outputs: Columns, last: bool) -> None:
    """Keeps the answers to a part; with the last one the request is answered."""
    for name, values in outputs.items():
      self._outputs.setdefault(name, []).extend(values)
    if last and self.future.set_running_or_notify_cancel():
      self.future.set_result(self._outputs)

  def fail(self, error: Exception) -> None:
    """Answers the request with an exception."""
    if self.future.set_running_or_notify_cancel():
      self.future.set_exception(error)


class Part(NamedTuple):
  """What of a request goes into one batch."""

  job: Job
  columns: Columns
  count: int


class Batcher:
  """The queue and its thread."""

  def __init__(self, run: Callable[[str, Columns], Columns], size: int, wait: float, most: int):
    """
    Args:
      run: signature, its columns -> the outputs' columns; called by one thread only
      size: texts in a batch, at most
      wait: seconds to wait for a batch to fill, after one that was made of several requests; a lone client never waits
      most: texts that may wait
    """
    self._run, self._size, self._wait, self._most = run, size, wait, most
    self._jobs: list[Job] = []
    self._waiting = 0
    self._crowded = False
    self._closed = False
    self._changed = threading.Condition()
    self._thread = threading.Thread(target=self._work, name='batches', daemon=True)
    self._thread.start()

  def submit(self, signature: str, columns: Columns) -> Future:
    """Queues a request of at least one text. Its future gives the outputs' columns; cancelled, the request is dropped.

    Raises:
      FullError: so much more may not wait
    """
    job = Job(signature, columns)
    with self._changed:
      if self._closed or self._waiting + job.count > self._most:
        raise FullError
      self._jobs.append(job)
      self._waiting += job.count
      self._changed.notify()
    job.future.add_done_callback(lambda _: self._drop(job))
    return job.future

  def close(self) -> None:
    """Answers what waits, and ends the thread."""
    with self._changed:
      self._closed = True
      self._changed.notify()
    self._thread.join()

  def _drop(self, job):
    with self._changed:
      if job in self._jobs:
        self._jobs.remove(job)
        self._waiting -= job.left

  def _work(self):
    while parts := self._next():
      self._crowded = len(parts) > 1
      self._answer(parts)

  def _next(self):
    """The parts of the next batch; none when closed."""
    with self._changed:
      while True:
        self._changed.wait_for(lambda: self._jobs or self._closed)
        if self._crowded:
          self._changed.wait_for(lambda: self._waiting >= self._size or self._closed, self._wait)
        if self._jobs or self._closed:  # those that waited may have been cancelled
          return self._take()

  def _take(self):
    room, parts = self._size, []
    for job in self._jobs:
      if room and job.signature == self._jobs[0].signature:
        parts.append(job.take(room))
        room -= parts[-1].count
    self._jobs = [job for job in self._jobs if job.left]
    self._waiting -= self._size - room
    return parts

  def _answer(self, parts):
    try:
      outputs = self._outputs(parts)
    except Exception as error:  # noqa: BLE001 - whatever the model says is the answer
      if len(parts) == 1:
        parts[0].job.fail(error)
      for part in parts if len(parts) > 1 else []:
        self._answer([part])  # alone, so that one that fails does not take others with it
      return
    start = 0
    for part in parts:
      own = {name: values[start : start + part.count] for name, values in outputs.items()}
      part.job.add(own, last=not part.job.left)
      start += part.count

  def _outputs(self, parts):
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    outputs = self._run(parts[0].job.signature, columns)
    count = sum(part.count for part in parts)
    for name, values in outputs.items():
      if len(values) != count:
        raise RuntimeError(f'the model gave {len(values)} {name} for {count} texts')
    return outputs
