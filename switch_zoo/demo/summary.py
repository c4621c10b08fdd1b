"""The results at the end of the demo. Every figure was measured by a phase and kept in the folder."""

from collections.abc import Set
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from switch_zoo.demo import expert_load
from switch_zoo.demo.folder import DemoFolder

RESULTS = 'How experts compare with a dense model on more text, with figures and commands: docs/results.md'
_MEASURING = ('pretrain', 'finetune', 'finetune_random', 'evaluate', 'ask')


def show(console: Console, folder: DemoFolder, measured_now: Set[str]) -> None:
  """Prints the results of a finished demo.

  Args:
    console: where to print
    folder: the folder of the demo, with all phases finished
    measured_now: the phases done by this process; the others are listed as done earlier
  """
  console.print(_load_table(folder))
  console.print(accuracy_table(folder.result('evaluate')))
  console.print(_request_table(folder.result('ask')))
  earlier = [name for name in _MEASURING if name not in measured_now]
  if earlier:
    console.print(f'Measured by an earlier run in {folder.path}: {", ".join(earlier)}.', soft_wrap=True, markup=False)
  console.print(f'Everything is in {folder.path}: {", ".join(contents(folder))}.', soft_wrap=True, markup=False)
  console.print(RESULTS, soft_wrap=True, markup=False)


def accuracy_table(evaluation: dict[str, Any]) -> Group:
  """The three accuracies, in percent of the held-out paragraphs."""
  table = _table()
  table.add_column()
  table.add_column(justify='right')
  always = f'always "{evaluation["majority_section"]}", the most frequent section'
  table.add_row(always, percent(evaluation['majority']))
  table.add_row('fine-tuned without pre-training', percent(evaluation['from_random']))
  table.add_row('fine-tuned with pre-training', percent(evaluation['pretrained']), style='bold')
  return Group(f'Accuracy on {evaluation["examples"]} held-out paragraphs of {evaluation["sections"]} sections', table)


def percent(value: float) -> str:
  """55.479 -> '55.5%'"""
  return f'{value:.1f}%'


def contents(folder: DemoFolder) -> list[str]:
  """The names of what a finished folder holds, each with its kind."""
  exported = f'{folder.export.name}/{folder.result("export")["folder"]}'
  return [
    f'{folder.vocabulary.name} (sentencepiece)',
    f'{folder.pretrained.name}, {folder.finetuned.name} and {folder.from_random.name} (checkpoints)',
    f'{exported} (SavedModel)',
    f'{folder.picture.name} (picture)',
    'results (figures)',
  ]


def _load_table(folder: DemoFolder) -> Group:
  load = folder.result('expert_load')['fine-tuning']
  experts = len(next(iter(load.values())))
  title = f'Share of the tokens of each expert while fine-tuning (an equal share is {1 / experts:.1%})'
  return Group(title, expert_load.table(load))


def _request_table(answer: dict[str, Any]) -> Group:
  table = _table()
  table.add_column(style='dim')
  table.add_column(overflow='fold')
  for name, text in (('request', answer['request']), ('answer', answer['answer']), ('its section', answer['section'])):
    table.add_row(name, Text(text))
  return Group('The answer of the SavedModel, in a fresh process, for a held-out paragraph', table)


def _table() -> Table:
  return Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
