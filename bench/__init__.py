"""`make bench`: this runtime, and what else serves the same model, on one machine in one run.

- `workloads`: what is asked (pure); `results`: what was measured; `goals`: what has to be reached (pure)
- `systems`: the systems under test, and how each is started; `processes`: a started one, its CPU time and memory
- `load`: the clients (wrk); `health`: a prober beside them; `encoder`, `bound`: in processes of their own
- `rounds`: the run itself; `table`, `plots`: what is written about it
"""

__all__: list[str] = []
