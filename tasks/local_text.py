"""Registers the tasks over the text of this machine, which `switch_zoo corpus` collects.

zoo_local_text_span zoo_local_text_prefix_lm zoo_local_text_iid    all of it
zoo_local_text_af .. zoo_local_text_zu, the mixture zoo_local_text_languages    span corruption, language by language
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from switch_zoo.tasks import data_folder, documents, fields, local_corpus, pretraining, registration, vocabularies
from switch_zoo.tasks.local_files import CATALOGUE, MAN
from switch_zoo.tasks.readers import JsonLines
from switch_zoo.tasks.sources import SourceState
from switch_zoo.tasks.split_files import SplitFiles

_WHERE = 'Collect it with: switch_zoo corpus DIR. Then set SWITCH_ZOO_DATA_DIR=DIR.'
_PATTERNS = {'train': 'train-*-of-*.jsonl', 'validation': local_corpus.VALIDATION}
_FOLDERS = (local_corpus.FOLDER,)
_LEAST = 500_000  # bytes of training text of a language in the mixture
# Text in a language of people; Python and its documentation would be English in name only.
_IN_LANGUAGES = (CATALOGUE, MAN)
MIXTURE = 'zoo_local_text_languages'
LANGUAGES = tuple(dict.fromkeys(code.split('-')[0] for code in (*pretraining.LANGUAGES, 'ast', 'br', 'hr', 'oc', 'zh')))


@dataclasses.dataclass(frozen=True)
class OfLanguage:
  """A row function: the pieces of catalogues and manual pages in a language, all its variants together."""

  language: str

  def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The piece, if it is in the language."""
    if fields.text(row, 'domain') in _IN_LANGUAGES and base(fields.text(row, 'language')) == self.language:
      yield from documents.document_rows(row)


class LanguageSource(documents.DocumentSource):
  """The pieces in one language; there, if there are enough of them."""

  def __init__(self, language: str) -> None:
    """Opens nothing."""
    layouts = {split: [SplitFiles(name, JsonLines(), OfLanguage(language))] for split, name in _PATTERNS.items()}
    super().__init__(_FOLDERS, layouts, _WHERE, fields=documents.TEXT)
    self.language = language

  def size(self, split: str) -> int:
    """Bytes of the language's text."""
    index = local_corpus.index_of(data_folder.task_data().folder)
    of_domain = index['splits'][split] if index else {}
    languages = [of_domain.get(domain, {}) for domain in _IN_LANGUAGES]
    return sum(v['bytes'] for sizes in languages for code, v in sizes.items() if base(code) == self.language)

  def absent(self, split: str) -> str | None:
    """What was searched for, or that there is not enough of it; None if it is there."""
    return super().absent(split) or self._too_little()

  def state(self) -> SourceState:
    """Whether there is enough text for training, and some for validation."""
    state = super().state()
    reason = None if state.missing else self._too_little()
    return SourceState((reason,), self.where) if reason else state

  def _too_little(self) -> str | None:
    train, validation = self.size('train'), self.size('validation')
    enough = train >= _LEAST and validation > 0
    return None if enough else f'{self.language}: {train:,} bytes for training, {validation:,} held out'


def base(code: str) -> str:
  """The language of a locale: 'pt_BR' -> 'pt'; 'sr@latin' -> 'sr'."""
  return code.split('_')[0].split('@')[0]


def rate(task: Any, exponent: float = 0.3) -> float:
  """A language's rate in the mixture, as in mC4's (arXiv:2010.11934, section 3.2)."""
  return float(max(1, task.source.size('train'))) ** exponent


def task(language: str) -> str:
  """The task of a language."""
  return f'zoo_local_text_{language}'


def _source() -> documents.DocumentSource:
  layouts = {split: [SplitFiles(name, JsonLines(), documents.document_rows)] for split, name in _PATTERNS.items()}
  return documents.DocumentSource(_FOLDERS, layouts, _WHERE, fields=documents.TEXT)


def _add(name: str, source: documents.DocumentSource, objective: str) -> None:
  registration.add_task(
    name,
    source,
    preprocessors=pretraining.OBJECTIVES[objective],
    vocabulary=vocabularies.DEFAULT,
    shuffled=pretraining.SHUFFLED,
  )


for _objective in pretraining.OBJECTIVES:
  _add(f'zoo_local_text_{_objective}', _source(), _objective)
for _language in LANGUAGES:
  _add(task(_language), LanguageSource(_language), 'span')
registration.add_present_mixture(MIXTURE, map(task, LANGUAGES), rate)
