"""A conversion from one format to another: planned, written beside the destination, and put in its place at the end.

Parts (a variable, or one expert of it) are read, turned and written by a few threads; at most IN_FLIGHT bytes of them
are in memory, or one part where it alone is larger.
"""

import concurrent.futures
import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from switch_zoo import interrupts
from switch_zoo.checkpoints import (
  arrays,
  crc32c,
  destinations,
  journal,
  model_gin,
  names,
  request_checks,
  sources,
  surgery,
  t5x,
)
from switch_zoo.checkpoints.arrays import Info
from switch_zoo.checkpoints.destinations import Part
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.errors import UserError
from switch_zoo.spec.config import ModelConfig

WORKERS = 4
IN_FLIGHT = 256 << 20
SYNC_BYTES = 512 << 20


class Result(NamedTuple):
  """What was done. nbytes: of all tensors written; resumed: parts that were there already; notes: for the user."""

  config: ModelConfig
  source_kind: str
  nbytes: int
  parts: int
  resumed: int
  notes: list[str]


class Progress:
  """Told how a conversion goes; this one says nothing."""

  def begin(self, total: int, done: int) -> None:
    """total: bytes to write; done: those of an interrupted conversion."""

  def advance(self, nbytes: int) -> None:
    """A part was written."""


def convert(request: Request, progress: Progress | None = None) -> Result:
  """Converts a checkpoint.

  Raises:
    UserError: bad input; the destination is then untouched
    KeyboardInterrupt: what is written stays in DESTINATION.partial, for --resume
  """
  request_checks.check_request(request)
  source = sources.open_source(request.source, request.model)
  weights = _operated(source, request.surgery)
  extras = _extras(source, request)
  plan = _Plan(request, weights, extras)
  request_checks.check_destination(request)
  request_checks.check_space(request, plan.destination.nbytes)
  with _disk_errors(request):
    resumed = plan.prepare(source)
    plan.run(progress or Progress())
    plan.finish()
  notes = [*weights.notes, *_notes(request, plan)]
  return Result(weights.config, source.kind, plan.destination.nbytes, len(plan.parts), resumed, notes)


class _Plan:
  """A conversion with everything decided, from the first file to the last rename."""

  def __init__(self, request, weights, extras):
    self.request = request
    self.weights = weights
    self.extras = extras
    self.partial = request_checks.normal(request.destination) + journal.PARTIAL
    config = weights.config
    wanted = np.dtype(arrays.FLOAT_TYPES[request.dtype]) if request.dtype else None
    self.dtypes = {variable: wanted or weights.dtype(variable) for variable in config.variables}
    infos = destinations.tensors(config, request.to, self.dtypes)
    self.parts = [*destinations.parts(config), *map(Part, extras)]
    self.destination = self._make_destination(infos)
    origin = config.source or os.path.basename(request_checks.normal(request.source))
    self.gin = model_gin.text(config.title or config.name, origin, model_gin.describe(config), config.departures)
    self.journal: journal.Journal

  def prepare(self, source) -> int:
    """Makes the folder and its files, or finds those of an interrupted conversion; gives the parts already there."""
    self.journal = journal.Journal(self.partial, _fingerprint(self.request, source, self.gin))
    if self.request.resume:
      self.journal.resume()
    else:
      os.mkdir(self.partial)
      self.journal.begin()
    self.destination.create()
    return len(self.journal.checksums)

  def run(self, progress):
    """Writes all parts that are lacking."""
    sizes = {part: self._size(part) for part in self.parts}
    left = [part for part in self.parts if part not in self.journal.checksums]
    progress.begin(sum(sizes.values()), sum(sizes.values()) - sum(sizes[part] for part in left))
    unsynced = 0
    try:
      for part, checksum, paths in _in_threads(self._convert, left, sizes):
        self.journal.note(part, checksum, paths)
        progress.advance(sizes[part])
        unsynced += sizes[part]
        if unsynced >= SYNC_BYTES:
          self.journal.sync()
          unsynced = 0
    finally:
      self.journal.sync()

  def finish(self):
    """The files that make it a checkpoint, and the folder's final name."""
    self.destination.finish(self.journal.checksums)
    destinations.write_text(os.path.join(self.partial, model_gin.FILE), self.gin)
    folder = request_checks.normal(self.request.destination)
    os.rename(self.partial, folder)
    # Last: without it a folder is none that could be resumed.
    os.remove(os.path.join(folder, journal.FILE))

  def _make_destination(self, infos):
    config, limit = self.weights.config, self.request.max_shard_bytes
    if self.request.to == names.KERAS:
      return destinations.KerasDestination(self.partial, config, infos)
    if self.request.to == names.HUGGING_FACE:
      return destinations.HuggingFaceDestination(self.partial, config, infos, limit)
    states = {name: Info(value.shape, value.dtype) for name, value in self.extras.items()}
    step = self.extras[sources.GLOBAL_STEP]
    return destinations.MeshDestination(self.partial, config, infos | states, limit, int(step.read()))

  def _convert(self, part):
    extra = self.extras.get(part.variable)
    array = extra.read() if extra else self.weights.read(*part).astype(self.dtypes[part.variable], copy=False)
    paths, stored = self.destination.write(part, array)
    # Only Mesh-TensorFlow's index has checksums.
    return part, crc32c.of(stored) if self.request.to == names.MESH else 0, paths

  def _size(self, part):
    if part.variable in self.extras:
      return Info(self.extras[part.variable].shape, self.extras[part.variable].dtype).nbytes
    axes = self.weights.config.variables[part.variable]
    info = Info(tuple(axes.values()), self.dtypes[part.variable])
    return info.nbytes // (axes['experts'] if part.expert is not None else 1)


class _Extra(NamedTuple):
  """A tensor that is no weight: the step, a slot of the optimizer."""

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]


def _extras(source, request) -> dict[str, _Extra]:
  """What a Mesh-TensorFlow checkpoint has beside weights: slots if they are kept, and always a step."""
  if request.to != names.MESH:
    return {}
  extras = {sources.GLOBAL_STEP: _Extra((), np.dtype(np.int64), lambda: np.zeros((), np.int64))}
  if request.keep_slots:
    for name, info in source.extra_tensors.items():
      extras[name] = _Extra(info.shape, info.dtype, lambda name=name: source.tensors.read(name))
  return extras


def _operated(source, asked):
  if asked.experts is not None:
    return surgery.Selected(source, asked.experts)
  if asked.upcycle is not None:
    return surgery.Upcycled(source, asked.upcycle, asked.seed)
  if asked.dense_from is not None:
    return surgery.DenseTwin(source, asked.dense_from, asked.seed)
  return source


def _in_threads(work, parts, sizes):
  """Results of `work` for each part, as they come; at most IN_FLIGHT bytes of parts are under way."""
  room = _Room(IN_FLIGHT)

  def run(part):
    try:
      return work(part)
    finally:
      room.leave(sizes[part])

  pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
  pending: set[concurrent.futures.Future] = set()
  try:
    for part in parts:
      interrupts.check()
      room.enter(sizes[part])
      pending.add(pool.submit(run, part))
      done = {future for future in pending if future.done()}
      pending -= done
      for future in done:
        yield future.result()
    for future in concurrent.futures.as_completed(pending):
      yield future.result()
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


class _Room:
  """Bytes that may be in memory at once; a part larger than all of it goes alone."""

  def __init__(self, limit):
    self._limit = limit
    self._used = 0
    self._changed = threading.Condition()

  def enter(self, nbytes):
    with self._changed:
      self._changed.wait_for(lambda: not self._used or self._used + nbytes <= self._limit)
      self._used += nbytes

  def leave(self, nbytes):
    with self._changed:
      self._used -= nbytes
      self._changed.notify()


@contextlib.contextmanager
def _disk_errors(request):
  """Tells what to do when the disk is full after all; leaves nothing of a source that turns out to be damaged."""
  partial = request_checks.normal(request.destination) + journal.PARTIAL
  try:
    yield
  except UserError:
    if not request.resume:
      shutil.rmtree(partial, ignore_errors=True)
    raise
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise UserError(
      f'No space is left for {request.destination}. What is written is in {partial}: free some space and give the '
      'same command with --resume, or delete that folder.'
    ) from error
  except EOFError as error:
    shutil.rmtree(partial, ignore_errors=True)
    raise UserError(f'{error} The file changed while it was read; copy it anew.') from error


def _fingerprint(request, source, gin) -> Mapping[str, Any]:
  """What has to be the same for a conversion to be gone on with."""
  return {
    'source': os.path.abspath(request.source),
    'files': _stamps(request.source),
    'to': request.to,
    'dtype': request.dtype,
    'surgery': list(request.surgery),
    'keep_slots': request.keep_slots,
    'max_shard_bytes': request.max_shard_bytes,
    'model': [source.kind, gin],
  }


def _stamps(path):
  """Size and time of the files of a source, and of T5X's folders of arrays."""
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  with os.scandir(folder) as entries:
    stamped = [entry for entry in entries if entry.is_file() or entry.name.startswith(t5x.PREFIX)]
    return sorted([entry.name, entry.stat().st_size, entry.stat().st_mtime_ns] for entry in stamped)


def _notes(request, plan):
  if request.to == names.MESH and any(dtype != np.float32 for dtype in plan.dtypes.values()):
    yield 'Weights that are not float32 were kept so; training reads float32: convert with --dtype float32 for it.'
  config = plan.weights.config
  if request.to == names.HUGGING_FACE and config.num_experts and config.gated:
    yield (
      'transformers has no class for Switch Transformers with GEGLU: the names follow its own (wi_0, wi_1), but it '
      'cannot load them.'
    )
  if request.to == names.HUGGING_FACE and not config.num_experts and not config.tied_embeddings:
    yield (
      'transformers 5 uses the embedding for the logits of every T5, whatever config.json says: load this with '
      'transformers 4.'
    )
