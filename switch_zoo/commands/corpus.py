"""`switch_zoo corpus`: collects text of this machine for zoo_local_text_*, and pairs of lines for zoo_translate_*."""

import collections
import itertools
import os
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from switch_zoo import whole_package, work_progress
from switch_zoo.commands import json_output
from switch_zoo.errors import UserError

_ENOUGH = 100_000_000  # bytes
_LANGUAGES = 12  # the largest of a domain that are named


def command(
  out: str = typer.Argument(..., metavar='DIR', help='The data folder; the corpus is written to DIR/local_text.'),
  folder: list[str] = typer.Option(  # noqa: B008 - typer's way
    [], '--folder', metavar='FOLDER', help='A folder with texts of your own as well. May be repeated.'
  ),
  pairs: bool = typer.Option(
    False, '--pairs', help='Pairs of lines for translation instead, written to DIR/translation/catalogues.'
  ),
  as_json: bool = typer.Option(False, '--json', help='One JSON document on stdout.'),
) -> None:
  """Collects text for pre-training from this machine, without a download.

  Sources and documentation of the running Python and its packages, gettext catalogues, manual pages and
  /usr/share/doc. Every document is kept once, one in 100 is held out, and nothing is executed. The same files give the
  same corpus. A corpus that is already in DIR is only described.

  With --pairs: the messages of the gettext catalogues and their translations, aligned line by line, for the tasks
  zoo_translate_*. One English message in 20 is held out in all languages.
  """
  for name in folder:
    if not os.path.isdir(name):
      raise UserError(f'--folder={name} is not a folder. Name one that contains texts.')
  index = _pairs(out, folder) if pairs else _corpus(out, folder)
  if as_json:
    print(json_output.as_json(index))
  else:
    (_print_pairs if pairs else _print)(Console(highlight=False, soft_wrap=True), out, index)


def _corpus(out: str, folders: list[str]) -> dict[str, Any]:
  """The index of the corpus, which is made if it is not there."""
  with whole_package.required_by('switch_zoo corpus'):
    from switch_zoo.tasks import local_corpus, local_files
  index = local_corpus.index_of(out)
  if index is None:
    files = itertools.chain(local_files.of_machine(), *map(local_files.of_folder, folders))
    index = local_corpus.make(out, work_progress.counted(files, 'Reading', 'files'))
  elif folders:
    _refuse_folders(os.path.join(out, local_corpus.FOLDER), 'a corpus')
  return index


def _pairs(out: str, folders: list[str]) -> dict[str, Any]:
  """The index of the pairs, which are made if they are not there."""
  with whole_package.required_by('switch_zoo corpus'):
    from switch_zoo.tasks import catalogue_pairs, local_files
  index = catalogue_pairs.index_of(out)
  if index is None:
    files = itertools.chain(local_files.catalogues_of_machine(), *map(local_files.catalogues, folders))
    counted = lambda files: work_progress.counted(files, 'Reading', 'catalogues', len(files))
    index = catalogue_pairs.make(out, files, counted)
  elif folders:
    _refuse_folders(os.path.join(out, catalogue_pairs.FOLDER), 'pairs')
  return index


def _refuse_folders(place: str, content: str) -> NoReturn:
  raise UserError(
    f'{place} already contains {content}, to which --folder adds nothing. Delete it, or name another DIR.'
  )


def _print(console: Console, out: str, index: dict[str, Any]) -> None:
  table = Table(box=box.SIMPLE_HEAD, show_edge=False)
  for head in ('Domain', 'MB', 'Held out', 'Languages (MB)'):
    table.add_column(head, justify='right' if head in ('MB', 'Held out') else 'left', overflow='fold')
  train, validation = index['splits']['train'], index['splits']['validation']
  for domain, languages in sorted(train.items()):
    held_out = _bytes(validation.get(domain, {}))
    table.add_row(domain, _megabytes(_bytes(languages)), _megabytes(held_out), _largest(languages))
  total = sum(map(_bytes, train.values()))
  held_out = sum(map(_bytes, validation.values()))
  table.add_row('all', _megabytes(total), _megabytes(held_out), f'{len(_languages(train))} languages', style='bold')
  console.print(table)
  counts = index['left_out']
  console.print(
    f'{counts["files"]:,} files; left out: {counts["not_text"]:,} that are not text or larger than 2 MiB, '
    f'{counts["repeated"]:,} repeated and {counts["short"]:,} short documents, and '
    f'{counts["repeated_paragraph_bytes"] / 1e6:,.1f} MB of paragraphs that had occurred before.'
  )
  if total < _ENOUGH:
    console.print(f'That is less than {_ENOUGH / 1e6:.0f} MB. --folder adds texts of your own.')
  console.print(f'Digest {index["digest"][:16]}. Use it with SWITCH_ZOO_DATA_DIR={out}.', markup=False)


def _print_pairs(console: Console, out: str, index: dict[str, Any]) -> None:
  sizes = sorted(index['languages'].items(), key=lambda item: (-item[1]['train'], item[0]))
  table = Table(box=box.SIMPLE_HEAD, show_edge=False)
  for head in ('Split', 'Pairs', 'Languages (pairs)'):
    table.add_column(head, justify='right' if head == 'Pairs' else 'left', overflow='fold')
  for split in ('train', 'validation'):
    shown = [f'{language} {size[split]:,}' for language, size in sizes]
    rest = f' ... {", ".join(shown[-_LANGUAGES // 2 :])}' if len(shown) > 2 * _LANGUAGES else ''
    head = ', '.join(shown[:_LANGUAGES] if rest else shown)
    table.add_row(split, f'{sum(size[split] for _, size in sizes):,}', f'{head}{rest}')
  console.print(table)
  counts = index['left_out']
  console.print(
    f'{counts["files"]:,} catalogues, {len(sizes)} languages; left out: {counts["damaged"]:,} damaged catalogues, '
    f'{counts["small"]:,} languages with too few pairs, and pairs: {counts["repeated"]:,} repeated, '
    f'{counts["untranslated"]:,} not translated, {counts["long"]:,} long.'
  )
  console.print(f'Digest {index["digest"][:16]}. Use it with SWITCH_ZOO_DATA_DIR={out}.', markup=False)


def _bytes(languages: dict[str, Any]) -> int:
  return sum(size['bytes'] for size in languages.values())


def _megabytes(size: int) -> str:
  return f'{size / 1e6:,.1f}'


def _languages(train: dict[str, Any]) -> set[str]:
  return {language for languages in train.values() for language in languages}


def _largest(languages: dict[str, Any]) -> str:
  sizes = collections.Counter({language: size['bytes'] for language, size in languages.items()})
  shown = [f'{language} {_megabytes(size)}' for language, size in sizes.most_common(_LANGUAGES)]
  rest = len(sizes) - len(shown)
  return ', '.join(shown) + (f' and {rest} more' if rest else '')
