"""Line-aligned pairs for `zoo_translate_*` from the gettext catalogues of this machine: messages and translations.

DIR/translation/catalogues/train/catalogues.de-en.de, .en; the same in `validation`. One English message in 20 is held
out, in every language, by the hash of its letters: so no English line that is measured was learned from another
language. One language is in memory at a time, and its pairs are sorted by hash: the same files give the same pairs.
"""

import collections
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.tasks import languages, local_texts
from switch_zoo.tasks.local_files import LocalFile
from switch_zoo.tasks.made_folder import MadeFolder

FOLDER = os.path.join('translation', 'catalogues')
_MADE = MadeFolder(FOLDER, 'set of pairs')
HELD_OUT = 20  # one message in this many is held out
_SPLITS = ('train', 'validation')
_LONGEST = 400  # characters of a side; longer messages are licences and help screens
_FEWEST = 200  # pairs of a language; with fewer, it is left out
_LETTERS = 2  # of each side; what has fewer is a symbol or a format


class Pair(NamedTuple):
  """A line in another language and its English one."""

  translated: str
  english: str

  @property
  def held_out(self) -> bool:
    """Whether it is kept for validation, which its English letters decide: '_Open' and 'Open...' go together."""
    return _number(''.join(filter(str.isalnum, self.english.casefold()))) % HELD_OUT == 0


def code(file: LocalFile) -> str:
  """The language of a catalogue as tasks have it: 'pt_BR' -> 'pt', 'sr@latin' -> 'sr'; '' if it is none, or English."""
  known = languages.code(file.language.partition('@')[0])
  return '' if known in (None, languages.ENGLISH) else str(known)


def pairs_of(data: bytes) -> Iterator[Pair] | None:
  """The pairs of a catalogue, as single lines; None if it is damaged.

  Of a message with a plural, both forms are kept where the language has two as well; otherwise it is left out.
  """
  messages = local_texts.messages(data)
  if messages is None:
    return None
  line = lambda text: ' '.join(text.split())
  aligned = (
    zip(translated, english, strict=True) for english, translated in messages if len(english) == len(translated)
  )
  return (Pair(line(translated), line(english)) for pair in aligned for translated, english in pair)


def make(
  folder: str, files: Iterable[LocalFile], counted: Callable[[list[LocalFile]], Iterable[LocalFile]] = iter
) -> dict[str, Any]:
  """Writes the pairs and their index into FOLDER/translation/catalogues, as a whole or not at all.

  Args:
    folder: the data folder
    files: catalogues
    counted: passes files on while they are read, to show how far it is
  Returns:
    the index: pairs of each language and split, what was left out, and a digest of the files
  Raises:
    UserError: there is no language with enough pairs, something else is in the place, or it cannot be written
  """
  return _MADE.make(folder, lambda partial: _write(partial, files, counted))


def index_of(folder: str) -> dict[str, Any] | None:
  """The index of the pairs in a data folder; None if there is none."""
  return _MADE.index(folder)


def _write(
  partial: str, files: Iterable[LocalFile], counted: Callable[[list[LocalFile]], Iterable[LocalFile]]
) -> dict[str, Any]:
  for split in _SPLITS:
    os.mkdir(os.path.join(partial, split))
  left_out: dict[str, int] = collections.Counter(files=0, damaged=0, untranslated=0, long=0, repeated=0, small=0)
  digest = hashlib.sha256()
  sizes: dict[str, dict[str, int]] = {}
  for language, of_language in itertools.groupby(counted(sorted(files, key=code)), code):
    if not language:
      continue
    kept = _kept(of_language, left_out)
    if len(kept) < _FEWEST:
      left_out['small'] += bool(kept)
      continue
    sizes[language] = {split: _write_split(partial, split, language, kept, digest) for split in _SPLITS}
  if not sizes:
    raise UserError(
      f'{left_out["files"]:,} catalogues were read, and no language has {_FEWEST} pairs. Name a folder with '
      'catalogues (LANGUAGE/LC_MESSAGES/NAME.mo) with --folder.'
    )
  return {'languages': sizes, 'left_out': dict(left_out), 'held_out': HELD_OUT, 'digest': digest.hexdigest()}


def _kept(files: Iterable[LocalFile], left_out: dict[str, int]) -> list[Pair]:
  """The pairs of a language, each once, in the order of their hashes."""
  by_number: dict[int, Pair] = {}
  for file in files:
    left_out['files'] += 1
    data = local_texts.content(file.path)
    pairs = None if data is None else pairs_of(data)
    if pairs is None:
      left_out['damaged'] += 1
      continue
    for pair in pairs:
      number = _number('\n'.join(pair))
      reason = 'repeated' if number in by_number else _unfit(pair)
      if reason:
        left_out[reason] += 1
      else:
        by_number[number] = pair
  return [by_number[number] for number in sorted(by_number)]


def _unfit(pair: Pair) -> str:
  """Why a pair is left out; '' if it is not."""
  if pair.translated == pair.english or min(sum(map(str.isalpha, side)) for side in pair) < _LETTERS:
    return 'untranslated'
  return 'long' if max(map(len, pair)) > _LONGEST else ''


def _write_split(partial: str, split: str, language: str, pairs: list[Pair], digest: Any) -> int:
  """Writes both files of a split; returns how many pairs they have. Without any there are no files."""
  of_split = [pair for pair in pairs if pair.held_out == (split == 'validation')]
  for ending, side in ((language, 0), (languages.ENGLISH, 1)):
    text = ''.join(f'{pair[side]}\n' for pair in of_split).encode()
    digest.update(text)
    if text:
      with open(os.path.join(partial, split, f'catalogues.{language}-en.{ending}'), 'wb') as file:
        file.write(text)
  return len(of_split)


def _number(text: str) -> int:
  """A text as a number of 64 bits, the same on every machine."""
  return int.from_bytes(hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=8).digest(), 'big')
