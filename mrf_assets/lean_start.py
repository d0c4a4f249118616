"""Programs of ours import this before all else: what numpy's BLAS would do at its start is left out.

Its threads, one for each core, spin before they sleep, which cost 0.10 to 0.15 s of CPU in every process
(benchmarks/NOTES.md), and nothing here multiplies matrices. Who imports us as a library keeps them.
"""

from mrf_assets.settings import spare_blas_threads

spare_blas_threads()
