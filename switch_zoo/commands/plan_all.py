"""Every ready-made layout as the planner sees it: a table for docs/layouts.md."""

from collections.abc import Iterable, Iterator

from switch_zoo.commands.plan_report import mesh_text
from switch_zoo.planner.hardware import GIB, slice_named
from switch_zoo.planner.search import Judge, Plan, Rejected
from switch_zoo.planner.step import LENGTHS
from switch_zoo.spec import layouts
from switch_zoo.spec.zoo import load_config

HEAD = (
  '| Slice | Model | Layout | Microbatches | GiB a core | Step | Sequences/s |',
  '|---|---|---|---:|---:|---:|---:|',
)


def table(names: Iterable[str]) -> Iterator[str]:
  """The lines of the table in Markdown, each as soon as it is known.

  Args:
    names: of ready layouts, 'v3-8/switch_base_8'
  """
  yield from HEAD
  for name in names:
    slice_name, _, model = name.partition('/')
    target = slice_named(slice_name)
    judge = Judge(load_config(model), target, max(layouts.SEQUENCES, target.cores), LENGTHS)
    yield line(name, judge.judge(layouts.load_layout(name)))


def line(name: str, judged: Plan | Rejected) -> str:
  """The line of a ready layout."""
  slice_name, _, model = name.partition('/')
  cells = [slice_name, model, mesh_text(judged.layout)]
  if isinstance(judged, Rejected):
    cells += [judged.reason, '', '', '']
  else:
    cells += [str(judged.microbatches), f'{judged.memory.total / GIB:.1f}', f'{judged.total_seconds:.3g} s']
    cells.append(f'{judged.sequences_per_second:.0f}')
  return f'| {" | ".join(cells)} |'
