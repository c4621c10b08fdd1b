"""Answers per second of an exported Switch-Base, side by side with Hugging Face on the same shape and dtype.

  python benchmarks/serving.py --experts 8 64 --batch 1 8 32 --out serving.json

Random weights, random texts of 128 input tokens, 32 new tokens (the first two answers are a warm-up). The export is
made once for each number of experts and loaded in a process that has only tensorflow and tensorflow_text; Hugging Face
is measured by the script in SWITCH_ZOO_SHARED/peers. With `--engine onnx` the exports for ONNX Runtime, in float32 and
in int8, are measured as well, in processes without TensorFlow, next to Hugging Face in both of its dtypes: float32
against float32, and int8 against the faster one. For each cell both run one after the other, with two threads, each
in a separate process. `score` is the forward pass over 128 input and 64 target tokens. `encode`, which is measured only
on request, is that over 128 and one: what an answer takes before its second token, and where all experts are used.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

SHARED = pathlib.Path(os.environ.get('SWITCH_ZOO_SHARED', pathlib.Path(__file__).parents[2] / 'shared'))
INPUTS, NEW_TOKENS = 128, 32
TARGETS = {'generate': 64, 'score': 64, 'encode': 1}
HUGGING_FACE_DTYPE = {'bfloat16': 'bf16', 'float32': 'fp32'}
# What a server does: loads the export and runs it. Prints the seconds of loading and of each answer, and peak memory.
PROGRAM = """
import json, random, re, string, sys, time
import tensorflow as tf
import tensorflow_text
folder, work, batch, inputs, targets, runs = sys.argv[1:3] + [int(x) for x in sys.argv[3:]]
tf.config.threading.set_intra_op_parallelism_threads(2)
start = time.perf_counter()
model = tf.saved_model.load(folder)
loaded = time.perf_counter() - start
random.seed(0)  # as varied as the peer's random tokens: similar ones would all go to one expert
text = lambda tokens: ''.join(random.choices(string.printable, k=tokens - 1))  # bytes, and the end
texts = tf.constant([text(inputs) for _ in range(batch)])
answers = tf.constant([text(targets) for _ in range(batch)])
generate = lambda: model.signatures['serving_default'](inputs=texts)['scores'].numpy()
score = lambda: model.signatures['score'](inputs=texts, targets=answers)['scores'].numpy()
call = generate if work == 'generate' else score
seconds = []
for _ in range(runs + 2):
  start = time.perf_counter()
  call()
  seconds.append(time.perf_counter() - start)
peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) * 1024
print(json.dumps({'load': loaded, 'seconds': seconds[2:], 'peak_bytes': peak}))
"""
# The same for an ONNX export, with switch_zoo's runner.
ONNX_PROGRAM = """
import json, random, re, string, sys, time
sys.path.insert(0, {package!r})
from switch_zoo.onnx_runner.text_model import OnnxTextModel
folder, work, batch, inputs, targets, runs = sys.argv[1:3] + [int(x) for x in sys.argv[3:]]
start = time.perf_counter()
model = OnnxTextModel(folder, threads=2)
loaded = time.perf_counter() - start
random.seed(0)
text = lambda tokens: ''.join(random.choices(string.printable, k=tokens - 1)).encode()
texts = [text(inputs) for _ in range(batch)]
answers = [text(targets) for _ in range(batch)]
call = (lambda: model.answer(texts)) if work == 'generate' else (lambda: model.score(texts, answers))
seconds = []
for _ in range(runs + 2):
  start = time.perf_counter()
  call()
  seconds.append(time.perf_counter() - start)
assert 'tensorflow' not in sys.modules
peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) * 1024
print(json.dumps({{'load': loaded, 'first': seconds[0], 'seconds': seconds[2:], 'peak_bytes': peak}}))
"""
ONNX_DTYPES = ('float32', 'int8')


def random_weights(name):
  """A config of the zoo, and a function from a variable to random values."""
  import numpy as np

  from switch_zoo import load_config

  config = load_config(name)
  generator = np.random.default_rng(0)

  def read(variable):
    shape = tuple(config.variables[variable].values())
    if variable.endswith('scale'):
      return np.ones(shape, np.float32)
    deviation = 1.0 if variable.endswith('embedding') else shape[-2] ** -0.5
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)

  return config, read


def make_export(experts, dtype, folder):
  """A Switch-Base with random weights; returns the bytes of its weights."""
  from switch_zoo.keras import export, text
  from switch_zoo.keras.inference import Inference

  config, read = random_weights(f'switch_base_{experts}')
  model = Inference(config, read, dtype)
  settings = export.ExportSettings(dtype, max_new_tokens=NEW_TOKENS, max_input_tokens=INPUTS)
  export.export(export.TextModel(model, text.Bytes(), settings), folder)
  return sum(variable.dtype.size * variable.shape.num_elements() for variable in model.variables)


def make_onnx_export(experts, dtype, folder):
  """The same for ONNX Runtime."""
  from switch_zoo.keras.export_settings import ExportSettings
  from switch_zoo.onnx_export import folder as onnx_folder
  from switch_zoo.onnx_runner import text_ids

  config, read = random_weights(f'switch_base_{experts}')
  settings = ExportSettings(dtype, max_new_tokens=NEW_TOKENS, max_input_tokens=INPUTS)
  onnx_folder.write(onnx_folder.OnnxSource(config, read, text_ids.ByteIds(), settings), folder)
  return os.path.getsize(f'{folder}/1/weights.bin')


def onnx(experts, dtype, parent, work, batch, runs):
  """What `answers` gives for an ONNX export, which is made if it is not there."""
  folder = pathlib.Path(parent) / f'onnx_{experts}_{dtype}'
  if not folder.exists():
    make_onnx_export(experts, dtype, str(folder))
  program = ONNX_PROGRAM.format(package=str(pathlib.Path(__file__).resolve().parents[1]))
  size = os.path.getsize(folder / '1' / 'weights.bin')
  measured = _json([sys.executable, '-c', program, folder / '1', work, batch, INPUTS, TARGETS[work], runs])
  return {**measured, 'seconds': statistics.median(measured['seconds']), 'weight_bytes': size}


def print_onnx(experts, parent, work, batch, runs):
  """Measures the ONNX exports and both dtypes of Hugging Face, one after the other; returns the rows."""
  theirs = {dtype: hugging_face(experts, work, batch, dtype, runs) for dtype in HUGGING_FACE_DTYPE}
  rows = []
  for dtype in ONNX_DTYPES:
    mine = onnx(experts, dtype, parent, work, batch, runs)
    peer = theirs['float32'] if dtype == 'float32' else min(theirs.values())
    rows.append(
      {'engine': f'onnx {dtype}', 'experts': experts, 'work': work, 'batch': batch, **mine, 'hugging_face': theirs}
    )
    print(
      f'{work:9} {experts:7d} {batch:5d} {mine["seconds"]:8.3f} {peer:16.3f} {peer / mine["seconds"]:7.2f} '
      f'{mine["load"]:8.2f} {mine["peak_bytes"] / 1e9:9.2f} {mine["weight_bytes"] / 1e9:12.2f}   onnx {dtype}, first '
      f'{mine["first"]:.3f} s; Hugging Face float32 {theirs["float32"]:.3f} s, bfloat16 {theirs["bfloat16"]:.3f} s',
      flush=True,
    )
  return rows


def ours(folder, work, batch, runs):
  """As `answers`, for what `make_export` wrote."""
  return answers(PROGRAM, f'{folder}/1', work, batch, runs)


def answers(program, export, work, batch, runs):
  """Median seconds of an export's answers, seconds of loading it, peak memory."""
  measured = _json([sys.executable, '-I', '-c', program, export, work, batch, INPUTS, TARGETS[work], runs])
  return {**measured, 'seconds': statistics.median(measured['seconds'])}


def hugging_face(experts, work, batch, dtype, runs):
  """Median seconds of Hugging Face's model."""
  kind = 'generate' if work == 'generate' else 'forward'
  command = [
    sys.executable,
    SHARED / 'peers/hf_switch_peer.py',
    kind,
    '--experts',
    experts,
    '--batch',
    batch,
    '--dtype',
    HUGGING_FACE_DTYPE[dtype],
    '--inputs',
    INPUTS,
    '--targets',
    TARGETS[work],
    '--new-tokens',
    NEW_TOKENS,
    '--runs',
    runs,
  ]
  return _json(command)['seconds']


def _json(command):
  return json.loads(printed(command).splitlines()[-1])


def printed(command):
  """The output of a command."""
  done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(done.stderr[-2000:])
  return done.stdout


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--experts', type=int, nargs='+', default=[8, 64])
  parser.add_argument('--batch', type=int, nargs='+', default=[1, 8, 32])
  parser.add_argument('--work', nargs='+', default=['generate', 'score'], choices=TARGETS)
  parser.add_argument('--dtype', default='bfloat16', choices=HUGGING_FACE_DTYPE)
  parser.add_argument('--engine', nargs='+', default=['saved_model'], choices=['saved_model', 'onnx'])
  parser.add_argument('--runs', type=int, default=5)
  parser.add_argument('--work-dir', default=None, help='folder in which the exports are kept')
  parser.add_argument('--out', help='a JSON file for the results')
  arguments = parser.parse_args()
  rows = []
  print('work      experts batch   ours s   Hugging Face s   ratio   load s   peak GB   weights GB')
  with tempfile.TemporaryDirectory() as temporary:
    for experts in arguments.experts:
      parent = arguments.work_dir or temporary
      folder = pathlib.Path(parent) / f'base_{experts}_{arguments.dtype}'
      sizes = folder.with_suffix('.json')
      if 'saved_model' in arguments.engine and not folder.exists():
        sizes.write_text(json.dumps(make_export(experts, arguments.dtype, str(folder))))
      weights = json.loads(sizes.read_text()) if sizes.exists() else 0
      for work in arguments.work:
        for batch in arguments.batch:
          if 'onnx' in arguments.engine:
            rows += print_onnx(experts, parent, work, batch, arguments.runs)
          if 'saved_model' not in arguments.engine:
            continue
          mine = ours(folder, work, batch, arguments.runs)
          peer = hugging_face(experts, work, batch, arguments.dtype, arguments.runs)
          rows.append(
            {'experts': experts, 'work': work, 'batch': batch, **mine, 'hugging_face': peer, 'weight_bytes': weights}
          )
          print(
            f'{work:9} {experts:7d} {batch:5d} {mine["seconds"]:8.3f} {peer:16.3f} {peer / mine["seconds"]:7.2f} '
            f'{mine["load"]:8.2f} {mine["peak_bytes"] / 1e9:9.2f} {weights / 1e9:12.2f}',
            flush=True,
          )
  if arguments.out:
    pathlib.Path(arguments.out).write_text(json.dumps({'settings': vars(arguments), 'rows': rows}, indent=2))


if __name__ == '__main__':
  main()
