"""What the papers claim, trained on one machine: each experiment is a grid of arms, a budget and a claim.

settings         Budget, Arm and Experiment, and the models that the arms share
training         one run: trained by t5_mesh_transformer, resumed if it was killed, skipped if it is finished
curves           losses of finished runs: when one reaches another's, and the table
drawing          loss against steps, tokens and seconds, with a band over seeds
running          tunes, trains all arms, judges the claim, writes and prints

switch_vs_dense, top2_vs_top1, init, precision, exploration, expert_dropout, no_token_left_behind, multilingual, distill

python -m benchmarks.experiments NAME --work FOLDER
"""
