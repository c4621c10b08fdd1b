"""Damages rows of data files at random and reads them.

Every program in this folder attacks one kind of input: with a fixed seed, on files that it makes itself, in a short
form that is a test of the suite, and in a long form by hand.

    python tests/faults/mutated_rows.py --count 2000 [--seed 0]     the long form; exit code 1 if anything is wrong

A file of ten rows is written in each format of `zoo_file`, plain or gzip, and damaged once: bytes are flipped, removed,
doubled or inserted, the file is cut off, a value becomes something hostile. Then every row must be read as the file has
it, or be an error that names the file and the line: first with errors that end reading, then with
`task_data.skip_malformed`, where a row that is gone without a report is a silent drop. What is right is decided by
plain code that shares nothing with the readers: the row of an undamaged line must come out as it was written.
"""

import argparse
import collections
import contextlib
import csv
import gzip
import io
import json
import os
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.tasks import own_file, own_file_formats
from switch_zoo.tasks.example_datasets import TEXT_TO_TEXT
from switch_zoo.tasks.file_rows import FileRows, SkippedRows
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles

NUM_ROWS = 10
ENDINGS = ('jsonl', 'json', 'csv', 'tsv')
HOSTILE = (
  b'"\\ud83d"', b'"\xed\xa0\xbd"', b'9' * 5000, b'[' * 100_000, b'{"a":' * 100_000, b'NaN', b'-Infinity', b'1e999',
  b'null', b'\xff\xfe', b'\x00', b'\x00' * 4096, b'\r', b'\n', b'\t', b'"', b'""', b'\\', b'\\u', b'{', b'}', b'[',
  b']', b',', b':', b'\xef\xbb\xbf', b'\xe2\x80\xa8', b'\x1f\x8b', b' ' * 9999, b'x' * 99_999, b'\xc3\xa9', b'\xc3',
)  # fmt: skip


class Outcome(NamedTuple):
  """What became of a file: a kind, and for what is wrong the file's name and what happened."""

  kind: str
  what: str = ''


def mutations(count: int, seed: int) -> Iterator[tuple[str, bytes, bytes]]:
  """(name of the file, whole content before packing, content of the damaged file), always the same for a seed."""
  generator = random.Random(seed)
  for number in range(count):
    ending = ENDINGS[number % len(ENDINGS)]
    content = _written(ending, generator)
    damage = generator.choice(DAMAGES)
    if generator.random() < 0.25:
      # Damage before packing, or of the packed bytes.
      if generator.random() < 0.5:
        yield f'{number}.{ending}.gz', content, gzip.compress(damage(content, generator), mtime=0)
      else:
        yield f'{number}.{ending}.gz', content, damage(gzip.compress(content, mtime=0), generator)
    else:
      yield f'{number}.{ending}', content, damage(content, generator)


def _written(ending: str, generator: random.Random) -> bytes:
  rows = [
    {'inputs': f'question {number} of {generator.random()}', 'targets': f'answer-{number}'} for number in range(10)
  ]
  if ending == 'jsonl':
    return ''.join(json.dumps(row) + '\n' for row in rows).encode()
  if ending == 'json':
    return ('[' + ',\n'.join(map(json.dumps, rows)) + ']\n').encode()
  out = io.StringIO()
  writer = csv.writer(out, delimiter='\t' if ending == 'tsv' else ',', lineterminator='\n')
  writer.writerows([['inputs', 'targets'], *([row['inputs'], row['targets']] for row in rows)])
  return out.getvalue().encode()


def _flipped(content: bytes, generator: random.Random) -> bytes:
  place = generator.randrange(len(content))
  return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]


def _removed(content: bytes, generator: random.Random) -> bytes:
  place = generator.randrange(len(content))
  return content[:place] + content[place + generator.randrange(1, 30) :]


def _doubled(content: bytes, generator: random.Random) -> bytes:
  place = generator.randrange(len(content))
  return content[:place] + content[place : place + generator.randrange(1, 30)] + content[place:]


def _cut_off(content: bytes, generator: random.Random) -> bytes:
  return content[: generator.randrange(len(content))]


def _inserted(content: bytes, generator: random.Random) -> bytes:
  place = generator.randrange(len(content))
  return content[:place] + generator.choice(HOSTILE) + content[place:]


def _replaced(content: bytes, generator: random.Random) -> bytes:
  """A value or a cell becomes something hostile."""
  values = list(re.finditer(rb'"?(answer-\d|question \d of [\d.e-]+)"?', content))
  if not values:
    return _inserted(content, generator)
  value = generator.choice(values)
  return content[: value.start()] + generator.choice(HOSTILE) + content[value.end() :]


def _appended(content: bytes, generator: random.Random) -> bytes:
  return content + generator.choice(HOSTILE)


def _mac_lines(content: bytes, generator: random.Random) -> bytes:
  del generator
  return content.replace(b'\n', b'\r')


Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: tuple[Damage, ...] = (
  _flipped, _flipped, _removed, _doubled, _cut_off, _inserted, _inserted, _replaced, _replaced, _appended, _mac_lines,
)  # fmt: skip


def outcome(folder: str, name: str, whole: bytes, damaged: bytes) -> Outcome:
  """Reads a damaged file in both ways.

  Args:
    folder: where the file is written
    name: of the file
    whole: its content before it was damaged and packed
    damaged: its content
  """
  path = os.path.join(folder, name)
  with open(path, 'wb') as file:
    file.write(damaged)
  try:
    texts, error, _ = _read(path, None)
    if error is not None and not re.match(re.escape(path) + r'(, line \d+|: )', error):
      return Outcome('an error without file and line', f'{name}: {error}')
    skipped_texts, skipped_error, report = _read(path, SkippedRows())
    if skipped_error is None and skipped_texts[: len(texts)] != texts:
      return Outcome('rows that change with skip_malformed', name)
    return _compared(name, whole, damaged, skipped_texts, error, report)
  except Exception:  # noqa: BLE001 - what is looked for
    return Outcome('a traceback', f'{name}:\n{traceback.format_exc()[-2000:]}')
  finally:
    os.remove(path)


def _read(path: str, skipped: SkippedRows | None) -> tuple[list[tuple[str, str]], str | None, str]:
  """The texts of the examples, the error that ended reading, and what was printed on stderr."""
  texts, error, printed = list[tuple[str, str]](), None, io.StringIO()
  rows = own_file.OwnFileRows('inputs', 'targets', '')
  with contextlib.redirect_stderr(printed):
    try:
      files = FoundFiles((path,), SplitFiles(path, own_file_formats.reader_for([path]), rows))
      file_rows = FileRows(files, TEXT_TO_TEXT, skipped)
      file_rows.check()
      for example in file_rows.examples():
        example['inputs'].encode(), example['targets'].encode()
        texts.append((example['inputs'], example['targets']))
    except UserError as mistake:
      error = str(mistake)
  return texts, error, printed.getvalue()


def _compared(
  name: str, whole: bytes, damaged: bytes, texts: list[tuple[str, str]], error: str | None, report: str
) -> Outcome:
  """Whether every row came out as it was written, or was reported."""
  # What is left of the rows, by plain code: those whose text is in the damaged file on a line of its own, unchanged.
  try:
    content = gzip.decompress(damaged) if damaged.startswith(b'\x1f\x8b') else damaged
  except Exception:  # noqa: BLE001 - the rows before the damage are not known
    content = b''
  if error is None and content and not content.strip():
    return Outcome('an empty file without an error', name)
  around = b',[] \r' if '.json' in name else b'\r'  # what surrounds an item of a list; in a table, that is text
  before = {line.strip(around) for line in whole.splitlines() if b'question' in line}
  after = [line.strip(around) for line in re.split(rb'[\r\n]', content)]
  intact = [_answer(line) for line in after if line in before]
  read = collections.Counter(answer for _, answer in texts)
  lost = [answer for answer in intact if not read[answer]]
  if lost and error is None and not report:
    return Outcome('a silent drop', f'{name}: {lost}')
  return Outcome('an error' if error else 'read')


def _answer(line: bytes) -> str:
  match = re.search(rb'answer-\d', line)
  return match[0].decode() if match else ''


def run(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
  """How many files had which outcome, and what was wrong."""
  counts, wrong = collections.Counter[str](), list[str]()
  with tempfile.TemporaryDirectory() as folder:
    for name, whole, damaged in mutations(count, seed):
      result = outcome(folder, name, whole, damaged)
      counts[result.kind] += 1
      if result.what:
        wrong.append(f'{result.kind}: {result.what}')
  return counts, wrong


def main(arguments: list[str]) -> int:
  """Prints the outcomes; 1 if anything is wrong."""
  parser = argparse.ArgumentParser(description='Damages rows of data files and reads them.')
  parser.add_argument('--count', type=int, default=2000)
  parser.add_argument('--seed', type=int, default=0)
  options: Any = parser.parse_args(arguments)
  counts, wrong = run(options.count, options.seed)
  for kind, number in counts.most_common():
    print(f'{number:6,}  {kind}')
  print('\n'.join(wrong))
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
