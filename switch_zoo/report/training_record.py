"""Losses, metrics and load of experts of a training, from the `metrics.jsonl` in its folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from switch_zoo.launcher import metrics_file

LOAD, DROPPED, ENTROPY = 'load', 'dropped', 'entropy'


@dataclasses.dataclass(frozen=True)
class Series:
  """One quantity over a training.

  steps: in order
  values: of each step
  """

  steps: Sequence[int]
  values: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
  """A training.

  scalars: name -> Series of numbers, such as 'loss'
  layers: layer -> quantity (load, dropped, entropy) -> Series; load is a share for each expert
  validations: TASK/METRIC -> Series
  """

  scalars: Mapping[str, Series]
  layers: Mapping[str, Mapping[str, Series]]
  validations: Mapping[str, Series]

  @property
  def empty(self) -> bool:
    """Whether nothing was recorded."""
    return not self.scalars and not self.validations


def read(model_dir: str) -> TrainingRecord:
  """Reads the record of a training; an empty one where its folder has none."""
  records = metrics_file.read(model_dir)
  steps = [record for record in records if 'validation' not in record]
  scalars, layers = {}, {}
  for name in dict.fromkeys(name for record in steps for name in record if name not in ('step', 'time')):
    series = _series(steps, name)
    layer, _, quantity = name.rpartition('/')
    if quantity in (LOAD, DROPPED, ENTROPY) and layer:
      layers.setdefault(layer, {})[quantity] = series
    elif not isinstance(series.values[0], list):
      scalars[name] = series
  validated = [{'step': record['step'], **record['validation']} for record in records if 'validation' in record]
  names = dict.fromkeys(name for record in validated for name in record if name != 'step')
  return TrainingRecord(scalars, layers, {name: _series(validated, name) for name in names})


def settled_load(series: Series) -> list[float]:
  """The mean share of each expert over the second half of a training, when routing has settled."""
  half = series.values[len(series.values) // 2 :]
  return [sum(shares) / len(half) for shares in zip(*half, strict=True)]


def _series(records: Sequence[Mapping[str, Any]], name: str) -> Series:
  having = [record for record in records if record.get(name) is not None]
  return Series([record['step'] for record in having], [record[name] for record in having])
