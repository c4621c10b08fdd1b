"""What tasks there are, whether their data is here, and what their examples look like."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError, did_you_mean, from_tensorflow

READY, PARTLY, MISSING, NO_VOCABULARY = 'ready', 'partly ready', 'data missing', 'vocabulary missing'
_PREFIX = 'zoo_'


class Entry(NamedTuple):
  """A task or a mixture.

  kind: 'task' or 'mixture'
  state: 'ready' (but perhaps for a test split); 'partly ready' (some splits, or some tasks of a mixture);
    'data missing'; 'vocabulary missing'
  splits: those whose data is here
  missing: of the other splits what was looked for, or what the vocabulary needs
  where: where to get the data
  tasks: of a mixture
  """

  name: str
  kind: str
  state: str
  splits: tuple[str, ...]
  missing: dict[str, str]
  where: str
  tasks: tuple[str, ...] = ()


def entries() -> list[Entry]:
  """Every task and mixture of the zoo, by name."""
  of_task = {name: task_entry(name) for name in sorted(_names(seqio.TaskRegistry))}
  mixtures = [_mixture_entry(name, of_task) for name in sorted(_names(seqio.MixtureRegistry))]
  return sorted([*of_task.values(), *mixtures])


def entry(name: str) -> Entry:
  """One task or mixture.

  Raises:
    UserError: there is none, with the closest names
  """
  if name in seqio.TaskRegistry.names():
    return task_entry(name)
  if name in seqio.MixtureRegistry.names():
    return _mixture_entry(name, {task.name: task_entry(task.name) for task in seqio.get_subtasks(_get(name))})
  names = [*_names(seqio.TaskRegistry), *_names(seqio.MixtureRegistry)]
  raise UserError(f'There is no task or mixture "{name}".{did_you_mean(name, names)} `switch_zoo tasks` lists them.')


def task_entry(name: str) -> Entry:
  """A task; its files are looked for, not opened."""
  task = _get(name)
  here, missing = [], {}
  for split in task.splits:
    # A source that is not one of files, as the demo's, has its data at hand.
    reason = task.source.absent(split) if hasattr(task.source, 'absent') else None
    if reason:
      missing[split] = reason
    else:
      here.append(split)
  # A test split has seldom labels, and no run asks for it.
  state = READY if set(missing) <= {'test'} else PARTLY if here else MISSING
  vocabulary = _vocabulary_reason(task) if here else None
  if vocabulary:
    state, missing = NO_VOCABULARY, {**missing, 'vocabulary': vocabulary}
  return Entry(name, 'task', state, tuple(here), missing, getattr(task.source, 'where', ''))


def raw_rows(name: str, split: str, most: int) -> list[dict[str, Any]]:
  """The first rows of a split as the files have them.

  Raises:
    UserError: a file is missing, or a row is malformed
  """
  source = _get(name).source
  if hasattr(source, 'records'):
    return [record for record, _ in itertools.islice(source.records(split), most)]
  return list(_read(source.get_dataset(split, shuffle=False), most))


def examples(name: str, split: str, most: int, lengths: dict[str, int]) -> Iterator[dict[str, dict[str, Any]]]:
  """The first examples as a model gets them: {'inputs': {'text': .., 'ids': [..]}, 'targets': ..}.

  Args:
    name: of a task or mixture
    split: of the data
    most: number of examples
    lengths: of inputs and targets
  Raises:
    UserError: a file is missing, or a row is malformed
  """
  provider = _get(name)
  dataset = provider.get_dataset(lengths, split, shuffle=False, seed=0, num_epochs=1)
  for row in _read(dataset, most):
    ids = {feature: row[feature].tolist() for feature in provider.output_features if feature in row}
    decode = lambda feature, ids: provider.output_features[feature].vocabulary.decode(ids)
    yield {feature: {'text': decode(feature, values), 'ids': values} for feature, values in ids.items()}


def as_json(row: dict[str, Any]) -> str:
  """A raw row on one line."""
  return json.dumps(row, ensure_ascii=False, default=lambda value: tf.compat.as_text(value))


def _read(dataset, most):
  try:
    yield from tfds.as_numpy(dataset.take(most))
  except tf.errors.OpError as error:
    mistake = from_tensorflow(str(error))
    if mistake is None:
      raise
    raise UserError(mistake) from error


def _mixture_entry(name, of_task):
  tasks = [task.name for task in seqio.get_subtasks(_get(name))]
  states = {task: of_task[task].state for task in tasks}
  ready = [task for task, state in states.items() if state in (READY, PARTLY)]
  missing = {task: state for task, state in states.items() if task not in ready}
  if len(ready) == len(tasks) and PARTLY not in states.values():
    state = READY
  else:
    state = PARTLY if ready else next(iter(missing.values()))
  return Entry(name, 'mixture', state, (), missing, '', tuple(tasks))


def _vocabulary_reason(task):
  try:
    for feature in task.output_features.values():
      _ = feature.vocabulary.vocab_size
  except UserError as error:
    return str(error).split('\n')[0]
  return None


def _names(registry):
  return [name for name in registry.names() if name.startswith(_PREFIX)]


def _get(name):
  return seqio.get_mixture_or_task(name)
