"""Fine-tunes demo-sized models on real tasks: CB, RTE, BoolQ and SST-2, after pre-training on English novels.

  python benchmarks/finetune.py --work results --out finetune.json

`tiny_switch_8` and its dense twin `tiny_dense` get a vocabulary of 4,096 pieces made from the novels, are pre-trained
on them by span corruption, and are fine-tuned on each task with `t5_mesh_transformer --gin_file=runs/finetune.gin`;
each command is printed before it runs. Scores are those of the validation split, next to the share of its most frequent
class. Of BoolQ only the validation split is available: the rows of one in five passages are held out and the rest used
for training, so its score is not comparable with the benchmark's. SWITCH_ZOO_SHARED names the folder with the data.
What has already been done in --work is not done again.
"""

import argparse
import collections
import gzip
import hashlib
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

SHARED = pathlib.Path(os.environ.get('SWITCH_ZOO_SHARED', pathlib.Path(__file__).parents[2] / 'shared'))
MODELS = ('tiny_switch_8', 'tiny_dense')
VOCAB_SIZE = 4096
PRETRAINING = {'steps': 1500, 'batch': 64, 'inputs': 128, 'targets': 32, 'learning_rate': 0.05, 'warmup': 100}


class Task:
  """A task, the length of its inputs, and the number of steps and the batch size it is trained with."""

  def __init__(self, name, metric, inputs, steps, batch=32):
    self.name, self.metric, self.inputs, self.steps, self.batch = name, metric, inputs, steps, batch


TASKS = (
  Task('zoo_superglue_cb', 'accuracy', 192, 150, 16),
  Task('zoo_superglue_rte', 'accuracy', 192, 300),
  Task('zoo_superglue_boolq', 'accuracy', 256, 300),
  Task('zoo_glue_sst2', 'accuracy', 64, 400),
)


def prepare(work):
  """Makes the data folder, in the layout of the releases, and the vocabulary; returns an environment naming both."""
  data, vocabulary = work / 'data', work / 'vocabulary.model'
  for task in ('superglue/CB', 'superglue/RTE', 'glue/SST-2'):
    link = data / task
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
      link.symlink_to((SHARED / 'data' / task).resolve())
  split_boolq(data / 'superglue' / 'BoolQ')
  if not vocabulary.exists():
    from switch_zoo.spec import token_ids
    from switch_zoo.tasks import vocabularies

    vocabularies.train(novels(), vocabulary, VOCAB_SIZE - token_ids.NUM_SENTINELS)
  return {**os.environ, 'SWITCH_ZOO_DATA_DIR': str(data), 'SWITCH_ZOO_VOCAB': str(vocabulary)}


def novels():
  """The lines of all novels."""
  for path in sorted((SHARED / 'data/corpus/british_fiction').glob('*.txt.gz')):
    with gzip.open(path, 'rt', encoding='utf-8') as file:
      yield from filter(None, map(str.strip, file))


def split_boolq(folder):
  """Splits the published validation split in train.jsonl and val.jsonl, questions about a passage in the same file."""
  folder.mkdir(parents=True, exist_ok=True)
  with gzip.open(SHARED / 'data/superglue/BoolQ/val.jsonl.gz', 'rt', encoding='utf-8') as file:
    rows = file.readlines()
  held_out = lambda row: hashlib.sha256(json.loads(row)['passage'].encode()).digest()[0] % 5 == 0
  (folder / 'val.jsonl').write_text(''.join(row for row in rows if held_out(row)), encoding='utf-8')
  (folder / 'train.jsonl').write_text(''.join(row for row in rows if not held_out(row)), encoding='utf-8')


def command(model_dir, model, run, *parameters):
  """The words of a t5_mesh_transformer command."""
  files = [f'models/{model}.gin', run, 'layouts/cpu.gin']
  words = ['t5_mesh_transformer', f'--model_dir={model_dir}', *(f'--gin_file={name}' for name in files)]
  return words + [f'--gin_param={p}' for p in (f'vocab_size = {VOCAB_SIZE}', *parameters)]


def pretraining(work, model):
  """The command that pre-trains a model on the novels."""
  p = PRETRAINING
  files = SHARED / 'data/corpus/british_fiction/*.txt.gz'
  return command(
    work / model / 'pretrained',
    model,
    'runs/pretrain.gin',
    "MIXTURE_NAME = 'zoo_text_span'",
    f"text_corpus.files = '{files}'",
    'documents.remove_duplicates = False',
    f'TRAIN_STEPS = {p["steps"]}',
    f'BATCH_SIZE = {p["batch"]}',
    f'INPUTS_LENGTH = {p["inputs"]}',
    f'TARGETS_LENGTH = {p["targets"]}',
    'SAVE_STEPS = 500',
    'SEED = 0',
    f'learning_rate_schedule_noam.warmup_steps = {p["warmup"]}',
    f'learning_rate_schedule_noam.multiplier = {p["learning_rate"] * p["warmup"] ** 0.5}',
    'learning_rate_schedule_noam.linear_decay_fraction = 1.0',
  )


def finetuning(work, model, task, seed):
  """The command that fine-tunes a model on a task."""
  init = f"'{work / model / 'pretrained'}'"
  return command(
    folder_of(work, model, task, seed),
    model,
    'runs/finetune.gin',
    *of_task(task),
    f'INIT_CHECKPOINT = {init}',
    f'TRAIN_STEPS = {task.steps}',
    f'BATCH_SIZE = {task.batch}',
    f'SAVE_STEPS = {task.steps}',
    f'SEED = {seed}',
    'LEARNING_RATE = 0.02',
  )


def evaluation(work, model, task, seed):
  """The command that measures a fine-tuned model."""
  return command(folder_of(work, model, task, seed), model, 'runs/eval.gin', *of_task(task), 'BATCH_SIZE = 64')


def of_task(task):
  return f"MIXTURE_NAME = '{task.name}'", f'INPUTS_LENGTH = {task.inputs}', 'TARGETS_LENGTH = 8'


def folder_of(work, model, task, seed):
  return work / model / f'{task.name}_{seed}'


def run(words, environment):
  """Prints a command, runs it, and returns its output."""
  print('$', shlex.join(words), flush=True)
  # As a module, so that the checkout of this script runs and not another installation.
  module = [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *words[1:]]
  done = subprocess.run(module, env=environment, capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(done.stderr[-3000:])
  return done.stdout + done.stderr


def score(work, model, task, seed, environment):
  """The metric of a fine-tuned model, which is trained and measured first unless that was done before."""
  result = work / model / f'{task.name}_{seed}.json'
  if not result.exists():
    run(finetuning(work, model, task, seed), environment)
    printed = run(evaluation(work, model, task, seed), environment)
    values = dict(re.findall(rf'^{task.name} +(\w+) +([\d.]+)', printed, re.MULTILINE))
    result.write_text(json.dumps({name: float(value) for name, value in values.items()}))
    print(values, flush=True)
  return json.loads(result.read_text())[task.metric]


def majority(task):
  """(percentage of the most frequent class in the validation split, number of its rows)."""
  import seqio

  import switch_zoo.tasks  # noqa: F401 - registers them

  rows = seqio.TaskRegistry.get(task.name).source.get_dataset('validation', shuffle=False)
  counts = collections.Counter(row['targets'] for row in rows.as_numpy_iterator())
  return 100 * max(counts.values()) / counts.total(), counts.total()


def table(results):
  """A table in Markdown: the mean over the seeds, and the score of each."""
  lines = ['| task | rows | majority | ' + ' | '.join(MODELS) + ' |', '| --- | ---: | ---: | --- | --- |']
  for name, row in results.items():
    cells = [f'{statistics.mean(row[m]):.1f} ({" ".join(f"{v:.1f}" for v in row[m])})' for m in MODELS]
    lines.append(f'| `{name}` | {row["rows"]} | {row["majority"]:.1f} | ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--work', type=pathlib.Path, default='finetune_results', help='folder for models and data')
  parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
  parser.add_argument('--out', help='a JSON file for the results')
  arguments = parser.parse_args()
  work = arguments.work.resolve()
  environment = prepare(work)
  os.environ.update(environment)
  for model in MODELS:
    if not (work / model / 'pretrained.json').exists():
      began = time.monotonic()
      printed = run(pretraining(work, model), environment)
      last = [line for line in printed.splitlines() if line.startswith('step ')][-1]
      (work / model / 'pretrained.json').write_text(
        json.dumps({'last': last, 'seconds': round(time.monotonic() - began)})
      )
    print(model, (work / model / 'pretrained.json').read_text(), flush=True)
  results = {}
  for task in TASKS:
    share, rows = majority(task)
    scores = {m: [score(work, m, task, seed, environment) for seed in arguments.seeds] for m in MODELS}
    results[task.name] = {'majority': share, 'rows': rows, **scores}
    print(table(results), flush=True)
  if arguments.out:
    pathlib.Path(arguments.out).write_text(json.dumps({'pretraining': PRETRAINING, 'results': results}, indent=2))


if __name__ == '__main__':
  main()
