"""Registers the tasks of pre-training.

    zoo_c4_span   zoo_c4_prefix_lm   zoo_c4_iid      C4's English (arXiv:1910.10683, section 2.2)
    zoo_text_span zoo_text_prefix_lm zoo_text_iid    plain text that gin names (text_corpus.files)
    zoo_mc4_af .. zoo_mc4_zu, the mixture zoo_mc4    mC4, span corruption (arXiv:2010.11934, section 3)

Objectives: span corruption (15 percent, spans of 3: gin's `span_corruption`), and T5's prefix language modelling and
independent masking as t5.data has them (arXiv:1910.10683, section 3.3). T5 cuts text to fit the length of the inputs;
prefix language modelling needs TARGETS_LENGTH = INPUTS_LENGTH, and independent masking about 0.28 of it.
"""

from collections.abc import Callable, Sequence

import gin
import seqio
from t5.data import preprocessors as t5_preprocessors

from switch_zoo.tasks import documents, plain_text, registration, vocabularies
from switch_zoo.tasks.span_corruption import span_corruption

# The languages of mC4, by the names of their files (as tensorflow_datasets.text.c4 lists them); "-Latn" is romanized
# text.
_NAMES = (
  'af am ar az be bg bg-Latn bn ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr fy ga gd gl gu ha haw '
  'hi hi-Latn hmn ht hu hy id ig is it iw ja ja-Latn jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt '
  'my ne nl no ny pa pl ps pt ro ru ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi '
  'xh yi yo zh zh-Latn zu'
)
LANGUAGES = tuple(_NAMES.split())
_EXPONENT = 0.3
SHUFFLED = 1000  # documents or segments

_tokens = (
  lambda dataset: seqio.preprocessors.rekey(dataset, {'inputs': None, 'targets': 'text'}),
  seqio.preprocessors.tokenize,
)
# The end of the task's name -> its preprocessors.
OBJECTIVES: dict[str, Sequence[Callable]] = {
  'span': (span_corruption,),
  'prefix_lm': (*_tokens, t5_preprocessors.prefix_lm, seqio.preprocessors.append_eos_after_trim),
  'iid': (*_tokens, t5_preprocessors.iid_denoising, seqio.preprocessors.append_eos_after_trim),
}


@gin.configurable(module='tasks', denylist=('task',))  # pyright: ignore[reportCallIssue] - gin has no types
def mc4_rate(task: seqio.Task, exponent: float = _EXPONENT) -> float:
  """A language's rate in `zoo_mc4`: its size ** exponent.

  mT5 samples by the number of examples to the power of 0.3 (arXiv:2010.11934, section 3.2). Here the size is the bytes
  of the shards that are there, which needs no pass over them.
  """
  source = task.source
  if not isinstance(source, documents.DocumentSource):
    raise TypeError(f'{task.name} is not a task of mC4.')
  return float(source.size('train')) ** exponent


def mc4_task(language: str) -> str:
  """The task of a language of mC4: 'bg-Latn' -> 'zoo_mc4_bg_latn'."""
  return f'zoo_mc4_{language.lower().replace("-", "_")}'


def _add(name: str, source: seqio.DataSource, objective: str, vocabulary: seqio.Vocabulary) -> None:
  registration.add_task(name, source, preprocessors=OBJECTIVES[objective], vocabulary=vocabulary, shuffled=SHUFFLED)


for _objective in OBJECTIVES:
  _add(f'zoo_c4_{_objective}', documents.c4(), _objective, vocabularies.DEFAULT)
  _add(f'zoo_text_{_objective}', plain_text.TextSource(), _objective, vocabularies.DEFAULT)
for _language in LANGUAGES:
  _add(mc4_task(_language), documents.mc4(_language), 'span', vocabularies.MT5)
registration.add_present_mixture('zoo_mc4', map(mc4_task, LANGUAGES), mc4_rate)
