"""Runs of `t5_mesh_transformer` on both runtimes, of a model so small that a step takes milliseconds."""

import json
import os
import socket
import subprocess
import sys

from switch_zoo.tasks import pydoc_topics, vocabularies

SIZES = {
  'd_model': 8, 'd_ff': 16, 'd_kv': 4, 'num_heads': 2, 'num_experts': 4, 'num_encoder_layers': 2,
  'num_decoder_layers': 2, 'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 16, 'BATCH_SIZE': 4,
  'group_size': 32,  # the same groups of tokens under every layout
}  # fmt: skip
TRAINING = {'MIXTURE_NAME': 'zoo_demo_span', 'SAVE_STEPS': 2, 'SEED': 1, 'progress.every': 1}
NOISE = {'dropout_rate': 0.1, 'expert_dropout_rate': 0.1}
NO_NOISE = {'dropout_rate': 0.0, 'expert_dropout_rate': 0.0, 'routing.Top1.policy': 'argmax'}
# Runs commands in one fresh process; a text is a Python statement that is executed between them.
_DRIVER = """
import contextlib, io, json, pathlib, shutil, sys
from switch_zoo import t5_mesh_transformer
results = []
for item in json.load(sys.stdin):
  if isinstance(item, str):
    exec(item)
    continue
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = t5_mesh_transformer.main(['t5_mesh_transformer', *item])
  results.append([code, out.getvalue() + err.getvalue()])
json.dump(results, open('results.json', 'w'))
"""
# Imports everything once, which takes longer than the runs, and forks a process for each command. Those of a round run
# at the same time. A text is a Python statement that is executed between rounds.
_FORKS = """
import json, os, pathlib, shutil, signal, sys
from switch_zoo import t5_mesh_transformer
from switch_zoo.pjrt import command

def become(arguments, statements, output):
  signal.alarm(400)
  for descriptor in (1, 2):
    os.dup2(output, descriptor)
  sys.argv = ['t5_mesh_transformer', *arguments]
  exec(statements, globals())
  t5_mesh_transformer.console_entry_point()

results = []
for number, item in enumerate(json.load(sys.stdin)):
  if isinstance(item, str):
    exec(item)
    continue
  children = []
  for index, arguments in enumerate(item['commands']):
    path = f'output-{number}-{index}'
    output = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    child = os.fork()
    if not child:
      become(arguments, item['statements'], output)
    children.append((child, path))
  codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
  results.append([[code, pathlib.Path(path).read_text()] for code, (_, path) in zip(codes, children)])
json.dump(results, open('results.json', 'w'))
"""


def command(folder, run, settings, mesh=None, flags=()):
  """Arguments of a run; mesh: of the PJRT runtime, such as 'batch:2', or None for the TensorFlow runtime."""
  layout = ['--gin_file=layouts/cpu.gin']
  if mesh is not None:
    file = 'expert_model_data' if 'model' in mesh else 'expert_data'
    layout = ['--runtime=pjrt', f'--gin_file=layouts/{file}.gin', f'--gin_param=mesh_shape = {mesh!r}']
  files = ['--gin_file=models/tiny_switch_8.gin', f'--gin_file=runs/{run}.gin']
  bindings = [f'--gin_param={name} = {value!r}' for name, value in {**SIZES, **settings}.items()]
  return [f'--model_dir={folder}', *files, *layout, *bindings, *flags]


def pretrain(folder, steps, noise, mesh=None, flags=(), **settings):
  """Arguments of a training."""
  return command(folder, 'pretrain', {**TRAINING, 'TRAIN_STEPS': steps, **noise, **settings}, mesh, flags)


def environment(folder):
  """Of processes that find a vocabulary in a folder, which is made there."""
  if not (folder / 'vocabulary.model').exists():
    vocabularies.train(list(pydoc_topics.documents())[:400], folder / 'vocabulary.model', num_pieces=924)
  variables = {vocabularies.DEMO_VARIABLE: str(folder / 'vocabulary.model'), 'JAX_PLATFORMS': 'cpu'}
  return {**os.environ, **variables, 'PYTHONWARNINGS': 'ignore'}


def run_all(commands, folder):
  """name -> (exit code, output) of commands that run in one process; a list may begin with statements."""
  items = []
  for entry in commands.values():
    items += entry if isinstance(entry[-1], list) else [entry]
  return dict(zip(commands, _results(_DRIVER, items, folder), strict=True))


def run_rounds(rounds, folder):
  """name -> [(exit code, output)] of rounds of `at_once`; a text among them is a statement, under any name."""
  results = _results(_FORKS, [*rounds.values()], folder)
  return dict(zip((name for name, item in rounds.items() if not isinstance(item, str)), results, strict=True))


def at_once(*commands, statements=''):
  """A round of commands that run at the same time, each in a process that executes statements first."""
  return {'commands': commands, 'statements': statements}


def together(arguments_of, count=2, statements=''):
  """A round of the processes of one run; arguments_of: from a process's number to its arguments."""
  address = free_address()
  own = lambda number: [f'--coordinator={address}', f'--num_processes={count}', f'--process_id={number}']
  return at_once(*([*arguments_of(number), *own(number)] for number in range(count)), statements=statements)


def _results(program, items, folder):
  done = subprocess.run(
    [sys.executable, '-c', program],
    input=json.dumps(items),
    text=True,
    cwd=folder,
    env=environment(folder),
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads((folder / 'results.json').read_text())


def free_address():
  """HOST:PORT that nobody listens at."""
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return f'127.0.0.1:{listener.getsockname()[1]}'


def start(arguments, folder):
  """A process that runs a command; its output is in `stdout`."""
  return subprocess.Popen(
    [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *arguments],
    cwd=folder,
    env=environment(folder),
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
  )


def losses(output):
  """step -> (loss, cross-entropy, balance) as printed."""
  lines = [line.split() for line in output.splitlines() if line.startswith('step ')]
  number = lambda words, name: float(words[words.index(name) + 1])
  names = ('loss', 'cross-entropy', 'balance')
  return {int(words[1].split('/')[0].replace(',', '')): [number(words, name) for name in names] for words in lines}


def succeeded(result):
  """The output of a command that succeeded."""
  assert result[0] == 0, result[1]
  return result[1]


def refused(result):
  """The paragraph that a command was refused with."""
  code, output = result
  assert code == 2 and 'Traceback' not in output, output
  return output.splitlines()[-1]
