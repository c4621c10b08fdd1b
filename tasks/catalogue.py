"""What tasks there are, whether their data is here, and what their examples look like."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from switch_zoo.errors import UserError, did_you_mean, from_tensorflow
from switch_zoo.tasks.sources import FileSource

READY, PARTLY, MISSING, NO_VOCABULARY = 'ready', 'partly ready', 'data missing', 'vocabulary missing'
_PREFIX = 'zoo_'


class CatalogueEntry(NamedTuple):
  """A task or a mixture.

  kind: 'task' or 'mixture'
  state: 'ready' (except perhaps for a test split); 'partly ready' (some splits, or some tasks of a mixture);
    'data missing'; 'vocabulary missing'
  splits: those whose data is here
  missing: what was searched for, by split, of the other splits; and what the vocabulary needs
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


def entries() -> list[CatalogueEntry]:
  """Every task and mixture of the zoo, by name."""
  tasks = {name: _task_entry(seqio.TaskRegistry.get(name)) for name in sorted(_names(seqio.TaskRegistry))}
  mixtures = [_mixture_entry(name, tasks) for name in sorted(_names(seqio.MixtureRegistry))]
  return sorted([*tasks.values(), *mixtures])


def entry(name: str) -> CatalogueEntry:
  """One task or mixture.

  Raises:
    UserError: there is none, with the closest names
  """
  if name in seqio.TaskRegistry.names():
    return _task_entry(seqio.TaskRegistry.get(name))
  if name in seqio.MixtureRegistry.names():
    return _mixture_entry(name, {task.name: _task_entry(task) for task in _subtasks(name)})
  names = [*_names(seqio.TaskRegistry), *_names(seqio.MixtureRegistry)]
  raise UserError(f'There is no task or mixture "{name}".{did_you_mean(name, names)} `switch_zoo tasks` lists them.')


def raw_rows(name: str, split: str, count: int) -> list[dict[str, Any]]:
  """The first rows of a split of a task as the files have them.

  Raises:
    UserError: a file is missing, or a row is malformed
  """
  source = seqio.TaskRegistry.get(name).source
  if isinstance(source, FileSource):
    return [record for record, _ in itertools.islice(source.records(split), count)]
  return list(_first(source.get_dataset(split, shuffle=False), count))


def examples(name: str, split: str, count: int, lengths: Mapping[str, int]) -> Iterator[dict[str, dict[str, Any]]]:
  """The first examples as a model gets them: {'inputs': {'text': .., 'ids': [..]}, 'targets': ..}.

  Args:
    name: of a task or mixture
    split: of the data
    count: number of examples
    lengths: of inputs and targets
  Raises:
    UserError: a file is missing, or a row is malformed
  """
  provider = seqio.get_mixture_or_task(name)
  dataset = provider.get_dataset(lengths, split, shuffle=False, seed=0, num_epochs=1)
  for row in _first(dataset, count):
    ids = {feature: row[feature].tolist() for feature in provider.output_features if feature in row}
    decode = lambda feature, ids: provider.output_features[feature].vocabulary.decode(ids)
    yield {feature: {'text': decode(feature, values), 'ids': values} for feature, values in ids.items()}


def as_json(row: dict[str, Any]) -> str:
  """A raw row on one line."""
  return json.dumps(row, ensure_ascii=False, default=lambda value: tf.compat.as_text(value))


def _first(dataset: tf.data.Dataset, count: int) -> Iterator[dict[str, Any]]:
  try:
    yield from tfds.as_numpy(dataset.take(count))
  except tf.errors.OpError as error:
    mistake = from_tensorflow(str(error))
    if mistake is None:
      raise
    raise UserError(mistake) from error


def _task_entry(task: seqio.Task) -> CatalogueEntry:
  """A task; its files are looked for, not opened."""
  source = task.source
  reasons = {split: _reason_absent(source, split) for split in task.splits}
  here = tuple(split for split, reason in reasons.items() if not reason)
  missing = {split: reason for split, reason in reasons.items() if reason}
  # A test split seldom has labels, and no run needs it.
  state = READY if set(missing) <= {'test'} else PARTLY if here else MISSING
  vocabulary = _vocabulary_reason(task) if here else None
  if vocabulary:
    state, missing = NO_VOCABULARY, {**missing, 'vocabulary': vocabulary}
  return CatalogueEntry(task.name, 'task', state, here, missing, getattr(source, 'where', ''))


def _reason_absent(source: seqio.DataSource, split: str) -> str | None:
  """What was searched for, of a split that is not here; sources other than files, as the demo's, have their data."""
  return source.absent(split) if isinstance(source, FileSource) else None


def _mixture_entry(name: str, entry_of: Mapping[str, CatalogueEntry]) -> CatalogueEntry:
  tasks = tuple(task.name for task in _subtasks(name))
  states = {task: entry_of[task].state for task in tasks}
  missing = {task: state for task, state in states.items() if state not in (READY, PARTLY)}
  if not missing and PARTLY not in states.values():
    state = READY
  else:
    state = PARTLY if len(missing) < len(tasks) else next(iter(missing.values()))
  return CatalogueEntry(name, 'mixture', state, (), missing, '', tasks)


def _vocabulary_reason(task: seqio.Task) -> str | None:
  try:
    for feature in task.output_features.values():
      _ = feature.vocabulary.vocab_size
  except UserError as error:
    return str(error).split('\n')[0]
  return None


def _names(registry: type[seqio.TaskRegistry] | type[seqio.MixtureRegistry]) -> list[str]:
  return [name for name in registry.names() if name.startswith(_PREFIX)]


def _subtasks(mixture: str) -> list[seqio.Task]:
  return list(seqio.get_subtasks(seqio.get_mixture_or_task(mixture)))
