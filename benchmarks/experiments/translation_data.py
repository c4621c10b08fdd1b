"""What the translation experiment learns and is measured on: vocabularies, held-out sentences, levels of resources."""

import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_SAMPLE = 200  # examples of each language from which the vocabularies are made
_SENTINELS = 100


class Sentence(NamedTuple):
  """A held-out sentence.

  language: its code
  source: 'translate German to English: ...'
  english: its translation
  """

  language: str
  source: str
  english: str


class Texts:
  """The aligned files of a data folder, as `zoo_translate` reads them."""

  def __init__(self, data: pathlib.Path) -> None:
    """
    Args:
      data: a data folder with files below `translation`
    """
    import seqio

    import switch_zoo.tasks  # noqa: F401 - registers them
    from switch_zoo.tasks import translation

    os.environ['SWITCH_ZOO_DATA_DIR'] = str(data)
    tasks = seqio.MixtureRegistry.get(translation.MIXTURE).tasks
    self._all: list[Any] = [task.source for task in tasks]
    # All are learned from; those that have both splits are measured.
    self._sources: dict[str, Any] = {
      task.name.removeprefix('zoo_translate_').removesuffix('_en'): source
      for task, source in zip(tasks, self._all, strict=True)
      if source.pairs('train') and source.pairs('validation')
    }
    if not self._sources:
      raise SystemExit(
        f'{data}/translation has no language with files for training and for validation. Make some with: '
        f'switch_zoo corpus {data} --pairs'
      )

  def pairs(self) -> dict[str, int]:
    """Language -> its pairs for training."""
    return {language: source.num_input_examples('train') for language, source in self._sources.items()}

  def digest(self) -> str:
    """Of names and sizes of all files that are learned from or measured on."""
    files = sorted(
      (os.path.basename(path), os.path.getsize(path))
      for source in self._all
      for pair in source.pairs()
      for path in (pair.path, pair.english)
    )
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()

  def held_out(self, examples: int) -> list[Sentence]:
    """The first sentences of each language's validation split, as many as a validation reads."""
    return [
      Sentence(language, example['inputs'], example['targets'])
      for language, source in self._sources.items()
      for example in itertools.islice(source.examples('validation'), examples)
    ]

  def vocabularies(self, folder: pathlib.Path, sizes: tuple[int, int]) -> dict[str, str]:
    """Trains a vocabulary for each side on the same number of sentences of each language, unless it is there.

    Args:
      folder: where they are kept
      sizes: ids of both, with 100 sentinels, or fewer where the sentences have no more pieces; 0: bytes
    Returns:
      the environment variables that name them, which are also set here
    """
    from switch_zoo.tasks import vocabularies

    folder.mkdir(parents=True, exist_ok=True)
    environment = {}
    for variable, name, field, size in (
      (vocabularies.VARIABLE, 'source', 'inputs', sizes[0]),
      (vocabularies.TARGET_VARIABLE, 'target', 'targets', sizes[1]),
    ):
      path = folder / f'{name}.model'
      if size and not path.exists():
        print(f'Making a vocabulary of {size:,} ids for {field}.', flush=True)
        self._train(field, path, size - _SENTINELS)
      environment[variable] = str(path) if size else vocabularies.BYTES
    os.environ.update(environment)
    return environment

  def _train(self, field: str, path: pathlib.Path, pieces: int) -> None:
    from switch_zoo.tasks import vocabularies

    try:
      vocabularies.train(self._sample(field), path, pieces)
    except RuntimeError as error:
      limit = re.search(r'value <= (\d+)', str(error))
      if limit is None:
        raise
      vocabularies.train(self._sample(field), path, int(limit[1]))

  def _sample(self, field: str) -> Sequence[str]:
    texts = (
      example[field]
      for source in self._sources.values()
      for example in itertools.islice(source.examples('train'), _SAMPLE)
    )
    # An English message occurs in many languages.
    return list(dict.fromkeys(texts))


def levels(pairs: Mapping[str, int]) -> dict[str, list[str]]:
  """Languages by their pairs: the quarter with most is 'high', that with least 'low', the rest 'medium'.

  Fewer than three languages are one level, 'all'.

  >>> levels({'a': 1, 'b': 20, 'c': 30, 'd': 400})
  {'high': ['d'], 'medium': ['c', 'b'], 'low': ['a']}
  """
  ordered = sorted(pairs, key=lambda language: (-pairs[language], language))
  if len(ordered) < 3:
    return {'all': ordered}
  quarter = max(len(ordered) // 4, 1)
  return {'high': ordered[:quarter], 'medium': ordered[quarter:-quarter], 'low': ordered[-quarter:]}
