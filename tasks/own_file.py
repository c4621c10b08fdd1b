"""Registers `zoo_file`, a task over a file of the user's own. Everything about it is set with gin, without Python.

zoo_file.train = 'train.jsonl'          .jsonl or .json (lines or a list), .tsv, .csv; plain or .gz; shards by wildcards
zoo_file.validation = 'val.jsonl'       and zoo_file.test
zoo_file.inputs = 'question'            a field, or text with fields in it: '{question} context: {passage}'; a field
                                        inside another: 'answers.text'
zoo_file.targets = 'answer'             the same; or a field with a list of answers, of which the first is learned
zoo_file.prefix = 'trivia question: '   before the inputs
zoo_file.metrics = ['accuracy']         see own_file_metrics.METRICS
zoo_file.columns = ['question', ...]    of a .tsv or .csv whose first line is not a header
zoo_file.quoted = True                  of a .tsv: whether quotation marks enclose cells; None: the files show it
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gin
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, field_template, fields, own_file_formats, own_file_metrics, registration
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.raw_files import BadField
from switch_zoo.tasks.sources import FileSource, SourceState
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles
from switch_zoo.tasks.text_task import TextTask

NAME = 'zoo_file'
SPLITS = ('train', 'validation', 'test')
_REMEDY = 'Set --gin_param="zoo_file.{split} = \'FILE.jsonl\'" (or .json, .tsv, .csv; plain or .gz).'
_FIELDS = {**TEXT_TO_TEXT, 'answers': tf.TensorSpec([None], tf.string)}


class OwnFileSettings(NamedTuple):
  """What gin says about the file; see above."""

  paths: Mapping[str, str]
  inputs: str
  targets: str
  prefix: str
  metrics: tuple[str, ...]
  columns: tuple[str, ...] | None
  quoted: bool | None


@gin.configurable(NAME, module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
def settings(
  train: str = '',
  validation: str = '',
  test: str = '',
  inputs: str = 'inputs',
  targets: str = 'targets',
  prefix: str = '',
  metrics: Sequence[str] = ('accuracy',),
  columns: Sequence[str] | None = None,
  quoted: bool | None = None,
) -> OwnFileSettings:
  """What gin says (`zoo_file.train`, ...)."""
  paths: dict[str, str] = {'train': train, 'validation': validation, 'test': test}
  names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
  return OwnFileSettings(paths, inputs, targets, prefix, names, tuple(columns) if columns else None, quoted)


@dataclasses.dataclass(frozen=True)
class OwnFileRows:
  """A row function: from a row of the file to its example.

  inputs, targets: a field, or text with fields in braces
  prefix: before the inputs
  """

  inputs: str
  targets: str
  prefix: str

  def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One example; BadField for a field that is missing or is neither text nor a number."""
    inputs = self.prefix + field_template.text(row, 'zoo_file.inputs', self.inputs)
    answers = self._answers(row)
    yield {'inputs': inputs, 'targets': answers[0], 'answers': answers}

  def _answers(self, row: dict[str, Any]) -> list[str]:
    if '{' in self.targets and self.targets not in row:
      return [field_template.text(row, 'zoo_file.targets', self.targets)]
    answers = fields.at(row, self.targets)
    if not isinstance(answers, list):
      return [field_template.as_text(self.targets, answers)]
    if not answers:
      raise BadField(self.targets, 'is an empty list; at least one answer is needed')
    return [field_template.as_text(self.targets, answer) for answer in answers]


class OwnFileSource(FileSource):
  """The rows of the files that gin names."""

  def __init__(self) -> None:
    """Opens nothing."""
    super().__init__(SPLITS, _REMEDY.format(split='train'), _FIELDS)

  @property
  def splits(self) -> Sequence[str]:
    """Those that have a file; all if none has, so that whoever reads one gets an error that helps."""
    return [split for split, path in settings().paths.items() if path] or SPLITS

  def find_files(self, split: str) -> FoundFiles:
    """The files of a split.

    Raises:
      UserError: gin names none, they are not there, or their names do not tell the format
    """
    own = settings()
    path = own.paths[split]
    remedy = _REMEDY.format(split=split)
    if not path:
      raise UserError(f'zoo_file reads a file of your own, and none is named for the split "{split}". {remedy}')
    paths = data_folder.find('', path)
    if not paths:
      raise UserError(f'zoo_file.{split} = "{path}": there is no such file ({os.path.abspath(path)}). {remedy}')
    rows = OwnFileRows(own.inputs, own.targets, own.prefix)
    return FoundFiles(tuple(paths), SplitFiles(path, own_file_formats.reader_for(paths, own.columns, own.quoted), rows))

  def check(self, split: str) -> None:
    """As every source of files; also refuses metrics that do not exist."""
    own_file_metrics.functions(settings().metrics)
    super().check(split)

  def absent(self, split: str) -> str | None:
    """What is not there, as the gin binding that names it; None if it is there."""
    path = settings().paths[split]
    if not path:
      return 'not named'
    return None if data_folder.find('', path) else f'zoo_file.{split} = "{path}"'

  def state(self) -> SourceState:
    """Ready if every file that gin names is there."""
    named = [(split, path) for split, path in settings().paths.items() if path]
    missing = [f'zoo_file.{split} = "{path}"' for split, path in named if not data_folder.find('', path)]
    return SourceState(tuple(missing if named else ['a file of your own']), self.where)


class OwnFileTask(TextTask):
  """The task over the user's file; gin says which metrics it has at the time they are needed."""

  @property
  def metric_fns(self) -> Sequence[Callable]:
    """The metrics that gin names."""
    return own_file_metrics.functions(settings().metrics)

  @property
  def predict_metric_fns(self) -> Sequence[Callable]:
    """The same: all of them compare texts."""
    return self.metric_fns


def postprocess(text: str, example: Mapping[str, Any], is_target: bool = False) -> str | list[str]:
  """The prediction itself; for a target all answers of its row."""
  return [tf.compat.as_text(answer) for answer in example['answers']] if is_target else text


registration.add_task(NAME, OwnFileSource(), postprocess_fn=postprocess, task_class=OwnFileTask)
