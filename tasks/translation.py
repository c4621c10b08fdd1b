"""Translation into English, as GShard learns it (arXiv:2006.16668): `zoo_translate_de_en`, ..., and `zoo_translate`.

    'translate German to English: Das ist gut.' -> 'That is good.'

Files are any line-aligned pairs (`parallel_files`) in the folder `translation` of the data folder, or in the one that
`translation_data.folder` names. A task is registered for every language of ISO 639-1, FLORES-200 and Tatoeba, without
a look at the disk; it reads all pairs of its language. The mixture has the languages whose files are there, each at the
rate of its text to the power of 1/5.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import gin
import seqio

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, fields, languages, metrics, parallel_files, registration
from switch_zoo.tasks.readers import AlignedText, BadField
from switch_zoo.tasks.sources import Files, FileSource, Found, State

MIXTURE = 'zoo_translate'
TEMPERATURE = 5  # of massively multilingual translation (arXiv:1907.05019)
# Pairs of one language that are shuffled together. A mixture reads so many of each of a hundred languages before its
# first batch, and holds them; it is itself what puts lines of different files next to one another.
_SHUFFLED = 1000
_WHERE = (
  'Text is at https://opus.nlpl.eu (Moses format), https://tatoeba.org and '
  'https://github.com/facebookresearch/flores: two files of aligned lines, named like NAME.de-en.de and '
  'NAME.de-en.en.'
)


@gin.configurable(module='tasks')
def translation_data(folder: str = 'translation') -> str:
  """The folder of aligned files: below the data folder, if it is not a whole path itself.

  Raises:
    UserError: no data folder is set
  """
  folder = os.path.expanduser(folder)
  if '://' in folder or os.path.isabs(folder):
    return folder
  return f'{data_folder.required("Translation", _WHERE)}/{folder}'


class PairSource(FileSource):
  """All aligned files of one language and English."""

  def __init__(self, language: str):
    """Opens nothing.

    Args:
      language: its code
    """
    self._language = language
    name = languages.names()[language]
    self._prefix = f'translate {name} to English: '
    # Which files a split has, the names in the folder tell, not a pattern.
    super().__init__(('translation',), dict.fromkeys(parallel_files.SPLITS, ()), _WHERE)

  @property
  def splits(self) -> Sequence[str]:
    """The splits that have files; all where there are none, so that whoever reads one is told."""
    return [split for split in parallel_files.SPLITS if self.pairs(split)] or parallel_files.SPLITS

  def pairs(self, split: str | None = None) -> list[parallel_files.Pair]:
    """The pairs of files of a split, or of all; none without a folder."""
    try:
      folder = translation_data()
    except UserError:
      return []
    of_language = (pair for pair in parallel_files.pairs(folder) if pair.language == self._language)
    return [pair for pair in of_language if split in (None, pair.split)]

  def found(self, split: str) -> Found:
    """The files of a split; UserError if there are none, with the languages that have some."""
    pairs = self.pairs(split)
    if not pairs:
      raise UserError(self._missing(split, translation_data()))
    english = {pair.path: pair.english for pair in pairs}
    reader = AlignedText(english.__getitem__, ('source', 'english'))
    return Found(tuple(english), Files('', reader, self.rows))

  def state(self) -> State:
    """Ready where some split has files."""
    language = self._language
    missing = () if self.pairs() else (f'*.{language}-en.{language} and *.{language}-en.en, or the like',)
    return State(missing, self.where)

  def rows(self, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The example of two aligned lines; BadField where one is empty."""
    source, english = fields.text(record, 'source'), fields.text(record, 'english')
    for field in ('source', 'english'):
      if not record[field].strip():
        raise BadField(field, 'is an empty line')
    yield {'inputs': f'{self._prefix}{source}', 'targets': english}

  def _missing(self, split, folder):
    present = sorted({pair.language for pair in parallel_files.pairs(folder) if pair.split == split})
    has = f'for this split it has: {", ".join(present)}' if present else 'it has none of this split'
    name = languages.names()[self._language]
    return f'{folder} has no aligned files of {name} ("{self._language}") and English, split "{split}"; {has}. {_WHERE}'


def task_name(language: str) -> str:
  """The task that translates from a language, given by its code."""
  return f'zoo_translate_{language}_en'


@gin.configurable(module='tasks', denylist=('task',))
def translation_rate(task: seqio.Task, temperature: float = TEMPERATURE) -> float:
  """The rate of a task in `zoo_translate`: bytes of its English training text ** (1 / temperature).

  A language that has none, but text to evaluate on, counts with that.
  """
  pairs = task.source.pairs('train') or task.source.pairs()
  return float(sum(map(parallel_files.size, pairs))) ** (1 / temperature)


for _language in languages.names():
  registration.add_task(task_name(_language), PairSource(_language), (metrics.bleu,), shuffled=_SHUFFLED)
seqio.MixtureRegistry.add_provider(
  MIXTURE, registration.PresentMixture(MIXTURE, [task_name(one) for one in languages.names()], translation_rate)
)
