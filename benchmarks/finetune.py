"""Fine-tunes demo-sized models on real tasks: CB, RTE, BoolQ and SST-2, after pre-training on English novels.

  python benchmarks/finetune.py --work results --out finetune.json
  python benchmarks/finetune.py --work results --pretrained switch_32=RUN dense=RUN2
  python benchmarks/finetune.py --work results --dropout 0,0 0.1,0.1 0.3,0.3 0.1,0.4 --tasks zoo_superglue_cb

`tiny_switch_8` and its dense twin `tiny_dense` get a vocabulary of 4,096 pieces made from the novels, are pre-trained
on them by span corruption, and are fine-tuned on each task with `t5_mesh_transformer --gin_file=runs/finetune.gin`;
each command is printed before it runs. With --pretrained, models of `benchmarks/experiments` are fine-tuned instead:
RUN is a folder in its `runs`, whose vocabulary is bytes. Scores are those of the validation split, next to the share of
its most frequent class: of the best of five checkpoints, which the same split chooses as in the papers, or with
--measure last of the last one. Of BoolQ only the validation split is available: the rows of one in five passages are
held out and the rest used for training, so its score is not comparable with the benchmark's. With --dropout each
model is fine-tuned with each pair of rates, outside experts and inside, in place of the paper's 0.1 and 0.4 (Table 4 of
the Switch paper). SWITCH_ZOO_SHARED names the folder with the data. What has already been done in --work is
not done again.
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
VOCAB_SIZE = 4096
PRETRAINING = {'steps': 1500, 'batch': 64, 'inputs': 128, 'targets': 32, 'learning_rate': 0.05, 'warmup': 100}


# Texts have about this many times as many bytes as pieces.
BYTES_PER_PIECE = 3
VALIDATIONS = 5


class Model:
  """A model and where its pre-trained weights are.

  name: in the table
  gin: its gin file
  pretrained: folder of its checkpoint
  sizes: gin parameters
  scale: how many times as long its sequences are as those of the tasks
  """

  def __init__(self, name, gin, pretrained, sizes, scale=1):
    self.name, self.gin, self.pretrained, self.sizes, self.scale = name, gin, pretrained, sizes, scale


def models(work, runs):
  """The models of the demo, or those of an experiment.

  Args:
    work: folder for models and data
    runs: NAME=FOLDER of each model of an experiment
  """
  if not runs:
    sizes = [f'vocab_size = {VOCAB_SIZE}']
    return [
      Model(name, f'models/{name}.gin', work / name / 'pretrained', sizes) for name in ('tiny_switch_8', 'tiny_dense')
    ]
  found = []
  for text in runs:
    name, separator, folder = text.partition('=')
    folder = pathlib.Path(folder).resolve()
    if not separator or not (folder / 'model.gin').exists() or not (folder / 'trained').is_dir():
      raise SystemExit(
        f'--pretrained {text}: give NAME=FOLDER, a folder that benchmarks.experiments wrote (WORK/runs/...), with '
        'model.gin and trained/.'
      )
    found.append(Model(name, str(folder / 'model.gin'), folder / 'trained', [], BYTES_PER_PIECE))
  return found


def with_dropout(model, rates):
  """A model with other dropout rates. rates: 'OUTSIDE,INSIDE' of experts"""
  try:
    outside, inside = map(float, rates.split(','))
  except ValueError:
    raise SystemExit(f'--dropout {rates}: give OUTSIDE,INSIDE, two rates such as 0.1,0.4.') from None
  sizes = [*model.sizes, f'dropout_rate = {outside}', f'expert_dropout_rate = {inside}']
  return Model(f'{model.name} {outside} {inside}', model.gin, model.pretrained, sizes, model.scale)


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


def prepare(work, in_bytes):
  """Makes the data folder, in the layout of the releases, and the vocabulary; returns an environment naming both."""
  data, vocabulary = work / 'data', work / 'vocabulary.model'
  for task in ('superglue/CB', 'superglue/RTE', 'glue/SST-2'):
    link = data / task
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
      link.symlink_to((SHARED / 'data' / task).resolve())
  split_boolq(data / 'superglue' / 'BoolQ')
  if in_bytes:
    vocabulary = 'bytes'
  elif not vocabulary.exists():
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
  files = [model.gin, run, 'layouts/cpu.gin']
  words = ['t5_mesh_transformer', f'--model_dir={model_dir}', *(f'--gin_file={name}' for name in files)]
  return words + [f'--gin_param={p}' for p in (*model.sizes, *parameters)]


def pretraining(model):
  """The command that pre-trains a model on the novels."""
  p = PRETRAINING
  files = SHARED / 'data/corpus/british_fiction/*.txt.gz'
  return command(
    model.pretrained,
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


def finetuning(work, model, task, seed, measure):
  """The command that fine-tunes a model on a task; it validates on the way if the best checkpoint is measured."""
  every = max(task.steps // VALIDATIONS, 1)
  best = [f'EVAL_STEPS = {every}', f"BEST_METRIC = '{task.name}/{task.metric}'", 'KEEP_CHECKPOINTS = 1']
  return command(
    folder_of(work, model, task, seed, measure),
    model,
    'runs/finetune.gin',
    *of_task(task, model),
    f"INIT_CHECKPOINT = '{model.pretrained}'",
    f'TRAIN_STEPS = {task.steps}',
    f'BATCH_SIZE = {task.batch}',
    f'SAVE_STEPS = {every if measure == "best" else task.steps}',
    *(best if measure == 'best' else []),
    f'SEED = {seed}',
    'LEARNING_RATE = 0.02',
  )


def evaluation(work, model, task, seed):
  """The command that measures the last checkpoint of a fine-tuned model."""
  folder = folder_of(work, model, task, seed, 'last')
  return command(folder, model, 'runs/eval.gin', *of_task(task, model), 'BATCH_SIZE = 64')


def of_task(task, model):
  # The longest answer, "contradiction", is 14 bytes with its end.
  targets = 8 if model.scale == 1 else 16
  return f"MIXTURE_NAME = '{task.name}'", f'INPUTS_LENGTH = {task.inputs * model.scale}', f'TARGETS_LENGTH = {targets}'


def folder_of(work, model, task, seed, measure):
  return work / model.name / f'{task.name}_{seed}{"_best" if measure == "best" else ""}'


def run(words, environment):
  """Prints a command, runs it, and returns its output."""
  print('$', shlex.join(words), flush=True)
  # As a module, so that the checkout of this script runs and not another installation.
  module = [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *words[1:]]
  done = subprocess.run(module, env=environment, capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(done.stderr[-3000:])
  return done.stdout + done.stderr


def score(work, model, task, seed, environment, measure):
  """The metric of a fine-tuned model, which is trained and measured first unless that was done before."""
  folder = folder_of(work, model, task, seed, measure)
  result = folder.with_name(f'{folder.name}.json')
  if not result.exists():
    began = time.monotonic()
    run(finetuning(work, model, task, seed, measure), environment)
    values = best_values(folder) if measure == 'best' else last_values(work, model, task, seed, environment)
    result.write_text(json.dumps({**values, 'seconds': round(time.monotonic() - began)}))
    print(values, flush=True)
  return json.loads(result.read_text())[task.metric]


def best_values(folder):
  """Metric -> value of the best validation, and its step."""
  record = json.loads((folder / 'best' / 'best.json').read_text())
  return {**{name.rpartition('/')[2]: value for name, value in record['metrics'].items()}, 'step': record['step']}


def last_values(work, model, task, seed, environment):
  """Metric -> value of the last checkpoint."""
  printed = run(evaluation(work, model, task, seed), environment)
  values = dict(re.findall(rf'^{task.name} +(\w+) +([\d.]+)', printed, re.MULTILINE))
  return {name: float(value) for name, value in values.items()}


def majority(task):
  """(percentage of the most frequent class in the validation split, number of its rows)."""
  import seqio

  import switch_zoo.tasks  # noqa: F401 - registers them

  rows = seqio.TaskRegistry.get(task.name).source.get_dataset('validation', shuffle=False)
  counts = collections.Counter(row['targets'] for row in rows.as_numpy_iterator())
  return 100 * max(counts.values()) / counts.total(), counts.total()


def table(results, names):
  """A table in Markdown: mean and standard deviation over the seeds, and the score of each.

  >>> print(table({'cb': {'rows': 56, 'majority': 50.0, 'a': [60.0, 70.0]}}, ['a']))
  | task | rows | majority | a |
  | --- | ---: | ---: | --- |
  | `cb` | 56 | 50.0 | 65.0 +- 7.1 (60.0 70.0) |
  """
  lines = ['| task | rows | majority | ' + ' | '.join(names) + ' |', '| --- | ---: | ---: |' + ' --- |' * len(names)]
  for name, row in results.items():
    cells = [f'{spread(row[model])} ({" ".join(f"{value:.1f}" for value in row[model])})' for model in names]
    lines.append(f'| `{name}` | {row["rows"]} | {row["majority"]:.1f} | ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def spread(values):
  deviation = statistics.stdev(values) if len(values) > 1 else 0.0
  return f'{statistics.mean(values):.1f} +- {deviation:.1f}'


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--work', type=pathlib.Path, default='finetune_results', help='folder for models and data')
  parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
  parser.add_argument(
    '--pretrained', nargs='+', default=[], metavar='NAME=RUN', help='models of benchmarks.experiments'
  )
  parser.add_argument('--dropout', nargs='+', default=[], metavar='OUTSIDE,INSIDE', help='pairs of rates')
  parser.add_argument('--tasks', nargs='+', default=[], help='only these: zoo_superglue_cb, ...')
  parser.add_argument('--measure', choices=('best', 'last'), default='best', help='which checkpoint')
  parser.add_argument('--out', help='a JSON file for the results')
  arguments = parser.parse_args()
  work = arguments.work.resolve()
  chosen = models(work, arguments.pretrained)
  tuned = [with_dropout(model, rates) for model in chosen for rates in arguments.dropout] or chosen
  environment = prepare(work, bool(arguments.pretrained))
  os.environ.update(environment)
  for model in [] if arguments.pretrained else chosen:
    record = work / model.name / 'pretrained.json'
    if not record.exists():
      began = time.monotonic()
      printed = run(pretraining(model), environment)
      last = [line for line in printed.splitlines() if line.startswith('step ')][-1]
      record.write_text(json.dumps({'last': last, 'seconds': round(time.monotonic() - began)}))
    print(model.name, record.read_text(), flush=True)
  results, names = {}, [model.name for model in tuned]
  for task in [task for task in TASKS if not arguments.tasks or task.name in arguments.tasks]:
    share, rows = majority(task)
    measured = lambda model, task=task: [
      score(work, model, task, seed, environment, arguments.measure) for seed in arguments.seeds
    ]
    results[task.name] = {'majority': share, 'rows': rows, **{model.name: measured(model) for model in tuned}}
    print(table(results, names), flush=True)
  if arguments.out:
    pathlib.Path(arguments.out).write_text(
      json.dumps({'pretraining': PRETRAINING, 'measure': arguments.measure, 'results': results}, indent=2)
    )


if __name__ == '__main__':
  main()
