"""The phases of the demo. Each is done once per folder, which keeps what it measured."""

import collections
import json
import pathlib
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from switch_zoo.demo import expert_load, progress
from switch_zoo.demo.budget import DemoBudget, TrainingBudget
from switch_zoo.demo.folder import DemoFolder
from switch_zoo.launcher.progress import Reporter
from switch_zoo.launcher.results import MetricResult
from switch_zoo.launcher.run import run
from switch_zoo.spec.token_ids import NUM_SENTINELS
from switch_zoo.tasks import demo as tasks
from switch_zoo.tasks import pydoc_topics, vocabularies

MODEL = 'models/tiny_switch_8.gin'
LAYOUT = 'layouts/cpu.gin'
_LAST_RECORDS = 5  # a reported loss is the mean of this many records, because a single batch says little
_LONGEST_REQUEST = 300  # characters
# Mesh-TensorFlow's schedule is multiplier / sqrt(max(step, warmup_steps)) times the linear decay. With a warm-up longer
# than any training here, only the decay remains.
_WARMUP = 1_000_000
# runs/finetune.gin has the paper's 0.4, meant for experts with millions of parameters; these have 16 thousand.
_DROPOUT = 'expert_dropout_rate = 0.1'


class Demo(NamedTuple):
  """What every phase needs."""

  folder: DemoFolder
  seed: int
  budget: DemoBudget
  console: Console


class Phase(NamedTuple):
  """One step of the demo.

  name: that of its result
  title: what is shown
  work: does the step and returns what it measured
  """

  name: str
  title: str
  work: Callable[[Demo], dict[str, Any]]


def train_vocabulary(demo: Demo) -> dict[str, Any]:
  """Trains the vocabulary on the text for pre-training, which contains nothing that is held out."""
  documents = pydoc_topics.documents()
  vocabularies.train(documents, demo.folder.vocabulary, demo.budget.num_pieces)
  return {
    'pieces': demo.budget.num_pieces,
    'sentinels': NUM_SENTINELS,
    'documents': len(documents),
    'characters': sum(map(len, documents)),
  }


def pretrain(demo: Demo) -> dict[str, Any]:
  """Pre-trains by span corruption on topics and docstrings, without what is held out."""
  return _train(demo, 'pretrain', demo.folder.pretrained, tasks.SPAN_TASK, demo.budget.pretrain)


def finetune(demo: Demo) -> dict[str, Any]:
  """Fine-tunes paragraph to section, from the pre-trained weights."""
  weights = f'INIT_CHECKPOINT = {str(demo.folder.pretrained)!r}'
  return _train(demo, 'finetune', demo.folder.finetuned, tasks.TOPICS_TASK, demo.budget.finetune, weights, _DROPOUT)


def finetune_from_random(demo: Demo) -> dict[str, Any]:
  """Does the same fine-tuning from random weights."""
  weights, budget = 'INIT_CHECKPOINT = None', demo.budget.finetune
  return _train(demo, 'finetune_random', demo.folder.from_random, tasks.TOPICS_TASK, budget, weights, _DROPOUT)


def evaluate(demo: Demo) -> dict[str, Any]:
  """Accuracy of both fine-tuned models on the held-out paragraphs, and of always naming the most frequent section."""
  rows = pydoc_topics.rows('validation')
  section, count = collections.Counter(row.section for row in rows).most_common(1)[0]
  return {
    'examples': len(rows),
    'sections': len(pydoc_topics.SECTIONS),
    'majority_section': section,
    'majority': 100 * count / len(rows),
    'from_random': _accuracy(demo, demo.folder.from_random),
    'pretrained': _accuracy(demo, demo.folder.finetuned),
  }


def draw_expert_load(demo: Demo) -> dict[str, Any]:
  """Draws which experts the tokens were sent to in pre-training and in fine-tuning."""
  loads = {
    title: expert_load.mean_load(progress.read_curve(demo.folder.curve(name)))
    for title, name in (('pre-training', 'pretrain'), ('fine-tuning', 'finetune'))
  }
  expert_load.picture(loads, demo.folder.picture)
  return loads


def export(demo: Demo) -> dict[str, Any]:
  """Exports the model that was pre-trained and fine-tuned; first removes what an interrupted export left."""
  if demo.folder.export.exists():
    shutil.rmtree(demo.folder.export)
  _run(
    demo,
    demo.folder.finetuned,
    'runs/eval.gin',
    *_evaluation_params(demo),
    'utils.run.mode = "export_infer"',
    f'utils.run.export_path = {str(demo.folder.export)!r}',
  )
  exported = max(demo.folder.export.iterdir())
  size = sum(file.stat().st_size for file in exported.rglob('*') if file.is_file())
  return {'folder': exported.name, 'megabytes': round(size / 1e6, 1)}


def ask(demo: Demo) -> dict[str, Any]:
  """Asks the SavedModel in a fresh process for the section of one held-out paragraph, chosen by the seed."""
  short = [row for row in pydoc_topics.rows('validation') if len(row.text) <= _LONGEST_REQUEST]
  row = random.Random(demo.seed).choice(short)
  model = demo.folder.export / demo.folder.result('export')['folder']
  answer = ask_saved_model(model, [tasks.PREFIX + row.text])
  return {'request': tasks.PREFIX + row.text, 'answer': answer['answers'][0], 'section': row.section, **answer}


def ask_saved_model(model: pathlib.Path, texts: list[str]) -> dict[str, Any]:
  """The answer of `ask.py`, run in a separate process.

  Raises:
    RuntimeError: the process failed, or imported a package that is only for training
  """
  program = pathlib.Path(__file__).with_name('ask.py')
  # -I: neither the current folder nor PYTHONPATH nor the user's packages are on its path.
  command = [sys.executable, '-I', str(program), str(model)]
  done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(f'the SavedModel {model} did not answer: {done.stderr.strip()}')
  answer = json.loads(done.stdout)
  if answer['foreign']:
    raise RuntimeError(f'the SavedModel {model} needs {answer["foreign"]}, but must load with TensorFlow alone')
  return answer


PHASES = (
  Phase('vocabulary', 'Vocabulary from the text of this Python', train_vocabulary),
  Phase('pretrain', 'Pre-training by span corruption', pretrain),
  Phase('finetune', 'Fine-tuning: paragraph to section', finetune),
  Phase('finetune_random', 'The same fine-tuning without pre-training', finetune_from_random),
  Phase('evaluate', 'Evaluation on held-out paragraphs', evaluate),
  Phase('expert_load', 'Picture of the expert load', draw_expert_load),
  Phase('export', 'Export as a SavedModel', export),
  Phase('ask', 'A request to the SavedModel, in a fresh process', ask),
)


def _train(
  demo: Demo, phase: str, model_dir: pathlib.Path, task: str, budget: TrainingBudget, *params: str
) -> dict[str, Any]:
  reporter = progress.TrainingProgress(demo.console, demo.folder.curve(phase))
  run_file = 'runs/pretrain.gin' if task == tasks.SPAN_TASK else 'runs/finetune.gin'
  try:
    _run(demo, model_dir, run_file, *_training_params(demo, task, budget), *params, reporter=reporter)
  finally:
    reporter.finish()
  curve = progress.read_curve(demo.folder.curve(phase))
  entropies = [row['cross_entropy'] for row in curve]
  return {
    'steps': curve[-1]['step'],
    'first_cross_entropy': entropies[0],
    'cross_entropy': float(np.mean(entropies[-_LAST_RECORDS:])),
    'loss': curve[-1]['loss'],
  }


def _training_params(demo: Demo, task: str, budget: TrainingBudget) -> list[str]:
  return [
    f'MIXTURE_NAME = {task!r}',
    f'SEED = {demo.seed}',
    f'TRAIN_STEPS = {budget.steps}',
    f'BATCH_SIZE = {budget.batch_size}',
    f'INPUTS_LENGTH = {budget.inputs_length}',
    f'TARGETS_LENGTH = {budget.targets_length}',
    f'SAVE_STEPS = {budget.save_steps}',
    'KEEP_CHECKPOINTS = 2',
    'utils.run.learning_rate_schedule = @learning_rate_schedules.learning_rate_schedule_noam',
    f'learning_rate_schedule_noam.warmup_steps = {_WARMUP}',
    f'learning_rate_schedule_noam.multiplier = {budget.learning_rate * _WARMUP**0.5}',
    'learning_rate_schedule_noam.linear_decay_fraction = 1.0',
    # Momentum: batches this small are noisy.
    'optimize.AdafactorOptimizer.beta1 = 0.9',
    'progress.every = 5',
  ]


def _accuracy(demo: Demo, model_dir: pathlib.Path) -> float:
  results = _run(demo, model_dir, 'runs/eval.gin', *_evaluation_params(demo))
  return next(result.value for result in results if result.metric == 'accuracy')


def _evaluation_params(demo: Demo) -> list[str]:
  return [
    f'MIXTURE_NAME = {tasks.TOPICS_TASK!r}',
    f'BATCH_SIZE = {demo.budget.eval_batch_size}',
    f'INPUTS_LENGTH = {demo.budget.finetune.inputs_length}',
    f'TARGETS_LENGTH = {demo.budget.answer_length}',
  ]


def _run(
  demo: Demo, model_dir: pathlib.Path, run_file: str, *params: str, reporter: Reporter | None = None
) -> list[MetricResult]:
  vocabulary = f'demo_vocabulary_file.path = {str(demo.folder.vocabulary)!r}'
  return run(str(model_dir), [MODEL, run_file, LAYOUT], [vocabulary, *params], reporter=reporter)
