"""Tasks whose answer is one of a few classes, in the form T5 gives them (`glue` in `t5.data.preprocessors`).

    'cb hypothesis: the language was peeled down premise: It was a complex language. ...' -> 'entailment'

Each text follows its name, in the order of the names; data sets that T5 has no task for (ANLI, WinoGrande, ARC) follow
the same rule.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from switch_zoo.tasks import fields

UNLABELLED = '<unk>'  # T5's target where a test split has none
INVALID = -1  # T5's class of a prediction that is no class
# The default of postprocessing functions: most need the example of a target only.
NO_EXAMPLE: Mapping[str, Any] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Classification:
  """How the rows of a data set become text.

  prefix: what the inputs begin with
  texts: name of each text in the inputs -> its field in the file, in the order of the inputs
  labels: what the field of the label may contain -> the text of its class; the order numbers the classes
  label: that field
  """

  prefix: str
  texts: Mapping[str, str]
  labels: Mapping[Any, str]
  label: str = 'label'

  def rows(self, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The example of a record that must have a label; BadField if a field is missing or the label is unknown."""
    yield self._example(record, self.labels[fields.one_of(record, self.label, tuple(self.labels))])

  def test_rows(self, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """As `rows`, for a test split: if the label is missing or empty the target is '<unk>', as in T5."""
    if record.get(self.label, '') == '':
      yield self._example(record, UNLABELLED)
    else:
      yield from self.rows(record)

  def tfds_record(self, row: dict[str, Any]) -> dict[str, Any]:
    """The file's record of a row of TensorFlow Datasets, which has the texts by name and the number of the class.

    >>> rte = Classification('rte', {'hypothesis': 'hypothesis'}, {'entailment': 'entailment', 'not_entailment': 'no'})
    >>> rte.tfds_record({'hypothesis': 'It rains.', 'label': 1, 'idx': 5})
    {'hypothesis': 'It rains.', 'label': 'not_entailment'}
    """
    record = {field: row[name] for name, field in self.texts.items()}
    return record if row['label'] == INVALID else {**record, self.label: tuple(self.labels)[row['label']]}

  @property
  def class_id(self) -> Callable[..., int | None]:
    """The postprocessing function: from text to the number of its class."""
    return functools.partial(class_id, classes=tuple(dict.fromkeys(self.labels.values())))

  def _example(self, record: dict[str, Any], target: str) -> dict[str, str]:
    texts = (f'{name}: {fields.text(record, field)}' for name, field in self.texts.items())
    return {'inputs': ' '.join((self.prefix, *texts)), 'targets': target}


def class_id(
  text: str, classes: tuple[str, ...], example: Mapping[str, Any] = NO_EXAMPLE, is_target: bool = False
) -> int | None:
  """The number of a class: None for the target of an unlabelled example, -1 for a prediction that is no class.

  >>> class_id('True', classes=('False', 'True')), class_id('maybe', classes=('False', 'True'))
  (1, -1)
  """
  del example
  if is_target and text == UNLABELLED:
    return None
  return classes.index(text) if text in classes else INVALID
