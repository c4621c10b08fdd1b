"""The checkpoints in a folder that a training writes: which is the newest, and is it whole? One answer for everybody.

The newest is the one that the folder's state file (`checkpoint`) names. If that file is missing, damaged, or names a
checkpoint of which nothing is left, it is the one of the highest step.
"""

import glob
import os
import re
import shutil
from typing import NamedTuple

from switch_zoo.checkpoints import tensor_bundle
from switch_zoo.errors import UserError

STATE = 'checkpoint'
_NAMED = re.compile(r'model_checkpoint_path: *"((?:[^"\\\n]|\\.)+)"')

# What TensorFlow writes first under another name: a checkpoint's data and index, the state file, graphs.
_LEFTOVER = re.compile(
  r'.+-\d+_temp(_[0-9a-f]+)?'
  r'|.+-\d+(\.data-\d{5}-of-\d{5}|\.index)\.tempstate\d+'
  r'|(.+\.meta|.+\.pbtxt|checkpoint)\.tmp[0-9a-f]+'
  r'|checkpoint\.partial'
)


class Newest(NamedTuple):
  """The newest checkpoint of a folder.

  prefix: its path, DIR/model.ckpt-1000
  damage: what is wrong with its files; '' if they are whole
  note: why the state file did not decide, one sentence; '' if it did
  fallback: if it is damaged, the whole checkpoint of the highest step
  """

  prefix: str
  damage: str = ''
  note: str = ''
  fallback: str | None = None


def newest(folder: str) -> Newest | None:
  """The newest checkpoint of a folder; None if there is none.

  Reads indexes and looks at the sizes of data files, so a large checkpoint takes no longer; checksums are checked by
  whoever reads the tensors.
  """
  prefixes = prefixes_in(folder)
  prefix, reason = _named(folder)
  if prefix is None:
    if not prefixes:
      return None
    prefix = prefixes[-1]
  damage = tensor_bundle.damage(prefix)
  fallback = next(filter(is_whole, reversed(prefixes)), None) if damage else None
  # With a single checkpoint there was nothing to decide.
  silent = not reason or (len(prefixes) == 1 and not os.path.exists(os.path.join(folder, STATE)))
  note = '' if silent else f'{reason}: {os.path.basename(prefix)}, which has the highest step, is used.'
  return Newest(prefix, damage, note, fallback)


def newest_whole(folder: str) -> tuple[str, list[str]] | None:
  """The prefix of the newest checkpoint and notes for the user; None if there is none.

  Raises:
    UserError: its files are damaged, with the older one that could be given in its place
  """
  checkpoint = newest(folder)
  if checkpoint is None:
    return None
  if checkpoint.damage:
    raise UserError(
      f'{checkpoint.damage} It is the newest checkpoint of {folder}: copy it again{or_older(checkpoint.fallback)}.'
    )
  return checkpoint.prefix, [checkpoint.note] if checkpoint.note else []


def or_older(fallback: str | None) -> str:
  """The end of a sentence that names an older checkpoint; '' without one."""
  return f', or give {fallback}, which is whole' if fallback else ''


def find_prefix(path: str) -> tuple[str, list[str]]:
  """The prefix of a checkpoint (the path itself if it is one, else that of the newest in the folder), and notes.

  Raises:
    UserError: there is no checkpoint, or it is damaged
  """
  if tensor_bundle.has_prefix(path):
    return path, []
  checkpoint = newest_whole(path)
  if checkpoint is None:
    raise UserError(f'{path} holds no Mesh-TensorFlow checkpoint (*.index). Give the folder of a checkpoint.')
  return checkpoint


def prefixes_in(folder: str) -> list[str]:
  """The prefixes of all checkpoints that have an index, by step."""
  paths = glob.glob(os.path.join(glob.escape(folder), '*.index'))
  return sorted((path.removesuffix('.index') for path in paths), key=lambda prefix: (step(prefix), prefix))


def step(prefix: str) -> int:
  """The step that ends a prefix; -1 if none does."""
  number = prefix.rpartition('-')[2]
  return int(number) if number.isdecimal() else -1


def is_whole(prefix: str) -> bool:
  """Whether the files of a checkpoint are all there and not truncated."""
  return not tensor_bundle.damage(prefix)


def write_state(folder: str, prefix: str) -> None:
  """Writes the state file: the newest checkpoint and whole older ones, of which a training deletes the oldest."""
  whole = [path for path in prefixes_in(folder) if path != prefix and step(path) <= step(prefix) and is_whole(path)]
  names = [_escaped(os.path.basename(path)) for path in (*whole, prefix)]
  lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
  path = os.path.join(folder, STATE)
  with open(f'{path}.partial', 'w', encoding='ascii') as file:
    file.write('\n'.join(lines) + '\n')
    file.flush()
    os.fsync(file.fileno())
  os.replace(f'{path}.partial', path)


def remove_state(folder: str) -> None:
  """Removes a state file that names nothing that exists: TensorFlow would fail. T5X has one of this name."""
  path = os.path.join(folder, STATE)
  if not os.path.isfile(path):
    return
  with open(path, encoding='utf-8', errors='replace') as file:
    line = file.readline()
  if not line.strip() or _NAMED.match(line):
    os.remove(path)


def remove_leftovers(folder: str, resumed: str | None) -> None:
  """Removes what a killed training left of files that it was writing or deleting.

  Args:
    folder: no other training may be writing into it
    resumed: the prefix that the next training resumes from; None: it starts at step 0
  """
  with os.scandir(folder) as entries:
    paths = [entry.path for entry in entries if _LEFTOVER.fullmatch(entry.name)]
  # An index is deleted before its data, and written after it. Later steps will be written again.
  for path in glob.glob(os.path.join(glob.escape(folder), '*.data-?????-of-?????')):
    prefix = path.rpartition('.data-')[0]
    if resumed and step(prefix) < step(resumed) and not tensor_bundle.has_prefix(prefix):
      paths.append(path)
  for path in paths:
    if os.path.isdir(path) and not os.path.islink(path):
      shutil.rmtree(path, ignore_errors=True)
    else:
      os.remove(path)


def _named(folder: str) -> tuple[str | None, str]:
  """The prefix that the state file names, or None and why there is none.

  A path in the state file of a folder that was copied or moved is that of the old folder: only the name counts.
  """
  path = os.path.join(folder, STATE)
  if not os.path.isfile(path):
    return None, f'{path} is missing'
  # T5X has a file of this name that is not text.
  with open(path, encoding='utf-8', errors='replace') as file:
    match = _NAMED.match(file.readline())
  if not match:
    return None, f'{path} is damaged and names no checkpoint'
  name = os.path.basename(_unescaped(match[1]))
  prefix = os.path.join(folder, name)
  # Without an index it is damaged; without any file it was deleted.
  if tensor_bundle.has_prefix(prefix) or glob.glob(f'{glob.escape(prefix)}.data-*'):
    return prefix, ''
  return None, f'{path} names {name}, of which there is no file'


def _unescaped(text: str) -> str:
  """A string of the text format of protocol buffers, which writes the bytes of other letters in octal."""
  return text.encode().decode('unicode_escape').encode('latin-1', errors='replace').decode(errors='replace')


def _escaped(name: str) -> str:
  """A string as the text format of protocol buffers writes it."""
  plain = lambda byte: 32 <= byte < 127 and byte not in b'"\\'
  return ''.join(chr(byte) if plain(byte) else f'\\{byte:03o}' for byte in name.encode())
