"""`switch_zoo models`: every model by name, with its size and its source."""

import json
from collections.abc import Iterable

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import list_models, load_config

HEADS = ('Model', 'Params', 'Active', 'Experts', 'FLOPs', 'Source')
NOTE = (
  'Active: the parameters used for one token. FLOPs: a forward pass over 512 input and 114 target tokens. '
  'More about one model: switch_zoo describe MODEL'
)


def command(
  as_json: bool = typer.Option(False, '--json', help='One JSON list on stdout.'),
  markdown: bool = typer.Option(False, '--markdown', help='The table in the README.'),
) -> None:
  """Lists the models: parameters, active parameters per token, experts, FLOPs per sequence, source."""
  configs = [load_config(name) for name in list_models()]
  if as_json:
    print(json.dumps([row(config) for config in configs], indent=2))
  elif markdown:
    print(markdown_table(configs))
  else:
    console = Console(highlight=False)
    console.print(_table(configs, console.width))
    console.print(NOTE, style='dim')


def row(config: ModelConfig) -> dict[str, str | int]:
  """One model as an entry of the JSON list. `experts` is their number in a layer, 0 in a dense model."""
  return {
    'name': config.name,
    'parameters': config.num_parameters,
    'active_parameters': config.num_active_parameters,
    'experts': config.num_experts,
    'flops_per_sequence': config.flops_per_sequence(),
    'source': config.source,
  }


def markdown_table(configs: Iterable[ModelConfig]) -> str:
  """The table in the README, which a test compares with it."""
  head = ['Model', 'Parameters', 'Active', 'Experts', 'FLOPs', 'Source']
  rows = [[f'`{config.name}`', *_figures(config), config.source] for config in configs]
  lines = [head, ['---', '---:', '---:', '---:', '---:', '---'], *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def short(number: float) -> str:
  """A number with at most three digits and a letter for thousands to quadrillions.

  >>> short(619_339_008), short(1_571_327_875_360)
  ('619M', '1.57T')
  """
  letters = ['', 'k', 'M', 'B', 'T', 'P']
  while number >= 999.5 and len(letters) > 1:
    number /= 1000
    letters.pop(0)
  digits = 0 if number >= 99.95 or float(number).is_integer() else 1 if number >= 9.995 else 2
  return f'{number:.{digits}f}{letters[0]}'


def _table(configs: Iterable[ModelConfig], width: int) -> Table:
  """The table; on a narrow screen only the source is shortened."""
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  for head in HEADS:
    table.add_column(head, justify='left' if head in ('Model', 'Source') else 'right', no_wrap=True)
  rows = [(config.name, *_figures(config), config.source.split(';')[0]) for config in configs]
  columns = list(zip(HEADS, *rows, strict=True))
  room = width - sum(max(map(len, column)) + 2 for column in columns[:-1]) - 1
  for *cells, source in rows:
    table.add_row(*cells, source if len(source) <= room else f'{source[: room - 3]}...')
  return table


def _figures(config: ModelConfig) -> list[str]:
  experts = str(config.num_experts) if config.num_experts else '-'
  counts = [short(config.num_parameters), short(config.num_active_parameters)]
  return [*counts, experts, short(config.flops_per_sequence())]
