"""The feed-forward sublayers, dense and with experts, as a graph without values. See `tensors`.

Letters of axes in comments: those of switch_zoo.mesh.routing.
"""

from typing import NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.planner.attention import dropout
from switch_zoo.planner.tensors import BOOL, FLOAT32, INT32, Axes, Graph, Tensor
from switch_zoo.spec.capacity import Groups
from switch_zoo.spec.shape import ModelShape

COUNTED_ROUTERS = ('top1', 'top2')


class Routed(NamedTuple):
  """dispatch, combine: [O, G, S, E, C]; loss: [], the weighted balance loss."""

  dispatch: Tensor
  combine: Tensor
  loss: Tensor


def dense(g: Graph, config: ModelShape, scope: str, x: Tensor) -> Tensor:
  """mesh_tensorflow.transformer.transformer_layers.DenseReluDense. [..., d_model] -> same"""
  d_model, d_ff = ('d_model', config.d_model), ('d_ff', config.d_ff)

  def into(name: str) -> Tensor:
    weights = g.variable(f'{scope}/{name}/kernel', (d_model, d_ff), x.dtype)
    return g.einsum([x, weights], (*x.without('d_model'), d_ff))

  with g.section('feed-forward'):
    if config.gated:
      hidden = g.multiply(gelu(g, into('wi_0')), into('wi_1'))
    else:
      hidden = released_relu(g, into('wi'))
    hidden = dropout(g, hidden, config.dropout_rate, hidden.without('length'))
    weights = g.variable(f'{scope}/wo/kernel', (d_ff, d_model), x.dtype)
    return g.einsum([hidden, weights], (*x.without('d_model'), d_model))


def experts(
  g: Graph, config: ModelShape, scope: str, x: Tensor, sequence_ids: Tensor, groups: Groups
) -> tuple[Tensor, Tensor]:
  """switch_zoo.mesh.experts.SwitchFeedForward. x: [O, batch, length, d_model] -> same, and the weighted loss []

  Args:
    groups: how the tokens of a replica are routed
  Raises:
    UserError: a router that is not counted
  """
  outer, batch, _, d_model = x.axes
  number, size, slots = groups
  tokens: Axes = (outer, (batch[0], number), ('group', size))
  unsplit: Axes = (('expert_unsplit', config.num_experts), outer, (batch[0], number), ('expert_capacity', slots))
  split: Axes = (('experts', config.num_experts), outer, ('batch_unsplit', number), ('expert_capacity', slots))
  with g.section('routing'):
    real = g.reshape(g.pointwise([sequence_ids], dtype=FLOAT32), tokens)
    grouped = g.reshape(x, (*tokens, d_model))
    share = g.multiply(real, g.pointwise([g.sum(real, ())]))
    routed = _route(g, config, scope, grouped, real, share, unsplit)
  with g.section('dispatch'):
    sent = g.einsum([grouped, routed.dispatch], (*unsplit, d_model))
    sent = _recut(g, sent, split)
  y = _expert_networks(g, config, scope, sent)
  with g.section('dispatch'):
    y = g.einsum([_recut(g, y, unsplit), routed.combine], (*tokens, d_model))
    return g.reshape(y, x.axes), routed.loss


def _recut(g: Graph, x: Tensor, axes: Axes) -> Tensor:
  name, size = x.axes[-1]
  return g.reshape(g.reshape(x, (*axes, (f'{name}_split', size))), (*axes, (name, size)))


def _expert_networks(g: Graph, config: ModelShape, scope: str, x: Tensor) -> Tensor:
  """[E, O, G, C, M] -> same"""
  expert, *slots, d_model = x.axes
  hidden_axis = ('expert_hidden', config.expert_d_ff)

  def into(name: str) -> Tensor:
    weights = g.variable(f'{scope}/{name}/kernel', (expert, d_model, hidden_axis), x.dtype)
    return g.product(x, weights, (expert, hidden_axis, *slots))

  with g.section('experts'):
    if config.gated:
      hidden = g.multiply(gelu(g, into('wi_0')), into('wi_1'))
    else:
      hidden = relu(g, into('wi'))
    hidden = dropout(g, hidden, config.expert_dropout_rate)
    weights = g.variable(f'{scope}/wo/kernel', (expert, hidden_axis, d_model), x.dtype)
    return g.product(hidden, weights, x.axes)


def _route(g: Graph, config: ModelShape, scope: str, x: Tensor, real: Tensor, share: Tensor, unsplit: Axes) -> Routed:
  if config.router not in COUNTED_ROUTERS:
    raise UserError(
      f'The planner counts the routers {" and ".join(COUNTED_ROUTERS)}, and {getattr(config, "name", "this model")} '
      f'has {config.router}. Plan a model that is alike with router = @routing.Top1() instead.'
    )
  routed = x
  x = g.cast(x, FLOAT32)
  if config.router == 'top1':
    # The noise of the policy input_jitter, which the models have.
    x = g.multiply(x, g.noise(x.axes, FLOAT32))
  expert, places = unsplit[0], unsplit[-1]
  kernel = g.variable(f'{scope}/{config.router_kernels[0]}/kernel', (x.axes[-1], expert), FLOAT32)
  logits = g.einsum([x, kernel], (*x.axes[:-1], expert))
  probabilities = g.pointwise([logits], lambda dy: [g.pointwise([probabilities, dy])])
  choose = _choose_one if config.router == 'top1' else _choose_two
  choices, count = choose(g, probabilities, real, expert)
  loss = _balance_loss(g, config, count[0], probabilities, share)
  weighted = _report(g, choices, count[-1], probabilities, share, loss)
  masks = [_mask(g, chosen, place, gate, expert, places, routed.dtype) for chosen, place, gate in choices]
  dispatch, combine = masks[0]
  if len(masks) > 1:
    dispatch, combine = (g.add(first, second) for first, second in zip(*masks, strict=True))
  return Routed(dispatch, combine, weighted)


_Choice = tuple[Tensor, Tensor, Tensor]


def _choose_one(g: Graph, p: Tensor, real: Tensor, expert: tuple[str, int]) -> tuple[list[_Choice], list[Tensor]]:
  chosen = g.pointwise([p], axes=p.axes[:-1], dtype=INT32)
  gate = _gate(g, p, chosen)
  chosen = g.pointwise([real, chosen], dtype=INT32)
  place, count = _queue(g, chosen, g.source((*p.axes[:2], expert), INT32))
  return [(chosen, place, gate)], [count]


def _choose_two(g: Graph, p: Tensor, real: Tensor, expert: tuple[str, int]) -> tuple[list[_Choice], list[Tensor]]:
  scores = g.stop(p)
  first = g.pointwise([scores], axes=p.axes[:-1], dtype=INT32)
  scores = g.add(scores, g.source(p.axes, p.dtype, [first]))
  second = g.pointwise([scores], axes=p.axes[:-1], dtype=INT32)
  gates = [_gate(g, p, chosen) for chosen in (first, second)]
  total = g.shifted(g.add(*gates))
  gates = [g.divide(gate, total) for gate in gates]
  count = g.source((*p.axes[:2], expert), INT32)
  choices, counts = [], []
  for rank, (chosen, gate) in enumerate(zip((first, second), gates, strict=True)):
    chosen = g.pointwise([real, chosen], dtype=INT32)
    place, count = _queue(g, chosen, count)
    if rank:
      by_chance = g.pointwise([g.scaled(g.noise(gate.axes, FLOAT32)), gate], dtype=BOOL)
      chosen = g.pointwise([g.cast(by_chance, FLOAT32), chosen], dtype=INT32)
    choices.append((chosen, place, gate))
    counts.append(count)
  return choices, counts


def _gate(g: Graph, p: Tensor, chosen: Tensor) -> Tensor:
  return g.einsum([g.source(p.axes, p.dtype, [chosen]), p], chosen.axes)


def _queue(g: Graph, chosen: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
  return g.pointwise([chosen, count]), g.pointwise([chosen, count], axes=count.axes)


def _balance_loss(g: Graph, config: ModelShape, count: Tensor, p: Tensor, share: Tensor) -> Tensor | None:
  if not config.balance_loss_coef:
    return None
  fraction = g.pointwise([count], dtype=FLOAT32)
  return g.scaled(g.einsum([p, fraction, share], ()))


def _report(g: Graph, choices: list[_Choice], count: Tensor, p: Tensor, share: Tensor, loss: Tensor | None) -> Tensor:
  """The metrics of a router leave the graph. -> the weighted loss"""
  load = g.pointwise([g.sum(count, count.axes[-1:])], dtype=FLOAT32)
  rows = [g.pointwise([chosen, place]) for chosen, place, _ in choices]
  dropped = g.einsum([g.pointwise(rows, dtype=FLOAT32), share], ())
  entropy = g.einsum([g.pointwise([p], axes=share.axes, dtype=FLOAT32), share], ())
  mean_gate = g.einsum([choices[0][2], share], ())
  weighted = g.scaled(g.source((), FLOAT32) if loss is None else loss)
  for metric in (load, dropped, entropy, mean_gate, weighted):
    g.use(g.stop(metric))
  return weighted


def _mask(
  g: Graph, chosen: Tensor, place: Tensor, gate: Tensor, expert: tuple[str, int], places: tuple[str, int], dtype: str
) -> tuple[Tensor, Tensor]:
  expert_mask = g.source((*chosen.axes, expert), dtype, [chosen])
  slot_mask = g.source((*place.axes, places), dtype, [place])
  dispatch = g.einsum([expert_mask, slot_mask], (*expert_mask.axes, places))
  return dispatch, g.multiply(dispatch, g.cast(gate, dtype))


def relu(g: Graph, x: Tensor) -> Tensor:
  """switch_zoo.mesh.experts.relu, whose gradient is one operation."""
  y = g.pointwise([x], lambda dy: [g.pointwise([dy, y])])
  return y


def released_relu(g: Graph, x: Tensor) -> Tensor:
  """mtf.relu"""
  return g.pointwise([x], lambda dy: [g.multiply(dy, g.cast(g.compare(x), x.dtype))])


def gelu(g: Graph, x: Tensor) -> Tensor:
  """mtf.gelu"""
  cube = g.multiply(g.multiply(g.scaled(x), x), x)
  inner = g.scaled(g.add(x, cube))
  return g.multiply(x, g.scaled(g.shifted(g.tanh(inner))))
