"""`switch_zoo describe MODEL`: everything about one model, and the line of gin each number comes from."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo.commands.models import short
from switch_zoo.spec import gin_files
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.zoo import load_config

SIZES = (
    'd_model', 'd_ff', 'd_kv', 'num_heads', 'num_encoder_layers', 'num_decoder_layers', 'vocab_size',
    'target_vocab_size', 'ff_activation', 'tied_embeddings', 'shared_embedding', 'relative_attention_num_buckets',
    'dropout_rate', 'activation_dtype',
)  # fmt: skip
# Names too long for a screen of 80 columns.
LABELS = {'relative_attention_num_buckets': 'relative_buckets'}
EXPERTS = (
    'num_experts', 'expert_d_ff', 'router', 'experts_per_token', 'capacity_factor_train', 'capacity_factor_eval',
    'min_expert_capacity', 'group_size', 'balance_loss_coef', 'expert_dropout_rate',
)  # fmt: skip


def command(
  model: str = typer.Argument(..., metavar='MODEL', help='A name, or the path of a gin file.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON object on stdout.'),
) -> None:
  """Shows a model's full configuration, where each number comes from, and how it departs from its source."""
  config = load_config(model)
  if as_json:
    print(json.dumps(config.as_dict(), indent=2))
  else:
    _print(Console(highlight=False), config)


def short_place(place: str) -> str:
  """'models/t5_base.gin:8' for 'FOLDER/models/t5_base.gin, line 8', where FOLDER holds our gin files."""
  path, _, line = place.partition(', line ')
  path = path.removeprefix(str(gin_files.configs_folder()) + os.sep)
  return f'{path}:{line}' if line else path


def _print(console: Console, config: ModelConfig) -> None:
  console.print(f'[bold]{config.name}[/bold]  {config.title}')
  text = Table.grid(padding=(0, 2))
  text.add_row('Source', config.source or 'not stated')
  text.add_row('Departures', config.departures or 'not stated')
  text.add_row('File', short_place(config.path))
  console.print(text)
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  table.add_column('Setting', no_wrap=True)
  table.add_column('Value', justify='right')
  table.add_column('From', overflow='fold')
  for field in SIZES + (EXPERTS if config.num_experts else ()):
    table.add_row(LABELS.get(field, field), _value(getattr(config, field)), _origin(config, field))
  table.add_section()
  for name, value, origin in _figures(config):
    table.add_row(name, value, origin)
  console.print()
  console.print(table)


def _figures(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
  """(name, value, origin) of what follows from the settings."""
  yield 'sparse encoder layers', _layers(config.encoder_sparse_layers), _origin(config, 'encoder_block')
  yield 'sparse decoder layers', _layers(config.decoder_sparse_layers), _origin(config, 'decoder_block')
  yield 'parameters', f'{config.num_parameters:,}', f'the sum over {len(config.variables)} variables'
  if config.num_experts:
    yield 'of them in experts', f'{config.num_expert_parameters:,}', 'the variables with an axis "experts"'
  yield 'active parameters', f'{config.num_active_parameters:,}', 'all except experts a token is not sent to'
  yield 'FLOPs per sequence', short(config.flops_per_sequence()), 'forward, 512 input and 114 target tokens'


def _origin(config: ModelConfig, field: str) -> str:
  if field == 'experts_per_token':
    return 'follows from the router'
  return short_place(config.places[field]) if field in config.places else "the layer's default"


def _value(value: Any) -> str:
  if isinstance(value, tuple):
    return ' x '.join(value)
  return f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _layers(layers: Sequence[int]) -> str:
  """'1, 3, ..., 11 (6)' for evenly spaced layers; 'none' for no layers.

  >>> _layers((1, 3, 5, 7)), _layers((0,))
  ('1, 3, ..., 7 (4)', '0 (1)')
  """
  if not layers:
    return 'none'
  shown = [str(layer) for layer in layers]
  regular = len(layers) > 3 and len({b - a for a, b in zip(layers, layers[1:], strict=False)}) == 1
  return ', '.join([*shown[:2], '...', shown[-1]] if regular else shown) + f' ({len(layers)})'
