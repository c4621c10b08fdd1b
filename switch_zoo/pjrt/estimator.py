"""What Mesh-TensorFlow's `utils.run` takes for an Estimator: it trains, evaluates and answers on PJRT's devices.

So the released code chooses checkpoints, reads data, measures and writes answers, as on the TensorFlow runtime.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from jax.sharding import Mesh

from switch_zoo import interrupts
from switch_zoo.errors import UserError
from switch_zoo.launcher import estimators, graph_settings, latest, preflight, run_state
from switch_zoo.mesh import graph as mesh_graph
from switch_zoo.mesh import summaries
from switch_zoo.mesh.one_core import lowering
from switch_zoo.mesh.one_core.program import OneCoreProgram
from switch_zoo.mesh.one_core.steps import Optimization, StepSettings
from switch_zoo.pjrt import checkpoint_reader, processes, training, validation
from switch_zoo.pjrt.batches import Batches, same
from switch_zoo.pjrt.evaluation import Perplexity, until_end
from switch_zoo.pjrt.executable import Executable
from switch_zoo.spec.layouts import parse_any

# Arguments of `utils.run` that a program of one core does not have.
_REFUSED = ('predict_fn', 'ensemble_inputs')


@contextlib.contextmanager
def on_devices(mesh: Mesh) -> Iterator[None]:
  """Within, the Estimators of `utils.run` run on the devices of a mesh."""
  with estimators.made_by(lambda **settings: Estimator(settings, mesh)):
    yield


class Estimator:
  """The methods of a TPUEstimator that Mesh-TensorFlow calls.

  Args:
    settings: of `mesh_utils.get_estimator`
    mesh: the devices
  """

  def __init__(self, settings: Mapping[str, Any], mesh: Mesh) -> None:
    self.model_dir: str = settings['model_dir']
    self._settings, self._mesh = settings, mesh
    # The prefix of a checkpoint, and its variables by name.
    self._weights: tuple[str, Mapping[str, Any]] | None = None
    self._compiled: dict[Any, Executable] = {}

  def latest_checkpoint(self) -> str | None:
    """The prefix of the newest checkpoint."""
    return latest.newest(self.model_dir)

  def get_variable_value(self, name: str) -> Any:
    """A variable of the newest checkpoint."""
    return tf.train.load_variable(self.latest_checkpoint(), name)

  def train(self, input_fn: Callable[[Any], Any], max_steps: int, hooks: Sequence[Any] = ()) -> None:
    """Trains up to a step."""
    settings = self._settings
    resumed = latest.to_resume(self.model_dir)[0]
    rate = training.learning_rate(settings['learning_rate_schedule'])
    optimization = Optimization(rate, settings['optimizer'], settings['variable_filter'])
    with Batches(input_fn) as batches:
      step = self._step(batches.features, graph_settings.outer_batch_size())
      program = lowering.lower_training_step(step, optimization, _tell)
      _tell(f'compiling it for {program.num_cores} devices')
      executable = Executable(program, self._mesh)
      filtered = preflight.parameter('utils.tpu_estimator_model_fn.init_variable_filter') or ''
      start = training.Start(step, optimization, resumed, settings['init_checkpoint'], filtered)
      saves = training.Saves(settings['save_checkpoints_steps'], settings['keep_checkpoint_max'])
      make_validation = functools.partial(validation.hook_of, self, settings)
      training.train(self.model_dir, executable, start, batches, saves, max_steps, hooks, make_validation)

  def evaluate(
    self, input_fn: Callable[[Any], Any], steps: int, checkpoint_path: str | None = None, name: str = 'eval'
  ) -> dict[str, float]:
    """Measures the perplexity of a data set, and writes it for TensorBoard."""
    prefix = self._checkpoint(checkpoint_path)
    values = self.perplexity(input_fn, prefix, steps)
    if processes.is_chief():
      writer = tf.summary.FileWriter(f'{self.model_dir}/eval_{name}')
      written: dict[str, np.ndarray | float] = {key: value for key, value in values.items() if key != 'global_step'}
      writer.add_summary(summaries.summary_of(written), int(values['global_step']))
      writer.close()
    return values

  def predict(self, input_fn: Callable[[Any], Any], checkpoint_path: str | None = None) -> Iterator[dict[str, Any]]:
    """An answer to each input, or the score of each target.

    Yields:
      inputs and outputs, ids up to the end; or scores <float32>[] and targets, ids up to the end
    """
    prefix = self._checkpoint(checkpoint_path)
    run_state.current().evaluated_step = checkpoint_reader.step_of(prefix)
    yield from self.answers(input_fn, prefix)

  def use(self, prefix: str, variables: Mapping[str, Any]) -> None:
    """Takes these variables, by name, for those of a checkpoint, which then is not read."""
    self._weights = prefix, variables

  def perplexity(self, input_fn: Callable[[Any], Any], prefix: str, steps: int | None = None) -> dict[str, float]:
    """Metric -> value over the batches. steps: how many; None: all"""
    metrics = Perplexity()
    with Batches(input_fn) as batches:
      step = self._step(batches.features, graph_settings.outer_batch_size())
      lower = lambda: lowering.lower_evaluation(step, _tell)
      for batch in same(itertools.islice(batches, steps)):
        metrics.add(self._run('evaluation', lower, prefix, batch))
    return metrics.values(checkpoint_reader.step_of(prefix))

  def answers(self, input_fn: Callable[[Any], Any], prefix: str) -> Iterator[dict[str, Any]]:
    """What `predict` yields."""
    scored = self._settings['score_in_predict_mode']
    seed = training.seed()
    with Batches(input_fn) as batches:
      names = ('inputs', 'targets') if scored else ('inputs',)
      step = self._step([name for name in batches.features if name in names], 1)
      lower = lambda: (lowering.lower_scoring if scored else lowering.lower_decoding)(step, _tell)
      # What is sampled depends on the number of the batch, as that of a training on the step.
      for number, batch in enumerate(same(batches)):
        outputs = self._run('predictions', lower, prefix, batch, step=number, seed=seed)
        if scored:
          of_examples = zip(outputs['scores'], map(until_end, batch['targets']), strict=True)
          yield from ({'scores': score, 'targets': targets} for score, targets in of_examples)
        else:
          of_examples = zip(map(until_end, batch['inputs']), map(until_end, outputs['outputs']), strict=True)
          yield from ({'inputs': inputs, 'outputs': answer} for inputs, answer in of_examples)

  def _run(
    self,
    key: str,
    lower: Callable[[], OneCoreProgram],
    prefix: str,
    batch: Mapping[str, np.ndarray],
    step: int = 0,
    seed: int = 0,
  ) -> dict[str, np.ndarray]:
    """The outputs of a program that changes no variables. step, seed: of what it draws"""
    interrupts.check()
    if key not in self._compiled:
      self._compiled[key] = Executable(lower(), self._mesh)
    executable = self._compiled[key]
    program = executable.program
    if self._weights is None or self._weights[0] != prefix:
      arrays = checkpoint_reader.read(prefix, program.variables, self._mesh)
      self._weights = prefix, dict(zip([slot.name for slot in program.variables], arrays, strict=True))
    weights = [self._weights[1][slot.name] for slot in program.variables]
    outputs, _ = executable([*weights, *training.fed(executable, batch, {'step': step, 'seed': seed})])
    return {name: np.asarray(value) for name, value in outputs.items()}

  def _checkpoint(self, path: str | None) -> str:
    prefix = path or self.latest_checkpoint()
    if prefix is None:
      raise UserError(f'--model_dir={self.model_dir} contains no checkpoint.')
    return prefix

  def _step(self, features: Sequence[str], outer_batch_size: int) -> StepSettings:
    """The settings of a step on batches with these features."""
    settings = self._settings
    for name in _REFUSED:
      if settings.get(name):
        raise UserError(f'utils.run.{name} is not for --runtime=pjrt. Use --runtime=tensorflow, or do without it.')
    lengths = {name: settings['sequence_length'][name.split('_')[0]] for name in features}
    return StepSettings(
      vocab_sizes=graph_settings.vocab_sizes(settings['vocabulary']),
      batch=mesh_graph.Batch(settings['batch_size'], lengths),
      layout=parse_any(
        graph_settings.mesh_text(settings['mesh_shape']),
        graph_settings.rules_text(settings['layout_rules']),
        outer_batch_size,
      ),
      model_type=settings['model_type'],
    )


def _tell(text: str) -> None:
  """Prints what takes a while, for a training that prints its progress."""
  reporter: Any = run_state.current().reporter
  if hasattr(reporter, 'note'):
    reporter.note(f'{text[:1].upper()}{text[1:]}.')
