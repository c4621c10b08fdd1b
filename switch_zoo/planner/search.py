"""Every way of laying a model on a slice, the best first."""

import bisect
import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping

from switch_zoo import garbage
from switch_zoo.errors import UserError, paragraph
from switch_zoo.planner import cost, lowering, memory, sizes, step
from switch_zoo.planner.hardware import GIB, Slice
from switch_zoo.planner.slicing import Slicing
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.layouts import Layout

# The rules of gin/layouts, by what they cut.
BATCH_RULES = {'outer_batch': 'outer', 'batch': 'batch'}
EXPERT_RULES = {'experts': 'batch'}
MODEL_RULES = {'d_ff': 'model', 'heads': 'model', 'vocab': 'model'}
EXPERT_MODEL_RULES = {'expert_hidden': 'model', 'd_model_split': 'model'}

# Of this many layouts, the fastest ones, more microbatches than the fewest are tried too.
CONTENDERS = 3


@dataclasses.dataclass(frozen=True)
class Plan:
  """One layout, judged.

  layout: the layout
  sequences: of a step
  microbatches: of a step
  memory: of a core
  seconds: cause -> seconds of a step
  flops: of the matrix products of a step on a core; a multiply and an add are two
  sent: (kind, mesh axes) -> bytes of a step that one core gives to, or has after, such exchanges
  """

  layout: Layout
  sequences: int
  microbatches: int
  memory: memory.Memory
  seconds: Mapping[str, float]
  flops: int
  sent: Mapping[tuple[str, tuple[str, ...]], int]

  @property
  def total_seconds(self) -> float:
    """Of a step."""
    return sum(self.seconds.values())

  @property
  def sequences_per_second(self) -> float:
    """Of all cores."""
    return self.sequences / self.total_seconds

  def share_of_peak(self, config: ModelConfig, target: Slice, lengths: Mapping[str, int]) -> float:
    """The model's FLOPs, `ModelConfig.flops_per_sequence` forward and twice that backward, over the slice's peak."""
    useful = 3 * config.flops_per_sequence(lengths['inputs'], lengths['targets']) * self.sequences
    return useful / (self.total_seconds * target.cores * target.chip.flops)


@dataclasses.dataclass(frozen=True)
class Rejected:
  """A layout that cannot be used.

  reason: why, in a few words
  needed: bytes of a core, if it is the memory; 0 otherwise
  """

  layout: Layout
  reason: str
  needed: float = 0.0


@dataclasses.dataclass(frozen=True)
class Found:
  """plans: those that fit, fastest first; rejected: the others."""

  plans: tuple[Plan, ...]
  rejected: tuple[Rejected, ...]


def candidates(config: ModelConfig, cores: int) -> Iterator[Layout]:
  """Every mesh (outer, batch, model) of this many cores, with the rules that fit its axes.

  A dense model has no outer axis. With experts: cut over `batch`, or whole on each core.
  """
  for batch in _divisors(cores):
    for model in _divisors(cores // batch):
      outer = cores // batch // model
      if outer > 1 and not config.num_experts:
        continue
      mesh = {axis: size for axis, size in (('outer', outer), ('batch', batch), ('model', model)) if size > 1}
      for rules in _rules(config):
        used = {name: axis for name, axis in rules.items() if axis in mesh}
        if outer == 1 or 'experts' in used:
          yield Layout(mesh, used, outer)


def check_counted(layout: Layout) -> None:
  """Checks that `lowering` is known to count a layout as Mesh-TensorFlow lowers it.

  Raises:
    UserError: a rule for another dimension than the strategies have, or an axis that cuts no input of the attention:
      there Mesh-TensorFlow cuts the heads or the batch a second time, which is not counted
  """
  rules = BATCH_RULES | EXPERT_RULES | MODEL_RULES | EXPERT_MODEL_RULES
  for dimension, axis in layout.rules.items():
    if dimension not in rules:
      raise UserError(f'the planner does not count the rule "{dimension}:{axis}", only rules for {", ".join(rules)}')
  for axis in layout.mesh:
    if axis not in {layout.rules.get(name) for name in ('outer_batch', 'batch', 'heads')}:
      raise UserError(f'mesh axis "{axis}" cuts neither the batch nor the heads, which the planner does not count')


def _rules(config: ModelConfig) -> list[dict[str, str]]:
  if not config.num_experts:
    return [BATCH_RULES | MODEL_RULES]
  cut = BATCH_RULES | EXPERT_RULES | MODEL_RULES | EXPERT_MODEL_RULES
  whole = {name: axis for name, axis in cut.items() if name not in ('experts', 'd_model_split')}
  return [cut, whole]


def _divisors(number: int) -> list[int]:
  small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
  return sorted({*small, *(number // divisor for divisor in small)})


class Judge:
  """Judges layouts of one model on one slice with one batch. The model's graph is built once for all."""

  def __init__(self, config: ModelConfig, target: Slice, sequences: int, lengths: Mapping[str, int]) -> None:
    self._config = config
    self._target = target
    self._sequences = sequences
    self._lengths = lengths

  def search(self) -> Found:
    """All candidates."""
    unique = {layout.text(): layout for layout in candidates(self._config, self._target.cores)}
    with garbage.without_collections():
      judged = [self.judge(layout) for layout in unique.values()]
      plans = sorted((p for p in judged if isinstance(p, Plan)), key=lambda plan: plan.total_seconds)
      plans = [*map(self.fastest, plans[:CONTENDERS]), *plans[CONTENDERS:]]
    plans.sort(key=lambda plan: plan.total_seconds)
    return Found(tuple(plans), tuple(r for r in judged if isinstance(r, Rejected)))

  def fits(self) -> bool:
    """Whether any layout does; the first that is found ends the search."""
    with garbage.without_collections():
      return any(isinstance(self.judge(layout), Plan) for layout in candidates(self._config, self._target.cores))

  def judge(self, layout: Layout) -> Plan | Rejected:
    """A layout with the fewest microbatches that fit the memory of a core."""
    try:
      layouts.check(layout, self._config, self._sequences)
      check_counted(layout)
    except UserError as error:
      return Rejected(layout, _first_words(error))
    limit = self._target.chip.limit
    held = memory.weights(self._config, layout) + memory.optimizer_state(self._config, layout)
    if held > limit:
      return Rejected(layout, f'weights and optimizer need {held / GIB:.1f} of {limit / GIB:.1f} GiB', held)
    try:
      numbers = self._microbatches(layout)
      uses = functools.cache(lambda number: self._memory(layout, number))
      # More microbatches need less memory: the first that fits, found by halving.
      fewest = bisect.bisect_left(numbers, True, key=lambda number: uses(number).total <= limit)
      if fewest == len(numbers):
        needed = uses(numbers[-1]).total
        words = f'needs {needed / GIB:.1f} of {limit / GIB:.1f} GiB with one sequence a microbatch'
        return Rejected(layout, words, needed)
      return self._plan(layout, numbers[fewest], uses(numbers[fewest]))
    except UserError as error:
      return Rejected(layout, _first_words(error))

  def fastest(self, plan: Plan) -> Plan:
    """The layout of a plan with two or four times the microbatches, if that is faster; the plan itself if not."""
    numbers = [n for n in self._microbatches(plan.layout) if n in (2 * plan.microbatches, 4 * plan.microbatches)]
    tries = [plan]
    for number in numbers:
      # Fewer tokens may not divide into routing groups.
      with contextlib.suppress(UserError):
        tries.append(self._plan(plan.layout, number, self._memory(plan.layout, number)))
    return min(tries, key=lambda one: one.total_seconds)

  def _microbatches(self, layout: Layout) -> list[int]:
    """Numbers of microbatches, each with the same number of sequences on each core, fewest first."""
    each = self._sequences // (layout.parts('batch') * layout.outer_batch_size)
    # The powers of two that divide it, the largest of which is its lowest bit.
    powers = [1 << bit for bit in range((each & -each).bit_length())]
    return sorted({*powers, each})

  def _slicing(self, layout: Layout, microbatches: int) -> Slicing:
    """How a layout cuts the template for one of these microbatches."""
    parts = layout.parts('batch')
    sequences = self._sequences // microbatches
    actual = sizes.of_step(self._config, sequences, self._lengths, layout.outer_batch_size, parts)
    return Slicing(layout, sizes.placed(self._config, actual))

  def _memory(self, layout: Layout, microbatches: int) -> memory.Memory:
    slicing = self._slicing(layout, microbatches)
    return memory.of_step(self._config, layout, step.template(self._config), microbatches, slicing)

  def _plan(self, layout: Layout, microbatches: int, used: memory.Memory) -> Plan:
    slicing, template = self._slicing(layout, microbatches), step.template(self._config)
    lowered = lowering.lower_step(template, slicing)
    work = cost.Work(lowered, memory.traffic(template, slicing), microbatches)
    repeats = lambda section: 1 if section == 'optimizer' else microbatches
    flops = sum(2 * p.multiplications * repeats(p.section) for p in lowered.products if p.contracted)
    sent: dict[tuple[str, tuple[str, ...]], int] = {}
    for c in lowered.collectives:
      times = 1 if c.gradient else repeats(c.section)
      axes = tuple(axis for axis in layout.mesh if axis in c.axes)
      sent[c.kind, axes] = sent.get((c.kind, axes), 0) + c.bytes * times
    seconds = cost.step_seconds(work, layout, self._target)
    return Plan(layout, self._sequences, microbatches, used, seconds, flops, sent)


def _first_words(error: UserError) -> str:
  """The first sentence, without what follows in parentheses."""
  return paragraph(error).split('. ')[0].split(' (')[0].rstrip('.')
