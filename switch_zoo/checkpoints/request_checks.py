"""What a conversion is asked for, and everything that can be wrong with it before a byte is written."""

import dataclasses
import os
import resource
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from switch_zoo.checkpoints import arrays, journal, names, sources
from switch_zoo.checkpoints.destinations import DESTINATIONS
from switch_zoo.checkpoints.journal import PARTIAL
from switch_zoo.errors import UserError

DEFAULT_SHARD = 5_000_000_000
# For the index, config.json, headers and the journal.
SPARE_BYTES = 16 << 20
SURGERIES = ('experts', 'upcycle', 'dense_from')


class Surgery(NamedTuple):
  """What is made of the weights on the way; at most one of the three.

  experts: those to keep
  upcycle: how many experts to make of a dense model's layers
  dense_from: 'fresh' or 'mean'
  seed: of new weights
  """

  experts: tuple[int, ...] | None = None
  upcycle: int | None = None
  dense_from: str | None = None
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Request:
  """What is asked for.

  source, destination: folders; to: mesh, keras or hf
  model: a name or gin file; None: read from the source
  dtype: float32 or bfloat16; None: as in the source
  resume: whether to continue an interrupted conversion
  keep_slots: whether to copy the optimizer's slots and the step, from mesh to mesh
  max_shard_bytes: of one file of weights
  """

  source: str
  destination: str
  to: str
  model: str | None = None
  dtype: str | None = None
  resume: bool = False
  keep_slots: bool = False
  surgery: Surgery = Surgery()
  max_shard_bytes: int = DEFAULT_SHARD

  @property
  def folder(self) -> str:
    """The destination's absolute path, without a slash at its end: that of the folder itself if it is a link."""
    return os.path.realpath(self.destination)

  @property
  def partial_folder(self) -> str:
    """Where the conversion is written until it is complete."""
    return self.folder + PARTIAL


def check_request(request: Request) -> None:
  """Refuses options that are wrong in themselves, or that exclude each other.

  Raises:
    UserError: with the option and the remedy
  """
  if request.to not in DESTINATIONS:
    raise UserError(f'--to={request.to}: the formats that can be written are {", ".join(DESTINATIONS)}.')
  if request.dtype is not None and request.dtype not in arrays.FLOAT_TYPES:
    raise UserError(f'--dtype={request.dtype}: weights are written as {" or ".join(arrays.FLOAT_TYPES)}.')
  if request.max_shard_bytes < 1:
    raise UserError(f'--max-shard-size={request.max_shard_bytes}: give a size above 0.')
  flags = [f'--{name.replace("_", "-")}' for name in SURGERIES if getattr(request.surgery, name) is not None]
  if len(flags) > 1:
    raise UserError(f'{" and ".join(flags)} exclude each other: convert twice.')
  if request.keep_slots:
    _check_slots(request, flags)


def check_destination(request: Request) -> None:
  """Refuses a destination with something in it, or one that cannot be made.

  Raises:
    UserError: with what is in the way
  """
  path = request.folder
  if os.path.exists(path) and not os.path.isdir(path):
    raise UserError(f'{path} is a file. Give a folder that does not exist yet.')
  if os.path.isdir(path) and os.listdir(path):
    raise UserError(f'{path} is not empty: a conversion makes a folder of its own. Give another one, or empty it.')
  if os.path.ismount(path):
    raise UserError(
      f'{path} is where a disk is mounted, and a conversion ends by giving its folder that name. Give a new folder on '
      f'that disk: {os.path.join(path, "NAME")}.'
    )
  _check_partial(request)
  parent = os.path.dirname(path)
  if not os.path.isdir(parent):
    raise UserError(f'There is no folder {parent} to make {os.path.basename(path)} in. Make it first.')
  if not os.access(parent, os.W_OK):
    raise UserError(
      f'You may not write to {parent}, where {os.path.basename(path)} is to be made. Choose a folder of your own.'
    )


def check_space(request: Request, nbytes: int, largest: int = 0) -> None:
  """Refuses a destination on a disk without room for `nbytes` of tensors, or where a file may not be that large.

  Args:
    request: what is asked for
    nbytes: of all tensors
    largest: bytes of the largest file

  Raises:
    UserError: with what is free and what is needed
  """
  written = 0
  for folder, _, files in os.walk(request.partial_folder):
    written += sum(os.stat(os.path.join(folder, file)).st_blocks * 512 for file in files)
  needed = max(0, nbytes - written) + SPARE_BYTES
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
  if 0 <= limit < largest:
    raise UserError(
      f'A file of {largest / 1e9:,.2f} GB is needed, and this shell allows {limit / 1e9:,.2f} GB. Raise the limit with '
      '`ulimit -f unlimited`, or give a smaller --max-shard-size.'
    )
  parent = os.path.dirname(request.folder)
  free = shutil.disk_usage(parent).free
  if free < needed:
    raise UserError(
      f'{parent} has {free / 1e9:,.2f} GB free, but {needed / 1e9:,.2f} GB are needed. Free some space, give a '
      'destination on another disk, or add --dtype bfloat16.'
    )


def _check_slots(request: Request, surgery_flags: Sequence[str]) -> None:
  if surgery_flags:
    raise UserError(
      f'--keep-slots and {surgery_flags[0]} exclude each other: the slots belong to the weights as they were.'
    )
  kind = sources.detect(request.source)
  if {request.to, kind} != {names.MESH}:
    raise UserError(
      f"--keep-slots keeps the state of Mesh-TensorFlow's optimizer, from mesh to mesh; this is {names.TITLES[kind]} "
      f'to {names.TITLES[request.to]}. Leave it out.'
    )


def _check_partial(request: Request) -> None:
  partial, name = request.partial_folder, os.path.basename(request.folder)
  begun, abandoned = journal.is_begun(partial), journal.is_abandoned(partial)
  if os.path.lexists(partial) and not begun and not abandoned:
    raise UserError(f'{partial} is in the way: a conversion is written there first. Move or delete it.')
  if begun and not request.resume:
    raise UserError(
      f'{partial} exists: a conversion to {name} was interrupted. Add --resume to continue it; to start again, delete '
      'that folder.'
    )
  if request.resume and not begun and not abandoned:
    raise UserError(f'--resume: there is no {partial} with a conversion to continue. Leave it out to start one.')
