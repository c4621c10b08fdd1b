"""Registers the tasks of pre-training.

    zoo_c4_span   zoo_c4_prefix_lm   zoo_c4_iid      C4's English (arXiv:1910.10683, section 2.2)
    zoo_text_span zoo_text_prefix_lm zoo_text_iid    plain text that gin names (text_corpus.files)
    zoo_mc4_af .. zoo_mc4_zu, the mixture zoo_mc4    mC4, span corruption (arXiv:2010.11934, section 3)

Objectives: span corruption (15 percent, spans of 3: gin's `span_corruption`), and T5's prefix language modelling and
independent masking as t5.data has them (arXiv:1910.10683, section 3.3). T5 cuts text for the length of the inputs;
prefix language modelling wants TARGETS_LENGTH = INPUTS_LENGTH, and independent masking about 0.28 of it.
"""

from collections.abc import Callable, Sequence

import gin
import seqio
from t5.data import preprocessors as t5_preprocessors

from switch_zoo.tasks import documents, registration, vocabularies
from switch_zoo.tasks.span_corruption import span_corruption

# Of mC4, by the names of their files (as tensorflow_datasets.text.c4 lists them); "-Latn" is romanized text.
_NAMES = (
  'af am ar az be bg bg-Latn bn ca ceb co cs cy da de el el-Latn en eo es et eu fa fi fil fr fy ga gd gl gu ha haw '
  'hi hi-Latn hmn ht hu hy id ig is it iw ja ja-Latn jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt '
  'my ne nl no ny pa pl ps pt ro ru ru-Latn sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi '
  'xh yi yo zh zh-Latn zu'
)
LANGUAGES = tuple(_NAMES.split())
_EXPONENT = 0.3

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


@gin.configurable(module='tasks', denylist=('task',))
def mc4_rate(task: seqio.Task, exponent: float = _EXPONENT) -> float:
  """A language's rate in `zoo_mc4`: its size ** exponent.

  mT5 samples by the number of examples to the power of 0.3 (arXiv:2010.11934, section 3.2). Here a size is the bytes
  of the shards that are there, which needs no pass over them.
  """
  return float(task.source.size('train')) ** exponent


def mc4_task(language: str) -> str:
  """The task of a language of mC4: 'bg-Latn' -> 'zoo_mc4_bg_latn'."""
  return f'zoo_mc4_{language.lower().replace("-", "_")}'


def _add(name, source, objective, vocabulary):
  seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=list(OBJECTIVES[objective]),
    output_features=registration.features(vocabulary),
    metric_fns=[],
  )


for _objective in OBJECTIVES:
  _add(f'zoo_c4_{_objective}', documents.c4(), _objective, vocabularies.DEFAULT)
  _add(f'zoo_text_{_objective}', documents.TextSource(), _objective, vocabularies.DEFAULT)
for _language in LANGUAGES:
  _add(mc4_task(_language), documents.mc4(_language), 'span', vocabularies.MT5)
seqio.MixtureRegistry.add_provider(
  'zoo_mc4', registration.PresentMixture('zoo_mc4', [mc4_task(one) for one in LANGUAGES], mc4_rate)
)
