"""GShard end to end: many languages into English, with experts in every other layer against the dense twin.

  switch_zoo corpus FOLDER/data --pairs
  python -m benchmarks.experiments.translation --work FOLDER

The data folder has aligned files below `translation`, as users have them; without any, the pairs of this machine's
gettext catalogues are made. Each side has its own vocabulary. Languages are mixed at the rate of their text to the
power of 1/5. A run is trained by `t5_mesh_transformer`, decoded by beam search, and measured by sacrebleu. What was
killed resumes when the command is repeated. FOLDER/translation.json has all figures, FOLDER/translation.svg the curves.
"""

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments import arguments, curves, drawing, settings
from benchmarks.experiments.settings import DENSE, TOP2, Arm, Budget, Run, Runs
from benchmarks.experiments.translation_data import Texts, levels
from benchmarks.experiments.translation_place import TranslationPlace

NAME = 'translation'
_NO_CLAIM = 'A miniature checks the machinery; nothing follows for the claim.'
CLAIM = 'With experts in every other layer, translation into English is better than that of the dense twin'
# As in GShard: top-2, capacity 2 N / E, an embedding for each side.
SIDES = """
vocab_size = {source}
target_vocab_size = {target}
shared_embedding = False
"""
GSHARD = """
include 'architectures/switch_encdec.gin'
num_experts = {experts}
group_size = 256
"""
SIZES = (8192, 4096)  # ids of sources and of English at most; the paper has 64,000 and 32,000
# Bytes for the sources and a vocabulary for English: two different ones, which a few sentences are enough for.
MINIATURE_SIZES = (0, 256)
LEARNING_RATE = 0.05
BUDGET = Budget(
  task='zoo_translate',
  inputs=128,
  targets=128,
  eval_every=500,
  eval_examples=64,
  width=64,
  hidden=256,
  heads=4,
)
MINIATURE = dataclasses.replace(settings.MINIATURE, task='zoo_translate', inputs=64, targets=64, eval_examples=4)


def arms(sizes: tuple[int, int], experts: int = 32) -> list[Arm]:
  """The dense twin, one whose wider layers do as much work as two experts in every other one, and the one with experts.

  Args:
    sizes: ids of both vocabularies
    experts: of a layer
  """
  model = DENSE + SIDES.format(source=sizes[0], target=sizes[1])
  return [
    Arm('dense', model),
    Arm('dense_of_equal_work', model, hidden_factor=1.5),
    # The initial scale of the other experiments.
    Arm(f'gshard_{experts}', model + GSHARD + TOP2, experts, ('expert_init_scale = 1.0',)),
  ]


def judge(runs: Runs, of_level: Mapping[str, Sequence[str]]) -> list[str]:
  """Against each dense model: is BLEU higher on all levels, in how many languages the loss is lower; first seed."""
  decoded = {arm: of_arm[0] for arm, of_arm in runs.items() if of_arm and 'bleu' in of_arm[0]}
  experts = next((arm for arm in decoded if arm.startswith('gshard')), None)
  if experts is None or len(decoded) == 1:
    return [curves.verdict(None, 'one of the two was not run.')]
  return [_against(decoded[experts], run, arm, of_level) for arm, run in decoded.items() if arm != experts]


def _against(experts: Run, dense: Run, name: str, of_level: Mapping[str, Sequence[str]]) -> str:
  gains = {level: experts['bleu'][level] - dense['bleu'][level] for level in of_level}
  text = ', '.join(f'{level} {gain:+.2f}' for level, gain in gains.items())
  losses = language_losses(dense), language_losses(experts)
  lower = sum(losses[1].get(language, math.inf) < loss for language, loss in losses[0].items())
  loss = f'the held-out loss is lower in {lower} of {len(losses[0])} languages'
  return curves.verdict(min(gains.values()) > 0, f'BLEU against {name}, by resource level: {text}; {loss}.')


def language_losses(run: Mapping[str, Any]) -> dict[str, float]:
  """Language -> held-out loss after the last step, in nats per piece of English."""
  end = run['curve'][-1]
  # A single language has no losses of its own; it is the first that BLEU was measured of.
  losses = end.get('tasks') or {next(iter(run['bleu'])): end['loss']}
  return {task.removeprefix('zoo_translate_').removesuffix('_en'): loss for task, loss in losses.items()}


def table(runs: Runs, of_level: Mapping[str, Sequence[str]], pairs: Mapping[str, int]) -> str:
  """Resource level, its languages and pairs, and of each arm BLEU and loss (means over seeds): in Markdown."""
  present = {arm: of_arm for arm, of_arm in runs.items() if of_arm and all('bleu' in run for run in of_arm)}
  heads = [f'{what} {arm}' for arm in present for what in ('BLEU', 'loss')]
  lines = [
    f'| resources | languages | pairs of a language | {" | ".join(heads)} |',
    f'| --- | ---: | ---: |{" ---: |" * len(heads)}',
  ]
  for level, languages in of_level.items():
    counts = [pairs[language] for language in languages]
    cells = []
    for of_arm in present.values():
      scores = [run['bleu'][level] for run in of_arm]
      # A language whose loss is not a number has none.
      losses = [
        statistics.mean(language_losses(run).get(language, math.nan) for language in languages) for run in of_arm
      ]
      cells += [f'{statistics.mean(scores):.2f}', f'{statistics.mean(losses):.4f}']
    lines.append(f'| {level} | {len(languages)} | {min(counts):,} to {max(counts):,} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def run(
  place: TranslationPlace,
  texts: Texts,
  grid: Sequence[Arm],
  budget: Budget,
  seeds: Sequence[int],
  rate: float,
  judged: bool = True,
) -> dict[str, Any]:
  """Trains, decodes and measures what has not been; writes the record and the picture after every run.

  Args:
    place: the folder of all runs
    texts: that are learned from and measured on
    grid: the arms
    budget: of every run
    seeds: of every arm
    rate: of learning
    judged: whether the sizes are those of the claim; a miniature's are not
  """
  pairs, sentences = texts.pairs(), texts.held_out(budget.eval_examples)
  of_level = levels(pairs)
  runs: dict[str, list[Any]] = {arm.name: [] for arm in grid}
  record: dict[str, Any] = {}
  for seed in seeds:
    for arm in grid:
      result = place.translated(arm, budget, seed, rate, sentences, of_level)
      if not result['curve']:
        continue
      runs[arm.name].append(result)
      record = {
        'experiment': NAME,
        'claim': CLAIM,
        'verdict': judge(runs, of_level) if judged else [_NO_CLAIM],
        'budget': dataclasses.asdict(budget),
        'learning_rate': rate,
        'corpus': place.digest,
        'pairs': pairs,
        'levels': of_level,
        'sentences': len(sentences),
        'runs': runs,
      }
      (place.folder / f'{NAME}.json').write_text(json.dumps(record, indent=1) + '\n')
      drawing.draw(runs, f'{NAME}: {CLAIM}', place.folder / f'{NAME}.svg')
      print(f'{arm.name}, seed {seed}: held-out loss {curves.final(result):.4f}', flush=True)
  return record


def shown(record: Mapping[str, Any]) -> str:
  """The record as text: claim, verdict, tables, and the languages with their BLEU."""
  lines = [f'{NAME}: {record["claim"]}', *(f'  {line}' for line in record['verdict']), '']
  runs = record['runs']
  lines += [curves.table(runs), '', table(runs, record['levels'], record['pairs']), '']
  for language in sorted(record['pairs'], key=lambda language: -record['pairs'][language]):
    scores = [
      f'{arm} {of_arm[0]["bleu"][language]:.2f}' for arm, of_arm in runs.items() if of_arm and 'bleu' in of_arm[0]
    ]
    lines.append(f'{language} ({record["pairs"][language]:,} pairs): BLEU {", ".join(scores) or "not decoded"}')
  return '\n'.join(lines)


def main() -> None:
  """Parses the arguments, and runs the experiment."""
  parser = arguments.parser(__doc__)
  parser.add_argument('--learning-rate', type=float, default=LEARNING_RATE)
  chosen = parser.parse_args()
  budget = arguments.budget(parser, MINIATURE if chosen.miniature else BUDGET, chosen.budget)
  experts = 4 if chosen.miniature else 32
  arguments.check_arms(parser, chosen.arms, [arm.name for arm in arms((0, 0), experts)])
  chosen.work.mkdir(parents=True, exist_ok=True)
  data = chosen.data or chosen.work / 'data'
  texts = Texts(with_pairs(data))
  sizes = MINIATURE_SIZES if chosen.miniature else SIZES
  environment = texts.vocabularies(chosen.work.resolve() / 'vocabularies', sizes)
  grid = [arm for arm in arms(vocabulary_sizes(), experts) if not chosen.arms or arm.name in chosen.arms]
  place = TranslationPlace(
    chosen.work,
    data,
    in_process=chosen.miniature,
    so_far=chosen.so_far,
    digest=texts.digest(),
    vocabularies=environment,
  )
  record = run(place, texts, grid, budget, chosen.seeds or [0], chosen.learning_rate, not chosen.miniature)
  print(shown(record) if record else 'No run has been validated yet.', flush=True)


def vocabulary_sizes() -> tuple[int, int]:
  """Ids of the vocabularies of sources and of English."""
  from switch_zoo.tasks import vocabularies

  return vocabularies.DEFAULT.vocab_size, vocabularies.TARGET.vocab_size


def with_pairs(data: pathlib.Path) -> pathlib.Path:
  """A data folder, with the pairs of this machine's catalogues if it has no aligned files at all."""
  from switch_zoo.tasks import catalogue_pairs, local_files

  if not (data / 'translation').is_dir():
    print(f'$ switch_zoo corpus {data} --pairs', flush=True)
    catalogue_pairs.make(str(data), local_files.catalogues_of_machine())
  return data


if __name__ == '__main__':
  main()
