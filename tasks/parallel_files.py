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

from switch_zoo.tasks import data_folder, languages

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
_PACKED = 3  # size of a text, roughly, in sizes of its gzip file

# The code of a language, None if it has none, and the names that its English file can have.
_Names = tuple[str | None, tuple[str, ...]]


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


def pairs(folder: str) -> tuple[AlignedPair, ...]:
  """The pairs in a folder and those below it, in the order of their paths; the result is kept for some seconds."""
  return _pairs(folder, int(time.monotonic() / _LOOK_AGAIN))


def size(pair: AlignedPair) -> int:
  """How much text a pair has: bytes of its English, a measure that is the same for all languages."""
  length = data_folder.size(pair.english)
  return length * _PACKED if pair.english.endswith('.gz') else length


def split_of(path: str) -> str:
  """The split that the words of a path name.

  >>> split_of('flores/dev/deu_Latn.dev'), split_of('newstest2014.de-en.de'), split_of('latest.de-en.de')
  ('validation', 'test', 'train')
  """
  words = frozenset(re.split('[^a-z]+', path.lower()))
  return next((split for split, names in _WORDS.items() if words & names), 'train')


@functools.lru_cache(maxsize=4)
def _pairs(folder: str, moment: int) -> tuple[AlignedPair, ...]:
  del moment
  paths = sorted(os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names)
  files = {path.removesuffix('.gz'): path for path in paths}
  candidates = (_pair(folder, name, files) for name in files)
  return tuple(pair for pair in candidates if pair)


def _pair(folder: str, name: str, files: Mapping[str, str]) -> AlignedPair | None:
  """The pair whose other language is in the file `name`; None for any other file."""
  parent, file = os.path.split(name)
  stem, _, ending = file.rpartition('.')
  language, english = _in_pair(stem, ending) or _flores(stem, ending) or _plain(stem, ending)
  if language is None or language == languages.ENGLISH:
    return None
  partner = next((files[path] for other in english if (path := os.path.join(parent, other)) in files), None)
  return AlignedPair(language, split_of(os.path.relpath(name, folder)), files[name], partner) if partner else None


def _in_pair(stem: str, ending: str) -> _Names | None:
  """tatoeba.deu-eng . deu -> de, (tatoeba.deu-eng.eng,)"""
  match = _PAIR_AT_END.fullmatch(stem)
  if not match or ending not in match.groups():
    return None
  other = match[2] if ending == match[1] else match[1]
  is_english = languages.code(other) == languages.ENGLISH
  return (languages.code(ending), (f'{stem}.{other}',)) if is_english else (None, ())


def _flores(stem: str, ending: str) -> _Names | None:
  """deu_Latn . dev -> de, (eng_Latn.dev,)"""
  return (languages.code(stem), (f'eng_Latn.{ending}',)) if _FLORES.fullmatch(stem) else None


def _plain(stem: str, ending: str) -> _Names:
  """train . de -> de, (train.en, train.eng, train.eng_Latn)"""
  if not stem or not re.fullmatch(_CODE, ending):
    return None, ()
  return languages.code(ending), tuple(f'{stem}.{name}' for name in _ENGLISH_NAMES)
