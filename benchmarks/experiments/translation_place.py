"""One run of the translation experiment: trained and decoded by the real command, and its BLEU by sacrebleu."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments import translation_data
from benchmarks.experiments.settings import Arm, Budget
from benchmarks.experiments.training import Workplace

BEAM = 4


class TranslationPlace(Workplace):
  """The folder of all runs, which also decodes."""

  def translated(
    self,
    arm: Arm,
    budget: Budget,
    seed: int,
    learning_rate: float,
    sentences: Sequence[translation_data.Sentence],
    levels: Mapping[str, Sequence[str]],
  ) -> dict[str, Any]:
    """The result of a run with its BLEU, which is trained and decoded first unless it has been.

    Args:
      arm, budget, seed, learning_rate: as in `result`
      sentences: that are translated
      levels: name -> languages whose sentences are also measured together
    """
    result = self.result(arm, budget, seed, learning_rate)
    folder = self._run(arm, budget, seed, learning_rate)[0]
    path = folder / 'answers.json'
    if not path.exists():
      if self.so_far:
        return result
      answers = self._decoded(folder, budget, sentences)
      path.with_suffix('.partial').write_text(json.dumps(answers, ensure_ascii=False, indent=0))
      path.with_suffix('.partial').replace(path)
    answers = json.loads(path.read_text())
    return {**result, 'bleu': bleu(sentences, answers, levels)}

  def _decoded(self, folder: pathlib.Path, budget: Budget, sentences: Sequence[translation_data.Sentence]) -> list[str]:
    """Answers by beam search, all languages in one command, so that one graph serves them."""
    inputs, outputs = folder / 'inputs.txt', folder / 'outputs.txt'
    inputs.write_text(''.join(f'{sentence.source}\n' for sentence in sentences), encoding='utf-8')
    for old in folder.glob('outputs.txt-*'):
      old.unlink()
    bindings = [
      f"MIXTURE_NAME = '{budget.task}'",
      f'INPUT_FILE = {str(inputs)!r}',
      f'OUTPUT_FILE = {str(outputs)!r}',
      f'BATCH_SIZE = {min(64, len(sentences))}',
      f'INPUTS_LENGTH = {budget.inputs}',
      f'TARGETS_LENGTH = {budget.targets // 2}',
      f'BEAM_SIZE = {BEAM}',
    ]
    words = self._words(folder, 'runs/infer.gin', bindings)
    (self._run_here if self._in_process else self._run_apart)(folder, words)
    (written,) = folder.glob('outputs.txt-*')
    answers = written.read_text(encoding='utf-8').split('\n')[: len(sentences)]
    if len(answers) != len(sentences):
      raise RuntimeError(f'{written} has {len(answers)} answers to {len(sentences)} sentences.')
    return answers

  def _run_apart(self, folder: pathlib.Path, words: list[str]) -> None:
    command = [sys.executable, '-m', 'switch_zoo.t5_mesh_transformer', *words]
    environment = {**os.environ, **self.environment}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
      raise RuntimeError(f'{folder.name}: {done.stderr[-3000:]}')


def bleu(
  sentences: Sequence[translation_data.Sentence], answers: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, float]:
  """BLEU by sacrebleu with its defaults: of the sentences of each language, and of those of each level together.

  Args:
    sentences: that were translated
    answers: one each
    levels: name -> its languages
  """
  import sacrebleu

  groups = {**{language: [language] for language in dict.fromkeys(s.language for s in sentences)}, **levels}
  scores = {}
  for name, languages in groups.items():
    pairs = [(a, s.english) for a, s in zip(answers, sentences, strict=True) if s.language in languages]
    scores[name] = round(sacrebleu.corpus_bleu([a for a, _ in pairs], [[e for _, e in pairs]]).score, 3)
  return scores
