"""Translation into English, as in GShard (arXiv:2006.16668): `zoo_translate_de_en`, ..., and `zoo_translate`.

    'translate German to English: Das ist gut.' -> 'That is good.'

Files are any line-aligned pairs (`parallel_files`) in the folder `translation` of the data folder, or in the one that
`translation_data.folder` names. A task is registered for every language of ISO 639-1, FLORES-200 and Tatoeba without
looking at the disk; it reads all pairs of its language. The mixture has the languages whose files are there, each at
the rate of its text to the power of 1/5.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import gin
import seqio
import tensorflow as tf

from switch_zoo.errors import UserError
from switch_zoo.tasks import data_folder, fields, languages, metrics, parallel_files, registration, vocabularies
from switch_zoo.tasks.raw_files import BadField
from switch_zoo.tasks.readers import AlignedText
from switch_zoo.tasks.sources import FileSource, SourceState
from switch_zoo.tasks.split_files import FoundFiles, SplitFiles

MIXTURE = 'zoo_translate'
TEMPERATURE = 5  # of massively multilingual translation (arXiv:1907.05019)
# Pairs of one language that are shuffled together. A mixture reads this many of each of a hundred languages before its
# first batch, and holds them; the mixture itself is what puts lines of different files next to one another.
_SHUFFLED = 1000
_SHOWN = 5  # names of a folder in a message
_WHERE = (
  'Text is at https://opus.nlpl.eu (Moses format), https://tatoeba.org and '
  'https://github.com/facebookresearch/flores: two files of aligned lines, named like NAME.de-en.de and '
  'NAME.de-en.en. `switch_zoo corpus DIR --pairs` makes some from the catalogues of this machine.'
)


@gin.configurable(module='tasks')  # pyright: ignore[reportCallIssue] - gin has no types
def translation_data(folder: str = 'translation') -> str:
  """The folder of aligned files: below the data folder unless it is absolute.

  Raises:
    UserError: no data folder is set
  """
  folder = os.path.expanduser(folder)
  if '://' in folder or os.path.isabs(folder):
    return folder
  return f'{data_folder.required("Translation", _WHERE)}/{folder}'


class PairSource(FileSource):
  """All aligned files of one language and English."""

  def __init__(self, language: str) -> None:
    """Opens nothing.

    Args:
      language: its code
    """
    self._language = language
    self._prefix = f'translate {languages.names()[language]} to English: '
    super().__init__(parallel_files.SPLITS, _WHERE)

  @property
  def splits(self) -> Sequence[str]:
    """The splits that have files; all if none has, so that whoever reads one gets an error that helps."""
    here = {side.split for side in (*self.pairs(), *self._unpaired())}
    return [split for split in parallel_files.SPLITS if split in here] or parallel_files.SPLITS

  def pairs(self, split: str | None = None) -> list[parallel_files.AlignedPair]:
    """The pairs of files of a split, or of all; none without a folder."""
    try:
      folder = translation_data()
    except UserError:
      return []
    pairs = (pair for pair in parallel_files.pairs(folder) if pair.language == self._language)
    return [pair for pair in pairs if split in (None, pair.split)]

  def _unpaired(self) -> list[parallel_files.Unpaired]:
    """The files of the language without an English side, or the other way round."""
    try:
      folder = translation_data()
    except UserError:
      return []
    return [side for side in parallel_files.unpaired(folder) if side.language == self._language]

  def find_files(self, split: str) -> FoundFiles:
    """The files of a split.

    Raises:
      UserError: one has no other side, or there are none, with the languages that have some
    """
    pairs = self.pairs(split)
    for side in self._unpaired():
      if side.split == split:
        raise UserError(
          f'{side.path} is one side of a pair, and there is no {" or ".join(side.partners)} next to it. Add it, with a '
          'line for each line of the other, or move the file out of the folder.'
        )
    if not pairs:
      raise UserError(self._missing(split, translation_data()))
    english = {pair.path: pair.english for pair in pairs}
    reader = AlignedText(english.__getitem__, ('source', 'english'))
    return FoundFiles(tuple(english), SplitFiles('', reader, self.rows))

  def state(self) -> SourceState:
    """Ready if any split has files, or one side of a pair: then a mixture reports it rather than leaving it out."""
    language = self._language
    missing = (
      () if self.pairs() or self._unpaired() else (f'*.{language}-en.{language} and *.{language}-en.en, or the like',)
    )
    return SourceState(missing, self.where)

  def check(self, split: str) -> None:
    """Refuses a split whose files are missing, begin with a malformed row, or have different numbers of lines.

    Raises:
      UserError: with the files
    """
    super().check(split)
    if not data_folder.task_data().skip_malformed:
      for pair in self.pairs(split):
        parallel_files.check_lines(pair)

  def rows(self, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The example of two aligned lines; BadField if one is empty."""
    source, english = fields.text(record, 'source'), fields.text(record, 'english')
    for field in ('source', 'english'):
      if not record[field].strip():
        raise BadField(field, 'is an empty line')
    yield {'inputs': f'{self._prefix}{source}', 'targets': english}

  def _missing(self, split: str, folder: str) -> str:
    if not tf.io.gfile.isdir(folder):
      return f'There is no folder {folder}, in which translations are. {_WHERE}'
    if not parallel_files.pairs(folder):
      names = sorted(tf.io.gfile.listdir(folder))
      content = (
        f'it contains {", ".join(names[:_SHOWN])}{", ..." if len(names) > _SHOWN else ""}' if names else 'it is empty'
      )
      return f'{folder} has no pair of aligned files, a language and English: {content}. {_WHERE}'
    present = sorted({pair.language for pair in parallel_files.pairs(folder) if pair.split == split})
    others = f'for this split it has: {", ".join(present)}' if present else 'it has none for this split'
    name = f'{languages.names()[self._language]} ("{self._language}")'
    return f'{folder} has no aligned files of {name} and English, split "{split}"; {others}. {_WHERE}'


def task_name(language: str) -> str:
  """The task that translates from a language, given by its code."""
  return f'zoo_translate_{language}_en'


@gin.configurable(module='tasks', denylist=('task',))  # pyright: ignore[reportCallIssue] - gin has no types
def translation_rate(task: seqio.Task, temperature: float = TEMPERATURE) -> float:
  """The rate of a task in `zoo_translate`: bytes of its English training text ** (1 / temperature).

  For a language that has none, but has text to evaluate on, that text counts.
  """
  source = task.source
  if not isinstance(source, PairSource):
    raise TypeError(f'{task.name} is not a task of translation.')
  pairs = source.pairs('train') or source.pairs()
  return float(sum(map(parallel_files.size, pairs))) ** (1 / temperature)


for _language in languages.names():
  registration.add_task(
    task_name(_language),
    PairSource(_language),
    (metrics.bleu,),
    target_vocabulary=vocabularies.TARGET,
    shuffled=_SHUFFLED,
  )
registration.add_present_mixture(MIXTURE, map(task_name, languages.names()), translation_rate)
