"""The ML library of fmx: specs, data, models, training, experiments and plots; no server needed."""
