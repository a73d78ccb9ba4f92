"""Side by side: our steps and a peer's, alternated in one run on one machine. Read docs/benchmarks.md.

sizes      the models, and the FLOPs a step cannot do without      (no torch)
workload   the examples both systems train on                      (no torch)
process    one process per system, told to run n steps             (no torch in the parent)
measure    which steps were disturbed; rates, ratios, spreads      (pure)
tasks      what is compared: a name, a unit, ours, the peers
models     the same random weights for both systems
generation what is generated                                      (no torch)
generate   our sampler and transformers' generate
trl_peer   TRL, driven through its own trainers
trl_grpo   the same for GRPO
ours       our training steps
ours_grpo  our stage of GRPO
run        the command
"""
