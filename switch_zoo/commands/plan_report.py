"""A plan as tables and as JSON."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo.errors import UserError
from switch_zoo.planner import hints, load
from switch_zoo.planner.gin_lines import gin_lines
from switch_zoo.planner.hardware import GIB, Slice
from switch_zoo.planner.search import Found, Plan, Rejected
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig

SHOWN = 8
SECONDS_A_DAY = 86_400
HOURS_A_DAY = 24
NOTE = (
  'Bytes and FLOPs are those of the step that Mesh-TensorFlow lowers; weights and optimizer are exact; activations and '
  'times are estimates, see docs/planner.md.'
)


class Run:
  """A whole training run: how long a plan takes for it, what it costs, and how its tokens spread over experts.

  Args:
    tokens: of the run, both sides; None: not known
    price: of a chip and hour; None: not known
    lengths: tokens of a sequence of each feature
    shares: of each expert in the tokens, None: balanced
  Raises:
    UserError: a number that is not above 0, or a price without tokens
  """

  def __init__(
    self, tokens: float | None, price: float | None, lengths: Mapping[str, int], shares: Sequence[float] | None = None
  ) -> None:
    for option, value, example in (('--tokens', tokens, '180e9'), ('--price', price, '2.5')):
      if value is not None and not 0 < value < math.inf:
        raise UserError(f'{option} {value:g} is not a number above 0. Give one, as in {option} {example}.')
    if price and not tokens:
      raise UserError('--price needs the length of the run: add --tokens, as in --tokens 180e9.')
    self._tokens = tokens
    self._price = price
    self.lengths = lengths
    self._shares = shares

  def days(self, plan: Plan) -> float | None:
    """Of the run; None without a number of tokens."""
    if self._tokens is None:
      return None
    steps = self._tokens / (plan.sequences * sum(self.lengths.values()))
    return steps * plan.total_seconds / SECONDS_A_DAY

  def cost(self, plan: Plan, target: Slice) -> float | None:
    """Of the run; None without a price."""
    days = self.days(plan)
    chips = target.cores / target.chip.cores
    return days * HOURS_A_DAY * chips * self._price if days is not None and self._price else None

  def balance(self, config: ModelConfig, plan: Plan) -> dict[str, load.Balance]:
    """Feature -> what becomes of its tokens; {} without a measured distribution."""
    return load.balance(self._shares, plan, config, self.lengths) if self._shares else {}


def _mesh(rejected: Rejected) -> str:
  return mesh_text(rejected.layout)


def mesh_text(layout: layouts.Layout) -> str:
  """The mesh of a layout: 'batch:8 model:4'."""
  return ' '.join(f'{axis}:{size}' for axis, size in layout.mesh.items()) or 'one slice'


def cuts(layout: layouts.Layout) -> str:
  """What a layout cuts, in words: 'data experts'."""
  kinds = {'batch': 'data', 'experts': 'experts', 'd_ff': 'model', 'outer_batch': 'replicas'}
  return ' '.join(word for name, word in kinds.items() if name in layout.rules) or 'nothing'


def document(config: ModelConfig, target: Slice, found: Found, run: Run) -> dict[str, Any]:
  """The layouts of a slice for JSON."""
  return {
    'slice': target.name,
    'cores': target.cores,
    'memory_limit': target.chip.limit,
    'layouts': [_plan_document(config, target, plan, run) for plan in found.plans],
    'rejected': [{'mesh': _mesh(r), 'rules': r.layout.text()[1], 'reason': r.reason} for r in found.rejected],
  }


def _plan_document(config: ModelConfig, target: Slice, plan: Plan, run: Run) -> dict[str, Any]:
  mesh, rules = plan.layout.text()
  used = plan.memory
  return {
    'mesh_shape': mesh,
    'layout_rules': rules,
    'expert_replicas': plan.layout.outer_batch_size,
    'sequences': plan.sequences,
    'microbatches': plan.microbatches,
    'memory': {
      'weights': used.weights, 'optimizer': used.optimizer, 'copies': used.copies, 'gradients': used.gradients,
      'activations': used.activations, 'of_them_dispatch': used.dispatch, 'code': used.code, 'total': used.total,
    },
    'flops': plan.flops,
    'sent': [{'kind': kind, 'axes': list(axes), 'bytes': size} for (kind, axes), size in plan.sent.items()],
    'seconds': dict(plan.seconds),
    'step_seconds': plan.total_seconds,
    'sequences_per_second': plan.sequences_per_second,
    'share_of_peak': plan.share_of_peak(config, target, run.lengths),
    'days': run.days(plan),
    'cost': run.cost(plan, target),
    'hints': hints.of_plan(plan, config, target, run.lengths),
    'load': {feature: dataclasses.asdict(one) for feature, one in run.balance(config, plan).items()},
  }  # fmt: skip


def print_layouts(console: Console, config: ModelConfig, target: Slice, found: Found, run: Run) -> None:
  """Prints the layouts of one slice."""
  best = found.plans[0]
  console.print(
    f'[bold]{config.name}[/bold] on {target.name}: {target.cores} cores of {target.chip.limit / GIB:.1f} GiB, '
    f'{best.sequences} sequences a step'
  )
  console.print(_table(config, [(target, plan) for plan in found.plans[:SHOWN]], run))
  console.print(_details(best))
  for line in [*_load_lines(run.balance(config, best)), *hints.of_plan(best, config, target, run.lengths)]:
    console.print(line, markup=False)
  console.print()
  console.print(gin_lines(best, config.name, target.name, run.lengths), markup=False)
  for line in _reasons(found.rejected):
    console.print(line, style='dim', markup=False)
  console.print(NOTE, style='dim')


def print_comparison(console: Console, config: ModelConfig, rows: list[tuple[Slice, Found]], run: Run) -> None:
  """Prints the best layout of each slice."""
  console.print(f'[bold]{config.name}[/bold]: the best layout on each slice')
  console.print(_table(config, [(target, found.plans[0]) for target, found in rows], run))
  console.print(NOTE, style='dim')


def _table(config: ModelConfig, rows: Iterable[tuple[Slice, Plan]], run: Run) -> Table:
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  rows = list(rows)
  several = len({target.name for target, _ in rows}) > 1
  heads = [*(['Slice'] if several else []), 'Mesh', 'Cuts', 'Micro', 'GiB', 'Step', 'Seq/s', 'Peak']
  extra = [
    head for head, value in (('Days', run.days), ('Cost', lambda p: run.cost(p, rows[0][0]))) if value(rows[0][1])
  ]
  for head in [*heads, *extra, 'Most time']:
    table.add_column(head, justify='left' if head in ('Slice', 'Mesh', 'Cuts', 'Most time') else 'right')
  for target, plan in rows:
    days, price = run.days(plan), run.cost(plan, target)
    cells = [target.name] if several else []
    cells += [mesh_text(plan.layout), cuts(plan.layout), str(plan.microbatches), f'{plan.memory.total / GIB:.1f}']
    cells += [f'{plan.total_seconds:.3g} s', f'{plan.sequences_per_second:.0f}']
    cells.append(f'{plan.share_of_peak(config, target, run.lengths):.0%}')
    cells += [f'{days:.1f}'] if days else []
    cells += [f'{price:,.0f}'] if price else []
    table.add_row(*cells, _causes(plan))
  return table


def _causes(plan: Plan) -> str:
  largest = sorted(plan.seconds.items(), key=lambda item: -item[1])[:2]
  return ', '.join(f'{cause} {seconds / plan.total_seconds:.0%}' for cause, seconds in largest)


def _details(plan: Plan) -> Table:
  table = Table.grid(padding=(0, 2))
  used = plan.memory
  parts = {'weights': used.weights, 'optimizer': used.optimizer, 'copies of weights': used.copies}
  parts |= {'gradients': used.gradients, 'activations': used.activations, 'code': used.code}
  table.add_row('Memory', ', '.join(f'{name} {size / GIB:.2f}' for name, size in parts.items()) + ' GiB')
  if used.dispatch:
    table.add_row('', f'of the activations in dispatch tensors and slots: {used.dispatch / GIB:.2f} GiB')
  times = ', '.join(f'{cause} {seconds * 1e3:.1f}' for cause, seconds in plan.seconds.items() if seconds)
  table.add_row('Time', f'{times} ms')
  for (kind, axes), size in sorted(plan.sent.items(), key=lambda item: -item[1]):
    if size >= 2**20:
      table.add_row('Sent', f'{kind} along {", ".join(axes)}: {size / 2**20:,.0f} MiB a core')
  return table


def _load_lines(balances: Mapping[str, load.Balance]) -> list[str]:
  return [
    f'With this load, {one.dropped:.1%} of the choices of {feature} are dropped and {one.filled:.0%} of the slots are '
    f'filled, {one.emptiest:.0%} to {one.fullest:.0%} of a core. Empty slots are computed too, so the step takes as '
    f'long; capacity_factor_train={one.enough:.2f} would drop none.'
    for feature, one in balances.items()
  ]


def _reasons(rejected: Iterable[Rejected]) -> list[str]:
  """'batch:16 model:8: heads ...' once for each reason."""
  first: dict[str, list[str]] = {}
  for one in rejected:
    first.setdefault(one.reason, []).append(f'{_mesh(one)} ({cuts(one.layout)})')
  lines = []
  for reason, meshes in list(first.items())[:SHOWN]:
    others = len(set(meshes)) - 1
    lines.append(f'{meshes[0]}{f" and {others} more" if others else ""}: {reason}')
  return lines
