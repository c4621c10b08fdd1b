"""A conversion from one format to another: written next to the destination, and moved into its place at the end."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from switch_zoo.checkpoints import (
  arrays,
  fingerprint,
  journal,
  model_gin,
  names,
  parallel_parts,
  request_checks,
  sources,
  surgery,
)
from switch_zoo.checkpoints.arrays import TensorInfo
from switch_zoo.checkpoints.destination import Extras, ExtraTensor, write_text
from switch_zoo.checkpoints.destinations import DESTINATIONS
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.checkpoints.source import Source
from switch_zoo.checkpoints.weights import ModelWeights, WeightPart, weight_parts
from switch_zoo.errors import UserError, full_disk, printable
from switch_zoo.spec.config import ModelConfig

SYNC_BYTES = 512 << 20


class ConversionResult(NamedTuple):
  """What was done.

  nbytes: of all tensors written; resumed: parts that were already there; notes: for the user
  """

  config: ModelConfig
  source_kind: str
  nbytes: int
  parts: int
  resumed: int
  notes: list[str]


class Progress:
  """What is called as a conversion proceeds; this one does nothing."""

  def begin(self, total: int, done: int) -> None:
    """total: bytes to write; done: those an interrupted conversion wrote."""

  def advance(self, nbytes: int) -> None:
    """A part was written."""


def convert(request: Request, progress: Progress | None = None) -> ConversionResult:
  """Converts a checkpoint.

  Raises:
    UserError: bad input; the destination is then untouched
    KeyboardInterrupt: what is written stays in DESTINATION.partial, for --resume
  """
  request_checks.check_request(request)
  source = sources.open_source(request.source, request.model)
  weights = _operated(source, request.surgery)
  conversion = _Conversion(request, source, weights)
  request_checks.check_destination(request)
  files = [sum(info.nbytes for info in shard.values()) for shard in conversion.destination.shards]
  request_checks.check_space(request, conversion.destination.nbytes, max(files))
  with _explained_errors(request):
    resumed = conversion.prepare()
    conversion.run(progress or Progress())
    conversion.finish()
  notes = [printable(note) for note in (*weights.notes, *conversion.destination.notes())]
  nbytes, parts = conversion.destination.nbytes, len(conversion.parts)
  return ConversionResult(weights.config, source.kind, nbytes, parts, resumed, notes)


class _Conversion:
  """A conversion with everything decided, from the first file to the last rename."""

  def __init__(self, request: Request, source: Source, weights: ModelWeights):
    self.request = request
    self.weights = weights
    config = weights.config
    dtype = arrays.FLOAT_TYPES[request.dtype] if request.dtype else None
    self.dtypes = {variable: dtype or weights.dtype(variable) for variable in config.variables}
    self.extras = _extras(source, request)
    self.parts = [*weight_parts(config), *map(WeightPart, self.extras)]
    self.destination = DESTINATIONS[request.to](
      request.partial_folder, config, self.dtypes, request.max_shard_bytes, self.extras
    )
    origin = config.source or os.path.basename(os.path.abspath(request.source))
    self.gin = model_gin.text(config.title or config.name, origin, model_gin.describe(config), config.departures)
    self.journal = journal.Journal(request.partial_folder, fingerprint.make_fingerprint(request, source.kind, self.gin))

  def prepare(self) -> int:
    """Makes the folder and its files, or finds those of an interrupted conversion; gives the parts already there."""
    if self.request.resume and journal.is_begun(self.request.partial_folder):
      self.journal.resume()
    else:
      os.makedirs(self.request.partial_folder, exist_ok=True)
      self.journal.begin()
    self.destination.create()
    return len(self.journal.checksums)

  def run(self, progress: Progress) -> None:
    """Writes all parts that are missing."""
    sizes = {part: self._size(part) for part in self.parts}
    missing = [part for part in self.parts if part not in self.journal.checksums]
    progress.begin(sum(sizes.values()), sum(sizes.values()) - sum(sizes[part] for part in missing))
    unsynced = 0
    try:
      for part, paths, checksum in parallel_parts.run_in_threads(self._convert, missing, sizes):
        self.journal.note(part, checksum, paths)
        progress.advance(sizes[part])
        unsynced += sizes[part]
        if unsynced >= SYNC_BYTES:
          self.journal.sync()
          unsynced = 0
    finally:
      self.journal.sync()

  def finish(self) -> None:
    """Writes the files that make it a checkpoint, and gives the folder its final name."""
    self.destination.finish(self.journal.checksums)
    write_text(os.path.join(self.request.partial_folder, model_gin.FILE), self.gin)
    _rename(self.request.partial_folder, self.request.folder)
    # Last: a folder without it cannot be resumed.
    os.remove(os.path.join(self.request.folder, journal.FILE))

  def _convert(self, part: WeightPart) -> tuple[WeightPart, list[str], int]:
    extra = self.extras.get(part.variable)
    array = extra.read() if extra else self.weights.read(*part).astype(self.dtypes[part.variable], copy=False)
    return part, *self.destination.write(part, array)

  def _size(self, part: WeightPart) -> int:
    if part.variable in self.extras:
      return self.extras[part.variable].info.nbytes
    axes = self.weights.config.variables[part.variable]
    info = TensorInfo(tuple(axes.values()), self.dtypes[part.variable])
    return info.nbytes // (axes['experts'] if part.expert is not None else 1)


def _rename(partial: str, folder: str) -> None:
  """Gives the finished folder its name.

  Raises:
    UserError: the system refuses; everything is in `partial`
  """
  try:
    os.rename(partial, folder)
  except OSError as error:
    raise UserError(
      f'{partial} is complete, but cannot be renamed to {folder}: {error.strerror}. Repeat the command with --resume '
      f'when that is mended, or rename the folder yourself and delete {journal.FILE} in it.'
    ) from error


def _extras(source: Source, request: Request) -> Extras:
  """What the destination has next to weights: the source's slots and step if they are kept, else a step of 0."""
  if not DESTINATIONS[request.to].keeps_extras:
    return {}
  extras = {names.GLOBAL_STEP: ExtraTensor(TensorInfo((), np.dtype(np.int64)), lambda: np.zeros((), np.int64))}
  if request.keep_slots:
    for name, info in source.extra_tensors.items():
      extras[name] = ExtraTensor(info, lambda name=name: source.tensors.read(name))
  return extras


def _operated(source: Source, requested: request_checks.Surgery) -> ModelWeights:
  if requested.experts is not None:
    return surgery.SelectedExperts(source, requested.experts)
  if requested.upcycle is not None:
    return surgery.Upcycled(source, requested.upcycle, requested.seed)
  if requested.dense_from is not None:
    return surgery.DenseTwin(source, requested.dense_from, requested.seed)
  return source


@contextlib.contextmanager
def _explained_errors(request: Request) -> Iterator[None]:
  """Says what to do if the disk is full after all; removes what was written from a source that turns out damaged."""
  try:
    yield
  except UserError as error:
    # What is complete and only lacks its name stays.
    if not request.resume and not isinstance(error.__cause__, OSError):
      shutil.rmtree(request.partial_folder, ignore_errors=True)
    raise
  except OSError as error:
    full = full_disk(error)
    if not full:
      raise
    raise UserError(
      f'{full} for {request.destination}. What is written is in {request.partial_folder}: free some space and repeat '
      'the command with --resume, or delete that folder.'
    ) from error
  except EOFError as error:
    shutil.rmtree(request.partial_folder, ignore_errors=True)
    raise UserError(f'{error} The file changed while it was read; copy it again.') from error
