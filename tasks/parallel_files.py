"""Finds line-aligned pairs of files, a language and English, in a folder of any layout in use.

    tatoeba.deu-eng.deu    tatoeba.deu-eng.eng     Tatoeba: name, pair of languages, language
    Europarl.de-en.de.gz   Europarl.de-en.en.gz    OPUS and Moses: the same
    deu_Latn.dev           eng_Latn.dev            FLORES: language and script, split
    train.de               train.en                name and language

A file belongs to the split that a word of its path names ('newstest2014', 'flores200_dev/...'), otherwise to 'train'.
"""

import functools
import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, languages, raw_files

SPLITS = ('train', 'validation', 'test')
_WORDS = {
  'test': frozenset(('test', 'devtest', 'newstest', 'eval')),
  'validation': frozenset(('dev', 'newsdev', 'val', 'valid', 'validation')),
}
_CODE = '[A-Za-z]{2,3}(?:_[A-Za-z]{2,4})?'
_PAIR_AT_END = re.compile(rf'(?:^|.*\.)({_CODE})-({_CODE})')
_FLORES = re.compile('[a-z]{3}_[A-Z][a-z]{3}')
_ENGLISH_NAMES = ('en', 'eng', 'eng_Latn')
_LOOK_AGAIN = 5  # seconds
_COUNTED = 64 << 20  # bytes of a file whose lines are counted before a run
_PACKED = 3  # size of a text, roughly, in sizes of its gzip file


class _Side(NamedTuple):
  """A file that is one side of a pair, as its name says.

  language: code of the language that is not English
  partners: names that the other side can have
  is_english: whether it is the English one
  """

  language: str
  partners: tuple[str, ...]
  is_english: bool = False


class AlignedPair(NamedTuple):
  """Two files whose lines translate each other.

  language: code of the language that is not English
  split: 'train', 'validation' or 'test'
  path: the file in that language
  english: the file in English
  """

  language: str
  split: str
  path: str
  english: str


class Unpaired(NamedTuple):
  """A file whose name says that it is one side of a pair, and that has no other side.

  language: code of the language that is not English
  split: 'train', 'validation' or 'test'
  path: of the file
  partners: names that the other side can have
  """

  language: str
  split: str
  path: str
  partners: tuple[str, ...]


def pairs(folder: str) -> tuple[AlignedPair, ...]:
  """The pairs in a folder and those below it, in the order of their paths; the result is kept for some seconds."""
  return tuple(pair for pair in _sides(folder) if isinstance(pair, AlignedPair))


def unpaired(folder: str) -> tuple[Unpaired, ...]:
  """The files that are one side of a pair without the other; `train.de` alone may be anything, and is none."""
  return tuple(side for side in _sides(folder) if isinstance(side, Unpaired))


def check_lines(pair: AlignedPair) -> None:
  """Compares the numbers of lines of a pair; not if it is large, which a run finds out when it has read it.

  Raises:
    UserError: they differ
  """
  if max(map(_unpacked_size, pair[2:])) > _COUNTED:
    return
  counts = [raw_files.count_lines(path) for path in pair[2:]]
  if None not in counts and counts[0] != counts[1]:
    raise UserError(
      f'{pair.path} has {counts[0]:,} lines and {pair.english} has {counts[1]:,}: line n of one must translate line n '
      'of the other, so both must have the same number. A line may be missing or cut in two: align them again, or '
      'download them again.'
    )


def size(pair: AlignedPair) -> int:
  """How much text a pair has: bytes of its English, a measure that is the same for all languages."""
  return _unpacked_size(pair.english)


def split_of(path: str) -> str:
  """The split that the words of a path name.

  >>> split_of('flores/dev/deu_Latn.dev'), split_of('newstest2014.de-en.de'), split_of('latest.de-en.de')
  ('validation', 'test', 'train')
  """
  words = frozenset(re.split('[^a-z]+', path.lower()))
  return next((split for split, names in _WORDS.items() if words & names), 'train')


def _unpacked_size(path: str) -> int:
  length = data_folder.size(path)
  return length * _PACKED if path.endswith('.gz') else length


def _sides(folder: str) -> tuple[AlignedPair | Unpaired, ...]:
  return _read_folder(folder, int(time.monotonic() / _LOOK_AGAIN))


@functools.lru_cache(maxsize=4)
def _read_folder(folder: str, moment: int) -> tuple[AlignedPair | Unpaired, ...]:
  del moment
  paths = sorted(os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names)
  files = {path.removesuffix('.gz'): path for path in paths}
  candidates = (_pair(folder, name, files) for name in files)
  return tuple(pair for pair in candidates if pair)


def _pair(folder: str, name: str, files: Mapping[str, str]) -> AlignedPair | Unpaired | None:
  """The pair whose other language is in the file `name`, or that it has no other side; None for any other file."""
  parent, file = os.path.split(name)
  stem, _, ending = file.rpartition('.')
  certain = _in_pair(stem, ending) or _flores(stem, ending)
  side = certain or _plain(stem, ending)
  if side is None:
    return None
  partner = next((files[path] for other in side.partners if (path := os.path.join(parent, other)) in files), None)
  split = split_of(os.path.relpath(name, folder))
  if partner is None:
    return Unpaired(side.language, split, files[name], side.partners) if certain else None
  return None if side.is_english else AlignedPair(side.language, split, files[name], partner)


def _in_pair(stem: str, ending: str) -> _Side | None:
  """tatoeba.deu-eng . deu -> de, (tatoeba.deu-eng.eng,)"""
  match = _PAIR_AT_END.fullmatch(stem)
  if not match or ending not in match.groups():
    return None
  other = match[2] if ending == match[1] else match[1]
  codes = languages.code(ending), languages.code(other)
  language = next((code for code in codes if code not in (None, languages.ENGLISH)), None)
  if language is None or languages.ENGLISH not in codes:
    return None
  return _Side(language, (f'{stem}.{other}',), codes[0] == languages.ENGLISH)


def _flores(stem: str, ending: str) -> _Side | None:
  """deu_Latn . dev -> de, (eng_Latn.dev,)"""
  language = languages.code(stem) if _FLORES.fullmatch(stem) else None
  return _Side(language, (f'eng_Latn.{ending}',)) if language and language != languages.ENGLISH else None


def _plain(stem: str, ending: str) -> _Side | None:
  """train . de -> de, (train.en, train.eng, train.eng_Latn)"""
  language = languages.code(ending) if stem and re.fullmatch(_CODE, ending) else None
  of_pair = _PAIR_AT_END.fullmatch(stem)
  if language is None or language == languages.ENGLISH or (of_pair and ending in of_pair.groups()):
    return None
  return _Side(language, tuple(f'{stem}.{name}' for name in _ENGLISH_NAMES))
