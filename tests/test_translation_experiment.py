"""benchmarks/experiments/translation: levels, BLEU and verdicts by hand, arms that gin accepts, and a miniature."""

import json
import os
import pathlib
import subprocess
import sys

import gin
import pytest
import sacrebleu

from benchmarks.experiments import training, translation, translation_data, translation_place
from benchmarks.experiments.translation_data import Sentence
from switch_zoo.launcher import run as launcher_run
from switch_zoo.spec import gin_files

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(CHECKOUT), 'PYTHONWARNINGS': 'ignore'}
LEVELS = {'high': ['de'], 'medium': ['fr'], 'low': ['zu']}


def run_of(loss, bleu, arm='a'):
  tasks = {f'zoo_translate_{language}_en': loss + number for number, language in enumerate(('de', 'fr', 'zu'))}
  curve = [{'step': 10, 'loss': loss, 'tasks': tasks}]
  scores = dict.fromkeys([*LEVELS, 'de', 'fr', 'zu'], bleu)
  return {'arm': arm, 'seed': 0, 'curve': curve, 'tokens_per_step': 10, 'seconds_per_step': 0.5, 'bleu': scores}


def test_languages_are_grouped_by_their_pairs():
  pairs = {chr(ord('a') + number): 10 * number + 1 for number in range(10)}
  levels = translation_data.levels(pairs)
  assert {name: ''.join(languages) for name, languages in levels.items()} == {
    'high': 'ji', 'medium': 'hgfedc', 'low': 'ba',
  }  # fmt: skip
  assert translation_data.levels({'x': 5, 'y': 6}) == {'all': ['y', 'x']}


def test_bleu_of_a_level_is_that_of_its_sentences_together():
  english = ['The file does not exist.', 'Open a folder with files', 'No such file or directory']
  sentences = [Sentence(language, '', text) for language, text in zip(('de', 'fr', 'de'), english, strict=True)]
  answers = ['The file does not exist.', 'Open the folder', 'No such file or a directory']
  scores = translation_place.bleu(sentences, answers, {'high': ['de', 'fr']})
  assert list(scores) == ['de', 'fr', 'high']
  assert scores['high'] == round(sacrebleu.corpus_bleu(answers, [english]).score, 3)
  assert scores['de'] == round(sacrebleu.corpus_bleu(answers[::2], [english[::2]]).score, 3) > scores['fr']


@pytest.mark.parametrize(
  ('gshard', 'bleu', 'words'),
  [
    (
      2.0,
      5.5,
      'came out: BLEU against dense, by resource level: high +1.50, medium +1.50, low +1.50; the held-out loss ',
    ),
    (
      3.5,
      3.0,
      'did not come out: BLEU against dense, by resource level: high -1.00, medium -1.00, low -1.00; the held',
    ),
  ],
  ids=['came out', 'did not'],
)
def test_the_verdict(gshard, bleu, words):
  runs = {'dense': [run_of(3.0, 4.0)], 'gshard_32': [run_of(gshard, bleu)]}
  (sentence,) = translation.judge(runs, LEVELS)
  assert sentence.startswith(f'The claim {words}') and f'is lower in {3 if gshard < 3 else 0} of 3' in sentence
  both = translation.judge({'dense_of_equal_work': [run_of(2.5, 6.0)], **runs}, LEVELS)
  assert 'against dense_of_equal_work' in both[0] and both[1:] == [sentence]
  assert 'is not decided' in translation.judge({'dense': runs['dense'], 'gshard_32': []}, LEVELS)[0]


def test_the_table_has_a_line_for_each_level():
  runs = {'dense': [run_of(3.0, 4.0)], 'gshard_32': [run_of(2.0, 5.0), run_of(2.5, 6.0)]}
  lines = translation.table(runs, LEVELS, {'de': 9000, 'fr': 800, 'zu': 70}).splitlines()
  assert (
    lines[0]
    == '| resources | languages | pairs of a language | BLEU dense | loss dense | BLEU gshard_32 | loss gshard_32 |'
  )
  assert lines[2] == '| high | 1 | 9,000 to 9,000 | 4.00 | 3.0000 | 5.50 | 2.2500 |'
  assert lines[4] == '| low | 1 | 70 to 70 | 4.00 | 5.0000 | 5.50 | 4.2500 |'


def test_a_loss_that_is_not_a_number_is_none_and_not_a_lower_one():
  one = {'curve': [{'step': 10, 'loss': 2.5}], 'bleu': {'de': 1.0, 'all': 1.0}}
  assert translation.language_losses(one) == {'de': 2.5}
  broken = run_of(1.0, 0.0)
  del broken['curve'][-1]['tasks']['zoo_translate_fr_en']
  runs = {'dense': [run_of(3.0, 4.0)], 'gshard_32': [broken]}
  assert 'the held-out loss is lower in 2 of 3 languages' in translation.judge(runs, LEVELS)[0]
  assert translation.table(runs, LEVELS, {'de': 9, 'fr': 8, 'zu': 7}).splitlines()[3].endswith('| 0.00 | nan |')


def test_gin_accepts_the_arms_with_experts_in_every_other_layer(tmp_path):
  for arm in translation.arms((8192, 4096)):
    path = tmp_path / f'{arm.name}.gin'
    path.write_text(arm.gin(translation.BUDGET))
    files = [str(path), 'runs/pretrain.gin', 'layouts/cpu.gin']
    launcher_run.configure(gin_files.read(files, training.parameters(arm, translation.BUDGET, 0, 0.1)))
    layers = str(gin.query_parameter('encoder/make_layer_stack.layers'))
    assert layers.count('@experts.SwitchFeedForward') == bool(arm.experts)
    assert layers.count('@transformer_layers.DenseReluDense') == 1
    assert gin.query_parameter('%target_vocab_size') == 4096 and gin.query_parameter('%shared_embedding') is False
    if arm.experts:
      assert gin.query_parameter('%capacity_factor_train') == 2.0
      assert 'Top2' in str(gin.query_parameter('%router'))


@pytest.mark.slow
def test_a_miniature_is_trained_decoded_and_measured_once(tmp_path, monkeypatch):
  pytest.importorskip('matplotlib')
  for split, count in (('train', 60), ('valid', 4)):
    for language, word in (('de', 'Datei'), ('fr', 'fichier')):
      folder = tmp_path / 'data/translation'
      folder.mkdir(parents=True, exist_ok=True)
      (folder / f'{split}.{language}').write_text(''.join(f'{word} {n * 7}\n' for n in range(count)))
      (folder / f'{split}.en').write_text(''.join(f'The file has the number {n * 7}\n' for n in range(count)))
  command = [sys.executable, '-m', 'benchmarks.experiments.translation', '--miniature', '--arms', 'gshard_4']
  command += [f'--work={tmp_path}']
  done = subprocess.run(command, cwd=CHECKOUT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  assert 'A miniature checks the machinery' in done.stdout and '| all | 2 | 60 to 60 |' in done.stdout
  assert 'SWITCH_ZOO_VOCAB=bytes SWITCH_ZOO_TARGET_VOCAB=' in done.stdout and 'BEAM_SIZE = 4' in done.stdout
  record = json.loads((tmp_path / 'translation.json').read_text())
  (run,) = record['runs']['gshard_4']
  assert [point['step'] for point in run['curve']] == [2, 4] and set(run['bleu']) == {'de', 'fr', *record['levels']}
  assert len(run['curve'][-1]['tasks']) == 2 and record['sentences'] == 8
  assert (tmp_path / 'translation.svg').stat().st_size > 1000
  # What is finished is neither trained nor decoded again.
  for name in ('SWITCH_ZOO_DATA_DIR', 'SWITCH_ZOO_VOCAB', 'SWITCH_ZOO_TARGET_VOCAB'):
    monkeypatch.setenv(name, 'is set below, and restored after the test')
  texts = translation_data.Texts(tmp_path / 'data')
  environment = texts.vocabularies(tmp_path / 'vocabularies', translation.MINIATURE_SIZES)
  place = translation_place.TranslationPlace(
    tmp_path, tmp_path / 'data', in_process=True, digest=texts.digest(), vocabularies=environment
  )
  monkeypatch.setattr(place, '_trained_here', None)
  monkeypatch.setattr(place, '_decoded', None)
  (*_, gshard) = translation.arms(translation.vocabulary_sizes(), 4)
  rate = translation.LEARNING_RATE
  again = translation.run(place, texts, [gshard], translation.MINIATURE, [0], rate, judged=False)
  assert json.loads(json.dumps(again)) == record
