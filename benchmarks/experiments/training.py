"""One run: an arm with a seed and a learning rate, trained by the real command, and its result as JSON."""

import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.experiments.settings import Arm, Budget

_STEP = re.compile(r'step ([\d,]+)/[\d,]+ ')
TIMES = ('seconds_per_step', 'processor_seconds', 'machine')  # what differs when a run is repeated


class Workplace:
  """The folder of all runs. A run that two experiments have in common is trained once."""

  def __init__(
    self,
    folder: pathlib.Path,
    data: pathlib.Path,
    in_process: bool = False,
    so_far: bool = False,
    digest: str | None = None,
    vocabularies: Mapping[str, str] | None = None,
  ) -> None:
    """
    Args:
      folder: for models, checkpoints and results
      data: a data folder with the corpus
      in_process: runs the command's function in this process, which saves a start of TensorFlow but has no times
      so_far: nothing is trained; runs that are not finished have the losses that they have so far
      digest: of what is learned; by default that of the corpus
      vocabularies: environment variables that name them; by default bytes
    """
    self.so_far = so_far
    self.folder, self.data = folder.resolve(), data.resolve()
    self._in_process = in_process
    self.digest = digest or json.loads((self.data / 'local_text/index.json').read_text())['digest']
    self.environment = {'SWITCH_ZOO_DATA_DIR': str(self.data), **(vocabularies or {'SWITCH_ZOO_VOCAB': 'bytes'})}

  def result(self, arm: Arm, budget: Budget, seed: int, learning_rate: float) -> dict[str, Any]:
    """The result of a run, which is trained first, from its last checkpoint on, unless it is finished."""
    folder, recipe = self._run(arm, budget, seed, learning_rate)
    known = {'seed': seed, 'learning_rate': learning_rate, 'tokens_per_step': budget.tokens, **recipe}
    path = folder / 'result.json'
    if path.exists():
      return {'arm': arm.name, **json.loads(path.read_text())}
    if self.so_far:
      return {'arm': arm.name, **known, **_losses(folder), **_measured(folder, None)}
    bindings = list(recipe['parameters'])
    if arm.teacher:
      self.result(arm.teacher, budget, seed, learning_rate)
      teacher = self._run(arm.teacher, budget, seed, learning_rate)[0]
      bindings.append(f'TEACHER_CHECKPOINT = {str(teacher / "trained")!r}')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.gin').write_text(recipe['model'])
    times = (self._trained_here if self._in_process else self._trained_apart)(folder, bindings)
    path.with_suffix('.partial').write_text(json.dumps({**known, **_losses(folder), **times}, indent=1))
    path.with_suffix('.partial').replace(path)
    return {'arm': arm.name, **json.loads(path.read_text())}

  def _run(self, arm: Arm, budget: Budget, seed: int, learning_rate: float) -> tuple[pathlib.Path, dict[str, Any]]:
    """The folder of a run, and what the run follows from."""
    recipe: dict[str, Any] = {
      'model': arm.gin(budget),
      'parameters': parameters(arm, budget, seed, learning_rate),
      'corpus': self.digest,
    }
    if arm.teacher:
      recipe['teacher'] = self._run(arm.teacher, budget, seed, learning_rate)[1]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:10]
    # Another arm of another experiment may be the same run.
    same = sorted((self.folder / 'runs').glob(f'*_{digest}'))
    return same[0] if same else self.folder / 'runs' / f'{arm.name}_{seed}_{digest}', recipe

  def _words(self, folder: pathlib.Path, run: str, bindings: list[str]) -> list[str]:
    """The arguments of a command on the model of a run; the command is printed."""
    files = [str(folder / 'model.gin'), run, 'layouts/cpu.gin']
    words = [f'--model_dir={folder / "trained"}', *(f'--gin_file={file}' for file in files)]
    words += [f'--gin_param={binding}' for binding in bindings]
    data = ' '.join(f'{name}={value}' for name, value in self.environment.items())
    print(f'$ {data}', shlex.join(['t5_mesh_transformer', *words]), flush=True)
    return words

  def _run_here(self, folder: pathlib.Path, words: list[str]) -> None:
    """Runs the command's function in this process."""
    from switch_zoo import t5_mesh_transformer

    os.environ.update(self.environment)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
      status = t5_mesh_transformer.main(['t5_mesh_transformer', *words])
    if status:
      raise RuntimeError(f'{folder.name}: {printed.getvalue()[-3000:]}')

  def _trained_here(self, folder: pathlib.Path, bindings: list[str]) -> dict[str, Any]:
    self._run_here(folder, self._words(folder, 'runs/pretrain.gin', bindings))
    return dict.fromkeys(TIMES)

  def _trained_apart(self, folder: pathlib.Path, bindings: list[str]) -> dict[str, Any]:
    environment = {**os.environ, **self.environment}
    # As a module, so that this checkout runs and not another installation.
    command = [
      sys.executable,
      '-m',
      'switch_zoo.t5_mesh_transformer',
      *self._words(folder, 'runs/pretrain.gin', bindings),
    ]
    resumes = (folder / 'trained/checkpoint').exists()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines: collections.deque[str] = collections.deque(maxlen=40)
    with open(folder / 'step_seconds.jsonl', 'a', encoding='utf-8') as file:
      for seconds in _step_seconds(process.stderr, lines):
        file.write(f'{seconds}\n')
        file.flush()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
      raise RuntimeError(f'{folder.name}: ' + ''.join(lines))
    # What the killed process had taken is not known.
    return _measured(folder, None if resumes else usage.ru_utime + usage.ru_stime)


def _measured(folder: pathlib.Path, processor_seconds: float | None) -> dict[str, Any]:
  path = folder / 'step_seconds.jsonl'
  seconds = [float(line) for line in path.read_text().split()] if path.exists() else []
  return {
    'seconds_per_step': statistics.median(seconds) if seconds else None,
    'processor_seconds': processor_seconds,
    'machine': f'{os.cpu_count()} cores, {_processor()}',
  }


def _losses(folder: pathlib.Path) -> dict[str, Any]:
  return {'curve': _held_out(folder / 'trained'), 'training': _training_losses(folder / 'trained')}


def parameters(arm: Arm, budget: Budget, seed: int, learning_rate: float) -> list[str]:
  """The gin parameters of a run."""
  steps = round(budget.steps * arm.steps_factor)
  return [
    f"MIXTURE_NAME = '{budget.task}'",
    f'TRAIN_STEPS = {steps}',
    f'BATCH_SIZE = {budget.batch}',
    f'INPUTS_LENGTH = {budget.inputs}',
    f'TARGETS_LENGTH = {budget.targets}',
    f'SAVE_STEPS = {budget.eval_every}',
    'KEEP_CHECKPOINTS = 1',
    f'EVAL_STEPS = {budget.eval_every}',
    f'EVAL_EXAMPLES = {budget.eval_examples}',
    f'SEED = {seed}',
    # The rest of a text follows from its beginning: every token of the targets is a whole one to predict.
    f'span_corruption.noise_density = {budget.targets / (budget.inputs + budget.targets)}',
    f'span_corruption.mean_noise_span_length = {budget.targets - 2}.0',
    'documents.remove_duplicates = False',
    'utils.run.learning_rate_schedule = @learning_rate_schedules.product_learning_rate',
    'learning_rate_schedules.product_learning_rate.factors = '
    f'[{learning_rate}, @learning_rate_schedules.linear_warmup, @learning_rate_schedules.linear_decay]',
    f'learning_rate_schedules.linear_warmup.steps_or_fraction = {budget.warmup}',
    'learning_rate_schedules.linear_decay.steps_or_fraction = 1.0',
    *arm.settings,
  ]


def _step_seconds(stream: Any, lines: collections.deque[str]) -> Iterator[float]:
  """The seconds of a step, from each pair of reports with nothing but steps between them."""
  last: tuple[int, float] | None = None
  for line in stream:
    lines.append(line)
    step = _STEP.match(line)
    if step:
      now = int(step[1].replace(',', '')), time.monotonic()
      # The first step prepares the graph.
      if last and last[0] > 1 and now[0] > last[0]:
        yield (now[1] - last[1]) / (now[0] - last[0])
      last = now
    else:
      last = None


def _records(folder: pathlib.Path) -> list[dict[str, Any]]:
  path = folder / 'metrics.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _held_out(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Step, mean held-out loss in nats per token, and that of each task if there are several."""
  curve = []
  for record in _records(folder):
    values = record.get('validation', {})
    losses = {k.split('/')[0]: -v for k, v in values.items() if k.endswith('neg_log_perplexity') and v is not None}
    if values:
      loss = sum(losses.values()) / len(losses) if losses else None
      curve.append({'step': record['step'], 'loss': loss, **({'tasks': losses} if len(losses) > 1 else {})})
  return curve


def _training_losses(folder: pathlib.Path) -> list[list[Any]]:
  return [[r['step'], r['loss/cross_entropy']] for r in _records(folder) if 'loss/cross_entropy' in r]


def _processor() -> str:
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return 'unknown processor'
  return (re.search(r'model name\s*:\s*(.*)', text) or ('', 'unknown processor'))[1]
