"""What a conversion is asked for, and everything that can be wrong with it before a byte is written."""

import dataclasses
import os
import shutil
from typing import NamedTuple

from switch_zoo.checkpoints import arrays, journal, names, sources
from switch_zoo.checkpoints.journal import PARTIAL
from switch_zoo.errors import UserError

DEFAULT_SHARD = 5_000_000_000
# For the index, config.json, headers and the journal.
SPARE_BYTES = 16 << 20
TO = (names.MESH, names.KERAS, names.HUGGING_FACE)


class Surgery(NamedTuple):
  """What is made of the weights on the way; at most one of the three.

  experts: those to keep; upcycle: experts to make of a dense model's layers; dense_from: 'fresh' or 'mean'
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
  keep_slots: the optimizer's slots and the step go along, from mesh to mesh
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


def check_request(request):
  if request.to not in TO:
    raise UserError(f'--to={request.to}: the formats that can be written are {", ".join(TO)}.')
  if request.dtype is not None and request.dtype not in arrays.FLOAT_TYPES:
    raise UserError(f'--dtype={request.dtype}: weights are written as {" or ".join(arrays.FLOAT_TYPES)}.')
  if request.max_shard_bytes < 1:
    raise UserError(f'--max-shard-size={request.max_shard_bytes}: give a size above 0.')
  asked = request.surgery
  given = [
    f'--{name.replace("_", "-")}' for name in ('experts', 'upcycle', 'dense_from') if getattr(asked, name) is not None
  ]
  if len(given) > 1:
    raise UserError(f'{" and ".join(given)} exclude each other: convert twice.')
  if request.keep_slots:
    _check_slots(request, given)


def _check_slots(request, given):
  if given:
    raise UserError(f'--keep-slots and {given[0]} exclude each other: the slots belong to the weights as they were.')
  kind = sources.detect(request.source)
  if request.to != names.MESH or kind != names.MESH:
    raise UserError(
      f"--keep-slots keeps the state of Mesh-TensorFlow's optimizer, from mesh to mesh; this is {names.TITLES[kind]} "
      f'to {names.TITLES[request.to]}. Leave it out.'
    )


def check_destination(request):
  """Refuses a destination with something in it, or one that cannot be made."""
  path = normal(request.destination)
  if os.path.exists(path) and not os.path.isdir(path):
    raise UserError(f'{path} is a file. Give a folder that does not exist yet.')
  if os.path.isdir(path) and os.listdir(path):
    raise UserError(f'{path} is not empty: a conversion makes a folder of its own. Give another one, or empty it.')
  partial = path + PARTIAL
  begun = os.path.isfile(os.path.join(partial, journal.FILE))
  if os.path.exists(partial) and not begun:
    raise UserError(f'{partial} is in the way: a conversion is written there first. Move or delete it.')
  if begun and not request.resume:
    raise UserError(
      f'{partial} is there: a conversion to {os.path.basename(path)} was interrupted. --resume goes on with it; to '
      'start anew, delete that folder.'
    )
  if request.resume and not begun:
    raise UserError(f'--resume: there is no {partial} with a conversion to go on with. Leave it out to start one.')
  parent = os.path.dirname(path)
  if not os.path.isdir(parent):
    raise UserError(f'There is no folder {parent} to make {os.path.basename(path)} in. Make it first.')
  if not os.access(parent, os.W_OK):
    raise UserError(f'{parent} does not allow to make {os.path.basename(path)} in it. Choose a folder of your own.')


def check_space(request, nbytes):
  partial = normal(request.destination) + PARTIAL
  there = 0
  for folder, _, files in os.walk(partial):
    there += sum(os.stat(os.path.join(folder, file)).st_blocks * 512 for file in files)
  needed = max(0, nbytes - there) + SPARE_BYTES
  parent = os.path.dirname(normal(request.destination))
  free = shutil.disk_usage(parent).free
  if free < needed:
    raise UserError(
      f'{parent} has {free / 1e9:,.2f} GB free, and {needed / 1e9:,.2f} GB are needed. Free some space, give a '
      'destination on another disk, or --dtype bfloat16.'
    )


def normal(path: str) -> str:
  """A folder's absolute path, without a slash at its end."""
  return os.path.abspath(path)
