"""Tokens per second of a training step on this machine's processor, side by side with Hugging Face.

  python benchmarks/training.py --work base8 base8-f32 base64 tiny quality --out training.json

Ours is the real command, `t5_mesh_transformer` with its input pipeline, from its start; the time of a step is the
median of those after the warm-up, and the process is ended then, before it writes a checkpoint. Hugging Face is
forward, backward and Adafactor of a model with the same sizes and random weights, on random tokens that are already in
memory; bfloat16 is autocast. Both run one after the other, each in a separate process, with two threads.

  base8      Switch-Base-8, 8 x (128 + 64), bfloat16          base8-f32   the same in float32
  base64     Switch-Base-64, 8 x (128 + 64), bfloat16
  tiny       tiny_switch_8, 64 x (128 + 32), float32, the demo's pre-training
  quality    width 128, 2 + 2 layers, 32 experts in every layer, groups of 256, bytes, 64 x (128 + 128), float32

GFLOP/s are those of the products with weights that a token uses, forward and backward; what is recomputed or padded
does not count. `--gin_param` is passed on to ours, for instance to train with microbatches. T5's vocabulary is that in
SWITCH_ZOO_SHARED.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time

SHARED = pathlib.Path(os.environ.get('SWITCH_ZOO_SHARED', pathlib.Path(__file__).parents[2] / 'shared'))
THREADS = 2
# A model of Switch Transformers whose every layer is sparse, at the size of the experiments on quality.
QUALITY = """
include 'architectures/t5_encdec.gin'
include 'architectures/switch_all_encdec.gin'
d_model = 128
d_ff = 512
d_kv = 32
num_heads = 4
num_encoder_layers = 2
num_decoder_layers = 2
vocab_size = 384
num_experts = 32
group_size = 256
activation_dtype = 'float32'
"""
# Prints the seconds of each step. Arguments: the sizes as JSON, batch, inputs, targets, dtype, steps, threads.
HUGGING_FACE = """
import contextlib, json, sys, time
import torch
from transformers import SwitchTransformersConfig, SwitchTransformersForConditionalGeneration
from transformers.optimization import Adafactor
sizes, dtype = json.loads(sys.argv[1]), sys.argv[5]
batch, inputs, targets, steps, threads = (int(sys.argv[i]) for i in (2, 3, 4, 6, 7))
torch.set_num_threads(threads)
torch.manual_seed(0)
model = SwitchTransformersForConditionalGeneration(SwitchTransformersConfig(**sizes))
optimizer = Adafactor(model.parameters(), lr=1e-3, relative_step=False, scale_parameter=False, warmup_init=False)
model.train()
low = dtype == 'bfloat16'
seconds = []
for _ in range(steps):
  read = torch.randint(3, sizes['vocab_size'] - 100, (batch, inputs))
  written = torch.randint(3, sizes['vocab_size'] - 100, (batch, targets))
  start = time.perf_counter()
  with torch.autocast('cpu', dtype=torch.bfloat16) if low else contextlib.nullcontext():
    loss = model(input_ids=read, labels=written).loss
  loss.backward()
  optimizer.step()
  optimizer.zero_grad()
  seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


@dataclasses.dataclass(frozen=True)
class Work:
  """What is measured: a model (the name of a model file, or the text of one), a batch, and settings of both sides."""

  model: str
  batch: int
  inputs: int
  targets: int
  dtype: str
  steps: int
  warmup: int
  dropout: float = 0.0
  demo: bool = False


BASE = {'batch': 8, 'inputs': 128, 'targets': 64, 'steps': 6, 'warmup': 3, 'dropout': 0.1}
WORKS = {
  'base8': Work('switch_base_8', dtype='bfloat16', **BASE),
  'base8-f32': Work('switch_base_8', dtype='float32', **BASE),
  'base64': Work('switch_base_64', dtype='bfloat16', **BASE),
  'tiny': Work('tiny_switch_8', 64, 128, 32, 'float32', steps=40, warmup=20, demo=True),
  'quality': Work(QUALITY, 64, 128, 128, 'float32', steps=10, warmup=5),
}


def config_of(work, folder):
  """The model's configuration, and the name or path of its file."""
  from switch_zoo import load_config

  if '\n' not in work.model:
    return load_config(work.model), f'models/{work.model}.gin'
  path = folder / 'model.gin'
  path.write_text(work.model)
  return load_config(str(path)), str(path)


def command(work, model, folder, parameters):
  """The words of the command that trains, without an end."""
  parameters = [
    f'BATCH_SIZE = {work.batch}',
    f'INPUTS_LENGTH = {work.inputs}',
    f'TARGETS_LENGTH = {work.targets}',
    f"activation_dtype = '{work.dtype}'",
    f'dropout_rate = {work.dropout}',
    f'expert_dropout_rate = {work.dropout}',
    'TRAIN_STEPS = 1000000',
    'SAVE_STEPS = 1000000',
    'SEED = 0',
    'progress.every = 1',
    *data(work, folder),
    *parameters,
  ]
  files = [model, 'runs/pretrain.gin', 'layouts/cpu.gin']
  words = [f'--model_dir={folder / "trained"}', *(f'--gin_file={name}' for name in files)]
  return [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *words, *(f'--gin_param={p}' for p in parameters)]


def data(work, folder):
  """The task: the demo's text, or a file of random words whose rows fill inputs and targets."""
  if work.demo:
    from switch_zoo.tasks import demo, pydoc_topics, vocabularies

    vocabularies.train(pydoc_topics.documents(), folder / 'vocabulary.model', 924)
    momentum = 'optimize.AdafactorOptimizer.beta1 = 0.9'
    return f'MIXTURE_NAME = {demo.SPAN_TASK!r}', f"demo_vocabulary_file.path = '{folder}/vocabulary.model'", momentum
  generator = random.Random(0)
  word = lambda: ''.join(generator.choices(string.ascii_lowercase, k=generator.randint(2, 8)))
  text = lambda tokens: ' '.join(word() for _ in range(tokens))
  with open(folder / 'rows.jsonl', 'w', encoding='utf-8') as file:
    for _ in range(2000):
      file.write(json.dumps({'inputs': text(work.inputs), 'targets': text(work.targets)}) + '\n')
  vocabulary = 'bytes' if '\n' in work.model else f'{SHARED.resolve()}/data/vocab/t5/spiece.model'
  return (
    "MIXTURE_NAME = 'zoo_file'",
    f"zoo_file.train = '{folder}/rows.jsonl'",
    f"vocabulary_file.path = '{vocabulary}'",
  )


def ours(work, parameters):
  """Seconds to the end of the first step, seconds of each step after the warm-up, the slowest after the first, peak."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    words = command(work, config_of(work, folder)[1], folder, parameters)
    start, ends, lines = time.monotonic(), [], []
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
      lines.append(line)
      if re.match(r'step [\d,]+/', line):
        ends.append(time.monotonic())
      if len(ends) == 1 + work.warmup + work.steps:
        process.kill()
    usage = os.wait4(process.pid, 0)[2]
    if len(ends) < 1 + work.warmup + work.steps:
      raise RuntimeError(''.join(lines)[-3000:])
  steps = [after - before for before, after in zip(ends, ends[1:], strict=False)]
  return {
    'first': ends[0] - start,
    'slowest': max(steps),
    'seconds': statistics.median(steps[work.warmup :]),
    'peak_bytes': usage.ru_maxrss * 1024,
  }


def hugging_face(work):
  """Seconds of each step after the warm-up, and peak memory."""
  with tempfile.TemporaryDirectory() as name:
    config = config_of(work, pathlib.Path(name))[0]
  sizes = {
    'vocab_size': config.vocab_size,
    'd_model': config.d_model,
    'd_kv': config.d_kv,
    'd_ff': config.d_ff,
    'num_heads': config.num_heads,
    'num_layers': config.num_encoder_layers,
    'num_decoder_layers': config.num_decoder_layers,
    'num_sparse_encoder_layers': len(config.encoder_sparse_layers),
    'num_sparse_decoder_layers': len(config.decoder_sparse_layers),
    'num_experts': config.num_experts,
    'expert_capacity': 64,
    'router_jitter_noise': 0.0,
    'dropout_rate': work.dropout,
    'decoder_start_token_id': 0,
  }
  numbers = work.batch, work.inputs, work.targets, work.dtype, work.warmup + work.steps, THREADS
  words = [sys.executable, '-c', HUGGING_FACE, json.dumps(sizes), *map(str, numbers)]
  process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  printed, errors = process.stdout.read(), process.stderr.read()
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise RuntimeError(errors[-3000:])
  seconds = json.loads(printed.splitlines()[-1])[work.warmup :]
  return {'seconds': statistics.median(seconds), 'peak_bytes': usage.ru_maxrss * 1024}


def measured(work, turns, sides, parameters):
  """The fastest turn of each side."""
  results = {side: [] for side in sides}
  for _ in range(turns):
    for side in sides:
      results[side].append(ours(work, parameters) if side == 'ours' else hugging_face(work))
  return {side: min(turns_of, key=lambda turn: turn['seconds']) for side, turns_of in results.items()}


def row(name, work, result):
  """One line of the table for each side."""
  with tempfile.TemporaryDirectory() as folder:
    flops = 3 * work.batch * config_of(work, pathlib.Path(folder))[0].flops_per_sequence(work.inputs, work.targets)
  tokens = work.batch * (work.inputs + work.targets)
  peer = result.get('hugging_face', {}).get('seconds')
  for side, values in result.items():
    seconds = values['seconds']
    ratio = f'{peer / seconds:6.2f}' if peer and side == 'ours' else ' ' * 6
    start = f'{values["first"]:8.1f} {values["slowest"]:8.3f}' if 'first' in values else ''
    print(
      f'{name:10} {side:13} {seconds:8.3f} {tokens / seconds:9,.0f} {flops / seconds / 1e9:8.1f} {ratio}'
      f' {values["peak_bytes"] / 1e9:8.2f} {start}',
      flush=True,
    )


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--work', nargs='+', default=list(WORKS), choices=WORKS)
  parser.add_argument('--sides', nargs='+', default=['ours', 'hugging_face'], choices=['ours', 'hugging_face'])
  parser.add_argument('--turns', type=int, default=1, help='of each side; the fastest counts')
  parser.add_argument('--batch', type=int, help='sequences, instead of those of the work')
  parser.add_argument('--steps', type=int, help='measured steps, instead of those of the work')
  parser.add_argument('--gin_param', action='append', default=[], help='passed on to ours')
  parser.add_argument('--out', help='a JSON file for the results')
  arguments = parser.parse_args()
  # Both sides use two threads, wherever they look for the number.
  os.environ.update({'OMP_NUM_THREADS': str(THREADS), 'TF_NUM_INTRAOP_THREADS': str(THREADS)})
  results = {}
  print('work       side           s a step  tokens/s  GFLOP/s  ratio  peak GB  first s  slowest s')
  for name in arguments.work:
    changes = {'batch': arguments.batch, 'steps': arguments.steps}
    work = dataclasses.replace(WORKS[name], **{field: value for field, value in changes.items() if value})
    results[name] = measured(work, arguments.turns, arguments.sides, arguments.gin_param)
    row(name, work, results[name])
  if arguments.out:
    pathlib.Path(arguments.out).write_text(json.dumps({'settings': vars(arguments), 'rows': results}, indent=2))


if __name__ == '__main__':
  main()
