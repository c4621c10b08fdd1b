"""Registers tasks and mixtures with seqio."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import seqio

from switch_zoo.tasks import vocabularies
from switch_zoo.tasks.file_rows import SHUFFLED
from switch_zoo.tasks.sources import FileSource
from switch_zoo.tasks.text_task import TextTask

TOKENIZED = (seqio.preprocessors.tokenize, seqio.preprocessors.append_eos_after_trim)
# A mixing rate, or a function from a seqio.Task to its rate, called when the mixture is read.
Rate = float | Callable[..., float]


def features(
  vocabulary: seqio.Vocabulary = vocabularies.DEFAULT, targets: seqio.Vocabulary | None = None
) -> dict[str, seqio.utils.Feature]:
  """Inputs and targets of a text-to-text task, each ended by the vocabulary's end of sequence.

  Args:
    vocabulary: of both
    targets: vocabulary of the targets, if they have another
  """
  of_side = {'inputs': vocabulary, 'targets': targets or vocabulary}
  return {name: seqio.utils.Feature(vocabulary=chosen, add_eos=True) for name, chosen in of_side.items()}


def add_task(
  name: str,
  source: seqio.DataSource,
  metric_fns: Sequence[Callable] = (),
  postprocess_fn: Callable[..., Any] | None = None,
  preprocessors: Sequence[Callable] = TOKENIZED,
  vocabulary: seqio.Vocabulary = vocabularies.DEFAULT,
  target_vocabulary: seqio.Vocabulary | None = None,
  shuffled: int = SHUFFLED,
  task_class: type[seqio.Task] | None = None,
) -> None:
  """Registers a task.

  Args:
    name: of the task
    source: of the examples
    metric_fns: functions of (targets, predictions), both as `postprocess_fn` returns them
    postprocess_fn: from decoded text to what metrics compare, called with `example` and `is_target`
    preprocessors: from the source's examples to ids of inputs and targets; by default `inputs` and `targets`
      (<string>[]) are tokenized, and other fields are left to the metrics
    vocabulary: of inputs and targets
    target_vocabulary: of targets, if they have another
    shuffled: examples that are shuffled together
    task_class: by default TextTask if the preprocessors are those of texts, else seqio.Task
  """
  seqio.TaskRegistry.add(
    name,
    source=source,  # pyright: ignore[reportArgumentType] - seqio.DataSource may not know its number of examples
    preprocessors=list(preprocessors),
    output_features=features(vocabulary, target_vocabulary),
    postprocess_fn=postprocess_fn,
    metric_fns=list(metric_fns),
    shuffle_buffer_size=shuffled,
    task_cls=task_class or (TextTask if preprocessors is TOKENIZED else seqio.Task),
  )


class PresentMixture(seqio.Mixture):
  """A mixture of those of its tasks whose files are there; of all tasks if none is, so that the user is told why."""

  _looks_at_files = False  # not while it is being registered

  def __init__(self, name: str, tasks: Iterable[str], rate: Rate) -> None:
    """Arguments as those of `add_mixture`."""
    super().__init__(name, list(tasks), default_rate=rate)
    self._looks_at_files = True

  @property
  def tasks(self) -> list[seqio.Task]:
    """The tasks, in the order of their names."""
    tasks = super().tasks
    return (self._looks_at_files and [task for task in tasks if _is_ready(task)]) or tasks


def _is_ready(task: seqio.Task) -> bool:
  return isinstance(task.source, FileSource) and not task.source.state().missing


def add_mixture(name: str, tasks: Iterable[str], rate: Rate) -> None:
  """Registers a mixture.

  Args:
    name: of the mixture
    tasks: names of its tasks
    rate: of each task
  """
  seqio.MixtureRegistry.add(name, list(tasks), default_rate=rate)


def add_present_mixture(name: str, tasks: Iterable[str], rate: Rate) -> None:
  """Registers a mixture of those of its tasks whose files are there; arguments as those of `add_mixture`."""
  seqio.MixtureRegistry.add_provider(name, PresentMixture(name, tasks, rate))
