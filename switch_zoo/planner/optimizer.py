"""Adafactor as a graph without values, and what it keeps for each variable."""

from switch_zoo.planner.tensors import FLOAT32, Axes, Graph, Tensor

# mesh_tensorflow.optimize.AdafactorOptimizer: the moments are factored if the two largest axes have this many entries.
MIN_DIM_SIZE_TO_FACTOR = 128


def factored(axes: Axes) -> tuple[tuple[str, int], tuple[str, int]] | None:
  """The two largest axes if the second moment is kept as their two marginals; None if it is kept whole."""
  largest = sorted(axes, key=lambda axis: -axis[1])[:2]
  return (largest[0], largest[1]) if len(largest) == 2 and largest[1][1] >= MIN_DIM_SIZE_TO_FACTOR else None


def slots(axes: Axes) -> list[Axes]:
  """The axes of what Adafactor keeps for a variable, float32."""
  pair = factored(axes)
  return [axes] if pair is None else [tuple(axis for axis in axes if axis != dropped) for dropped in pair]


def update(g: Graph, variable: Tensor, gradient: Tensor) -> None:
  """mesh_tensorflow.optimize.AdafactorOptimizer.apply_grad, without beta1 and with clipping.

  Source: arXiv:1804.04235, algorithms 4 and 5.
  """
  with g.section('optimizer'):
    gradient = g.cast(gradient, FLOAT32)
    kept = [g.source(axes, FLOAT32) for axes in slots(variable.axes)]
    squared = g.shifted(g.square(gradient))
    value = g.cast(variable, FLOAT32)
    scale = g.scaled(g.at_least(_rms(g, value)))
    pair = factored(variable.axes)
    if pair:
      means = [g.mean(squared, slot.axes) for slot in kept]
      rows, columns = (g.add(g.scaled(old), g.scaled(new)) for old, new in zip(kept, means, strict=True))
      g.use(rows)
      g.use(columns)
      row_mean = g.mean(rows, tuple(axis for axis in rows.axes if axis != pair[1]))
      row_factor = g.rsqrt(g.divide(rows, row_mean))
      x = g.multiply(g.multiply(gradient, row_factor), g.rsqrt(columns))
    else:
      moment = g.add(g.scaled(kept[0]), g.scaled(squared))
      g.use(moment)
      x = g.multiply(gradient, g.rsqrt(moment))
    x = g.divide(x, g.at_least(g.scaled(_rms(g, x))))
    g.use(g.multiply(x, scale))


def _rms(g: Graph, x: Tensor) -> Tensor:
  return g.pointwise([g.mean(g.square(x), ())])
