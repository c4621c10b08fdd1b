"""`switch_zoo demo`: from text to a queried Switch Transformer, on any machine and in minutes.

budget       what it spends, in one place       folder       the output folder: whose it is, what is done in it
phases       the steps, each resumable          progress     bars or lines while a model trains
expert_load  the picture of the experts         ask          a program of its own that queries the SavedModel
summary      the figures at the end
"""
