"""Registers tasks whose rows are text to text already."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import seqio

from switch_zoo.tasks import vocabularies

# Rows shuffled together. Official files are in the order their authors left, and a task here is small.
SHUFFLED = 16384


def features(vocabulary: seqio.Vocabulary = vocabularies.DEFAULT) -> dict[str, seqio.Feature]:
  """Inputs and targets of a text-to-text task, each ended by the vocabulary's end of sequence."""
  return {name: seqio.Feature(vocabulary=vocabulary, add_eos=True) for name in ('inputs', 'targets')}


def add_task(
  name: str,
  source: seqio.DataSource,
  metric_fns: Sequence[Callable] = (),
  postprocess_fn: Callable[..., Any] | None = None,
  vocabulary: seqio.Vocabulary = vocabularies.DEFAULT,
  shuffled: int = SHUFFLED,
) -> None:
  """Registers a task: rows with `inputs` and `targets` (<string>[]) are tokenized, other fields are left to metrics.

  Args:
    name: of the task
    source: of the rows
    metric_fns: functions of (targets, predictions), both as `postprocess_fn` leaves them
    postprocess_fn: from decoded text to what metrics compare, called with `example` and `is_target`
    vocabulary: of inputs and targets
    shuffled: rows shuffled together
  """
  seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos_after_trim],
    output_features=features(vocabulary),
    postprocess_fn=postprocess_fn,
    metric_fns=list(metric_fns),
    shuffle_buffer_size=shuffled,
  )


class PresentMixture(seqio.Mixture):
  """A mixture of those of its tasks whose files are there; of all where none are, so that the user is told."""

  _looks = False  # at no file while it is registered

  def __init__(self, name: str, tasks: Sequence[str], rate: float | Callable[[seqio.Task], float]):
    """Arguments as those of `add_mixture`."""
    super().__init__(name, list(tasks), default_rate=rate)
    self._looks = True

  @property
  def tasks(self) -> list[seqio.Task]:
    """The tasks, in the order of their names."""
    tasks = super().tasks
    return (self._looks and [task for task in tasks if not task.source.state().missing]) or tasks


def add_mixture(name: str, tasks: Iterable[str], rate: float | Callable[[seqio.Task], float]) -> None:
  """Registers a mixture.

  Args:
    name: of the mixture
    tasks: names of its tasks
    rate: of each task; a function of the task is called when the mixture is read
  """
  seqio.MixtureRegistry.add(name, list(tasks), default_rate=rate)


def proportional(maximum: int | None = None, temperature: float = 1.0) -> Callable[[seqio.Task], float]:
  """A rate by the number of examples: min(examples, maximum) ** (1 / temperature) (arXiv:1910.10683, section 3.5.2).

  Args:
    maximum: T5's artificial limit on the size of a task
    temperature: 1 is proportional; larger ones raise the share of small tasks
  """

  def rate(task: seqio.Task) -> float:
    examples = task.num_input_examples('train')
    return float(min(examples, maximum or examples)) ** (1 / temperature)

  return rate
