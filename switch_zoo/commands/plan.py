"""`switch_zoo plan MODEL --slice v3-128`: which layout, how much memory, how long, before a TPU is paid for."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import typer
from rich.console import Console

from switch_zoo.commands import plan_all, plan_plot, plan_ready, plan_report
from switch_zoo.commands.json_output import as_json as json_text
from switch_zoo.errors import UserError
from switch_zoo.planner import hints, load
from switch_zoo.planner.gin_lines import MARK, gin_lines
from switch_zoo.planner.hardware import Slice, slice_named
from switch_zoo.planner.search import Found, Judge, Plan, Rejected
from switch_zoo.spec import layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import load_config

# Tokens of inputs and of targets, as --lengths takes them.
LENGTHS = '512,114'


def command(
  model: str = typer.Argument('', metavar='MODEL', help='A name, or the path of a gin file.'),
  slice_name: str = typer.Option(
    '', '--slice', metavar='NAME', help='What to train on: v3-128, v4-64, v5e-16, h100-8.'
  ),
  batch: int = typer.Option(0, '--batch', metavar='N', help='Sequences of a step. Default: 2048, or one a core.'),
  lengths: str = typer.Option(LENGTHS, '--lengths', metavar='N,N', help='Tokens of inputs and of targets.'),
  layout: str = typer.Option('', '--layout', metavar='FILE', help='Judge this layout only: a name or a gin file.'),
  compare: str = typer.Option('', '--compare', metavar='NAMES', help='The best layout on each of these slices.'),
  measure: int = typer.Option(0, '--measure', metavar='N', help='Plan for N slices of this computer, measured now.'),
  every: bool = typer.Option(False, '--all', help='A table of every ready layout, or those of --slice, in Markdown.'),
  ready: str = typer.Option(
    '', '--ready-layouts', metavar='DIR', help='Write the ready layouts, of all slices or of --slice, into a folder.'
  ),
  tokens: float | None = typer.Option(
    None, '--tokens', metavar='N', help='Tokens to train on, as 180e9: adds the days.'
  ),
  price: float | None = typer.Option(
    None, '--price', metavar='P', help='Of a chip and hour: with --tokens, adds the cost.'
  ),
  load_file: str = typer.Option(
    '', '--load', metavar='FILE', help='Tokens of each expert as measured: what is dropped.'
  ),
  plot: str = typer.Option('', '--plot', metavar='FILE.png', help='A picture of time and memory of the best layouts.'),
  write: str = typer.Option('', '--write', metavar='FILE.gin', help='Write the best layout for t5_mesh_transformer.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON object on stdout.'),
) -> None:
  """Finds the layouts of a model on a slice: memory of a core, bytes sent, time of a step, the best one first."""
  if every or ready:
    others = {'--ready-layouts': every and ready, '--batch': batch, '--lengths': lengths != LENGTHS}
    others |= {'--layout': layout, '--compare': compare, '--measure': measure, '--tokens': tokens is not None}
    others |= {'--price': price is not None, '--load': load_file, '--plot': plot, '--write': write, '--json': as_json}
    check_alone('--all' if every else '--ready-layouts', model, others)
    if ready:
      plan_ready.write(ready, slice_name, print)
    else:
      print_all(slice_name)
    return
  if not model:
    raise UserError('plan needs a model: its name, or the path of a gin file. `switch_zoo models` lists the names.')
  targets = find_slices(slice_name, compare, measure)
  tokens_of = parse_lengths(lengths)
  config = load_config(model)
  shares = load.read(load_file, config) if load_file else None
  run = plan_report.Run(tokens, price, tokens_of, shares)
  if plot:
    plan_plot.check(plot)
  if write:
    check_write(write, targets)
  rows = []
  for target in targets:
    sequences = batch or max(layouts.SEQUENCES, target.cores)
    rows.append((target, find(config, target, sequences, tokens_of, layout)))
  if plot:
    plan_plot.draw(plot, config.name, rows)
  if write:
    write_gin(write, rows[0][1].plans[0], config.name, rows[0][0].name, tokens_of)
  if as_json:
    print(json_text({'model': config.name, 'slices': [plan_report.document(config, t, f, run) for t, f in rows]}))
  elif len(rows) > 1:
    plan_report.print_comparison(Console(highlight=False), config, rows, run)
  else:
    target, found = rows[0]
    plan_report.print_layouts(Console(highlight=False), config, target, found, run)


def check_alone(option: str, model: str, others: Mapping[str, object]) -> None:
  """Checks that nothing is given that --all or --ready-layouts would ignore.

  Args:
    option: one of these two
    model: the argument, '' if it is not given
    others: option -> its value, false if it is not given
  Raises:
    UserError: something is given
  """
  given = [name for name, value in {model: model, **others}.items() if value]
  if given:
    raise UserError(
      f'{option} plans every model that has a ready layout, for a step of {layouts.SEQUENCES:,} sequences of {LENGTHS} '
      f'tokens. Leave out {", ".join(given)}, or leave out {option}.'
    )


def print_all(slice_name: str) -> None:
  """Prints the table of `plan_all`.

  Raises:
    UserError: a slice that has no ready layouts
  """
  for line in plan_all.table(plan_ready.names(slice_name)):
    print(line, flush=True)


def find_slices(slice_name: str, compare: str, measure: int) -> list[Slice]:
  """What to plan for.

  Raises:
    UserError: a slice that does not exist, the same one twice, one to compare, or none
  """
  if measure < 0:
    raise UserError(f'--measure {measure}: a mesh has at least one slice.')
  names = [name.strip() for name in (slice_name, *compare.split(',')) if name.strip()]
  repeated = next((name for number, name in enumerate(names) if name in names[:number]), None)
  if repeated:
    raise UserError(f'Slice {repeated} is given twice. Name each slice once in --slice and --compare.')
  targets = [slice_named(name) for name in names]
  if measure:
    # NumPy takes a moment to load.
    from switch_zoo.commands import plan_measure

    targets.append(plan_measure.this_computer(measure))
  if compare and len(targets) == 1:
    raise UserError(
      f'--compare {compare}: a comparison needs two slices or more. Use --slice {targets[0].name} to plan for one.'
    )
  if not targets:
    raise UserError('plan needs a slice to plan for. Give --slice v3-128, or several as --compare v3-512,v4-64.')
  return targets


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
    return _only(judge, _loaded(layout), layout, target)
  found = judge.search()
  if found.plans:
    return found
  closest = '; '.join(
    dict.fromkeys(f'{plan_report.mesh_text(r.layout)}: {r.reason}' for r in closest_to_fit(found.rejected)[:3])
  )
  changes = hints.changes_that_fit(config, target, sequences, lengths)
  remedy = f'Any of these alone makes it fit: {"; ".join(changes)}.' if changes else 'No single change makes it fit.'
  raise UserError(
    f'{config.name} has no layout on {target.name} with {sequences} sequences a step ({closest}). {remedy}'
  )


def closest_to_fit(rejected: Sequence[Rejected]) -> list[Rejected]:
  """Those whose memory is closest to enough, then those that do not divide."""
  return sorted(rejected, key=lambda one: one.needed or math.inf)


def check_write(path: str, targets: Sequence[Slice]) -> None:
  """Checks that --write can be carried out, before anything is computed for it.

  Raises:
    UserError: a folder that does not exist, a path that is a folder or somebody's file, or several slices
  """
  file = pathlib.Path(path)
  if len(targets) > 1:
    raise UserError(
      f'--write {path}: a file is for one slice, and {len(targets)} are compared. Leave out --compare, and give the '
      'slice as --slice.'
    )
  if file.is_dir() or not file.parent.is_dir():
    raise UserError(f'--write {path} cannot be written. Give a file in a folder that exists.')
  if file.is_file() and not _is_plan(file):
    raise UserError(f'--write {path}: the file exists, and was not written by this command. Give another name.')


def _is_plan(file: pathlib.Path) -> bool:
  try:
    with file.open('rb') as opened:
      return opened.readline(1000).rstrip().endswith(MARK.encode())
  except OSError as error:
    raise UserError(f'--write {file}: {error.strerror}. Give a file that you may write to.') from error


def write_gin(path: str, plan: Plan, model: str, slice_name: str, lengths: Mapping[str, int]) -> None:
  """Writes a plan as a layout file.

  Raises:
    UserError: the file cannot be written
  """
  try:
    pathlib.Path(path).write_text(gin_lines(plan, model, slice_name, lengths), encoding='utf-8')
  except OSError as error:
    raise UserError(f'--write {path}: {error.strerror}. Give a file in a folder that exists.') from error


def _loaded(name: str) -> layouts.Layout:
  try:
    return layouts.load_layout(name)
  except layouts.OpenMeshError as error:
    raise UserError(
      f'--layout {name} leaves its mesh open. Leave out --layout, so that every mesh is tried, or give a gin file that '
      f"includes 'layouts/{name}.gin' and sets mesh_shape, as in mesh_shape = 'batch:8'."
    ) from error


def _only(judge: Judge, layout: layouts.Layout, name: str, target: Slice) -> Found:
  if layout.num_slices != target.cores:
    raise UserError(
      f'{name}: its mesh {plan_report.mesh_text(layout)} has {layout.num_slices} slices, and {target.name} has '
      f'{target.cores} cores: a core holds one slice. Make the axes multiply to {target.cores}, or plan for another '
      'slice.'
    )
  judged = judge.judge(layout)
  if isinstance(judged, Rejected):
    raise UserError(f'{name} cannot be used on {target.name}: {judged.reason}. Leave out --layout for those that can.')
  return Found((judge.fastest(judged),), ())
