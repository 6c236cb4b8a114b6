"""What a GPU makes of the report's trainings: `python -m benchmarks.gpu --out FILE.json`.

agreement   packs beside the plain engine: are the curves the same?
speed       an epoch of each kind of pack, launched as a whole, beside the plain engine
report      every training of Q1 to Q5, to its end

It needs torch, numpy, pydantic, safetensors, onnx and onnxruntime, and neither server nor database.
"""
