"""`make bench` compares this runtime with other servers of the same model, in one run on one machine.

- `workloads`: texts, request bodies and cells (pure); `results`: the measurements; `goals`: the goals (pure)
- `systems`: the systems under test and their commands; `processes`: a started system, its CPU time and memory
- `load`: the clients (wrk); `health`: the prober of /healthz; `encoder`, `bound`: processes that the run starts
- `rounds`: the run; `table`, `plots`: its page
"""

__all__: list[str] = []
