"""Tokens per second of a training on both runtimes, and whether a step of the PJRT runtime waits for its batch.

  python benchmarks/runtimes.py --turns 2 --out runtimes.json

The model is tiny_switch_8, in the demo's pre-training, 64 x (128 + 32) tokens a step, float32. All sides are the real
command, one after the other, and each is ended after the measured steps:

  tensorflow            TensorFlow runtime, one slice (layouts/cpu.gin)
  tensorflow, 8 slices  the same with layouts/expert_data.gin and the mesh batch:8
  pjrt, 8 devices       PJRT runtime, that layout, eight XLA:CPU devices
  pjrt, one batch       the same, and every step gets the first batch: nothing is prepared while it runs
  pjrt, 1 device        PJRT runtime, the mesh batch:1

The time of a step is the median after the warm-up. "prepared" is how long the input pipeline takes for a batch, in its
thread, while a step runs; "waited" is how long a step waits for its batch. Where batches are prepared in time, "waited"
is next to nothing; where preparing them takes no processor from the devices either, a step with the pipeline takes as
long as one without.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, INPUTS, TARGETS = 64, 128, 32
SIDES = {
  'tensorflow': ('tensorflow', None, False),
  'tensorflow, 8 slices': ('tensorflow', 8, False),
  'pjrt, 8 devices': ('pjrt', 8, False),
  'pjrt, one batch': ('pjrt', 8, True),
  'pjrt, 1 device': ('pjrt', 1, False),
}
# The command, which says for each batch how long it was prepared and waited for. First argument: 'repeat', or 'read'.
COMMAND = """
import os, sys, time
from switch_zoo import t5_mesh_transformer
from switch_zoo.pjrt import batches

def tell(kind, began):
  # In one piece: both threads write lines.
  os.write(2, f'{kind} {time.perf_counter() - began}\\n'.encode())

class Timed(batches.Batches):
  began = time.perf_counter()

  def _put(self, item):
    tell('prepared', self.began)
    super()._put(item)
    self.began = time.perf_counter()

  def __iter__(self):
    given = super().__iter__()
    if sys.argv[1] == 'repeat':
      first = next(given)
      self.__exit__()
      while True:
        yield first
    while True:
      began = time.perf_counter()
      batch = next(given)
      tell('waited', began)
      yield batch

batches.Batches = Timed
del sys.argv[0]
sys.argv[0] = 't5_mesh_transformer'
t5_mesh_transformer.console_entry_point()
"""


def flags(runtime, cores, folder):
  """The flags of a training without an end."""
  from switch_zoo.tasks import demo

  layout = ['--gin_file=layouts/cpu.gin']
  if cores is not None:
    layout = ['--gin_file=layouts/expert_data.gin', f"--gin_param=mesh_shape = 'batch:{cores}'"]
  parameters = [
    f'MIXTURE_NAME = {demo.SPAN_TASK!r}',
    f"demo_vocabulary_file.path = '{folder.parent}/vocabulary.model'",
    f'BATCH_SIZE = {BATCH}',
    f'INPUTS_LENGTH = {INPUTS}',
    f'TARGETS_LENGTH = {TARGETS}',
    'TRAIN_STEPS = 1000000',
    'SAVE_STEPS = 1000000',
    'SEED = 0',
    'progress.every = 1',
  ]
  files = ['--gin_file=models/tiny_switch_8.gin', '--gin_file=runs/pretrain.gin', *layout]
  return [f'--runtime={runtime}', f'--model_dir={folder}', *files, *(f'--gin_param={p}' for p in parameters)]


def measured(side, folder, steps, warmup):
  """Of one run: the seconds of a step, of preparing a batch, and of waiting for one (None: not known)."""
  runtime, cores, repeats = SIDES[side]
  words = flags(runtime, cores, folder)
  command = [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *words]
  if runtime == 'pjrt':
    command = [sys.executable, '-c', COMMAND, 'repeat' if repeats else 'read', *words]
  lines, ends, times = [], [], {'prepared': [], 'waited': []}
  process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
  for line in process.stderr:
    lines.append(line)
    kind, _, value = line.partition(' ')
    if kind in times:
      times[kind].append(float(value))
    elif re.match(r'step [\d,]+/', line):
      ends.append(time.perf_counter())
    if len(ends) == 1 + warmup + steps:
      process.kill()
      break
  process.communicate()
  if len(ends) < 1 + warmup + steps:
    raise RuntimeError(''.join(lines)[-3000:])
  last = lambda values: statistics.median(values[-steps:]) if values and not repeats else None
  seconds = [after - before for before, after in zip(ends, ends[1:], strict=False)]
  return {'step': statistics.median(seconds[warmup:]), **{kind: last(values) for kind, values in times.items()}}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--sides', nargs='+', default=list(SIDES), choices=SIDES)
  parser.add_argument('--turns', type=int, default=1, help='of each side; the fastest counts')
  parser.add_argument('--steps', type=int, default=30, help='that are measured')
  parser.add_argument('--warmup', type=int, default=10, help='steps before them')
  parser.add_argument('--out', help='a JSON file for the results of all turns')
  arguments = parser.parse_args()
  from switch_zoo.tasks import pydoc_topics, vocabularies

  results = {side: [] for side in arguments.sides}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    vocabularies.train(pydoc_topics.documents(), folder / 'vocabulary.model', 924)
    for turn in range(arguments.turns):
      for number, side in enumerate(arguments.sides):
        result = measured(side, folder / f'{turn}-{number}', arguments.steps, arguments.warmup)
        results[side].append(result)
        print(f'turn {turn + 1}, {side}: {result["step"]:.4f} s a step', file=sys.stderr, flush=True)
  print('runtime                 s a step   tokens/s   prepared s   waited s')
  for side, turns in results.items():
    best = min(turns, key=lambda turn: turn['step'])
    rest = ''.join('           -' if best[kind] is None else f'{best[kind]:12.4f}' for kind in ('prepared', 'waited'))
    print(f'{side:22} {best["step"]:9.4f} {BATCH * (INPUTS + TARGETS) / best["step"]:10,.0f} {rest}')
  if arguments.out:
    pathlib.Path(arguments.out).write_text(json.dumps({'settings': vars(arguments), 'turns': results}, indent=2))


if __name__ == '__main__':
  main()
