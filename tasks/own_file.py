"""Registers `zoo_file`, a task over a file of the user's own. Everything about it is said with gin, without Python.

zoo_file.train = 'train.jsonl'          .jsonl, .json (a list), .tsv or .csv; plain or .gz; wildcards for shards
zoo_file.validation = 'val.jsonl'       and zoo_file.test
zoo_file.inputs = 'question'            a field, or text with fields in it: '{question} context: {passage}'
zoo_file.targets = 'answer'             the same; or a field with a list of answers, of which the first is learnt
zoo_file.prefix = 'trivia question: '   before the inputs
zoo_file.metrics = ['accuracy']         see METRICS
zoo_file.columns = ['question', ...]    of a .tsv or .csv without a line of names
"""

import dataclasses
import functools
import json
import os
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gin
import seqio
import sklearn.metrics
import tensorflow as tf

from switch_zoo.errors import UserError, did_you_mean
from switch_zoo.tasks import data_folder, fields, metrics, registration
from switch_zoo.tasks.readers import BadField, Delimited, Json, JsonLines, Reader
from switch_zoo.tasks.sources import TEXT_TO_TEXT, Files, FileSource, Found, State

NAME = 'zoo_file'
SPLITS = ('train', 'validation', 'test')
_REMEDY = 'Set --gin_param="zoo_file.{split} = \'FILE.jsonl\'" (or .json, .tsv, .csv; plain or .gz).'
_FIELDS = {**TEXT_TO_TEXT, 'answers': tf.TensorSpec([None], tf.string)}


class Settings(NamedTuple):
  """What gin says of the file; see above."""

  paths: Mapping[str, str]
  inputs: str
  targets: str
  prefix: str
  metrics: tuple[str, ...]
  columns: tuple[str, ...] | None


@gin.configurable(NAME, module='tasks')
def settings(
  train: str = '',
  validation: str = '',
  test: str = '',
  inputs: str = 'inputs',
  targets: str = 'targets',
  prefix: str = '',
  metrics: Sequence[str] = ('accuracy',),
  columns: Sequence[str] | None = None,
) -> Settings:
  """What gin says (`zoo_file.train`, ...)."""
  paths = dict(zip(SPLITS, (train, validation, test), strict=True))
  names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
  return Settings(paths, inputs, targets, prefix, names, tuple(columns) if columns else None)


def _one(metric):
  """A metric that compares with one answer: the first."""
  return lambda targets, predictions: metric([answers[0] for answers in targets], predictions)


def _numbers(metric):
  """A metric of numbers; an answer that is none counts as -1, as in T5."""

  def number(text):
    try:
      return float(text)
    except ValueError:
      return -1.0

  return lambda targets, predictions: metric([number(a[0]) for a in targets], list(map(number, predictions)))


def _part(metric, key):
  return lambda targets, predictions: {key: metric(targets, predictions)[key]}


def macro_f1(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """The mean over the targets' labels of each one's F1."""
  labels = sorted(set(targets))
  score = sklearn.metrics.f1_score(targets, predictions, labels=labels, average='macro', zero_division=0)
  return {'macro_f1': 100 * float(score)}


# Name -> metric of (lists of answers, predictions), in percent. `exact_match`, `f1` and `squad` (both of them) compare
# words without articles and punctuation, with the best of the answers, as SQuAD does.
METRICS: dict[str, metrics.Metric] = {
  'accuracy': _one(metrics.accuracy),
  'bleu': _one(metrics.bleu),
  'exact_match': _part(metrics.squad, 'em'),
  'f1': _part(metrics.squad, 'f1'),
  'macro_f1': _one(macro_f1),
  'matthews': _one(metrics.matthews),
  'pearson': _numbers(metrics.pearson),
  'rouge': _one(metrics.rouge),
  'spearman': _numbers(metrics.spearman),
  'squad': metrics.squad,
  'trivia_qa': metrics.trivia_qa,
}


def chosen_metrics() -> list[Callable]:
  """The metrics that gin names.

  Raises:
    UserError: one does not exist, with the closest names
  """
  chosen = settings().metrics
  for name in chosen:
    if name not in METRICS:
      known = f'There are: {", ".join(METRICS)}.'
      raise UserError(f'zoo_file.metrics: there is no metric "{name}".{did_you_mean(name, METRICS)} {known}')
  # seqio wants functions that take targets and predictions by these names.
  return [functools.wraps(_measure)(functools.partial(_measure, METRICS[name])) for name in chosen]


def _measure(metric, targets, predictions):
  return metric(targets, predictions)


@dataclasses.dataclass(frozen=True)
class Rows:
  """From a row of the file to an example.

  inputs, targets: a field, or text with fields in braces
  prefix: before the inputs
  """

  inputs: str
  targets: str
  prefix: str

  def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One example; BadField for a field that is missing or holds neither text nor a number."""
    inputs, answers = self.prefix + _text(row, self.inputs), self._answers(row)
    yield {'inputs': inputs, 'targets': answers[0], 'answers': answers}

  def _answers(self, row):
    found = row.get(self.targets)
    if not isinstance(found, list):
      return [_text(row, self.targets)]
    if not found:
      raise BadField(self.targets, 'is an empty list; at least one answer is needed')
    return [_as_text(self.targets, one) for one in found]


def _text(row, form):
  """The field `form`; or, if it has braces, that text with the fields it names."""
  if '{' not in form:
    return _as_text(form, fields.value(row, form))
  parts = string.Formatter().parse(form)
  return ''.join(before + (_as_text(name, fields.value(row, name)) if name else '') for before, name, *_ in parts)


def _as_text(name, value):
  if isinstance(value, str):
    return value
  if isinstance(value, (bool, int, float)):
    return str(value)
  raise BadField(name, f'is {json.dumps(value)[:80]}, neither text nor a number')


class OwnFileSource(FileSource):
  """The rows of the files that gin names."""

  def __init__(self):
    """Opens nothing."""
    super().__init__((NAME,), dict.fromkeys(SPLITS, ()), _REMEDY.format(split='train'), fields=_FIELDS)

  @property
  def splits(self) -> Sequence[str]:
    """Those that have a file; all where none has, so that whoever reads one is told."""
    return [split for split, path in settings().paths.items() if path] or SPLITS

  def found(self, split: str) -> Found:
    """The files of a split.

    Raises:
      UserError: gin names none, they are not there, or their name says no format
    """
    chosen = settings()
    path = chosen.paths[split]
    remedy = _REMEDY.format(split=split)
    if not path:
      raise UserError(f'zoo_file reads a file of your own, and none is named for the split "{split}". {remedy}')
    paths = data_folder.find('', path)
    if not paths:
      raise UserError(f'zoo_file.{split} = "{path}": there is no such file ({os.path.abspath(path)}). {remedy}')
    rows = Rows(chosen.inputs, chosen.targets, chosen.prefix)
    return Found(tuple(paths), Files(path, reader_for(paths[0], chosen.columns), rows))

  def check(self, split: str) -> None:
    """As every source of files; refuses metrics that do not exist, too."""
    chosen_metrics()
    super().check(split)

  def absent(self, split: str) -> str | None:
    """What is not there, in the words of gin; None if it is."""
    path = settings().paths[split]
    return None if path and data_folder.find('', path) else f'zoo_file.{split} = "{path}"' if path else 'not named'

  def state(self) -> State:
    """Ready where every file that gin names is there."""
    named = [(split, path) for split, path in settings().paths.items() if path]
    missing = [f'zoo_file.{split} = "{path}"' for split, path in named if not data_folder.find('', path)]
    return State(tuple(missing if named else ['a file of your own']), self.where)


def reader_for(path: str, columns: tuple[str, ...] | None = None) -> Reader:
  """The reader that a file's name asks for.

  Args:
    path: of the file; '.gz' at its end does not count
    columns: of a table without a line of names
  Raises:
    UserError: another ending
  """
  readers = {
    '.jsonl': JsonLines(),
    '.json': Json(),
    '.tsv': Delimited(columns),
    '.csv': Delimited(columns, delimiter=',', quoted=True),
  }
  ending = os.path.splitext(path.removesuffix('.gz'))[1].lower()
  if ending not in readers:
    known = ', '.join(readers)
    raise UserError(f'zoo_file: the name of "{path}" tells no format. It must end in {known}, or one of these and .gz.')
  return readers[ending]


class OwnFileTask(seqio.Task):
  """The task over the user's file: which metrics it has, gin says when they are needed."""

  @property
  def metric_fns(self) -> Sequence[Callable]:
    """The metrics that gin names."""
    return chosen_metrics()

  @property
  def predict_metric_fns(self) -> Sequence[Callable]:
    """The same: all of them compare texts."""
    return chosen_metrics()


def postprocess(text: str, example: Mapping[str, Any] | None = None, is_target: bool = False) -> str | list[str]:
  """A prediction as it is; for a target all the answers of its row."""
  return [tf.compat.as_text(answer) for answer in example['answers']] if is_target else text


seqio.TaskRegistry.add(
  NAME,
  source=OwnFileSource(),
  preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos_after_trim],
  output_features=registration.features(),
  postprocess_fn=postprocess,
  metric_fns=[],
  shuffle_buffer_size=registration.SHUFFLED,
  task_cls=OwnFileTask,
)
