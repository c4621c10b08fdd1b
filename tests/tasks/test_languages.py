"""Codes and names of languages."""

import babel
import pytest

from switch_zoo.tasks import languages

TATOEBA = (
  'afr amh ang ara arq arz ast awa aze bel ben ber bos bre bul cat cbk ceb ces cha cmn cor csb cym dan deu dsb '
  'dtp ell epo est eus fao fin fra fry gla gle glg gsw heb hin hrv hsb hun hye ido ile ina ind isl ita jav jpn '
  'kab kat kaz khm kor kur kzj lat lfn lit lvs mal mar max mhr mkd mon nds nld nno nob nov oci orv pam pes pms '
  'pol por ron rus slk slv spa sqi srp swe swg swh tam tat tel tgl tha tuk tur tzl uig ukr urd uzb vie war wuu '
  'xho yid yue zsm'
)


@pytest.mark.parametrize(
  ('text', 'code'),
  [
    *(('de', 'de'), ('deu', 'de'), ('ger', 'de'), ('DE', 'de'), ('de_DE', 'de'), ('deu_Latn', 'de')),
    *(('cmn', 'zh'), ('zho_Hans', 'zh'), ('zho_Hant', 'zh'), ('zh-TW', 'zh')),
    *(('tgl', 'tl'), ('fil', 'tl'), ('tl', 'tl'), ('twi', 'tw'), ('iw', 'he'), ('no', 'no'), ('nob', 'nb')),
    *(('arb', 'ar'), ('arz', 'arz'), ('ceb', 'ceb'), ('pes', 'fa'), ('prs', 'prs'), ('quy', 'qu')),
    *(('en', 'en'), ('eng', 'en'), ('eng_Latn', 'en')),
    *(('dev', None), ('test', None), ('', None), ('txt', None), ('gz', None)),
  ],
)
def test_code(text, code):
  assert languages.code(text) == code


@pytest.mark.parametrize('text', TATOEBA.split())
def test_every_language_of_tatoeba_has_a_task(text):
  assert languages.code(text) in languages.names()


def test_names_are_those_of_t5():
  """T5 asks babel for the English name of the first two letters."""
  known = [code for code in languages.names() if len(code) == 2 and babel.localedata.exists(code)]
  assert len(known) > 140
  assert {code: languages.names()[code] for code in known} == {code: babel.Locale(code).english_name for code in known}


def test_every_language_has_one_code_and_a_name():
  for code, name in languages.names().items():
    assert languages.code(code) == code
    assert name
  assert 'en' not in languages.names()
