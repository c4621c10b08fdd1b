"""Sections of the language reference, and what is held out."""

import collections

from switch_zoo.tasks import pydoc_source, pydoc_topics
from switch_zoo.tasks.pydoc_topics import TopicRow


def test_every_topic_is_in_one_section():
  names = [name for topics in pydoc_topics.SECTIONS.values() for name in topics.split()]
  assert len(names) == len(set(names))
  assert set(names) == set(pydoc_source.topics())


def test_a_paragraph_belongs_to_the_shortest_topic_that_has_it():
  # "for" is one of the "blocks", and its text is part of "compound"; the text of "assert" is nowhere else.
  sections = {row.text: row.section for split in ('train', 'validation') for row in pydoc_topics.rows(split)}
  text = 'The "for" statement is used to iterate over the elements of a sequence (such as a string, tuple or list) or '
  assert [s for t, s in sections.items() if t.startswith(text)] == ['blocks']
  text = '"pass" is a null operation — when it is executed, nothing happens.'
  assert [s for t, s in sections.items() if t.startswith(text)] == ['statements']


def test_split_is_of_the_promised_size_and_has_every_section():
  train, validation = pydoc_topics.rows('train'), pydoc_topics.rows('validation')
  assert 0.2 < len(validation) / (len(train) + len(validation)) < 0.3
  for rows in (train, validation):
    count = collections.Counter(row.section for row in rows)
    assert set(count) == set(pydoc_topics.SECTIONS)
    assert max(count.values()) / len(rows) < 0.2  # always naming the same section is a poor answer
    assert min(len(row.text) for row in rows) >= pydoc_topics.SHORTEST


def test_nothing_leaks():
  validation = [row.text for row in pydoc_topics.rows('validation')]
  held_out = set().union(*map(pydoc_topics.shingles, validation))
  for row in pydoc_topics.rows('train'):
    assert held_out.isdisjoint(pydoc_topics.shingles(row.text)), row.text
  text = '\n'.join(pydoc_topics.documents())
  assert not [paragraph for paragraph in validation if paragraph in text]


def test_a_passage_that_two_paragraphs_share_takes_one_out_of_training(monkeypatch):
  shared = 'New in version 99: this passage is in two topics.'
  rows = (
    TopicRow(f'One. {shared}', 'names'),
    TopicRow(f'Two. {shared}', 'types'),
    TopicRow('A paragraph of its own.', 'types'),
  )
  monkeypatch.setattr(pydoc_topics, '_all_rows', lambda: rows)
  monkeypatch.setattr(pydoc_topics, '_is_held_out', lambda text: text.startswith('One.'))
  assert pydoc_topics.rows('validation') == [rows[0]]
  assert pydoc_topics.rows('train') == [rows[2]]


def test_shingles():
  words = ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i')
  assert pydoc_topics.shingles('a b c d e f g h i') == {words[:8], words[1:]}
  assert pydoc_topics.shingles('a  b') == {('a', 'b')}
