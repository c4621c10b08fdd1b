"""Languages to translate from: their codes, as the names of files have them, and their English names."""

import functools
import re
from collections.abc import Mapping

import babel
import babel.core

ENGLISH = 'en'
# Codes that ISO 639-1 has withdrawn.
_WITHDRAWN = frozenset(('in', 'iw', 'ji', 'jw', 'mo', 'sh'))
# Languages that the tables of Unicode merge into others than ISO 639 and the corpora do.
_CODES = {'tgl': 'tl', 'fil': 'tl', 'twi': 'tw', 'prs': 'prs', 'pbt': 'ps', 'quy': 'qu', 'fuv': 'ff', 'ajp': 'apc'}
# Three-letter codes of FLORES-200 and Tatoeba for which those tables have no name.
_NAMES = {
  'acm': 'Mesopotamian Arabic',
  'acq': "Ta'izzi-Adeni Arabic",
  'apc': 'Levantine Arabic',
  'azb': 'South Azerbaijani',
  'ber': 'Berber',
  'cbk': 'Chavacano',
  'cjk': 'Chokwe',
  'hne': 'Chhattisgarhi',
  'kbp': 'Kabiye',
  'max': 'North Moluccan Malay',
  'orv': 'Old East Slavic',
  'prs': 'Dari',
  'swg': 'Swabian',
  'taq': 'Tamasheq',
  'tzl': 'Talossan',
}
# Languages of FLORES-200 and Tatoeba without a two-letter code.
_THREE_LETTERS = (
  'ace acm acq aeb ang apc arq ars ary arz ast awa azb ban bem ber bho bjn bug cbk ceb chm cjk ckb crh csb din dsb '
  'dtp dyu fon fur gsw hne hsb ilo kab kac kam kbp kea kmb lfn lij lmo ltg lua luo lus mag mai max min mni mos nds '
  'nov nso nus orv pag pam pap pms prs sat scn shn swg szl taq tpi tum tzl tzm umb vec war wuu yue'
)


def code(text: str) -> str | None:
  """The code of a language as tasks have it, with two letters if ISO 639-1 has one; None if it is not a language.

  >>> code('deu'), code('zho_Hans'), code('pt_BR'), code('dev')
  ('de', 'zh', 'pt', None)
  """
  first = re.split('[_-]', text.lower())[0]
  standard = _CODES.get(first) or (first if first in _two_letters() else _aliases().get(first, first))
  return standard if standard == ENGLISH or standard in names() else None


@functools.lru_cache(maxsize=1)
def names() -> dict[str, str]:
  """Code of every language but English -> its English name, as T5 writes it ('translate German to English: ')."""
  table = _english_names()
  codes = (*(_two_letters() - {ENGLISH}), *_THREE_LETTERS.split())
  return {language: _NAMES.get(language) or table[language] for language in sorted(codes)}


@functools.lru_cache(maxsize=1)
def _two_letters() -> frozenset[str]:
  return frozenset(language for language in _english_names() if len(language) == 2) - _WITHDRAWN


def _english_names() -> dict[str, str]:
  return {str(code): str(name) for code, name in babel.Locale('en').languages.items()}


def _aliases() -> Mapping[str, str]:
  return babel.core.get_global('language_aliases')
