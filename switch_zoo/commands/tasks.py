"""`switch_zoo tasks`: every task, whether its data is here, where to get it; with --show, its examples."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo import whole_package
from switch_zoo.commands import json_output
from switch_zoo.errors import UserError

if TYPE_CHECKING:  # importing it imports TensorFlow
  from switch_zoo.tasks.catalogue import CatalogueEntry

# Tasks that differ only in their language are one line of the table.
FAMILIES = {
  'zoo_mc4_<language>': re.compile(r'zoo_mc4_(\w+)$'),
  'zoo_local_text_<language>': re.compile(r'zoo_local_text_(?!iid$)(\w{2,3})$'),
  'zoo_translate_<language>_en': re.compile(r'zoo_translate_(\w+)_en$'),
}
STYLES = {'ready': 'green', 'partly ready': 'yellow'}
_MAX_REASON = 80  # characters
NOTE = (
  "Data is looked for in the folder of SWITCH_ZOO_DATA_DIR, or of gin's task_data.folder (--gin_param). Which files: "
  'switch_zoo tasks NAME. Examples: switch_zoo tasks NAME --show 3. Languages one by one: --all'
)


class TaskLine(NamedTuple):
  """A line of the table.

  missing: what is missing, in few words
  where: where to get it
  """

  name: str
  state: str
  missing: str
  where: str


def command(
  name: str = typer.Argument('', metavar='[NAME]', help='A task or mixture; all of them without it.'),
  show: int = typer.Option(0, '--show', min=0, help='Print this many raw and processed examples.'),
  split: str = typer.Option('', '--split', help='Which split to show; without it, the first that is here.'),
  inputs_length: int = typer.Option(512, '--inputs-length', min=1, help='Tokens of the inputs shown.'),
  targets_length: int = typer.Option(114, '--targets-length', min=1, help='Tokens of the targets shown.'),
  gin_param: list[str] = typer.Option(  # noqa: B008 - typer's way
    [], '--gin_param', '--gin-param', help='A gin binding, as t5_mesh_transformer takes it. May be repeated.'
  ),
  every: bool = typer.Option(False, '--all', help='List the languages of mC4 and of translation one by one.'),
  as_json: bool = typer.Option(False, '--json', help='One JSON document on stdout.'),
) -> None:
  """Lists the tasks and whether their data is here, or shows the examples of one."""
  catalogue = _catalogue(gin_param)
  if show and not name:
    raise UserError('--show needs the NAME of a task: switch_zoo tasks zoo_superglue_cb --show 3')
  if not name:
    _list(catalogue.entries(), every, as_json)
    return
  entry = catalogue.entry(name)
  if show:
    lengths = {'inputs': inputs_length, 'targets': targets_length}
    _show(catalogue, entry, _split_to_show(entry, split), show, lengths, as_json)
  elif as_json:
    print(json_output.as_json(as_dict(entry)))
  else:
    _print_entry(Console(highlight=False, soft_wrap=True), entry)


def as_dict(entry: 'CatalogueEntry') -> dict[str, Any]:
  """A task or mixture as the JSON has it."""
  fields = entry._asdict()
  if entry.kind == 'task':
    del fields['tasks']
  return {**fields, 'splits': list(entry.splits)}


def folded(entries: Iterable['CatalogueEntry']) -> list[TaskLine]:
  """The lines of the table, with a family of languages as one line."""
  lines, families = [], {}
  for entry in entries:
    family = next((family for family, pattern in FAMILIES.items() if pattern.match(entry.name)), None)
    if family is None:
      lines.append(_line(entry))
    else:
      families.setdefault(family, []).append(entry)
  lines += [_family_line(family, members) for family, members in families.items()]
  return sorted(lines)


def _line(entry: 'CatalogueEntry') -> TaskLine:
  return TaskLine(entry.name, entry.state, _first_missing(entry), entry.where)


def _family_line(family: str, members: Sequence['CatalogueEntry']) -> TaskLine:
  here = [entry for entry in members if entry.splits]
  first = here[0] if here else members[0]
  if not here:
    return TaskLine(family, first.state, f'{len(members)} languages; {_first_missing(first)}', first.where)
  languages = ' '.join(FAMILIES[family].sub(r'\1', entry.name) for entry in here)
  state = 'partly ready' if first.state in STYLES else first.state
  return TaskLine(family, state, f'{len(here)} of {len(members)} languages here: {languages}', first.where)


def _first_missing(entry: 'CatalogueEntry') -> str:
  """What is missing, in few words: the first of the names that were looked for."""
  if entry.kind == 'mixture':
    ready = len(entry.tasks) - len(entry.missing)
    return f'{ready} of {len(entry.tasks)} tasks' if entry.missing else f'{len(entry.tasks)} tasks'
  parts = [f'{split}: {reason.split(" or ")[0]}' for split, reason in entry.missing.items()]
  return '; '.join(part if len(part) <= _MAX_REASON else f'{part[: _MAX_REASON - 3]}...' for part in parts)


def _catalogue(parameters: Sequence[str]) -> ModuleType:
  """Imports TensorFlow and the tasks, and gives gin its bindings."""
  import gin

  with whole_package.required_by('switch_zoo tasks'):
    import switch_zoo.tasks  # noqa: F401 - registers them
    from switch_zoo.tasks import catalogue

  try:
    gin.parse_config(parameters)
  except (ValueError, AttributeError, SyntaxError) as error:
    raise UserError(f'--gin_param: {str(error).strip()}') from error
  return catalogue


def _list(entries: Sequence['CatalogueEntry'], every: bool, as_json: bool) -> None:
  if as_json:
    print(json_output.as_json([as_dict(entry) for entry in entries]))
    return
  console = Console(highlight=False)
  lines = list(map(_line, entries)) if every else folded(entries)
  places = list(dict.fromkeys(line.where for line in lines if line.where and line.state != 'ready'))
  console.print(_table(lines, places))
  for number, where in enumerate(places, 1):
    console.print(f'[{number}] {where}', markup=False)
  console.print(NOTE, style='dim', markup=False)


def _table(lines: Iterable[TaskLine], places: Sequence[str]) -> Table:
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  for head in ('Task', 'State', 'Get it', 'Missing'):
    table.add_column(head, no_wrap=head != 'Missing', overflow='fold')
  for name, state, missing, where in lines:
    number = f'\\[{places.index(where) + 1}]' if where in places and state != 'ready' else ''
    table.add_row(name, f'[{STYLES.get(state, "red")}]{state}[/]', number, missing)
  return table


def _split_to_show(entry: 'CatalogueEntry', requested: str) -> str:
  """The split to show: the requested one, or the first that is here.

  Raises:
    UserError: it is not here, or none is
  """
  if entry.kind == 'mixture':
    return requested or 'train'
  splits = (*entry.splits, *entry.missing)
  if requested and requested not in splits:
    raise UserError(f'{entry.name} has no split "{requested}". It has: {", ".join(splits)}.')
  if requested and requested not in entry.splits or not entry.splits:
    reasons = '; '.join(f'{split}: {reason}' for split, reason in entry.missing.items())
    raise UserError(f'The data of {entry.name} is not here ({reasons.rstrip(".")}). {entry.where}')
  return requested or entry.splits[0]


def _show(
  catalogue: ModuleType, entry: 'CatalogueEntry', split: str, count: int, lengths: Mapping[str, int], as_json: bool
) -> None:
  raw = catalogue.raw_rows(entry.name, split, count) if entry.kind == 'task' else []
  processed = list(catalogue.examples(entry.name, split, count, lengths))
  if as_json:
    rows = [json.loads(catalogue.as_json(row)) for row in raw]
    print(json_output.as_json({'name': entry.name, 'split': split, 'raw': rows, 'processed': processed}, indent=None))
    return
  console = Console(highlight=False, soft_wrap=True)
  for number, row in enumerate(raw, 1):
    console.print(f'raw {number}', style='bold')
    console.print(catalogue.as_json(row), markup=False)
  for number, example in enumerate(processed, 1):
    console.print(f'processed {number}', style='bold')
    for feature, value in example.items():
      console.print(f'  {feature}: {value["text"]}', markup=False)
      console.print(f'  {len(value["ids"])} ids: {" ".join(map(str, value["ids"]))}', style='dim', markup=False)


def _print_entry(console: Console, entry: 'CatalogueEntry') -> None:
  console.print(f'{entry.name} ({entry.kind}): {entry.state}', style='bold', markup=False)
  if entry.splits:
    console.print(f'  here: {", ".join(entry.splits)}', markup=False)
  for what, reason in entry.missing.items():
    console.print(f'  missing, {what}: {reason}', markup=False)
  if entry.where and entry.missing:
    console.print(f'  {entry.where}', markup=False)
  if entry.tasks:
    console.print(f'  tasks: {" ".join(entry.tasks)}', markup=False)
