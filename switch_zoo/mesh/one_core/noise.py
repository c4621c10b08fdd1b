"""Random numbers of a program: dropout, the noise of routers, sampling.

They come from counters: the run's seed, the random operation's number, the step, the turn of the loop that the
operation is in, and the part of the tensor that the core has. Cores with the same part draw the same numbers without
communication, all others draw different ones; and a resumed run draws what it would have drawn. TensorFlow lowers the
draw to integer arithmetic (Philox), so the numbers are the same on CPUs, GPUs and TPUs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import mesh_tensorflow as mtf
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import gen_stateless_random_ops_v2

from switch_zoo.errors import UserError

_PHILOX = 1


class Distribution(NamedTuple):
  """A distribution that is drawn from counters.

  draw: TensorFlow's operation, for the standard distribution
  parameters: names and defaults of what it is moved and stretched by
  transform: from the numbers and the parameters to the result
  """

  draw: Callable[..., tf.Tensor]
  parameters: dict[str, float]
  transform: Callable[..., tf.Tensor]


_RAW: Any = gen_stateless_random_ops_v2
_NORMAL = {'mean': 0.0, 'stddev': 1.0}
# What Mesh-TensorFlow calls -> the same distribution from a counter.
_STATELESS: dict[Any, Distribution] = {
  tf.random.uniform: Distribution(
    _RAW.stateless_random_uniform_v2,
    {'minval': 0.0, 'maxval': 1.0},
    lambda x, minval, maxval: x * (maxval - minval) + minval,
  ),
  tf.random.normal: Distribution(_RAW.stateless_random_normal_v2, _NORMAL, lambda x, mean, stddev: x * stddev + mean),
  tf.random.truncated_normal: Distribution(
    _RAW.stateless_truncated_normal_v2, _NORMAL, lambda x, mean, stddev: x * stddev + mean
  ),
}
# Turns of a loop, and parts of a tensor, that have numbers of their own.
_MAX_TURNS = _MAX_PARTS = 1 << 16


class Source(NamedTuple):
  """seed: of the run; step: the number of steps done; both <int32>[]."""

  seed: tf.Tensor
  step: tf.Tensor


class Draw(NamedTuple):
  """What stands for a random operation's function.

  distribution: from a counter
  number: of the operation in the graph
  turn: a tensor whose first number is another one in each turn of the loop; None outside of loops
  """

  distribution: Distribution
  number: int
  turn: mtf.Tensor | None


def number_operations(graph: mtf.Graph) -> None:
  """Prepares all random operations of a graph to be drawn by `draw`.

  Raises:
    UserError: a distribution that cannot be drawn from counters
  """
  number = 0
  for operation, turn in _with_loops(graph.operations):
    if isinstance(operation, mtf.RandomOperation):
      released: Any = operation._tf_fn  # pylint: disable=protected-access - it has no public name
      if released not in _STATELESS:
        raise UserError(
          f'{operation.name} draws random numbers with {getattr(released, "__name__", released)}, for which a program '
          'of one core has no counterpart. Use tf.random.uniform, normal or truncated_normal.'
        )
      operation._tf_fn = Draw(_STATELESS[released], number, turn)
      number += 1


def draw(
  operation: Draw, source: Source, turn: tf.Tensor | None, part: tf.Tensor, shape: Sequence[int], kwargs: Any
) -> tf.Tensor:
  """Numbers of one core.

  Args:
    operation: of `number_operations`
    source: of the program
    turn: the value of operation.turn on this core
    part: which part of the tensor the core has, <int32>[]
    shape: of the part
    kwargs: of the distribution, such as minval
  """
  wide = lambda x: tf.cast(x, tf.int64)
  turn = tf.constant(0, tf.int64) if turn is None else wide(tf.reshape(turn, [-1])[0])
  place = (wide(source.step) * _MAX_TURNS + turn) * _MAX_PARTS + wide(part)
  key = wide(source.seed) * (1 << 32) + operation.number
  # Philox itself counts in the first half of the counter.
  counter = tf.cast(tf.stack([tf.zeros_like(place), place]), tf.uint64)
  drawn, stretch, transform = operation.distribution
  dtype = tf.as_dtype(kwargs.get('dtype', tf.float32))
  numbers = drawn(shape, tf.cast(tf.reshape(key, [1]), tf.uint64), counter, _PHILOX, dtype=dtype)
  chosen = {name: default if kwargs.get(name) is None else kwargs[name] for name, default in stretch.items()}
  return transform(numbers, **chosen)


def _with_loops(
  operations: Sequence[mtf.Operation], turn: mtf.Tensor | None = None
) -> Iterator[tuple[mtf.Operation, mtf.Tensor | None]]:
  """All operations, also those inside of loops, each with a tensor that counts the turns of its loop."""
  for operation in operations:
    yield operation, turn
    if isinstance(operation, mtf.WhileLoopOperation):
      # The first value of Mesh-TensorFlow's loops is the number of the microbatch or the position in the sequences.
      yield from _with_loops(operation._body_ops, operation._body_inputs[0])  # pylint: disable=protected-access
