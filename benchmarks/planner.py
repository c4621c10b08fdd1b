"""Published times of training steps against the planner's, worst errors first.

    python benchmarks/planner.py

Two constants are fitted on GShard's Figure 8, 128 and 2048 experts, and one on the row T5-Base; see
switch_zoo/planner/cost.py. No other row was fitted; that the masks of the published layer are padded, and passed over
as often as `TOP1_PASSES` says, was chosen with the rows of Switch-Base-128 in view.
"""

import dataclasses
import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from switch_zoo.planner import cost, lowering, memory, slicing, step
from switch_zoo.planner.hardware import slice_named
from switch_zoo.spec import capacity, layouts
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.sublayers import EXPERTS
from switch_zoo.spec.zoo import load_config


@dataclasses.dataclass(frozen=True)
class Row:
  """One published figure.

  name, source: what it is, and where it is printed
  seconds: of a step, as published; 0 where a rate is printed
  rate: operations a second of a chip, as published
  mask_passes: how often the published layer writes or reads a mask, see `released_masks`; 0: this package's layer
  """

  name: str
  source: str
  model: str
  slice_name: str
  layout: layouts.Layout
  sequences: int
  lengths: dict[str, int]
  seconds: float = 0.0
  rate: float = 0.0
  mask_passes: int = 0
  changes: dict[str, object] = dataclasses.field(default_factory=dict)


SWITCH = 'arXiv:2101.03961, Table 1'
GSHARD = 'arXiv:2006.16668, Table 3'
PROFILED = 'arXiv:2104.10350'
# 2**20 tokens of the objective's 512 and 114, as a multiple of 32; Table 10 has half of them.
SWITCH_BATCH = 1664
T5 = {'inputs': 512, 'targets': 114}
# Tokens of a routing group: the default of the published layer, mesh_tensorflow.transformer.moe.
GROUP = 1024
# Passes over masks of bfloat16, counted in that file as if nothing were fused; one over float32 counts as two. Forward:
# the float32 mask is written (2), read and cast (3), turned into booleans and back (3), and read by two products (2).
# Backward: a product writes its gradient (1), which is cast (3) and summed to that of the gate (2); two products read
# the masks (2). A second choice adds a float32 mask (2), the sum of both (6) and a gate (2), and shares the rest.
TOP1_PASSES, TOP2_PASSES = 18, 28
LANES, BFLOAT16_BYTES = 128, 2
# Tokens of a microbatch on a core: Mesh-TensorFlow's default.
MICROBATCH = 2048
# GShard does not print lengths; 2,048 tokens of each side on a core, as its Figure 8 implies.
TRANSLATION = {'inputs': 128, 'targets': 128}
GSHARD_STEPS = (
  ('gshard_600b', 2048, 0.72), ('gshard_200b', 2048, 2.15), ('gshard_150b', 512, 1.05), ('gshard_50b', 512, 3.28),
  ('gshard_37b', 128, 0.67), ('gshard_12b5', 128, 2.16),
)  # fmt: skip
# Name, model, source, sequences a step and a second, capacity factor, passes over masks.
SWITCH_RATES = (
  ('Switch-Base 2.0', 'switch_base_128', SWITCH, SWITCH_BATCH, 860, 2.0, TOP1_PASSES),
  ('Switch-Base 1.25', 'switch_base_128', SWITCH, SWITCH_BATCH, 910, 1.25, TOP1_PASSES),
  ('Switch-Base 1.0', 'switch_base_128', SWITCH, SWITCH_BATCH, 1000, 1.0, TOP1_PASSES),
  ('MoE-Base 2.0', 'moe_base_128', SWITCH, SWITCH_BATCH, 840, 2.0, TOP2_PASSES),
  ('MoE-Base 1.25', 'moe_base_128', SWITCH, SWITCH_BATCH, 790, 1.25, TOP2_PASSES),
  ('MoE-Base 1.0', 'moe_base_128', SWITCH, SWITCH_BATCH, 860, 1.0, TOP2_PASSES),
  ('Switch-Base-32', 'switch_base_32', 'arXiv:2101.03961, Table 2', SWITCH_BATCH, 1390, 1.25, TOP1_PASSES),
  ('Switch-Base-32', 'switch_base_32', 'arXiv:2101.03961, Table 10', SWITCH_BATCH // 2, 1480, 1.25, TOP1_PASSES),
)


def rows() -> Iterator[Row]:
  """Every published figure that a model of this package has."""
  data = layouts.parse('batch:32', 'batch:batch')
  for name, model, rate in (('T5-Base', 't5_base', 1600), ('T5-Large', 't5_large', 470)):
    yield Row(name, SWITCH, model, 'v3-32', data, SWITCH_BATCH, T5, SWITCH_BATCH / rate)
  for name, model, source, sequences, rate, factor, passes in SWITCH_RATES:
    yield Row(
      name, source, model, 'v3-32', _experts(32), sequences, T5, sequences / rate, mask_passes=passes,
      changes={'capacity_factor_train': factor, 'group_size': GROUP},
    )  # fmt: skip
  for model, cores, rate in GSHARD_STEPS:
    yield Row(model, GSHARD, model, f'v3-{cores}', _experts(cores), 16 * cores, TRANSLATION, 1 / rate)
  yield Row('gshard_600b', PROFILED, 'gshard_600b', 'v3-2048', _experts(2048), 16 * 2048, TRANSLATION, rate=48.0e12)
  yield Row('switch_c_2048', PROFILED, 'switch_c_2048', 'v3-2048', _experts(2048), 2048, T5, rate=34.4e12)


def _experts(cores: int) -> layouts.Layout:
  return layouts.parse(f'batch:{cores}', 'batch:batch;experts:batch')


def work_of(row: Row) -> cost.Work:
  """What a core does in a step."""
  config = dataclasses.replace(load_config(row.model), **row.changes)  # type: ignore[arg-type]
  each = row.sequences // row.layout.parts('batch')
  size = next(n for n in range(max(1, MICROBATCH // max(row.lengths.values())), 0, -1) if each % n == 0)
  built = step.build(config, size * row.layout.parts('batch'), row.lengths, 1, row.layout.parts('batch')).compiled()
  lowered = lowering.lower(built.graph, row.layout, built.gradients.values())
  traffic = memory.traffic(built, slicing.Slicing(row.layout))
  if row.mask_passes:
    traffic['routing'] += released_masks(row, config, size)
  return cost.Work(lowered, traffic, each // size)


def released_masks(row: Row, config: ModelConfig, sequences: int) -> int:
  """Bytes that a core moves for the masks [tokens, experts, slots] of the published layer in a microbatch.

  Slots are the last axis, which the tiles of a TPU's memory pad to 128. This package's layer moves less, and its own
  masks are among the traffic of its graph.
  """
  moved = 0
  for block, number, feature in (
    (config.encoder_block, config.num_encoder_blocks, 'inputs'),
    (config.decoder_block, config.num_decoder_blocks, 'targets'),
  ):
    tokens = sequences * row.lengths[feature]
    _, group = capacity.split_into_groups(tokens, config.group_size)
    slots = capacity.expert_capacity(
      group, config.num_experts, config.capacity_factor_train, config.min_expert_capacity
    )
    padded = math.ceil(slots / LANES) * LANES
    layers = number * sum(sublayer == EXPERTS for sublayer in block)
    moved += layers * row.mask_passes * tokens * config.num_experts * padded * BFLOAT16_BYTES
  return moved


@dataclasses.dataclass(frozen=True)
class Result:
  """A row and what the planner says.

  seconds: cause -> seconds of the step
  published, predicted: in the unit of the row
  """

  row: Row
  seconds: dict[str, float]
  published: float
  predicted: float

  @property
  def error(self) -> float:
    """Of the prediction, relative."""
    return self.predicted / self.published - 1

  def text(self, value: float) -> str:
    """A value in the unit of the row."""
    return f'{value / 1e12:.1f} TFLOP/s' if self.row.rate else f'{value:.3f} s'


def result(row: Row) -> Result:
  """The prediction for a row."""
  work, group = work_of(row), slice_named(row.slice_name)
  seconds = cost.step_seconds(work, row.layout, group)
  total = sum(seconds.values())
  if not row.rate:
    return Result(row, seconds, row.seconds, total)
  repeats = lambda section: 1 if section == 'optimizer' else work.microbatches
  flops = sum(2 * p.multiplications * repeats(p.section) for p in work.lowered.products if p.contracted)
  return Result(row, seconds, row.rate, flops * group.chip.cores / total)


def fitted_memory_share(row: Row) -> float:
  """The share of the memory's rate with which the prediction for this row is the published time."""
  work = work_of(row)
  group = slice_named(row.slice_name)
  rest = sum(cost.step_seconds(dataclasses.replace(work, traffic={}), row.layout, group).values())
  times = {'optimizer': 1}
  size = sum(size * times.get(section, work.microbatches) for section, size in work.traffic.items())
  return size / group.chip.bandwidth / (row.seconds - rest)


# Decoders of mesh-transformer-jax on v3-32, as its benchmarks.md prints them: parameters -> seconds of a step of 65,536
# tokens. Layers, widths and what is computed again are not printed with them, so no graph can be made: only what is
# proportional to the parameters.
GPTJ_TOKENS, GPTJ_CORES = 65_536, 32
GPTJ_STEPS = {6e9: 3.37, 13e9: 7.84, 23e9: 13.83}


def decoder_rows() -> Iterator[tuple[float, float, float, float]]:
  """(parameters, published seconds, those of the matrix products alone, those with the share of peak of the first)."""
  share, chip = 0.0, slice_named(f'v3-{GPTJ_CORES}').chip
  for parameters, seconds in GPTJ_STEPS.items():
    at_peak = 6 * parameters * GPTJ_TOKENS / (GPTJ_CORES * chip.flops)
    share = share or at_peak / seconds
    yield parameters, seconds, at_peak / cost.PRODUCT_SHARE, at_peak / share


def print_decoders() -> None:
  """Prints what can be said of GPT-J's family; the first row gives the share of peak, the others are held out."""
  print(
    'mesh-transformer-jax on v3-32: parameters, published step, matrix products alone, share of peak of the first row'
  )
  for parameters, seconds, products, scaled in sorted(decoder_rows(), key=lambda row: -abs(row[3] / row[1] - 1)):
    print(f'  {parameters / 1e9:.0f}B  {seconds:.2f} s  {products:.2f} s  {scaled:.2f} s  {scaled / seconds - 1:+.0%}')


def main() -> None:
  """Prints the table."""
  first = next(rows())
  print(f'MEMORY_SHARE fitted on {first.name}: {fitted_memory_share(first):.2f}; in use: {cost.MEMORY_SHARE}')
  results = sorted(map(result, rows()), key=lambda one: -abs(one.error))
  table = Table('Row', 'Source', 'Published', 'Predicted', 'Error', *cost.CAUSES)
  for one in results:
    causes = [f'{one.seconds[cause]:.3f}' for cause in cost.CAUSES]
    figures = one.text(one.published), one.text(one.predicted)
    table.add_row(one.row.name, one.row.source, *figures, f'{one.error:+.0%}', *causes)
  Console(width=200).print(table)
  errors = [abs(one.error) for one in results]
  print(f'{len(errors)} rows, mean error {sum(errors) / len(errors):.0%}, worst {max(errors):.0%}')
  print_decoders()


if __name__ == '__main__':
  main()
