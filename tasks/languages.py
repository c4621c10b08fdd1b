"""Languages that are translated from: their codes, as the names of files have them, and their English names."""

import functools
import re

import babel
import babel.core

ENGLISH = 'en'
# Codes that ISO 639-1 has withdrawn.
_WITHDRAWN = frozenset(('in', 'iw', 'ji', 'jw', 'mo', 'sh'))
# Where the tables of Unicode fold a language into another than ISO 639 and the corpora do.
_CODES = {'tgl': 'tl', 'fil': 'tl', 'twi': 'tw', 'prs': 'prs', 'pbt': 'ps', 'quy': 'qu', 'fuv': 'ff', 'ajp': 'apc'}
# Three-letter codes of FLORES-200 and Tatoeba that those tables have no name for.
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
  """The code of a language as tasks have it, of two letters where ISO 639-1 has one; None for what is no language.

  >>> code('deu'), code('zho_Hans'), code('pt_BR'), code('dev')
  ('de', 'zh', 'pt', None)
  """
  first = re.split('[_-]', text.lower())[0]
  found = _CODES.get(first) or (first if first in _two_letters() else _aliases().get(first, first))
  return found if found == ENGLISH or found in names() else None


@functools.lru_cache(maxsize=1)
def names() -> dict[str, str]:
  """Code of every language but English -> its English name, as T5 writes it ('translate German to English: ')."""
  table = babel.Locale('en').languages
  codes = (*(_two_letters() - {ENGLISH}), *_THREE_LETTERS.split())
  return {one: _NAMES.get(one) or table[one] for one in sorted(codes)}


@functools.lru_cache(maxsize=1)
def _two_letters():
  return frozenset(one for one in babel.Locale('en').languages if len(one) == 2) - _WITHDRAWN


def _aliases():
  return babel.core.get_global('language_aliases')
