"""Paragraphs of the Python language reference, the section of each, and which of them are held out.

The 79 topics of `pydoc_data` overlap (the text of `for` is also part of `compound`) and many are short, so they are
gathered in 12 sections, and a paragraph belongs to the shortest topic that has it.
"""

import functools
import hashlib
from typing import NamedTuple

from switch_zoo.tasks import pydoc_source

# Section -> the topics it gathers. The names of sections are what the model writes.
SECTIONS = {
  'attributes': 'attribute-access attribute-references specialattrs',
  'blocks': 'async class compound else for function if try while with',
  'debugger': 'debugger',
  'expressions': 'await binary bitwise booleans calls comparisons conversions in lambda operator-summary power '
  'shifting unary',
  'formatting': 'formatstrings',
  'mappings': 'dict typesmapping',
  'methods': 'callable-types context-managers customization numeric-types specialnames',
  'names': 'atom-identifiers atom-literals dynamic-features exceptions execmodel floating identifiers imaginary '
  'integers naming numbers strings',
  'sequences': 'exprlists lists sequence-types slicings subscriptions typesseq typesseq-mutable',
  'statements': 'assert assignment augassign break continue del global import nonlocal pass raise return yield',
  'strings': 'string-methods',
  'types': 'bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects id-classes objects truth '
  'types typesfunctions typesmethods typesmodules',
}
SHORTEST = 80  # characters; below that a paragraph is a heading or a line of code
HELD_OUT = 4  # one paragraph in this many
_SHINGLE = 8  # words in a row that give a held-out paragraph away if they occur elsewhere


class TopicRow(NamedTuple):
  """A paragraph (one line) and its section."""

  text: str
  section: str


def rows(split: str) -> list[TopicRow]:
  """The paragraphs of 'train' or 'validation', with topics ordered by length and name.

  Whether a paragraph is held out depends on its text alone. One that shares 8 words in a row with a held-out paragraph
  is in neither split.
  """
  if split == 'validation':
    return [row for row in _all_rows() if _is_held_out(row.text)]
  known = _held_out_shingles()
  return [row for row in _all_rows() if known.isdisjoint(shingles(row.text))]


@functools.lru_cache(maxsize=1)
def documents() -> tuple[str, ...]:
  """The text for pre-training: the topics without what is held out, then the docstrings of each module.

  The paragraphs of the validation split are left out, and every other that shares 8 words in a row with one.
  """
  known = _held_out_shingles()
  texts = [*pydoc_source.topics().values(), *(module.text for module in pydoc_source.standard_library())]
  kept = ([line for line in pydoc_source.paragraphs(text) if known.isdisjoint(shingles(line))] for text in texts)
  return tuple(' '.join(lines) for lines in kept if lines)


def shingles(text: str) -> set[tuple[str, ...]]:
  """Every 8 words in a row of a text; all words of a shorter one.

  >>> shingles('two words')
  {('two', 'words')}
  """
  words = text.split()
  return {tuple(words[start : start + _SHINGLE]) for start in range(max(1, len(words) - _SHINGLE + 1))}


def _held_out_shingles() -> set[tuple[str, ...]]:
  return set().union(*(shingles(row.text) for row in rows('validation')))


@functools.lru_cache(maxsize=1)
def _all_rows() -> tuple[TopicRow, ...]:
  texts = pydoc_source.topics()
  section_of = {topic: section for section, names in SECTIONS.items() for topic in names.split()}
  row_of: dict[str, TopicRow] = {}
  for topic in sorted(section_of.keys() & texts.keys(), key=lambda name: (len(texts[name]), name)):
    for paragraph in pydoc_source.paragraphs(texts[topic]):
      if len(paragraph) >= SHORTEST:
        row_of.setdefault(paragraph, TopicRow(paragraph, section_of[topic]))
  return tuple(row_of.values())


def _is_held_out(text: str) -> bool:
  return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT == 0
