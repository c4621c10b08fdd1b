"""Opening a checkpoint: which format a folder has."""

import glob
import os

from switch_zoo.checkpoints import huggingface_missing, huggingface_refusals, journal, keras_files, names, tensor_bundle
from switch_zoo.checkpoints.huggingface_source import HuggingFaceSource
from switch_zoo.checkpoints.source import KerasSource, MeshSource, Source, T5XSource
from switch_zoo.errors import UserError

SOURCES: dict[str, type[Source]] = {
  source.kind: source for source in (KerasSource, T5XSource, HuggingFaceSource, MeshSource)
}
SAVED_MODEL, ONNX_EXPORT = 'saved_model.pb', 'export.json'


def open_source(path: str, model: str | None = None) -> Source:
  """Opens a checkpoint and checks all its tensors' names and shapes.

  Args:
    path: a folder, or the prefix of a Mesh-TensorFlow checkpoint (DIR/model.ckpt-1000)
    model: a name or a gin file; without it the model is read from the folder
  Raises:
    UserError: no checkpoint, one that cannot be read, or one of another model
  """
  return SOURCES[detect(path)](path, model)


def detect(path: str) -> str:
  """The format of a checkpoint, a kind of `names`.

  Raises:
    UserError: there is none, or there are several
  """
  if tensor_bundle.has_prefix(path):
    return names.MESH
  if os.path.isfile(path):
    raise UserError(f'{path} is a file. Give the folder of the checkpoint: {os.path.dirname(path) or "."}')
  if not os.path.isdir(path):
    raise UserError(f'There is no folder "{path}". Give the folder of a checkpoint.')
  if journal.unfinished(path):
    raise UserError(f'{path} is a conversion that was interrupted. Repeat its command with --resume.')
  kinds = [kind for kind, source in SOURCES.items() if source.is_in(path)]
  if len(kinds) > 1:
    raise UserError(
      f'{path} holds several checkpoints: {" and ".join(names.TITLES[kind] for kind in kinds)}. Give each a folder.'
    )
  if not kinds:
    huggingface_refusals.check_adapter(path)
    raise UserError(_no_checkpoint(path))
  return kinds[0]


def is_export(folder: str) -> bool:
  """Whether a folder is an export, or one version of an export."""
  places = ['', *filter(str.isdecimal, os.listdir(folder))]
  return any(
    os.path.exists(os.path.join(folder, place, name)) for place in places for name in (SAVED_MODEL, ONNX_EXPORT)
  )


def _no_checkpoint(path: str) -> str:
  if is_export(path):
    return (
      f'{path} is an export: `switch_zoo serve` answers with it, and no weights can be read from it. Give the folder '
      'of the checkpoint it was made from.'
    )
  return (
    f'{path} holds no checkpoint: no Mesh-TensorFlow files (*.index), no {keras_files.WEIGHTS}, no Hugging Face '
    f'files (model.safetensors, pytorch_model.bin) and no T5X arrays (target.*, manifest.ocdbt). It has '
    f'{huggingface_missing.listing(path)}.{_inside(path)}'
  )


def _inside(path: str) -> str:
  """The checkpoints in the folders of a folder, as a sentence; '' if there are none.

  Trainers put one in each checkpoint-N; Hugging Face's cache puts them in snapshots/REVISION.
  """
  patterns = (os.path.join(glob.escape(path), *parts) for parts in (('*',), ('snapshots', '*')))
  folders = [folder for pattern in patterns for folder in glob.glob(pattern) if os.path.isdir(folder)]
  folders.sort(key=lambda folder: (len(folder), folder))  # checkpoint-1000 after checkpoint-500
  found = [folder for folder in folders if any(source.is_in(folder) for source in SOURCES.values())]
  if not found:
    return ''
  more = f' or one of {len(found) - 1} others next to it' if len(found) > 1 else ''
  return f' There is a checkpoint inside: give {found[-1]}{more}.'
