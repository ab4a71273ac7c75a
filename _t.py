import time
from components import validate, dataset, params, statistics
from pathlib import Path
import tempfile
d=dataset.load(Path("data/raw")); t=time.time()
with tempfile.TemporaryDirectory() as f:
    out=validate.validate(d, params.load().validation, Path(f)); print(time.time()-t)
    import os; print(os.listdir(f+"/docs"))
for x in out: print(x.success, x.explain(), x.severity)
import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
