"""`switch_zoo tasks`: every task, whether its data is here, where to get it; with --show, its examples."""

import json
import re
from collections.abc import Iterable

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo.errors import UserError

# Tasks that differ in a language only are one line of the table.
FAMILIES = {
  'zoo_mc4_<language>': re.compile(r'zoo_mc4_(\w+)$'),
  'zoo_translate_<language>_en': re.compile(r'zoo_translate_(\w+)_en$'),
}
STYLES = {'ready': 'green', 'partly ready': 'yellow'}
NOTE = (
  "Data is looked for in the folder of SWITCH_ZOO_DATA_DIR, or of gin's task_data.folder (--gin_param). Which files: "
  'switch_zoo tasks NAME. Examples: switch_zoo tasks NAME --show 3. Languages one by one: --all'
)


def command(
  name: str = typer.Argument('', metavar='[NAME]', help='A task or mixture; all of them without it.'),
  show: int = typer.Option(0, '--show', min=0, help='Print so many raw and processed examples.'),
  split: str = typer.Option('', '--split', help='Which split to show; the first that is here without it.'),
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
    _show(catalogue, entry, _split(entry, split), show, lengths, as_json)
  elif as_json:
    print(json.dumps(as_dict(entry), indent=2))
  else:
    _print_entry(Console(highlight=False, soft_wrap=True), entry)


def as_dict(entry) -> dict:
  """A task or mixture as the JSON has it."""
  fields = entry._asdict()
  if entry.kind == 'task':
    del fields['tasks']
  return {**fields, 'splits': list(entry.splits)}


def folded(entries: Iterable) -> list[tuple[str, str, str, str]]:
  """The lines of the table, (name, state, what is missing, where), a family of languages being one."""
  lines, families = [], {}
  for entry in entries:
    family = next((family for family, pattern in FAMILIES.items() if pattern.match(entry.name)), None)
    if family is None:
      lines.append((entry.name, entry.state, _first_missing(entry), entry.where))
    else:
      families.setdefault(family, []).append(entry)
  lines += [_family_line(family, members) for family, members in families.items()]
  return sorted(lines)


def _family_line(family, members):
  here = [entry for entry in members if entry.splits]
  first = here[0] if here else members[0]
  if not here:
    return family, first.state, f'{len(members)} languages; {_first_missing(first)}', first.where
  names = ' '.join(FAMILIES[family].match(entry.name)[1] for entry in here)
  state = 'partly ready' if first.state in STYLES else first.state
  return family, state, f'{len(here)} of {len(members)} languages here: {names}', first.where


def _first_missing(entry):
  """What is missing, in few words: the first of the names that were looked for."""
  if entry.kind == 'mixture':
    ready = len(entry.tasks) - len(entry.missing)
    return f'{ready} of {len(entry.tasks)} tasks' if entry.missing else f'{len(entry.tasks)} tasks'
  parts = [f'{split}: {reason.split(" or ")[0]}' for split, reason in entry.missing.items()]
  return '; '.join(part if len(part) <= 80 else f'{part[:77]}...' for part in parts)


def _catalogue(parameters):
  """Imports TensorFlow and the tasks; binds what gin is told."""
  import gin

  import switch_zoo.tasks  # noqa: F401 - registers them
  from switch_zoo.tasks import catalogue

  try:
    gin.parse_config(parameters)
  except (ValueError, AttributeError, SyntaxError) as error:
    raise UserError(f'--gin_param: {str(error).strip()}') from error
  return catalogue


def _list(entries, every, as_json):
  if as_json:
    print(json.dumps([as_dict(entry) for entry in entries], indent=2))
    return
  console = Console(highlight=False)
  lines = [(e.name, e.state, _first_missing(e), e.where) for e in entries] if every else folded(entries)
  places = list(dict.fromkeys(line[3] for line in lines if line[3] and line[1] != 'ready'))
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
  for head in ('Task', 'State', 'Get it', 'Missing'):
    table.add_column(head, no_wrap=head != 'Missing', overflow='fold')
  for name, state, missing, where in lines:
    number = f'[{places.index(where) + 1}]' if where in places and state != 'ready' else ''
    table.add_row(name, f'[{STYLES.get(state, "red")}]{state}[/]', number.replace('[', '\\['), missing)
  console.print(table)
  for number, where in enumerate(places, 1):
    console.print(f'[{number}] {where}', markup=False)
  console.print(NOTE, style='dim', markup=False)


def _split(entry, asked):
  """The split to show.

  Raises:
    UserError: it is not there, or none is
  """
  if entry.kind == 'mixture':
    return asked or 'train'
  here = entry.splits
  if asked and asked not in (*here, *entry.missing):
    raise UserError(f'{entry.name} has no split "{asked}". It has: {", ".join((*here, *entry.missing))}.')
  if asked and asked not in here or not here:
    reasons = '; '.join(f'{split}: {reason}' for split, reason in entry.missing.items())
    raise UserError(f'The data of {entry.name} is not here ({reasons.rstrip(".")}). {entry.where}')
  return asked or here[0]


def _show(catalogue, entry, split, most, lengths, as_json):
  raw = catalogue.raw_rows(entry.name, split, most) if entry.kind == 'task' else []
  processed = list(catalogue.examples(entry.name, split, most, lengths))
  if as_json:
    rows = [json.loads(catalogue.as_json(row)) for row in raw]
    print(json.dumps({'name': entry.name, 'split': split, 'raw': rows, 'processed': processed}, ensure_ascii=False))
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


def _print_entry(console, entry):
  console.print(f'{entry.name} ({entry.kind}): {entry.state}', style='bold', markup=False)
  if entry.splits:
    console.print(f'  here: {", ".join(entry.splits)}', markup=False)
  for what, reason in entry.missing.items():
    console.print(f'  missing, {what}: {reason}', markup=False)
  if entry.where and entry.missing:
    console.print(f'  {entry.where}', markup=False)
  if entry.tasks:
    console.print(f'  tasks: {" ".join(entry.tasks)}', markup=False)
