"""The planner's memory of a core against what the TPU's compiler reports, worst errors first, as Markdown.

    python benchmarks/planner_memory.py

Compiled steps are the records of `switch_zoo compile --record` in benchmarks/compiled.jsonl and, with other
microbatches or fewer layers, benchmarks/compiled_microbatches.jsonl.
"""

import dataclasses
import json
import pathlib
from typing import Any

from switch_zoo import garbage
from switch_zoo.planner import memory, step
from switch_zoo.planner.hardware import GIB
from switch_zoo.spec import layouts
from switch_zoo.spec.zoo import load_config

FOLDER = pathlib.Path(__file__).parent
FILES = ('compiled.jsonl', 'compiled_microbatches.jsonl')
# Model, tokens of a microbatch on a core, layers of the encoder: rows that were in view when the planner's memory was
# modelled. Every other row is held out.
IN_VIEW = frozenset(
  {
    ('t5_small', 512, 6), ('t5_small', 2048, 6), ('t5_small', 8192, 6), ('t5_base', 2048, 12), ('t5_xxl', 2048, 24),
    ('t5_xxl', 1024, 24), ('switch_base_8', 2048, 4), ('switch_base_8', 8192, 4), ('switch_base_8', 2048, 12),
    ('switch_base_128', None, 2), ('switch_base_128', None, 12), ('moe_base_128', 2048, 12),
    ('switch_xxl_128', 2048, 24), ('switch_c_2048', None, 3), ('switch_c_2048', None, 15),
  }
)  # fmt: skip
STRATEGY_RULES = {'expert_data': 'batch:batch;experts:batch', 'data': 'batch:batch'}


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A compiled step.

  record: of `switch_zoo compile --record`; `changes` are settings that the model's file does not have
  """

  record: dict[str, Any]

  @property
  def name(self) -> str:
    """Model, slice, microbatch and layers."""
    tokens, layers = self.record['microbatch'], self.record['layers']
    return f'{self.record["model"]} {self.record["slice"]} {tokens or "whole"} {layers[0]}+{layers[1]}'

  @property
  def is_held_out(self) -> bool:
    """It was not in view when the planner's memory was modelled."""
    return (self.record['model'], self.record['microbatch'], self.record['layers'][0]) not in IN_VIEW

  @property
  def total(self) -> int | None:
    """Bytes of a core, as the compiler reports them; None where it refused the step without a figure."""
    return self.record['memory']['total']

  def predicted(self) -> memory.Memory:
    """The planner's memory for the same step."""
    layers = dict(zip(('num_encoder_layers', 'num_decoder_layers'), self.record['layers'], strict=True))
    config = dataclasses.replace(load_config(self.record['model']), **layers, **self.record.get('changes', {}))
    name = self.record['layout']
    rules = STRATEGY_RULES.get(name)
    layout = layouts.parse(self.record['mesh'], rules) if rules else layouts.load_layout(name)
    microbatches = self.record['microbatches']
    with garbage.without_collections():
      built = step.build(
        config,
        self.record['batch'] // microbatches,
        outer_batch_size=layout.outer_batch_size,
        batch_parts=layout.parts('batch'),
      )
      return memory.of_step(config, layout, built.compiled(), microbatches)


def compiled() -> list[Compiled]:
  """Every record."""
  lines = [line for name in FILES for line in (FOLDER / name).read_text(encoding='utf-8').splitlines()]
  return [Compiled(json.loads(line)) for line in lines]


def table() -> list[str]:
  """The lines of the table."""
  rows = [(one, one.predicted()) for one in compiled() if one.total]
  rows.sort(key=lambda row: -abs(row[1].total / row[0].total - 1))
  lines = [
    '| Model | Slice | Layers | Microbatch | Compiler | Planner | Error | |',
    '|---|---|---:|---:|---:|---:|---:|---|',
  ]
  for one, predicted in rows:
    record = one.record
    tokens = f'{record["microbatch"]:,}' if record['microbatch'] else 'whole'
    how = ['held out' if one.is_held_out else 'in view'] + ['extrapolated'] * bool(record['extrapolated_from_layers'])
    name = ', '.join([record['model'], *(f'{key}={value}' for key, value in record.get('changes', {}).items())])
    cells = [name, record['slice'], '{}+{}'.format(*record['layers']), tokens]
    cells += [f'{one.total / GIB:.2f}', f'{predicted.total / GIB:.2f}', f'{predicted.total / one.total - 1:+.1%}']
    lines.append(f'| {" | ".join([*cells, ", ".join(how)])} |')
  return lines


if __name__ == '__main__':
  print('\n'.join(table()))
