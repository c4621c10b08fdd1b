"""Texts of registered tasks: each task of a mixture is a domain."""

import itertools
import os
from collections.abc import Sequence

import seqio
import tensorflow_datasets as tfds

import switch_zoo.tasks  # noqa: F401 - registers the tasks
from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.report import texts
from switch_zoo.spec.token_ids import END

_SPLITS = ('validation', 'test', 'train')
_LENGTHS = {'inputs': 512, 'targets': 512}


class TaskTexts:
  """The validation split of a task, or the first split that it has."""

  def __init__(self, task: seqio.Task) -> None:
    self.name, self._task = task.name, task

  def ids(self, limit: int, encode: texts.Encode) -> list[tuple[Sequence[int], Sequence[int]]]:
    """As in `texts.TextSource`; the ids are those that training reads."""
    split = next((name for name in _SPLITS if name in self._task.splits), None)
    if split is None:
      raise UserError(f'--data {self.name} has none of the splits {", ".join(_SPLITS)}.')
    check = getattr(self._task.source, 'check', None)  # sources of the zoo have it
    if check:
      check(split)
    dataset = self._task.get_dataset(_LENGTHS, split=split, shuffle=False, seed=0)
    examples = list(itertools.islice(tfds.as_numpy(dataset), limit))
    ids = lambda example, name: _without_end(example.get(name, ()))
    return [(ids(example, 'inputs'), ids(example, 'targets')) for example in examples]


def of_names(names: Sequence[str]) -> list[texts.TextSource]:
  """The sources that --data names: files, tasks and mixtures.

  Raises:
    UserError: there is neither a file nor a task of a name
  """
  sources: list[texts.TextSource] = []
  for name in names:
    if os.path.isfile(name):
      sources.append(texts.TextFile(name))
      continue
    registered = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in registered:
      raise UserError(
        f'--data {name}: there is no such file, and no task of this name.{did_you_mean(name, registered)}'
      )
    sources += [TaskTexts(task) for task in seqio.get_subtasks(seqio.get_mixture_or_task(name))]
  return sources


def _without_end(ids: Sequence[int]) -> list[int]:
  return [int(token) for token in ids if token != END]
