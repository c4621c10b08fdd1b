"""`launcher.validation`: what the macros EVAL_STEPS, EVAL_SPLIT, EVAL_EXAMPLES, BEST_METRIC and PATIENCE set."""

from collections.abc import Mapping

import gin
from mesh_tensorflow.transformer import dataset as mesh_dataset

from switch_zoo.errors import UserError, shown
from switch_zoo.launcher import latest
from switch_zoo.launcher.validation import data, measures, scores
from switch_zoo.spec import setting_kinds


@gin.configurable('validation', module='launcher')  # pyright: ignore[reportCallIssue] - gin has no types
class ValidationSettings:
  """
  Args:
    every: steps between validations; None: there are none
    split: of each task
    examples: of each task; -1: all
    metric: what the best checkpoint is chosen by: TASK/METRIC, TASK, METRIC, 'zoo_superglue_mean' or 'mean', with '-'
      before it where less is better; None: the benchmark's score or the mean over tasks
    patience: training stops after this many validations without a better one; None: it does not
    measure: what is measured
  """

  def __init__(
    self,
    every: int | None = None,
    split: str = 'validation',
    examples: int = -1,
    metric: str | None = None,
    patience: int | None = None,
    measure: type[measures.Measure] = measures.Perplexity,
  ) -> None:
    self.every = every
    self.split = split
    self.examples = examples
    self.metric = metric
    self.patience = patience
    self.measure = measure

  def datasets(self, mixture: str, lengths: Mapping[str, int]) -> list[mesh_dataset.EvalDataset]:
    """The datasets of a mixture that a validation reads.

    Raises:
      UserError: there are none
    """
    return data.datasets(mixture, self.split, lengths, self.examples, self.measure.of_answers)


def check(model_dir: str, mixture: str, lengths: Mapping[str, int]) -> None:
  """Checks the settings before anything is written.

  Args:
    model_dir: the folder of the training
    mixture: what is trained on
    lengths: of its features, in tokens
  Raises:
    UserError: a value of another kind, a split or a metric that does not exist
  """
  settings = ValidationSettings()
  # EVAL_STEPS is a setting of runs/eval.gin too, where it takes more.
  if not setting_kinds.POSITIVE_OR_NONE.accepts(settings.every):
    raise UserError(f'EVAL_STEPS is {shown(settings.every)}; in a training it must be a whole number above 0, or None.')
  if settings.every is None:
    return
  if latest.is_remote(model_dir):
    raise UserError(
      f'EVAL_STEPS is set, and --model_dir={model_dir} is not a folder of this machine, which keeping the best '
      'checkpoint needs. Train in a local folder, or evaluate checkpoints with runs/eval.gin.'
    )
  found = settings.datasets(mixture, lengths)
  names = {dataset.name: settings.measure.names(dataset) for dataset in found}
  if settings.metric is not None:
    scores.check(settings.metric, names, settings.measure.counted)


def refuse_with(flag: str) -> None:
  """Refuses validations in a training whose host only feeds the devices.

  Args:
    flag: that says so
  Raises:
    UserError: EVAL_STEPS is set
  """
  if ValidationSettings().every is not None:
    raise UserError(
      f'EVAL_STEPS does not work with {flag}. Evaluate the checkpoints with runs/eval.gin, in a process of its own '
      'while the training runs, or afterwards.'
    )
