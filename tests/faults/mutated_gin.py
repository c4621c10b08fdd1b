"""Damages gin files and settings at random and reads them as a run does, up to where TensorFlow would be imported.

    python tests/faults/mutated_gin.py --count 500 [--seed 0]     the long form; exit code 1 if anything is wrong

A copy of the gin files of a tiny model and of every run is changed in one place: a setting gets a value of another
kind, a file is cut off, loses or doubles characters, is no longer UTF-8, two values are swapped, an include or a macro
leads back to itself. Then the run is read and checked, and its model described. Each must be accepted, or be a
UserError of one short paragraph that names the place. Settings that are whole numbers above 0 must not be accepted with
any other literal, which plain code decides.
"""

import argparse
import ast
import collections
import contextlib
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from switch_zoo.errors import UserError, paragraph
from switch_zoo.spec import gin_files, layouts, setting_kinds, zoo

PATIENCE = 20  # seconds for one run to be read or refused, on a slow machine
LONGEST = 2000  # characters of a message
# Above this, describing a model lists millions of variables; the layers of a run are compared with its checkpoint.
DESCRIBED_LAYERS = 1000

TASK = "MIXTURE_NAME = 'zoo_superglue'"
# Run -> the settings that it requires.
RUNS = {
  'pretrain': [TASK],
  'finetune': [TASK, "INIT_CHECKPOINT = 'pretrained'"],
  'eval': [TASK],
  'perplexity': [TASK],
  'infer': [TASK, "INPUT_FILE = 'questions.txt'", "OUTPUT_FILE = 'answers'"],
  'score': [TASK, "INPUT_FILE = 'questions.txt'", "TARGET_FILE = 'targets.txt'", "SCORES_FILE = 'scores'"],
}
FOLDERS = ('architectures', 'layouts', 'models', 'runs')
MODEL, LAYOUT = 'models/tiny_switch_8.gin', 'layouts/cpu.gin'
WHOLE_NUMBERS = frozenset({
  'TRAIN_STEPS', 'BATCH_SIZE', 'INPUTS_LENGTH', 'TARGETS_LENGTH', 'SAVE_STEPS', 'NUM_BATCHES', 'BEAM_SIZE', 'd_model',
  'd_ff', 'd_kv', 'num_heads', 'vocab_size', 'target_vocab_size', 'num_encoder_layers', 'num_decoder_layers',
  'layers_per_block', 'num_experts', 'group_size', 'min_expert_capacity', 'NUM_RETURN_SEQUENCES',
})  # fmt: skip
VALUES = (
  'None', 'True', '0', '-1', '-0.0', '1.5', '1e999', '-1e999', '3', '10 ** 9', '2000000', '9' * 5000,
  '0x' + 'f' * 4000, '1j', '...', '[]', '()', '{}', '[1, 2]', '(1, 2)', '(1,)', "{'inputs': None}", "{'inputs': -3}",
  '{1: 2}', "{'a'}", "('tokens_per_batch', -1)", "('tokens_per_batch',)", '[[[]]]', '[' * 99 + ']' * 99, '[' * 20_000,
  '""', '"3"', "'all'", "'float16'", "'jfloat16'", "'batch:4'", "'batch:0;model:x'", "';;:'", "'\\ud83d'",
  "'\\x1b[2J'", "'\\0'", "b'3'", "'" + 'x' * 5000 + "'", "'caf\u00e9'", "'caf\udce9'", '\x00', '@', '@nothing',
  '@nothing()', '@a/b/c.d()', '@@x', '%', '%nothing', '%gin.REQUIRED', '[%nothing, @nothing]', '%d_model',
  '[%d_model]', '{%d_model: 1}', '@routing.Top1()', 'nan', 'inf', '"""', "'open", '3 4', '= 3', '', '#', '\\',
  '1_000', '0b11', '007', 'lambda: 3', '__import__("os")', 'f"{3}"', 'not gin', '[1,\n 2]', '3; import os',
  '3\ninclude "x.gin"',
)  # fmt: skip
BYTES = (
  b'\xff', b'\xc3', b'\xed\xa0\xbd', b'\x00', b'\xef\xbb\xbf', b'\xe2\x80\xa8', b'\r', b'\x1b[2J', b'\t', b'    ',
  b'%', b'@', b'=', b'/', b'.', b'(', b')', b'[', b']', b'{', b'"', b"'", b'"""', b'\\', b'#', b'\n', b'\n \n',
  b'%x = 3\n', b"\ninclude ''\n", b"\ninclude '..'\n", b"\ninclude '/dev/zero'\n", b'\ninclude 3\n', b'\nimport\n',
  b'\nimport 3\n', b'\nimport nothing.at.all\n', b'\nfrom x import y\n', b'\na/b/c.d = 3\n', b'\na.b = %a.b\n',
  b'\n.x = 3\n', b'[' * 9999, b'(' * 150 + b')' * 150, b'x' * 99_999, b'9' * 5000,
)  # fmt: skip


class Mutation(NamedTuple):
  """A change of one place.

  name: what is done to what, for messages
  run: name of the run
  files: name -> content, of the files that are changed
  parameters: what is given with --gin_param after what the run requires
  refused: plain code knows that it must not be accepted
  """

  name: str
  run: str
  files: dict[str, bytes] = {}
  parameters: tuple[str, ...] = ()
  refused: bool = False


def mutations(folder: pathlib.Path, count: int, seed: int) -> Iterator[Mutation]:
  """Always the same for a seed; they are not written yet."""
  generator = random.Random(seed)
  chosen = (_value, _value, _value, _damaged, _damaged, _damaged, _swapped, _circle)
  for _ in range(count):
    run = generator.choice(list(RUNS))
    yield generator.choice(chosen)(folder, run, generator)


def _value(folder: pathlib.Path, run: str, generator: random.Random) -> Mutation:
  """A setting with another value, in the run's file or with --gin_param."""
  names = _read(folder, run).bindings
  macros = [name for name in names if '.' not in name]
  setting = generator.choice(macros if generator.random() < 0.7 else list(names))
  text = generator.choice(VALUES)
  refused = setting in WHOLE_NUMBERS and _is_other_literal(text)
  if generator.random() < 0.6:
    return Mutation(f'--gin_param {setting} = {text!r:.60}', run, {}, (f'{setting} = {text}',), refused)
  # The layout's file is the last one, so no other binding comes after it.
  content = f'{_text(folder, LAYOUT)}\n{setting} = {text}\n'.encode(errors='surrogateescape')
  return Mutation(f'{setting} = {text!r:.60}', run, {LAYOUT: content}, (), refused)


def _is_other_literal(text: str) -> bool:
  """Whether a text is a literal of Python that is not a whole number above 0 of 64 bits."""
  try:
    value = ast.literal_eval(text)
  except Exception:  # noqa: BLE001 - a reference, or not a literal
    return False
  return type(value) is not int or not 0 < value < 1 << 63


def _damaged(folder: pathlib.Path, run: str, generator: random.Random) -> Mutation:
  """Bytes of a file are changed."""
  name = _any_file(folder, run, generator)
  damage = generator.choice(DAMAGES)
  content = damage((folder / name).read_bytes(), generator)
  return Mutation(f'{damage.__name__} in {name}', run, {name: content})


def _swapped(folder: pathlib.Path, run: str, generator: random.Random) -> Mutation:
  """Two bindings of a file, or of the run's and the model's, exchange their values."""
  name = _any_file(folder, run, generator)
  text = _text(folder, name)
  values = [match.span(1) for match in re.finditer(r'(?m)^[\w./]+ = (.+)$', text)]
  if len(values) < 2:
    return _damaged(folder, run, generator)
  (begin, end), (second, last) = sorted(generator.sample(values, 2))
  text = text[:begin] + text[second:last] + text[end:second] + text[begin:end] + text[last:]
  return Mutation(f'values swapped in {name}', run, {name: text.encode()})


def _circle(folder: pathlib.Path, run: str, generator: random.Random) -> Mutation:
  """A file that includes itself, perhaps through another one, or macros that do."""
  if generator.random() < 0.5:
    name = _any_file(folder, run, generator)
    target = generator.choice([name, f'runs/{run}.gin', MODEL])
    files = {name: f"{_text(folder, name)}\ninclude '{target}'\n".encode()}
    if target != name:
      files[target] = f"{_text(folder, target)}\ninclude '{name}'\n".encode()
    return Mutation(f'{name} includes {target}', run, files, (), True)
  macros = [key for key in _read(folder, run).bindings if '.' not in key]
  circle = generator.sample(macros, generator.randrange(1, 6))
  lines = [f'{name} = {_wrapped(circle[n - 1], generator)}' for n, name in enumerate(circle)]
  return Mutation(f'a circle of {circle}', run, {}, tuple(lines), True)


def _wrapped(macro: str, generator: random.Random) -> str:
  return generator.choice([f'%{macro}', f'[%{macro}]', f"{{'inputs': %{macro}}}", f'(1, %{macro}, %{macro})'])


def _any_file(folder: pathlib.Path, run: str, generator: random.Random) -> str:
  """One of the files of the copy that the run reads."""
  paths = {pathlib.Path(path) for path in _read(folder, run).includes}
  return str(generator.choice(sorted(path for path in paths if folder in path.parents)).relative_to(folder))


def _read(folder: pathlib.Path, run: str) -> gin_files.GinFiles:
  return gin_files.read([MODEL, f'runs/{run}.gin', LAYOUT], RUNS[run], [str(folder)])


def _text(folder: pathlib.Path, name: str) -> str:
  return (folder / name).read_text(encoding='utf-8')


def _cut_off(content: bytes, generator: random.Random) -> bytes:
  return content[: generator.randrange(len(content))]


def _without_a_character(content: bytes, generator: random.Random) -> bytes:
  place = _of_code(content, generator)
  return content[:place] + content[place + 1 :]


def _doubled_character(content: bytes, generator: random.Random) -> bytes:
  place = _of_code(content, generator)
  return content[: place + 1] + content[place:]


def _flipped_bit(content: bytes, generator: random.Random) -> bytes:
  place = _of_code(content, generator)
  return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]


def _inserted(content: bytes, generator: random.Random) -> bytes:
  place = _of_code(content, generator)
  return content[:place] + generator.choice(BYTES) + content[place:]


def _without_a_line(content: bytes, generator: random.Random) -> bytes:
  lines = content.splitlines(keepends=True)
  del lines[generator.randrange(len(lines))]
  return b''.join(lines)


def _other_encoding(content: bytes, generator: random.Random) -> bytes:
  return content.decode().encode(generator.choice(['utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig', 'cp037']))


def _of_code(content: bytes, generator: random.Random) -> int:
  """A place that is not in a comment, where a change would do nothing."""
  places = [match.start() + n for match in re.finditer(rb'(?m)^[^#\n]+$', content) for n in range(len(match[0]))]
  return generator.choice(places or [0])


Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: tuple[Damage, ...] = (
  _cut_off, _without_a_character, _doubled_character, _flipped_bit, _inserted, _inserted, _without_a_line,
  _other_encoding,
)  # fmt: skip


def outcome(folder: pathlib.Path, mutation: Mutation) -> tuple[str, str]:
  """What became of a run: 'accepted', 'refused', or what is wrong; and the message or the traceback."""
  whole = {name: (folder / name).read_bytes() for name in mutation.files}
  try:
    for name, content in mutation.files.items():
      (folder / name).write_bytes(content)
    with _patience():
      return _read_and_checked(folder, mutation)
  finally:
    for name, content in whole.items():
      (folder / name).write_bytes(content)


def _read_and_checked(folder: pathlib.Path, mutation: Mutation) -> tuple[str, str]:
  files = [MODEL, f'runs/{mutation.run}.gin', LAYOUT]
  try:
    bound = gin_files.read(files, [*RUNS[mutation.run], *mutation.parameters], [str(folder)])
    bound.check()
    setting_kinds.check(bound)
    _describe(bound)
  except UserError as error:
    return _judged(paragraph(error))
  except BaseException:  # noqa: BLE001 - what is looked for
    return 'an internal error', traceback.format_exc()[-1500:]
  return ('accepted though wrong' if mutation.refused else 'accepted'), ''


def _describe(bound: gin_files.GinFiles) -> None:
  """The model and its layout, as the commands show them."""
  config = zoo.config_of_bound(bound)
  if config.num_encoder_layers + config.num_decoder_layers <= DESCRIBED_LAYERS:
    str(config.as_dict())
  mesh, rules = (bound.value(f'utils.run.{name}') for name in ('mesh_shape', 'layout_rules'))
  if isinstance(mesh, str) and isinstance(rules, str):
    layouts.parse(mesh, rules)


def _judged(message: str) -> tuple[str, str]:
  if len(message) > LONGEST:
    return f'a message of {len(message):,} characters', message[:300]
  try:
    message.encode()
  except UnicodeEncodeError:
    return 'a message that cannot be printed', ascii(message)
  if not re.search(r'\.gin\b|--gin_param', message):
    return 'a message without a place', message
  return 'refused', message


@contextlib.contextmanager
def _patience() -> Iterator[None]:
  """An error after a while, also in the middle of a loop."""

  def hangs(*_: Any) -> None:
    raise TimeoutError(f'not finished after {PATIENCE} s')

  before = signal.signal(signal.SIGALRM, hangs)
  signal.alarm(PATIENCE)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(count: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
  """How many mutations had which outcome, and what was wrong."""
  counts, wrong = collections.Counter[str](), list[str]()
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root).resolve()
    for name in FOLDERS:
      shutil.copytree(gin_files.configs_folder() / name, folder / name)
    for number, mutation in enumerate(mutations(folder, count, seed)):
      kind, text = outcome(folder, mutation)
      counts[kind] += 1
      if kind not in ('accepted', 'refused'):
        wrong.append(f'{kind}: number {number}, runs/{mutation.run}.gin, {ascii(mutation.name)}: {ascii(text)}')
  return counts, wrong


def main(arguments: list[str]) -> int:
  """Prints the outcomes; 1 if anything is wrong."""
  parser = argparse.ArgumentParser(description='Damages gin files and settings and reads them.')
  parser.add_argument('--count', type=int, default=500)
  parser.add_argument('--seed', type=int, default=0)
  options: Any = parser.parse_args(arguments)
  counts, wrong = run(options.count, options.seed)
  for kind, number in counts.most_common():
    print(f'{number:6,}  {kind}')
  print('\n'.join(wrong))
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
