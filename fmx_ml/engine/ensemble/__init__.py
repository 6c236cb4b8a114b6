"""Several runs of one architecture as one stack of weights (`fit_together`).

networks      the forward pass of many networks at once
objectives    what each of them minimises
stack         weights, moments and best weights: a row a run
optimisers    torch's SGD, Adam and AdamW, each run at its own pace
batches       what every step of an epoch learns from
graphs        CUDA graphs, where there is a GPU
steps         a step and an evaluation of all
runs          how far each has come, and how it goes on after a break
together      epochs, early stopping, who stays and who leaves
"""
