"""What the papers claim, trained on one machine: each experiment is a grid of arms, a budget and a claim.

settings         Budget, Arm and Experiment, and the models that the arms share
training         one run: trained by t5_mesh_transformer, resumed if it was killed, skipped if it is finished
curves           losses of finished runs: when one reaches another's, and the table
drawing          loss against steps, tokens and seconds, with a band over seeds
arguments        of the command line, which all experiments have
running          tunes, trains all arms, judges the claim, writes and prints

switch_vs_dense, top2_vs_top1, init, precision, exploration, expert_dropout, no_token_left_behind, multilingual, distill

translation        GShard end to end: many languages into English, BLEU by resource level
translation_data   its vocabularies, held-out sentences and resource levels
translation_place  one run of it: trained, decoded by beam search, measured by sacrebleu

python -m benchmarks.experiments NAME --work FOLDER
python -m benchmarks.experiments.translation --work FOLDER
"""
