"""Which experts the tokens were sent to, as a picture and a table, from what the layers exported in training."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

Load = Mapping[str, Sequence[float]]  # layer -> each expert's share of the tokens; the shares sum to 1

_COLORS = ('#4477aa', '#ee6677', '#228833')  # distinguishable with any colour vision (Tol, "bright")
_BAR = 12  # characters of the longest bar


def mean_load(curve: Sequence[Mapping]) -> dict[str, list[float]]:
  """The mean load of each layer over the second half of a training's records, when routing has settled.

  Args:
    curve: records of `progress.read_curve`
  Returns:
    layer -> [E] shares that sum to 1; {} for a model without experts
  """
  settled = curve[len(curve) // 2 :]
  layers = settled[0]['load'] if settled else {}
  return {layer: np.mean([row['load'][layer] for row in settled], axis=0).tolist() for layer in layers}


def layer_title(layer: str) -> str:
  """A layer's name for people.

  >>> layer_title('encoder/block_000/layer_003/MoE1D')
  'encoder block 0, sublayer 3'
  """
  match = re.match(r'(\w+)/block_0*(\d+)/layer_0*(\d+)/', layer)
  return f'{match[1]} block {match[2]}, sublayer {match[3]}' if match else layer


def picture(loads: Mapping[str, Load], file: pathlib.Path) -> None:
  """Draws a panel for each layer, with a bar for each expert and a line at the equal share. Needs no display.

  Args:
    loads: title of a training -> its load; all trainings have the same layers
    file: the PNG to write
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  layers = list(next(iter(loads.values())))
  figure = Figure(figsize=(1.5 + 4 * len(layers), 3.6), layout='constrained')
  panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
  for panel, layer in zip(panels, layers, strict=True):
    _draw(panel, layer_title(layer), {training: load[layer] for training, load in loads.items()})
  panels[0].set_ylabel('share of the tokens')
  figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, frameon=False)
  FigureCanvasAgg(figure).print_png(str(file))


def _draw(panel: Any, title: str, shares: Load) -> None:
  width = 0.8 / len(shares)
  for place, (training, load) in enumerate(shares.items()):
    middles = np.arange(len(load)) + (place - (len(shares) - 1) / 2) * width
    panel.bar(middles, load, width, label=training, color=_COLORS[place % len(_COLORS)])
  experts = len(next(iter(shares.values())))
  panel.axhline(1 / experts, color='black', linewidth=0.8, linestyle='--', label='equal share')
  panel.set(title=title, xlabel='expert', xticks=range(experts))
  panel.spines[['top', 'right']].set_visible(False)


def table(load: Load) -> Table:
  """The load as text: a row for each expert, a column of bars for each layer."""
  result = Table(box=box.SIMPLE_HEAD, pad_edge=False)
  result.add_column('expert', justify='right')
  for layer in load:
    result.add_column(layer_title(layer))
  largest = max(max(shares) for shares in load.values())
  for expert, shares in enumerate(zip(*load.values(), strict=True)):
    result.add_row(str(expert), *(bar(share, largest) for share in shares))
  return result


def bar(share: float, largest: float) -> str:
  """A bar and its percentage; the longest bar represents `largest`.

  >>> bar(0.125, 0.25)
  '██████       12.5%'
  """
  return f'{"█" * round(_BAR * share / largest):<{_BAR}} {share:>6.1%}'
