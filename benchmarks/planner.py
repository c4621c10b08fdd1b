"""Published times of training steps against the planner's, worst errors first.

    python benchmarks/planner.py

Two constants are fitted on GShard's Figure 8, 128 and 2048 experts, and one on the row T5-Base; see
switch_zoo/planner/cost.py. All other rows are held out.
"""

import dataclasses
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from switch_zoo.planner import cost, lowering, memory, step
from switch_zoo.planner.hardware import slice_named
from switch_zoo.spec import layouts
from switch_zoo.spec.zoo import load_config


@dataclasses.dataclass(frozen=True)
class Row:
  """One published time.

  name, source: what it is, and where it is printed
  seconds: of a step, as published
  """

  name: str
  source: str
  model: str
  slice_name: str
  layout: layouts.Layout
  sequences: int
  lengths: dict[str, int]
  seconds: float
  changes: dict[str, object] = dataclasses.field(default_factory=dict)


SWITCH = 'arXiv:2101.03961, Table 1'
GSHARD = 'arXiv:2006.16668, Table 3'
# 2**20 tokens of the objective's 512 and 114, as a multiple of 32.
SWITCH_BATCH = 1664
T5 = {'inputs': 512, 'targets': 114}
# GShard does not print lengths; 2,048 tokens of each side on a core, as its Figure 8 implies.
TRANSLATION = {'inputs': 128, 'targets': 128}
GSHARD_STEPS = (
  ('gshard_600b', 2048, 0.72), ('gshard_200b', 2048, 2.15), ('gshard_150b', 512, 1.05), ('gshard_50b', 512, 3.28),
  ('gshard_37b', 128, 0.67), ('gshard_12b5', 128, 2.16),
)  # fmt: skip


def rows() -> Iterator[Row]:
  """Every published time that a model of this package has."""
  data = layouts.parse('batch:32', 'batch:batch')
  experts = layouts.parse('batch:32', 'batch:batch;experts:batch')
  for name, model, layout, rate, factor in (
    ('T5-Base', 't5_base', data, 1600, None),
    ('T5-Large', 't5_large', data, 470, None),
    ('Switch-Base 2.0', 'switch_base_128', experts, 860, 2.0),
    ('Switch-Base 1.25', 'switch_base_128', experts, 910, 1.25),
    ('Switch-Base 1.0', 'switch_base_128', experts, 1000, 1.0),
    ('MoE-Base 2.0', 'moe_base_128', experts, 840, 2.0),
    ('MoE-Base 1.25', 'moe_base_128', experts, 790, 1.25),
    ('MoE-Base 1.0', 'moe_base_128', experts, 860, 1.0),
  ):
    changes: dict[str, object] = {} if factor is None else {'capacity_factor_train': factor}
    yield Row(name, SWITCH, model, 'v3-32', layout, SWITCH_BATCH, T5, SWITCH_BATCH / rate, changes)
  for model, cores, rate in GSHARD_STEPS:
    layout = layouts.parse(f'batch:{cores}', 'batch:batch;experts:batch')
    yield Row(model, GSHARD, model, f'v3-{cores}', layout, 16 * cores, TRANSLATION, 1 / rate)


def work_of(row: Row) -> cost.Work:
  """What a core does in a step, in microbatches of 2,048 tokens a core, Mesh-TensorFlow's default."""
  config = dataclasses.replace(load_config(row.model), **row.changes)  # type: ignore[arg-type]
  each = row.sequences // row.layout.parts('batch')
  wanted = max(1, 2048 // max(row.lengths.values()))
  size = next(n for n in range(wanted, 0, -1) if each % n == 0)
  microbatches = each // size
  built = step.build(config, row.sequences // microbatches, row.lengths, 1, row.layout.parts('batch')).compiled()
  lowered = lowering.lower(built.graph, row.layout, built.gradients.values())
  return cost.Work(lowered, memory.traffic(built, row.layout), microbatches)


def predicted(row: Row) -> dict[str, float]:
  """Cause -> seconds of the step."""
  return cost.step_seconds(work_of(row), row.layout, slice_named(row.slice_name))


def fitted_memory_share(row: Row) -> float:
  """The share of the memory's rate with which the prediction for this row is the published time."""
  work = work_of(row)
  group = slice_named(row.slice_name)
  rest = sum(cost.step_seconds(dataclasses.replace(work, traffic={}), row.layout, group).values())
  times = {'optimizer': 1}
  size = sum(size * times.get(section, work.microbatches) for section, size in work.traffic.items())
  return size / group.chip.bandwidth / (row.seconds - rest)


def main() -> None:
  """Prints the table."""
  first = next(rows())
  print(f'MEMORY_SHARE fitted on {first.name}: {fitted_memory_share(first):.2f}; in use: {cost.MEMORY_SHARE}')
  results = [(row, predicted(row)) for row in rows()]
  error = lambda result: sum(result[1].values()) / result[0].seconds - 1
  table = Table('Row', 'Source', 'Published', 'Predicted', 'Error', *cost.CAUSES)
  for row, seconds in sorted(results, key=lambda result: -abs(error(result))):
    causes = [f'{seconds[cause]:.3f}' for cause in cost.CAUSES]
    total = sum(seconds.values())
    table.add_row(
      row.name, row.source, f'{row.seconds:.3f} s', f'{total:.3f} s', f'{total / row.seconds - 1:+.0%}', *causes
    )
  Console(width=190).print(table)
  errors = [abs(error(result)) for result in results]
  print(f'{len(errors)} rows, mean error {sum(errors) / len(errors):.0%}, worst {max(errors):.0%}')


if __name__ == '__main__':
  main()
