"""Every ready-made layout as the planner sees it: a table for docs/layouts.md."""

from collections.abc import Iterator

from switch_zoo.commands.plan_report import mesh_text
from switch_zoo.planner.hardware import GIB, slice_named
from switch_zoo.planner.search import Judge, Plan
from switch_zoo.planner.step import LENGTHS
from switch_zoo.spec import layouts
from switch_zoo.spec.zoo import load_config

HEAD = (
  '| Slice | Model | Layout | Microbatches | GiB a core | Step | Sequences/s |',
  '|---|---|---|---:|---:|---:|---:|',
)


def table(only: str = '') -> Iterator[str]:
  """The lines of the table in Markdown, each as soon as it is known.

  Args:
    only: the name of a slice; '': all slices that have ready layouts
  """
  yield from HEAD
  for name in layouts.list_layouts():
    slice_name, _, model = name.partition('/')
    if model and only in ('', slice_name):
      yield f'| {slice_name} | {model} | {" | ".join(_cells(name, slice_name, model))} |'


def _cells(name: str, slice_name: str, model: str) -> list[str]:
  target, layout = slice_named(slice_name), layouts.load_layout(name)
  plan = Judge(load_config(model), target, max(layouts.SEQUENCES, target.cores), LENGTHS).judge(layout)
  if not isinstance(plan, Plan):
    return [mesh_text(layout), plan.reason, '', '', '']
  return [
    mesh_text(layout),
    str(plan.microbatches),
    f'{plan.memory.total / GIB:.1f}',
    f'{plan.total_seconds:.3g} s',
    f'{plan.sequences_per_second:.0f}',
  ]
