"""Adversarial NLI (arXiv:1910.14599), rounds 1 to 3, from the files of anli_v1.0: `zoo_anli_r1`, `_r2`, `_r3`.

'anli context: ... hypothesis: ...' -> 'entailment', 'neutral' or 'contradiction'
"""

from switch_zoo.tasks import metrics, registration
from switch_zoo.tasks.classification import Classification
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import ReleaseSource
from switch_zoo.tasks.split_files import SplitFiles
from switch_zoo.tasks.tfds_rows import TfdsDataset

ANLI = Classification(
  'anli',
  {'context': 'context', 'hypothesis': 'hypothesis'},
  {'e': 'entailment', 'n': 'neutral', 'c': 'contradiction'},
)


def source(number: int) -> ReleaseSource:
  """The files of a round, and the same data in TensorFlow Datasets."""
  names = {'train': 'train.jsonl', 'validation': 'dev.jsonl', 'test': 'test.jsonl'}
  layouts = {split: [SplitFiles(name, JsonLines(), ANLI.rows)] for split, name in names.items()}
  return ReleaseSource(
    (f'anli/R{number}', f'anli_v1.0/R{number}'),
    layouts,
    where='They are in https://dl.fbaipublicfiles.com/anli/anli_v1.0.zip.',
    tfds=TfdsDataset(f'anli/r{number}:0.1.0', {split: split for split in layouts}, ANLI.tfds_record),
  )


for _number in (1, 2, 3):
  registration.add_task(f'zoo_anli_r{_number}', source(_number), (metrics.accuracy,), ANLI.class_id)
