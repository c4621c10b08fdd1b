"""`switch_zoo plan MODEL --slice v3-128`: which layout, how much memory, how long, before a TPU is paid for."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo.commands.json_output import as_json as json_text
from switch_zoo.errors import UserError
from switch_zoo.planner import hints
from switch_zoo.planner.gin_lines import gin_lines
from switch_zoo.planner.hardware import GIB, Slice, slice_named
from switch_zoo.planner.search import Found, Judge, Plan, Rejected
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import load_config

SHOWN = 8
SECONDS_A_DAY = 86_400
HOURS_A_DAY = 24
NOTE = (
  'Bytes and FLOPs are those of the step that Mesh-TensorFlow lowers; weights and optimizer are exact; activations and '
  'times are estimates, see docs/planner.md.'
)


def command(
  model: str = typer.Argument(..., metavar='MODEL', help='A name, or the path of a gin file.'),
  slice_name: str = typer.Option(
    '', '--slice', metavar='NAME', help='What to train on: v3-128, v4-64, v5e-16, h100-8.'
  ),
  batch: int = typer.Option(0, '--batch', metavar='N', help='Sequences of a step. Default: 2048, or one a core.'),
  lengths: str = typer.Option('512,114', '--lengths', metavar='N,N', help='Tokens of inputs and of targets.'),
  layout: str = typer.Option('', '--layout', metavar='FILE', help='Judge this layout only: a name or a gin file.'),
  compare: str = typer.Option('', '--compare', metavar='NAMES', help='The best layout on each of these slices.'),
  tokens: float = typer.Option(0.0, '--tokens', metavar='N', help='Tokens to train on, as 180e9: adds the days.'),
  price: float = typer.Option(0.0, '--price', metavar='P', help='Of a chip and hour: with --tokens, adds the cost.'),
  write: str = typer.Option('', '--write', metavar='FILE.gin', help='Write the best layout for t5_mesh_transformer.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON object on stdout.'),
) -> None:
  """Finds the layouts of a model on a slice: memory of a core, bytes sent, time of a step, the best one first."""
  targets = [slice_named(name) for name in filter(None, [slice_name, *compare.split(',')])]
  if not targets:
    raise UserError('plan needs a slice to plan for. Give --slice v3-128, or several as --compare v3-512,v4-64.')
  tokens_of = parse_lengths(lengths)
  config = load_config(model)
  rows = []
  for target in targets:
    sequences = batch or max(layouts.SEQUENCES, target.cores)
    rows.append((target, find(config, target, sequences, tokens_of, layout)))
  run = _Run(tokens, price, tokens_of)
  if write:
    write_gin(write, rows[0][1].plans[0], config.name, rows[0][0].name, tokens_of)
  if as_json:
    print(json_text({'model': config.name, 'slices': [_document(config, t, f, run) for t, f in rows]}))
  elif len(rows) > 1:
    _print_comparison(Console(highlight=False), config, rows, run)
  else:
    target, found = rows[0]
    _print(Console(highlight=False), config, target, found, run)


def parse_lengths(text: str) -> dict[str, int]:
  """'512,114' as {'inputs': 512, 'targets': 114}.

  Raises:
    UserError: it is not two whole numbers above 0
  """
  parts = text.split(',')
  if len(parts) != 2 or not all(part.strip().isdigit() and int(part) for part in parts):
    raise UserError(f'--lengths {text}: give the tokens of inputs and of targets, as in --lengths 512,114.')
  return dict(zip(('inputs', 'targets'), map(int, parts), strict=True))


def find(config: ModelConfig, target: Slice, sequences: int, lengths: Mapping[str, int], layout: str = '') -> Found:
  """The layouts of a model on a slice, or the one that is asked for.

  Raises:
    UserError: no layout fits, or the one that is asked for does not
  """
  if sequences < 1:
    raise UserError(f'--batch {sequences}: a step needs at least one sequence.')
  judge = Judge(config, target, sequences, lengths)
  if layout:
    return _only(judge, layouts.load_layout(layout), layout, target)
  found = judge.search()
  if found.plans:
    return found
  closest = '; '.join(dict.fromkeys(f'{_mesh(r)}: {r.reason}' for r in found.rejected[:3]))
  wider = hints.larger_slice(config, target, sequences, lengths)
  remedy = f'The next slice on which it fits is {wider}.' if wider else f'It fits no slice of {target.chip.name}.'
  raise UserError(
    f'{config.name} has no layout on {target.name} with {sequences} sequences a step ({closest}). {remedy}'
  )


def write_gin(path: str, plan: Plan, model: str, slice_name: str, lengths: Mapping[str, int]) -> None:
  """Writes a plan as a layout file.

  Raises:
    UserError: the file cannot be written
  """
  try:
    pathlib.Path(path).write_text(gin_lines(plan, model, slice_name, lengths), encoding='utf-8')
  except OSError as error:
    raise UserError(f'--write {path}: {error.strerror}. Give a file in a folder that exists.') from error


class _Run:
  """A whole training run: how long a plan takes for it, and what it costs."""

  def __init__(self, tokens: float, price: float, lengths: Mapping[str, int]) -> None:
    if price and not tokens:
      raise UserError('--price needs the length of the run: add --tokens, as in --tokens 180e9.')
    self._tokens = tokens
    self._price = price
    self.lengths = lengths

  def days(self, plan: Plan) -> float | None:
    """Of the run; None without a number of tokens."""
    steps = self._tokens / (plan.sequences * sum(self.lengths.values()))
    return steps * plan.total_seconds / SECONDS_A_DAY if self._tokens else None

  def cost(self, plan: Plan, target: Slice) -> float | None:
    """Of the run; None without a price."""
    days = self.days(plan)
    chips = target.cores / target.chip.cores
    return days * HOURS_A_DAY * chips * self._price if days is not None and self._price else None


def _only(judge: Judge, layout: layouts.Layout, name: str, target: Slice) -> Found:
  if layout.num_slices != target.cores:
    raise UserError(
      f'{name}: its mesh {_mesh_text(layout)} has {layout.num_slices} slices, and {target.name} has {target.cores} '
      f'cores: a core holds one slice. Make the axes multiply to {target.cores}, or plan for another slice.'
    )
  judged = judge.judge(layout)
  if isinstance(judged, Rejected):
    raise UserError(f'{name} cannot be used on {target.name}: {judged.reason}. Leave out --layout for those that can.')
  return Found((judged,), ())


def _mesh(rejected: Rejected) -> str:
  return _mesh_text(rejected.layout)


def _mesh_text(layout: layouts.Layout) -> str:
  return ' '.join(f'{axis}:{size}' for axis, size in layout.mesh.items()) or 'one slice'


def _cut(layout: layouts.Layout) -> str:
  kinds = {'batch': 'data', 'experts': 'experts', 'd_ff': 'model', 'outer_batch': 'replicas'}
  return ' '.join(word for name, word in kinds.items() if name in layout.rules) or 'nothing'


def _document(config: ModelConfig, target: Slice, found: Found, run: _Run) -> dict[str, Any]:
  return {
    'slice': target.name,
    'cores': target.cores,
    'memory_limit': target.chip.limit,
    'layouts': [_plan_document(config, target, plan, run) for plan in found.plans],
    'rejected': [{'mesh': _mesh(r), 'rules': r.layout.text()[1], 'reason': r.reason} for r in found.rejected],
  }


def _plan_document(config: ModelConfig, target: Slice, plan: Plan, run: _Run) -> dict[str, Any]:
  mesh, rules = plan.layout.text()
  used = plan.memory
  return {
    'mesh_shape': mesh,
    'layout_rules': rules,
    'expert_replicas': plan.layout.outer_batch_size,
    'sequences': plan.sequences,
    'microbatches': plan.microbatches,
    'memory': {
      'weights': used.weights, 'optimizer': used.optimizer, 'gradients': used.gradients,
      'activations': used.activations, 'of_them_dispatch': used.dispatch, 'total': used.total,
    },
    'flops': plan.flops,
    'sent': [{'kind': kind, 'axes': list(axes), 'bytes': size} for (kind, axes), size in plan.sent.items()],
    'seconds': dict(plan.seconds),
    'step_seconds': plan.total_seconds,
    'sequences_per_second': plan.sequences_per_second,
    'share_of_peak': plan.share_of_peak(config, target, run.lengths),
    'days': run.days(plan),
    'cost': run.cost(plan, target),
  }  # fmt: skip


def _print(console: Console, config: ModelConfig, target: Slice, found: Found, run: _Run) -> None:
  best = found.plans[0]
  console.print(
    f'[bold]{config.name}[/bold] on {target.name}: {target.cores} cores of {target.chip.limit / GIB:.1f} GiB, '
    f'{best.sequences} sequences a step'
  )
  console.print(_table(config, [(target, plan) for plan in found.plans[:SHOWN]], run))
  console.print(_details(best))
  for hint in hints.of_plan(best, config, run.lengths):
    console.print(hint)
  console.print()
  console.print(gin_lines(best, config.name, target.name, run.lengths), markup=False)
  for line in _reasons(found.rejected):
    console.print(line, style='dim', markup=False)
  console.print(NOTE, style='dim')


def _print_comparison(console: Console, config: ModelConfig, rows: list[tuple[Slice, Found]], run: _Run) -> None:
  console.print(f'[bold]{config.name}[/bold]: the best layout on each slice')
  console.print(_table(config, [(target, found.plans[0]) for target, found in rows], run))
  console.print(NOTE, style='dim')


def _table(config: ModelConfig, rows: Iterable[tuple[Slice, Plan]], run: _Run) -> Table:
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
    cells += [_mesh_text(plan.layout), _cut(plan.layout), str(plan.microbatches), f'{plan.memory.total / GIB:.1f}']
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
  parts = {'weights': used.weights, 'optimizer': used.optimizer, 'gradients': used.gradients}
  parts['activations'] = used.activations
  table.add_row('Memory', ', '.join(f'{name} {size / GIB:.2f}' for name, size in parts.items()) + ' GiB')
  if used.dispatch:
    table.add_row('', f'of the activations in dispatch tensors and slots: {used.dispatch / GIB:.2f} GiB')
  times = ', '.join(f'{cause} {seconds * 1e3:.1f}' for cause, seconds in plan.seconds.items() if seconds)
  table.add_row('Time', f'{times} ms')
  for (kind, axes), size in sorted(plan.sent.items(), key=lambda item: -item[1]):
    if size >= 2**20:
      table.add_row('Sent', f'{kind} along {", ".join(axes)}: {size / 2**20:,.0f} MiB a core')
  return table


def _reasons(rejected: Iterable[Rejected]) -> list[str]:
  """'batch:16 model:8: heads ...' once for each reason."""
  first: dict[str, list[str]] = {}
  for one in rejected:
    first.setdefault(one.reason, []).append(_mesh(one))
  lines = []
  for reason, meshes in list(first.items())[:SHOWN]:
    others = len(set(meshes)) - 1
    lines.append(f'{meshes[0]}{f" and {others} more" if others else ""}: {reason}')
  return lines
