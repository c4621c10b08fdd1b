"""Where the files of the tasks lie, and the gin settings of every task that reads them."""

import glob
import os
from typing import NamedTuple

import gin
import tensorflow as tf

from switch_zoo.errors import UserError

VARIABLE = 'SWITCH_ZOO_DATA_DIR'
SETTING = f'Set {VARIABLE}=DIR, or --gin_param="task_data.folder = \'DIR\'" (a folder or gs://bucket/folder).'


class TaskData(NamedTuple):
  """How the files of tasks are found and read.

  folder: the data folder; '' if none is set
  skip_malformed: whether rows that cannot be read are counted and reported instead of ending the run
  use_tfds: whether a task that TensorFlow Datasets also has is read from there
  """

  folder: str
  skip_malformed: bool
  use_tfds: bool


@gin.configurable(module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
def task_data(folder: str = '', skip_malformed: bool = False, use_tfds: bool = False) -> TaskData:
  """What gin says (`task_data.folder`, ...); without a folder there, that of SWITCH_ZOO_DATA_DIR."""
  return TaskData(folder or os.environ.get(VARIABLE, ''), skip_malformed, use_tfds)


def find(folder: str, pattern: str) -> list[str]:
  """The files that match a pattern, with or without '.gz' added, in sorted order.

  Args:
    folder: '' if the pattern is a complete path
    pattern: a path, or one with wildcards
  Returns:
    their paths, empty if there are none; of a file that is there twice, the plain one
  """
  path = os.path.join(os.path.expanduser(folder), os.path.expanduser(pattern))
  plain = _matches(path)
  return sorted([*plain, *(packed for packed in _matches(f'{path}.gz') if packed.removesuffix('.gz') not in plain)])


def required(task: str, where: str) -> str:
  """The data folder.

  Args:
    task: what needs it, the subject of the message
    where: a sentence that says where to get its files
  Raises:
    UserError: no data folder is set, or it does not exist
  """
  folder = task_data().folder
  if not folder:
    raise UserError(f'{task} reads files, and no data folder is set. {SETTING} {where}')
  if not tf.io.gfile.isdir(os.path.expanduser(folder)):
    raise UserError(f'The data folder "{folder}" is not a folder. {SETTING}')
  return folder


def size(path: str) -> int:
  """Bytes of a file."""
  return tf.io.gfile.stat(path).length


def version(path: str) -> int:
  """Changes if a file is written again."""
  return tf.io.gfile.stat(path).mtime_nsec


def _matches(path: str) -> list[str]:
  """The files that a path means: the one of exactly this name, even if it contains '[', else those that match it."""
  if _is_file(path):
    return [path]
  if not any(mark in path for mark in '*?['):
    return []
  folder = _existing_folder(path)
  if any(mark in folder for mark in '*?['):
    pattern = glob.escape(folder) + path[len(folder) :]
    return sorted(match for match in glob.glob(pattern) if _is_file(match))
  return sorted(match for match in tf.io.gfile.glob(path) if _is_file(match))


def _existing_folder(path: str) -> str:
  """The longest beginning of a path that is a folder of exactly this name; '' in a bucket."""
  folder = '' if '://' in path else os.path.dirname(path)
  while folder and not os.path.isdir(folder):
    folder = os.path.dirname(folder)
  return folder


def _is_file(path: str) -> bool:
  return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)
