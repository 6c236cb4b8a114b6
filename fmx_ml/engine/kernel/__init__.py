"""A compiled kernel for training the report's networks on a CPU, behind the engine's `Objective`.

torch is made for large networks: on these it spends most of a step between its operators. The
kernel is one operator, a whole network's loss and gradients over a batch. `fit` and the optimisers
stay as they are, and so does the plain engine, which every other network and device uses and which
the kernel is tested against.

How it works is told in `source/`: `convolution.hpp`, `dense.hpp`, and `network.cpp`, which puts
them together.
"""
