"""The loop over the steps of a training, from a checkpoint, from other weights, or from random ones."""

import dataclasses
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import mesh_tensorflow.transformer.utils as mesh_utils
import numpy as np
import tensorflow.compat.v1 as tf
from jax.sharding import Mesh

from switch_zoo import interrupts
from switch_zoo.checkpoints import tensor_bundle
from switch_zoo.launcher import preflight, progress, run_state, saving
from switch_zoo.launcher.validation import hook as validation_hook
from switch_zoo.mesh.one_core.program import Slot
from switch_zoo.mesh.one_core.steps import Optimization, StepSettings
from switch_zoo.pjrt import checkpoint_reader, hooks, initial, kept_checkpoints, processes, variables
from switch_zoo.pjrt.batches import Batches, same
from switch_zoo.pjrt.executable import Executable

_MAX_SEED = 1 << 31


@dataclasses.dataclass(frozen=True)
class Start:
  """Where the weights of a training come from.

  settings, optimization: of the step
  resumed: the prefix of the checkpoint that is resumed; None: there is none
  init_checkpoint: the prefix of the weights that a training begins with; None: they are random
  init_filter: regular expression of the names that are taken from it; '' for all
  """

  settings: StepSettings
  optimization: Optimization
  resumed: str | None
  init_checkpoint: str | None
  init_filter: str

  def step(self) -> int:
    """Steps that have been done."""
    prefix = self.resumed or (self.init_checkpoint if self._takes(checkpoint_reader.GLOBAL_STEP) else None)
    return checkpoint_reader.step_of(prefix) if prefix else 0

  def load(self, slots: Sequence[Slot], mesh: Mesh, seed: int) -> list[jax.Array]:
    """The variables on the devices. seed: of random weights"""
    if self.resumed:
      return checkpoint_reader.read(self.resumed, slots, mesh)
    by_name = {slot.name: slot for slot in slots}
    values = initial.values(self.settings, self.optimization, seed)
    placed = {name: variables.put(by_name[name], mesh, read) for name, read in values if name in by_name}
    if self.init_checkpoint:
      placed |= self._taken(slots, mesh)
    return [placed[slot.name] for slot in slots]

  def _taken(self, slots: Sequence[Slot], mesh: Mesh) -> dict[str, jax.Array]:
    """The variables that the other checkpoint has."""
    prefix = str(self.init_checkpoint)
    bundle = tensor_bundle.TensorBundle(prefix)
    taken = {}
    for number, slot in enumerate(slots):
      name = mesh_utils.init_checkpoint_variable_mapping(slot.name)
      if self._takes(slot.name) and name in bundle.infos:
        checkpoint_reader.check(prefix, bundle, name, slot.shape)
        if checkpoint_reader.is_mine(number):
          checkpoint_reader.check_checksum(prefix, bundle, name)
        taken[slot.name] = checkpoint_reader.read_one(bundle, name, slot, mesh)
    return taken

  def _takes(self, name: str) -> bool:
    """Whether a variable is taken from the other checkpoint, if that has it."""
    stored = mesh_utils.init_checkpoint_variable_mapping(name)
    return bool(mesh_utils.should_load_variable(name)) and bool(re.search(self.init_filter, stored))


@dataclasses.dataclass(frozen=True)
class Saves:
  """When a training saves: every so many steps, and how many checkpoints are kept."""

  every: int
  keep: int | None


# From the saver of a training, its variables as they are, and the hook of its progress to the hook that validates.
MakeValidation = Callable[
  [kept_checkpoints.Saver, Callable[[], Mapping[str, jax.Array]], progress.Hook], validation_hook.ValidationHook | None
]


def train(
  model_dir: str,
  executable: Executable,
  start: Start,
  batches: Batches,
  saves: Saves,
  last_step: int,
  others: Any,
  make_validation: MakeValidation,
) -> None:
  """Trains up to a step.

  Args:
    model_dir: the folder
    executable: of the step
    start: where the weights come from
    batches: the data, from where the training begins
    saves: when it saves
    last_step: the step that it ends with
    others: hooks that the released code gives an Estimator
    make_validation: makes the hook that validates, if there is one
  """
  program, step = executable.program, start.step()
  drawn_with = seed()
  state = start.load(program.variables, executable.mesh, drawn_with)
  named = lambda: dict(zip([slot.name for slot in program.variables], state, strict=True))
  saver = kept_checkpoints.Saver(model_dir, saves.every, saves.keep, step, saving.Saving().seconds)
  if saving.Saving().at_start and not start.resumed:
    kept_checkpoints.Saver(model_dir, saves.every, saves.keep, -1).save(step, named())
  folder = model_dir if processes.is_chief() else None
  training_hooks = hooks.TrainingHooks(run_state.current(), folder, [slot.name for slot in program.outputs], others)
  training_hooks.validate(lambda training: make_validation(saver, named, training))
  training_hooks.begin(step)
  before: Any = None
  # A training whose last validation was killed has no step left.
  for batch in same(batches, first_only=True) if step < last_step else ():
    interrupts.check()
    outputs, state = executable([*state, *fed(executable, batch, {'step': step, 'seed': drawn_with})])
    step += 1
    # The devices are at most one step behind, so that the next one is ready when they are.
    jax.block_until_ready(before)
    before = outputs['loss']
    training_hooks.step(outputs)
    saver.save_if_due(step, named())
    if training_hooks.validated(step) or step >= last_step:
      break
  saver.save(step, named())
  training_hooks.end()


def fed(executable: Executable, batch: Mapping[str, np.ndarray], scalars: Mapping[str, int]) -> list[jax.Array]:
  """The arguments of a step after the variables."""
  values = {**batch, **{name: np.array(number, np.int32) for name, number in scalars.items()}}
  slots = executable.program.inputs + executable.program.scalars
  return [variables.put_array(slot, executable.mesh, values[slot.name]) for slot in slots]


def seed() -> int:
  """SEED, or one that is drawn; the same in every process."""
  chosen = preflight.parameter('launcher.reproducible.seed')
  number = random.SystemRandom().randrange(_MAX_SEED) if chosen is None else int(chosen) % _MAX_SEED
  return processes.same_number(number)


def learning_rate(schedule: Any) -> Any:
  """A learning rate of `utils.run` as a program of one core takes it: a number, or a function of the step."""
  if not callable(schedule):
    return schedule
  return lambda step: schedule(step=tf.cast(step, tf.int64))
