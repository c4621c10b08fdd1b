"""Kills trainings, fine-tunings, conversions and exports at random moments, and repeats the same command.

    python tests/faults/kills.py --kills 100 [--seed 0] [--only train to_hf]     exit code 1 if anything is wrong

Each command first runs once without a kill. Then, in an empty folder, it is started, gets SIGKILL at a random moment of
the time it took, and is started again, up to three times; finally it runs to its end. Nothing is repaired in between,
and no flag changes, except that a conversion that had begun is repeated with `--resume`. At the end, the losses of
every step that was printed, all files and folders, and all weights (of an export: its answers) must be those of the
uninterrupted run.

Commands run in processes that are forked after the imports, so that kills fall into their work and not into importing
TensorFlow.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

PATIENCE = 300  # seconds for one command, on a slow machine
MAX_KILLS = 3  # of one command, before it may end
STEPS = 6
SETTINGS = {
  'd_model': 8, 'd_ff': 16, 'd_kv': 4, 'num_heads': 2, 'num_experts': 4, 'num_encoder_layers': 2,
  'num_decoder_layers': 2, 'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 16, 'BATCH_SIZE': 4, 'SAVE_STEPS': 2, 'SEED': 1,
  'KEEP_CHECKPOINTS': 2, 'dropout_rate': 0.1, 'expert_dropout_rate': 0.1, 'progress.every': 1, 'TRAIN_STEPS': STEPS,
}  # fmt: skip
QUESTIONS = ['what is a list', 'section: sets a breakpoint', '', 'naïve 123 😀']


class Result(NamedTuple):
  """What a command left: its losses, its files and what they hold.

  losses: step -> the losses as printed
  files: paths of all files and folders below the folder of work, but for the records of each start
  values: variable -> its bytes as hexadecimal digits; of an export, its answers
  """

  losses: dict[str, str]
  files: list[str]
  values: Any


class Command(NamedTuple):
  """A command line and how to read its result.

  arguments: of `t5_mesh_transformer` or `switch_zoo`, whose first argument is `run`
  again: what a repetition adds, if something is there to be resumed
  read: reads what is compared from the folder of work, in a separate process
  """

  arguments: list[str]
  read: Callable[[pathlib.Path], Any]
  again: tuple[str, ...] = ()

  def repeated(self, folder: pathlib.Path) -> list[str]:
    """The arguments after a kill: a conversion that has begun its folder is resumed, and any other started."""
    return [*self.arguments, *(self.again if (folder / 'out.partial').exists() else ())]


def commands(inputs: pathlib.Path) -> dict[str, Command]:
  """Name -> Command; each writes into the folder `out` of the current folder.

  Args:
    inputs: a folder with `vocabulary.model`, `text.txt` and, for all but the training, a trained model `whole`, which
      `hf` contains in Hugging Face's format
  """
  whole, hf, vocabulary = (str(inputs / name) for name in ('whole', 'hf', 'vocabulary.model'))
  convert = lambda source, to: ['switch_zoo', 'convert', source, 'out', '--to', to]
  text = {'MIXTURE_NAME': 'zoo_text_span', 'text_corpus.files': str(inputs / 'text.txt')}
  sizes = ['--max-new-tokens', '4', '--max-input-tokens', '16']
  return {
    'train': Command(_training('pretrain', **text), _weights),
    'finetune': Command(_training('finetune', MIXTURE_NAME='zoo_demo_topics', INIT_CHECKPOINT=whole), _weights),
    'to_hf': Command(convert(whole, 'hf'), _weights, ('--resume',)),
    'to_mesh': Command(convert(hf, 'mesh'), _weights, ('--resume',)),
    'to_keras': Command(convert(whole, 'keras'), _weights, ('--resume',)),
    'export': Command(['switch_zoo', 'export', whole, 'out', '--vocab', vocabulary, *sizes], _answers),
  }


def _training(run: str, **settings: Any) -> list[str]:
  files = ('models/tiny_switch_8.gin', 'layouts/cpu.gin', f'runs/{run}.gin')
  parameters = [f'--gin_param={name} = {value!r}' for name, value in {**SETTINGS, **settings}.items()]
  return ['t5_mesh_transformer', '--model_dir=out', *(f'--gin_file={name}' for name in files), *parameters]


def _weights(folder: pathlib.Path) -> dict[str, str]:
  from switch_zoo.checkpoints import sources

  source = sources.open_source(str(folder / 'out'))
  return {name: source.whole(name).tobytes().hex() for name in source.config.variables}


def _answers(folder: pathlib.Path) -> list[Any]:
  import tensorflow as tf
  import tensorflow_text  # noqa: F401 - registers the operations of the export

  loaded = tf.saved_model.load(str(folder / 'out' / '1'))
  answers = loaded.signatures['serving_default'](inputs=tf.constant(QUESTIONS))
  scores = loaded.signatures['score'](inputs=tf.constant(QUESTIONS), targets=tf.constant(QUESTIONS))
  return [[str(value) for value in answer[name].numpy()] for answer in (answers, scores) for name in sorted(answer)]


def _import_everything() -> None:
  """What the commands import, so that forked processes need not; no graph is built and no session begun."""
  from switch_zoo import cli, t5_mesh_transformer, tf_compat  # noqa: F401

  tf_compat.quiet()
  from switch_zoo.checkpoints import conversion  # noqa: F401
  from switch_zoo.keras import export  # noqa: F401
  from switch_zoo.launcher import command  # noqa: F401


def _execute(arguments: list[str]) -> int:
  """Runs a command in this process; its exit code."""
  sys.argv = list(arguments)
  if arguments[0] == 't5_mesh_transformer':
    from switch_zoo import t5_mesh_transformer

    return t5_mesh_transformer.main(arguments)
  from switch_zoo import cli

  return cli.run()


def start(work: Callable[[], int], folder: pathlib.Path, output: pathlib.Path) -> int:
  """Forks a process that does some work in a folder, and writes to a file what it prints; its id."""
  pid = os.fork()
  if pid:
    return pid
  code = 1
  try:
    os.chdir(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
      os.dup2(descriptor, stream)
    code = work()
  except SystemExit as end:
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
  except BaseException:  # noqa: BLE001 - printed where everything else is
    traceback.print_exc()
  finally:
    with contextlib.suppress(Exception):
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
  """The exit code of a process, minus the signal that ended it; None if it has not ended after some time."""
  deadline = time.monotonic() + seconds
  while True:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
      return os.waitstatus_to_exitcode(status)
    if time.monotonic() > deadline:
      return None
    time.sleep(0.002)


def kill(pid: int) -> None:
  """SIGKILL, and the end of the process."""
  os.kill(pid, signal.SIGKILL)
  os.waitpid(pid, 0)


class Faults:
  """Runs commands, kills them, and keeps what was wrong.

  kills: name of a command -> how many processes of it were killed
  wrong: a text for each result that differs
  """

  def __init__(self, folder: pathlib.Path, seed: int) -> None:
    self.folder = folder
    self.kills: dict[str, int] = {}
    self.wrong: list[str] = []
    self._generator = random.Random(seed)
    self._expected: dict[str, tuple[float, Result]] = {}

  def prepare(self) -> None:
    """Makes the models from which the other commands start."""
    for name in ('train', 'to_hf'):
      self._expected[name] = self._uninterrupted(name, commands(self.folder)[name])

  def attack(self, name: str, most_kills: int) -> None:
    """Starts a command, kills and repeats it, and compares its result."""
    command = commands(self.folder)[name]
    if name not in self._expected:
      self._expected[name] = self._uninterrupted(name, command)
    seconds, expected = self._expected[name]
    known = len(self.wrong)
    with self._empty(f'{name}-killed') as folder:
      kills, arguments = 0, command.arguments
      moments = [self._generator.uniform(0, seconds) for _ in range(self._generator.randint(1, most_kills))]
      for moment in moments:
        begun = time.monotonic()
        pid = start(lambda words=arguments: _execute(words), folder, folder / 'output')
        if wait(pid, moment) is not None:
          # It was faster than before, when the machine had other work.
          self._expected[name] = (min(seconds, time.monotonic() - begun), expected)
          break
        kill(pid)
        kills, arguments = kills + 1, command.repeated(folder)
      else:
        self._end(arguments, folder)
      self.kills[name] = self.kills.get(name, 0) + kills
      story = f'{name} at {", ".join(f"{moment:.2f}" for moment in moments)} of {seconds:.2f} s'
      self._compare(story, folder, command, expected)
    print(f'{kills} kills of {story}: {"right" if len(self.wrong) == known else "wrong"}', flush=True)
    print(*self.wrong[known:], sep='\n', end='\n' * (len(self.wrong) > known), flush=True)

  def _uninterrupted(self, name: str, command: Command) -> tuple[float, Result]:
    """How long a command takes, and its result."""
    with self._empty(f'{name}-whole') as folder:
      begun = time.monotonic()
      code = self._end(command.arguments, folder)
      seconds = time.monotonic() - begun
      result = self._result(folder, command)
      if code or isinstance(result, str):
        raise SystemExit(f'{name} fails without a kill: {result}\n{(folder / "output").read_text()[-3000:]}')
      for of, model in (('train', 'whole'), ('to_hf', 'hf')):
        if name == of:
          shutil.copytree(folder / 'out', self.folder / model)
      print(f'{name} without a kill: {seconds:.2f} s', flush=True)
      return seconds, result

  def _end(self, arguments: list[str], folder: pathlib.Path) -> int | None:
    pid = start(lambda: _execute(arguments), folder, folder / 'output')
    code = wait(pid, PATIENCE)
    if code is None:
      kill(pid)
    return code

  def _compare(self, story: str, folder: pathlib.Path, command: Command, expected: Result) -> None:
    actual = self._result(folder, command)
    if isinstance(actual, str):
      self.wrong.append(f'{story}: {actual}\n{(folder / "output").read_text(errors="replace")[-1500:]}')
      return
    for what, one, other in zip(Result._fields, actual, expected, strict=True):
      if one != other:
        self.wrong.append(f'{story}: other {what}: {str(one)[:600]} instead of {str(other)[:600]}')

  def _result(self, folder: pathlib.Path, command: Command) -> Result | str:
    """What a command left, or what kept it from being read."""
    output = (folder / 'output').read_text(errors='replace')
    losses: dict[str, str] = {}
    for line in output.splitlines():
      if line.startswith('step '):
        step, loss = line.split()[1].split('/')[0], line.split('loss ')[1].split('  tokens')[0].rsplit('  ', 2)[0]
        if losses.setdefault(step, loss) != loss:
          return f'step {step} has the losses {loss!r} and {losses[step]!r}'
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))
    with self._empty('read') as place:
      read = lambda: (place / 'values').write_text(json.dumps(command.read(folder))) and 0
      code = wait(start(read, folder, place / 'output'), PATIENCE)
      if code != 0:
        return f'cannot be read: {(place / "output").read_text(errors="replace")[-1500:]}'
      values = json.loads((place / 'values').read_text())
    # There is one record of its command line, and one events file with the time in its name, for each start.
    records = ('tfevents', 'commands/')
    return Result(losses, [name for name in files if not any(word in name for word in records)], values)

  @contextlib.contextmanager
  def _empty(self, name: str) -> Iterator[pathlib.Path]:
    folder = self.folder / name
    folder.mkdir()
    try:
      yield folder
    finally:
      shutil.rmtree(folder)


def run(kills: int, seed: int, names: list[str]) -> Faults:
  """Kills commands in turn until there were as many kills as given."""
  _import_everything()
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root).resolve()
    for variable in ('SWITCH_ZOO_DEMO_VOCAB', 'SWITCH_ZOO_VOCAB'):
      os.environ[variable] = str(folder / 'vocabulary.model')
    trained = wait(start(lambda: _make_text(folder), folder, folder / 'vocabulary.log'), PATIENCE)
    if trained != 0:
      raise SystemExit((folder / 'vocabulary.log').read_text())
    faults = Faults(folder, seed)
    faults.prepare()
    while sum(faults.kills.values()) < kills:
      for name in names:
        missing = kills - sum(faults.kills.values())
        if missing > 0:
          faults.attack(name, min(MAX_KILLS, missing))
  return faults


def _make_text(folder: pathlib.Path) -> int:
  """A text to train on, and its vocabulary."""
  from switch_zoo.tasks import pydoc_topics, vocabularies

  documents = list(pydoc_topics.documents())[:400]
  (folder / 'text.txt').write_text('\n'.join(documents), encoding='utf-8')
  vocabularies.train(documents, folder / 'vocabulary.model', num_pieces=924)
  return 0


def main(arguments: list[str]) -> int:
  """Prints how often each command was killed; 1 if a result differs."""
  names = list(commands(pathlib.Path()))
  parser = argparse.ArgumentParser(description='Kills commands at random moments and repeats them.')
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--only', nargs='+', choices=names, default=names)
  options: Any = parser.parse_args(arguments)
  faults = run(options.kills, options.seed, options.only)
  print(', '.join(f'{name}: {number} kills' for name, number in faults.kills.items()))
  print(f'{len(faults.wrong)} wrong')
  return 1 if faults.wrong else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
