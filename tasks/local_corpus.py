"""Makes the corpus of `zoo_local_text_*`: documents of this machine, each once, some held out, in shuffled shards.

Two passes, so that memory is bounded by a shard: the first appends each piece to the shard that its hash chooses; the
second reads one shard after the other, drops what exceeds a domain's share, and sorts by hash. The order is that of
hashes of texts, and so the same wherever the same files are.
"""

import collections
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from switch_zoo.errors import UserError
from switch_zoo.tasks import local_texts
from switch_zoo.tasks.local_files import DOCS, PYTHON, LocalFile
from switch_zoo.tasks.made_folder import MadeFolder

FOLDER = 'local_text'
_MADE = MadeFolder(FOLDER, 'corpus')
TRAIN, VALIDATION = 'train-{:05d}-of-{:05d}.jsonl', 'validation.jsonl'
HELD_OUT = 100  # one document in this many is held out
SHARDS = 64
# Of a domain at most this many bytes, so that Python sources do not drown the languages.
MOST_BYTES = {PYTHON: 96_000_000, DOCS: 96_000_000}
_PIECE = 8192  # characters of a piece
_HELD_OUT_PIECE = 1024  # the same of held-out documents, so that few examples come from many of them
_SHORTEST = 64  # characters; shorter documents are left out, and shorter paragraphs may occur again
_SLOTS = 1 << 22  # paragraphs that are remembered


class Piece(NamedTuple):
  """Part of a document: whole lines, about 8,192 characters; 1,024 if it is held out."""

  text: str
  domain: str
  language: str
  held_out: bool


class SeenParagraphs:
  """Which paragraphs occurred before, in bounded memory: a newer one may take the place of an older one."""

  def __init__(self, slots: int = _SLOTS) -> None:
    """
    Args:
      slots: number of paragraphs that are remembered
    """
    self._hashes = np.zeros(slots, np.uint64)
    self.repeated_bytes = 0

  def new(self, text: str) -> str:
    """A text without its paragraphs of 64 or more characters that occurred before, ignoring whitespace."""
    kept = []
    for paragraph in text.split('\n\n'):
      words = ' '.join(paragraph.split())
      if len(words) >= _SHORTEST and self._occurred(words):
        self.repeated_bytes += len(paragraph.encode())
      else:
        kept.append(paragraph)
    return '\n\n'.join(kept)

  def _occurred(self, words: str) -> bool:
    number = _number(words)
    slot = number % len(self._hashes)
    occurred = int(self._hashes[slot]) == number
    self._hashes[slot] = number
    return occurred


def pieces_of(text: str, length: int) -> Iterator[str]:
  """A text in pieces of whole lines and about this many characters."""
  lines: list[str] = []
  size = 0
  for line in text.split('\n'):
    lines.append(line)
    size += len(line) + 1
    if size >= length:
      yield '\n'.join(lines)
      lines, size = [], 0
  if lines:
    yield '\n'.join(lines)


class Reader:
  """Reads files as pieces of documents, and counts what it leaves out."""

  def __init__(self) -> None:
    self.counts: dict[str, int] = collections.Counter(files=0, not_text=0, repeated=0, short=0)
    self._documents: set[int] = set()
    self._seen = SeenParagraphs()

  def pieces(self, file: LocalFile) -> Iterator[Piece]:
    """The pieces of a file's document; none if it is no text, too short, or was there before."""
    self.counts['files'] += 1
    data = local_texts.content(file.path)
    text = None if data is None else file.read(data)
    if text is None:
      self.counts['not_text'] += 1
      return
    number = _number(' '.join(text.split()))
    if number in self._documents:
      self.counts['repeated'] += 1
      return
    self._documents.add(number)
    text = self._seen.new(text).strip('\n')
    if len(text) < _SHORTEST:
      self.counts['short'] += 1
      return
    held_out = number % HELD_OUT == 0
    for piece in pieces_of(text, _HELD_OUT_PIECE if held_out else _PIECE):
      if piece.strip():
        yield Piece(piece, file.domain, file.language, held_out)

  @property
  def repeated_bytes(self) -> int:
    """Bytes of paragraphs that were left out because they occurred before."""
    return self._seen.repeated_bytes


def make(folder: str, files: Iterable[LocalFile]) -> dict[str, Any]:
  """Writes the shards and the index of a corpus into FOLDER/local_text, as a whole or not at all.

  Args:
    folder: the data folder
    files: with text; the order decides which of two equal documents is kept
  Returns:
    the index: sizes by split, domain and language, what was left out, and a digest of the shards
  Raises:
    UserError: there is not a single document, something else is in the place, or it cannot be written
  """
  return _MADE.make(folder, lambda partial: _write(partial, files))


def _write(partial: str, files: Iterable[LocalFile]) -> dict[str, Any]:
  reader = Reader()
  sizes = _collect(partial, files, reader)
  if not sizes:
    raise UserError(f'{reader.counts["files"]:,} files were read, and none contains a text. Name a folder with texts.')
  index = _sorted_shards(partial, sizes)
  index['left_out'] = {**reader.counts, 'repeated_paragraph_bytes': reader.repeated_bytes}
  return index


def index_of(folder: str) -> dict[str, Any] | None:
  """The index of the corpus in a data folder; None if there is none."""
  return _MADE.index(folder)


def _collect(partial: str, files: Iterable[LocalFile], reader: Reader) -> dict[str, int]:
  """Appends the pieces to the shards of their hashes; returns the bytes of each domain."""
  sizes: dict[str, int] = collections.Counter()
  shards = [open(os.path.join(partial, f'{number}'), 'w', encoding='utf-8') for number in range(SHARDS)]  # noqa: SIM115
  try:
    for file in files:
      for piece in reader.pieces(file):
        number = _number(piece.text)
        sizes[piece.domain] += len(piece.text.encode())
        shards[number * SHARDS >> 64].write(json.dumps([number, *piece], ensure_ascii=False) + '\n')
  finally:
    for shard in shards:
      shard.close()
  return sizes


def _sorted_shards(partial: str, sizes: dict[str, int]) -> dict[str, Any]:
  """Sorts each shard, drops what exceeds a domain's share, and takes out what is held out; returns sizes and digest."""
  limits = {domain: _limit(domain, size) for domain, size in sizes.items()}
  splits: dict[str, Any] = {'train': {}, 'validation': {}}
  digest = hashlib.sha256()
  with open(os.path.join(partial, VALIDATION), 'w', encoding='utf-8') as validation:
    for number in range(SHARDS):
      path = os.path.join(partial, f'{number}')
      rows = _kept_rows(path, limits)
      with open(os.path.join(partial, TRAIN.format(number, SHARDS)), 'w', encoding='utf-8') as train:
        for _, text, domain, language, held_out in rows:
          split = 'validation' if held_out else 'train'
          line = json.dumps({'text': text, 'domain': domain, 'language': language}, ensure_ascii=False) + '\n'
          (validation if held_out else train).write(line)
          digest.update(line.encode())
          size = splits[split].setdefault(domain, {}).setdefault(language, {'pieces': 0, 'bytes': 0})
          size['pieces'] += 1
          size['bytes'] += len(text.encode())
      os.remove(path)
  _remove_empty(partial)
  return {'splits': splits, 'digest': digest.hexdigest(), 'held_out': HELD_OUT}


def _remove_empty(folder: str) -> None:
  """Removes the files of a small corpus in which nothing is: to a task, an empty file is a damaged one."""
  for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
    if not entry.stat().st_size:
      os.remove(entry.path)


def _kept_rows(path: str, limits: dict[str, int]) -> list[Sequence[Any]]:
  with open(path, encoding='utf-8') as file:
    rows = [json.loads(line) for line in file]
  # What is dropped is decided by the low bits: the high ones have chosen the shard.
  return sorted(row for row in rows if (row[0] & 0xFFFFFFFF) < limits[row[2]])


def _limit(domain: str, size: int) -> int:
  """Pieces of a domain with a smaller hash are kept, so that about MOST_BYTES are left."""
  share = min(1.0, MOST_BYTES.get(domain, size) / size)
  return round(share * (1 << 32))


def _number(text: str) -> int:
  """A text as a number of 64 bits, the same on every machine."""
  return int.from_bytes(hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=8).digest(), 'big')
