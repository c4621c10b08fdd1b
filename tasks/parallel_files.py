"""Finds line-aligned pairs of files, a language and English, in a folder of any layout in use.

    tatoeba.deu-eng.deu    tatoeba.deu-eng.eng     Tatoeba: name, pair of languages, language
    Europarl.de-en.de.gz   Europarl.de-en.en.gz    OPUS and Moses: the same
    deu_Latn.dev           eng_Latn.dev            FLORES: language and script, split
    train.de               train.en                name and language

A file belongs to the split that a word of its path names ('newstest2014', 'flores200_dev/...'), to 'train' otherwise.
"""

import functools
import os
import re
import time
from typing import NamedTuple

import tensorflow as tf

from switch_zoo.tasks import languages

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
_PACKED = 3  # what a gzip file of text unpacks to, about, in its own sizes


class Pair(NamedTuple):
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


def pairs(folder: str) -> tuple[Pair, ...]:
  """The pairs in a folder and those below it, in the order of their paths; what was found a moment ago is kept."""
  return _pairs(folder, int(time.monotonic() / _LOOK_AGAIN))


def size(pair: Pair) -> int:
  """How much text a pair has: bytes of its English, which is written alike whatever it is aligned with."""
  length = tf.io.gfile.stat(pair.english).length
  return length * _PACKED if pair.english.endswith('.gz') else length


def split_of(path: str) -> str:
  """The split that the words of a path name.

  >>> split_of('flores/dev/deu_Latn.dev'), split_of('newstest2014.de-en.de'), split_of('latest.de-en.de')
  ('validation', 'test', 'train')
  """
  words = frozenset(re.split('[^a-z]+', path.lower()))
  return next((split for split, named in _WORDS.items() if words & named), 'train')


@functools.lru_cache(maxsize=4)
def _pairs(folder, moment):
  del moment
  paths = sorted(os.path.join(parent, name) for parent, _, names in tf.io.gfile.walk(folder) for name in names)
  files = {path.removesuffix('.gz'): path for path in paths}
  found = (_pair(folder, name, files) for name in files)
  return tuple(pair for pair in found if pair)


def _pair(folder, name, files):
  """The pair whose other language is in the file `name`; None for any other file."""
  parent, file = os.path.split(name)
  stem, _, ending = file.rpartition('.')
  language, english = _in_pair(stem, ending) or _flores(stem, ending) or _plain(stem, ending)
  if language in (None, languages.ENGLISH):
    return None
  partner = next((files[path] for one in english if (path := os.path.join(parent, one)) in files), None)
  return partner and Pair(language, split_of(os.path.relpath(name, folder)), files[name], partner)


def _in_pair(stem, ending):
  """tatoeba.deu-eng . deu -> de, (tatoeba.deu-eng.eng,)"""
  match = _PAIR_AT_END.fullmatch(stem)
  if not match or ending not in match.groups():
    return None
  other = match[2] if ending == match[1] else match[1]
  english = languages.code(other) == languages.ENGLISH
  return (languages.code(ending), (f'{stem}.{other}',)) if english else (None, ())


def _flores(stem, ending):
  """deu_Latn . dev -> de, (eng_Latn.dev,)"""
  return (languages.code(stem), (f'eng_Latn.{ending}',)) if _FLORES.fullmatch(stem) else None


def _plain(stem, ending):
  """train . de -> de, (train.en, train.eng, train.eng_Latn)"""
  if not stem or not re.fullmatch(_CODE, ending):
    return None, ()
  return languages.code(ending), tuple(f'{stem}.{name}' for name in _ENGLISH_NAMES)
