"""The ready layouts: which strategy and mesh gin/layouts has for a model on a slice, and the text of the file."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.planner import memory
from switch_zoo.planner.hardware import slice_named
from switch_zoo.planner.search import Judge, Plan, Rejected
from switch_zoo.planner.step import LENGTHS
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.layouts import Layout
from switch_zoo.spec.zoo import load_config

DENSE = ('data', 'model', 'model_data')
SPARSE = ('data', 'expert_data', 'expert_model_data', 'expert_replication')
REPLICATED = 'expert_replication'
# Switch-C is a model without model parallelism (arXiv:2101.03961, section 5.6), and its layouts keep to that.
WITHOUT_MODEL_AXIS = ('switch_c_2048', 'switch_c_2048_paper')
# Predictions that are closer than this say nothing about which layout is faster: the mean error of
# benchmarks/planner.py.
MARGIN = 0.11


class Ready(NamedTuple):
  """A file of gin/layouts that holds its mesh.

  strategy: the file it includes
  plan: the layout, judged on a batch of the default size
  """

  strategy: str
  plan: Plan


def choose(model: str, slice_name: str) -> Ready:
  """The layout of a model on a slice.

  Of those within `MARGIN` of the fastest: one without replicas of the experts, with which no answers can be made; then
  the one with the fewest axes, whose cores depend least on each other; then the one with the fewest weights on a core.

  Raises:
    UserError: no strategy fits
  """
  config, target = load_config(model), slice_named(slice_name)
  judge = Judge(config, target, max(layouts.SEQUENCES, target.cores), LENGTHS)
  judged = [(strategy, judge.judge(layout)) for strategy, layout in candidates(config, target.cores)]
  fitting = [Ready(strategy, plan) for strategy, plan in judged if isinstance(plan, Plan)]
  if not fitting:
    reasons = {plan.reason: None for _, plan in judged if isinstance(plan, Rejected)}
    raise UserError(f'{model} has no ready layout on {slice_name}: {"; ".join(list(reasons)[:3])}.')
  fastest = min(ready.plan.total_seconds for ready in fitting)
  return min(
    (ready for ready in fitting if ready.plan.total_seconds <= (1 + MARGIN) * fastest),
    key=lambda ready: (
      ready.plan.layout.outer_batch_size,
      len(ready.plan.layout.mesh),
      memory.weights(config, ready.plan.layout),
      ready.plan.total_seconds,
    ),
  )


def candidates(config: ModelConfig, cores: int) -> Iterator[tuple[str, Layout]]:
  """Strategies with every mesh of this many cores that has all their axes."""
  for strategy in SPARSE if config.num_experts else DENSE:
    if config.name in WITHOUT_MODEL_AXIS and strategy == 'expert_model_data':
      continue
    rules = _rules(strategy)
    axes = [
      axis for axis in ('outer', 'batch', 'model') if axis in {rule.partition(':')[2] for rule in rules.split(';')}
    ]
    for sizes in _factors(cores, len(axes)):
      mesh = ';'.join(f'{axis}:{size}' for axis, size in zip(axes, sizes, strict=True))
      yield strategy, layouts.parse(mesh, rules, sizes[0] if strategy == REPLICATED else 1)


def text(model: str, slice_name: str, strategy: str, layout: Layout) -> str:
  """The file of a ready layout."""
  needed = layout.parts('batch') * layout.outer_batch_size
  note = (
    f' A batch must have at least {needed:,} sequences: BATCH_SIZE = {needed}.' if needed > layouts.SEQUENCES else ''
  )
  lines = [
    f'# {model} on {slice_name}.{note}',
    f"include 'layouts/{strategy}.gin'",
    '',
    f"mesh_shape = '{layout.text()[0]}'",
  ]
  if strategy == REPLICATED:
    lines.append(f'expert_replicas = {layout.outer_batch_size}')
  return '\n'.join(lines) + '\n'


@functools.cache
def _rules(strategy: str) -> str:
  parameters = ["mesh_shape = 'outer:1;batch:1;model:1'"] + ['expert_replicas = 1'] * (strategy == REPLICATED)
  return layouts.load_layout(strategy, tuple(parameters)).text()[1]


def _factors(number: int, count: int) -> Iterator[tuple[int, ...]]:
  """Ways to write a number as a product of `count` numbers above 1.

  >>> list(_factors(8, 2)), list(_factors(8, 1))
  ([(2, 4), (4, 2)], [(8,)])
  """
  if count == 1:
    yield (number,)
    return
  for first in range(2, number):
    if number % first == 0 and number // first > 1:
      for others in _factors(number // first, count - 1):
        yield (first, *others)
